"""The AWS account that an environment is deployed to, and where its Terraform state lives.

  account.py show ENV          check the account, and print what deploy.sh must know as shell variables
  account.py make-bucket ENV   make the bucket for the state, bare, unless it is there
  account.py environments ENV  print the environments that may be in its account, as JSON
  account.py pipeline NAME     print the outputs of a deployed pipeline, as shell variables

Clients take credentials and endpoint from the environment.
"""

import argparse
import json
import os
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import hcl2
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

ROOT = Path(__file__).resolve().parent.parent
MISSING = ("404", "NoSuchBucket", "NoSuchKey")


@dataclass
class Environment:
    """What the files of an environment say: env/NAME.tfvars, its backend file, and the defaults of variables.tf."""

    name: str
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.settings = read(ROOT / self.variables)

    @property
    def variables(self) -> str:
        """The file with its variables."""
        return f"env/{self.name}.tfvars"

    @property
    def backend(self) -> str:
        """The file that tells where its state lives."""
        return "env/backend.hcl" if self.name == "dev" else f"env/{self.name}-backend.hcl"

    def state_key(self) -> str:
        """Return the key of its state in the state bucket."""
        return str(read(ROOT / self.backend)["key"])

    def region(self) -> str:
        """Return the region of its resources and its state. Raises SystemExit when these are two."""
        region, of_state = self.variable("region"), read(ROOT / self.backend)["region"]
        if region != of_state:
            sys.exit(
                f"error: {self.name} is in {region}, and {self.backend} looks for its state in {of_state}. "
                f"Set region to the same in {self.variables} and in {self.backend}."
            )
        return region

    def variable(self, name: str) -> str:
        """Return a variable of the root module as Terraform takes it: from the file, the environment, the default."""
        declared = {key: value for block in read(ROOT / "variables.tf")["variable"] for key, value in block.items()}
        return str(self.settings.get(name) or os.environ.get(f"TF_VAR_{name}") or declared[name]["default"])

    def accounts(self) -> set[str]:
        """Return the accounts that the environments of the file may be deployed to. Empty: any."""
        environments = self.settings.get("environments", {}).values()
        accounts = {str(environment["account_id"]) for environment in environments if environment.get("account_id")}
        if not all(re.fullmatch("[0-9]{12}", account) for account in accounts):
            sys.exit(f"error: account_id in {self.variables} is not an AWS account. Use its 12 digits in quotes.")
        return accounts

    def state_bucket(self, account: str) -> str:
        """Return the name of the bucket that holds the state: forks and accounts do not collide."""
        return f"{self.variable('project_name')}-tfstate-{account}-{self.region()}"


def read(path: Path) -> dict[str, Any]:
    """Read an HCL file. Raises SystemExit when there is none, or it is none."""
    options = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False)
    try:
        with path.open() as file:
            return dict(hcl2.load(file, serialization_options=options))
    except FileNotFoundError:
        sys.exit(f"error: {path.relative_to(ROOT)} is missing. An environment needs it; that of prod is an example.")
    except Exception as error:  # noqa: BLE001 - the parser's own, of several kinds
        sys.exit(f"error: {path.relative_to(ROOT)} cannot be read ({type(error).__name__}). terraform fmt shows where.")


def reason(error: Exception) -> str:
    """Say in a few words what a request failed of."""
    if isinstance(error, ClientError):
        return f"{error.operation_name} {error.response['Error']['Code']}"
    return str(error).rstrip(".")


def caller(environment: Environment) -> str:
    """Return the account of the caller. Raises SystemExit when it is none or not the environment's."""
    try:
        account = str(boto3.client("sts").get_caller_identity()["Account"])
    except (BotoCoreError, ClientError) as error:
        remedy = "Set AWS_PROFILE, or sign in again, and repeat."
        if os.environ.get("GITHUB_ACTIONS"):
            remedy = (
                "Look at its secrets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or at its variable with a role's ARN."
            )
        sys.exit(f"error: AWS does not know you: {reason(error)}. {remedy}")
    if environment.accounts() - {account}:
        expected = " and ".join(sorted(environment.accounts()))
        sys.exit(
            f"error: {environment.name} belongs to account {expected}, and these credentials are of {account}. "
            f"Nothing was done. Use the right profile, or mend account_id in {environment.variables}."
        )
    return account


def all_environments() -> list[str]:
    """Return the environments of env/."""
    return sorted(path.stem for path in (ROOT / "env").glob("*.tfvars") if path.stem not in ("bootstrap", "local"))


def siblings(account: str) -> list[str]:
    """Return the environments of env/ that this account may hold."""
    return [name for name in all_environments() if Environment(name).accounts() <= {account}]


