"""Where Terraform's state is, and what it says about the pipelines in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from commands import aws
from commands.aws import reason
from commands.environment import BOOTSTRAP_KEY
from commands.terminal import Refused

if TYPE_CHECKING:
    from commands.aws import Account
    from commands.environment import Environment

MISSING = ("404", "NoSuchBucket", "NoSuchKey")


def has_bucket(environment: Environment, account: Account) -> bool:
    """Return whether the account has the state bucket. Raises Refused if it belongs to another or denies access."""
    bucket = environment.state_bucket(account.id)
    try:
        account.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=account.id)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return False
        raise Refused(
            f"the state bucket {bucket} belongs to another account or refuses access; nothing was done. "
            "Check your permissions on it, or choose another project_name."
        ) from None
    return True


def make_bucket(environment: Environment, account: Account) -> None:
    """Make the state bucket unless it exists, with versioning from the start. Raises Refused."""
    if has_bucket(environment, account):
        return
    s3, bucket = account.client("s3"), environment.state_bucket(account.id)
    place: Any = {"LocationConstraint": account.region}
    where = {} if account.region == "us-east-1" else {"CreateBucketConfiguration": place}
    try:
        s3.create_bucket(Bucket=bucket, **where)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        # OperationAborted: somebody else is creating it.
        if code not in ("BucketAlreadyOwnedByYou", "OperationAborted"):
            raise Refused(f"the state bucket {bucket} cannot be made: {code}. Ask for s3:CreateBucket on it.") from None
    try:
        s3.get_waiter("bucket_exists").wait(Bucket=bucket, ExpectedBucketOwner=account.id)
        s3.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}, ExpectedBucketOwner=account.id
        )
    except (WaiterError, ClientError) as error:
        raise Refused(
            f"the state bucket {bucket} cannot be used: {reason(error)}. Check your permissions on it."
        ) from None


def is_bootstrapped(environment: Environment, account: Account) -> bool:
    """Return whether bootstrap has completed: its state holds the resource that is created last."""
    bucket = environment.state_bucket(account.id)
    try:
        found = account.client("s3").get_object(Bucket=bucket, Key=BOOTSTRAP_KEY, ExpectedBucketOwner=account.id)
    except ClientError as error:
        # GitHub's roles may not read the state, but bootstrap has run: it created them.
        return error.response["Error"]["Code"] not in MISSING
    resources = _parsed(found["Body"], f"s3://{bucket}/{BOOTSTRAP_KEY}").get("resources", [])
    return any((resource["type"], resource["name"]) == ("terraform_data", "complete") for resource in resources)


@dataclass(frozen=True)
class Pipeline:
    """A deployed pipeline: the names of its parts, from its outputs, and the account that they are in."""

    name: str  # the entry in env/; the commands that operate use this name
    file: str  # the file in env/ that holds the entry, by whose name it is deployed
    raw: str
    processed: str
    rejected: str
    function: str
    alias: str
    log_group: str
    ingestion: str
    dead_letter: str
    topic: str
    dashboard: str  # also the beginning of its alarms' names
    force_destroy: bool
    stale_results: str  # keep or remove
    account: Account

    @classmethod
    def from_outputs(cls, name: str, file: str, outputs: dict[str, Any], account: Account) -> Pipeline:
        """Take the names from Terraform's outputs. Raises Refused if one is missing."""
        names = {
            "raw": "raw_data_bucket_name",
            "processed": "processed_data_bucket_name",
            "rejected": "rejected_bucket_name",
            "function": "lambda_function_name",
            "alias": "function_alias",
            "log_group": "log_group_name",
            "ingestion": "ingestion_queue_url",
            "dead_letter": "dead_letter_queue_url",
            "topic": "alarm_topic_arn",
            "dashboard": "dashboard_name",
            "force_destroy": "force_destroy",
            "stale_results": "stale_results",
        }
        if missing := [output for output in names.values() if output not in outputs]:
            raise Refused(
                f"{name} was deployed by an older version of this code: its state has no {missing[0]}. "
                f"Deploy it again: ./deploy.sh deploy {file}"
            )
        return cls(name=name, file=file, account=account, **{part: outputs[output] for part, output in names.items()})

    def client(self, service: str) -> Any:
        """Return the client of an AWS service."""
        return self.account.client(service)

    @property
    def s3(self) -> Any:
        """Client of S3."""
        return self.client("s3")

    @property
    def sqs(self) -> Any:
        """Client of SQS."""
        return self.client("sqs")

    @property
    def logs(self) -> Any:
        """Client of CloudWatch Logs."""
        return self.client("logs")


def outputs(environment: Environment, account: Account, name: str = "") -> dict[str, dict[str, Any]]:
    """Return the outputs of each pipeline in an environment's state, by name. Raises Refused.

    name: the entry of the environment that a refusal names, if it is about one.
    """
    found = _read(environment, account)
    if found is None:
        raise never_deployed(environment, account, name)
    return dict(found["outputs"].get("pipelines", {}).get("value", {}))


def resource_types(environment: Environment, account: Account) -> set[str]:
    """Return the types of what an environment's state holds; none when it was never deployed. Raises Refused."""
    return {resource["type"] for resource in (_read(environment, account) or {}).get("resources", [])}


def _read(environment: Environment, account: Account) -> dict[str, Any] | None:
    """Return an environment's state, None when it was never deployed. Raises Refused."""
    bucket, key = environment.state_bucket(account.id), environment.state_key
    try:
        found = account.client("s3").get_object(Bucket=bucket, Key=key, ExpectedBucketOwner=account.id)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return None
        raise Refused(
            f"the state s3://{bucket}/{key} cannot be read: {reason(error)}. "
            "These credentials need s3:GetObject on it and s3:ListBucket on its bucket."
        ) from None
    except BotoCoreError as error:
        raise Refused(f"the state s3://{bucket}/{key} cannot be read: {reason(error)}. Try again.") from None
    return _parsed(found["Body"], f"s3://{bucket}/{key}")


def _parsed(body: Any, where: str) -> dict[str, Any]:
    """Return a state. Raises Refused when it is damaged."""
    try:
        state = dict(json.load(body))
        return state | {"outputs": dict(state["outputs"])}
    except (ValueError, KeyError, TypeError):
        raise Refused(
            f"the state {where} is damaged. Restore an older version: docs/going-back.md, To an earlier state."
        ) from None


def never_deployed(environment: Environment, account: Account, name: str = "") -> Refused:
    """Return the refusal for a command that needs a deployed environment."""
    return Refused(
        f"{name or environment.name} was never deployed from account {account.id}. "
        f"Deploy it: ./deploy.sh deploy {environment.name}"
    )


def pipelines(environment: Environment, account: Account) -> list[Pipeline]:
    """Return the deployed pipelines of an environment. Raises Refused."""
    found = outputs(environment, account)
    return [Pipeline.from_outputs(name, environment.name, each, account) for name, each in found.items()]


def find_pipeline(name: str, environment: Environment) -> Pipeline:
    """Return a deployed pipeline by the name of its entry, or of the environment when that has only one.

    environment: the one that holds it. Raises Refused.
    """
    account = aws.connect(environment)
    found = outputs(environment, account, name)
    if name == environment.name and len(found) == 1:
        (name,) = found
    if name == environment.name and name not in found and found:
        raise Refused(f"{name} holds {' and '.join(sorted(found))}. Name one of them.")
    if name not in found:
        raise Refused(
            f"{name} is not deployed in account {account.id}. Deploy it: ./deploy.sh deploy {environment.name}"
        )
    return Pipeline.from_outputs(name, environment.name, found[name], account)