def has_bucket(s3: Any, bucket: str, account: str) -> bool:
    """Return whether this account has the bucket. Raises SystemExit when it may not know or another account has it."""
    try:
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return False
        sys.exit(
            f"error: the state bucket {bucket} belongs to another account or refuses access; nothing was done. "
            "Check your permissions on it, or choose another project_name."
        )
    return True


def make_bucket(s3: Any, bucket: str, account: str) -> None:
    """Make the bucket and keep its versions from the start. Raises SystemExit when that is refused."""
    place: Any = {"LocationConstraint": s3.meta.region_name}
    where = {} if s3.meta.region_name == "us-east-1" else {"CreateBucketConfiguration": place}
    try:
        s3.create_bucket(Bucket=bucket, **where)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        # OperationAborted: somebody else makes it at this moment.
        if code not in ("BucketAlreadyOwnedByYou", "OperationAborted"):
            sys.exit(f"error: the state bucket {bucket} cannot be made: {code}. Ask for s3:CreateBucket on it.")
    try:
        s3.get_waiter("bucket_exists").wait(Bucket=bucket, ExpectedBucketOwner=account)
        s3.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}, ExpectedBucketOwner=account
        )
    except (WaiterError, ClientError) as error:
        sys.exit(f"error: the state bucket {bucket} cannot be used: {reason(error)}. Check your permissions on it.")


def is_bootstrapped(s3: Any, bucket: str, account: str) -> bool:
    """Return whether bootstrap has come to its end: its state holds the output that waits for everything else."""
    try:
        found = s3.get_object(Bucket=bucket, Key="bootstrap/terraform.tfstate", ExpectedBucketOwner=account)
    except ClientError as error:
        # GitHub's roles may not read it; bootstrap has made them.
        return error.response["Error"]["Code"] not in MISSING
    return "state_bucket_name" in json.loads(found["Body"].read())["outputs"]


def use_region(region: str) -> None:
    """Let clients that are made from here on use a region."""
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = region


def pipeline(name: str) -> dict[str, Any]:
    """Return the outputs of a deployed pipeline, from the state, and let clients use its region.

    name: of a file in env/ that has one pipeline, or of an entry in such a file. Raises SystemExit.
    """
    files = all_environments()
    holders = [file for file in files if file == name] or [
        file for file in files if name in Environment(file).settings.get("environments", {})
    ]
    if not holders:
        sys.exit(f"error: unknown environment: {name}. env/ knows {', '.join(files)}, and what is in these.")
    environment = Environment(holders[0])
    use_region(environment.region())
    account = caller(environment)
    bucket, key = environment.state_bucket(account), environment.state_key()
    remedy = f"Deploy it: ./deploy.sh deploy {environment.name}"
    try:
        state = json.load(boto3.client("s3").get_object(Bucket=bucket, Key=key, ExpectedBucketOwner=account)["Body"])
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            sys.exit(f"error: {name} was never deployed from account {account}. {remedy}")
        sys.exit(
            f"error: the state s3://{bucket}/{key} cannot be read: {reason(error)}. "
            "These credentials need s3:GetObject on it and s3:ListBucket on its bucket."
        )
    except BotoCoreError as error:
        sys.exit(f"error: the state s3://{bucket}/{key} cannot be read: {reason(error)}.")
    found = state["outputs"].get("pipelines", {}).get("value", {})
    if name == environment.name and len(found) == 1:
        (name,) = found
    if name == environment.name and name not in found and found:
        sys.exit(f"error: {name} holds {' and '.join(sorted(found))}. Name one of them.")
    if name not in found:
        sys.exit(f"error: {name} is not deployed in account {account}. {remedy}")
    return dict(found[name])


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description="The AWS account that an environment is deployed to.")
    parser.add_argument("command", choices=["show", "make-bucket", "environments", "pipeline"])
    parser.add_argument("environment")
    options = parser.parse_args()
    if options.command == "pipeline":
        outputs = json.dumps(pipeline(options.environment))
        print(f"PIPELINE={shlex.quote(outputs)}\nregion={shlex.quote(os.environ['AWS_REGION'])}")
        return
    environment = Environment(options.environment)
    # Region first: without one, clients cannot be made.
    use_region(environment.region())
    account = caller(environment)
    bucket = environment.state_bucket(account)
    s3 = boto3.client("s3")
    if options.command == "make-bucket":
        if not has_bucket(s3, bucket, account):
            make_bucket(s3, bucket, account)
    elif options.command == "environments":
        print(json.dumps(siblings(account)))
    else:
        known = {
            "project_name": environment.variable("project_name"),
            "region": environment.variable("region"),
            "account": account,
            "state_bucket": bucket,
            "state_exists": "yes" if has_bucket(s3, bucket, account) else "no",
            "bootstrapped": "yes" if is_bootstrapped(s3, bucket, account) else "no",
        }
        for name, value in known.items():
            print(f"{name}={shlex.quote(str(value))}")


if __name__ == "__main__":
    main()
