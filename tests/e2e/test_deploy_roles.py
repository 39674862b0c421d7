"""bootstrap and the roles that it makes for GitHub: which tokens can assume them, and what each may and may not do.

The account is a local AWS of its own that is empty at first.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from accounts import STATE_BUCKET, Clone, changes
from botocore.exceptions import ClientError
from local_aws.process import REGION, LocalAws
from pipeline import RECORDS
from shared_aws import client

ACCOUNT = "000000000000"
PROJECT = "ikerian-data-pipeline"
BOUNDARY = f"{PROJECT}-github-dev-boundary"
GITHUB = {"repository": "acme/retina", "subject_prefixes": ["repo:acme@1/retina@2"]}
PULL_REQUEST, MAIN = "repo:acme@1/retina@2:pull_request", "repo:acme@1/retina@2:ref:refs/heads/main"
DEV, PROD = "repo:acme@1/retina@2:environment:dev", "repo:acme@1/retina@2:environment:prod"


AWS, BRANCH = "sts.amazonaws.com", "refs/heads/main"


def token(subject: str, audience: str = AWS, ref: str = BRANCH) -> str:
    """Return an identity token of GitHub. The local AWS reads it and does not check its signature."""
    claims = {"iss": "https://token.actions.githubusercontent.com", "sub": subject, "aud": audience, "ref": ref}
    parts = [json.dumps({"alg": "RS256", "typ": "JWT"}), json.dumps(claims), "signature"]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


@dataclass
class Caller:
    """Somebody in the account: the administrator, or a workflow that has assumed a role."""

    aws: LocalAws
    credentials: dict[str, str]

    def client(self, service: str) -> Any:
        return client(self.aws, service, **self.credentials)


@pytest.fixture(scope="module")
def clone(clone: Clone) -> Clone:
    """Return a clone that is set up as the README says, for an account that is empty."""
    (clone.folder / "env/bootstrap.tfvars").write_text(f"github = {json.dumps(GITHUB)}\n")
    clone.edit("env/dev.tfvars", "dev = {}", f'dev = {{ permissions_boundary = "{BOUNDARY}" }}')
    return clone


@pytest.fixture(scope="module")
def administrator(clone: Clone) -> Caller:
    return Caller(clone.account.aws, {})


@pytest.fixture(scope="module")
def bootstrapped(clone: Clone, administrator: Caller) -> Caller:
    """Make the roles; see that their subjects are printed."""
    printed = clone.run("bootstrap", "dev")
    assert f'"{DEV}",' in printed
    assert f'"{DEV}-plan",' in printed
    return administrator


def test_an_existing_oidc_provider_is_reported_with_the_setting_for_it(clone: Clone, administrator: Caller) -> None:
    iam = administrator.client("iam")
    provider = iam.create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com", ClientIDList=[AWS], ThumbprintList=["0" * 40]
    )["OpenIDConnectProviderArn"]
    refused = clone.refused("bootstrap", "dev")
    assert refused.startswith("error: this account already has an OIDC provider for GitHub, ")
    assert "create_oidc_provider = false" in refused
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)


def workflow(bootstrapped: Caller, role: str, subject: str, audience: str = AWS, ref: str = BRANCH) -> Caller:
    """Assume a role with a token, as a workflow does. Raises ClientError when it is refused."""
    answer = bootstrapped.client("sts").assume_role_with_web_identity(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{PROJECT}-github-{role}",
        RoleSessionName="workflow",
        WebIdentityToken=token(subject, audience, ref),
    )["Credentials"]
    credentials = {
        "AWS_ACCESS_KEY_ID": answer["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"],
        "AWS_SESSION_TOKEN": answer["SessionToken"],
    }
    return Caller(bootstrapped.aws, credentials)


@pytest.fixture(scope="module")
def deployer(clone: Clone, bootstrapped: Caller) -> Caller:
    """Assume dev's apply role and deploy dev from scratch with it."""
    deployer = workflow(bootstrapped, "dev-apply", DEV)
    assert "The smoke test passed" in clone.run("deploy", "dev", **deployer.credentials)
    return deployer


@pytest.fixture(scope="module")
def planner(bootstrapped: Caller, deployer: Caller) -> Caller:
    assert deployer
    return workflow(bootstrapped, "dev-plan", f"{DEV}-plan")


@pytest.fixture(scope="module")
def pipeline(clone: Clone, deployer: Caller) -> dict[str, str]:
    outputs: dict[str, dict[str, str]]
    outputs = json.loads(clone.terraform("output", "-json", "pipelines", **deployer.credentials))
    return outputs["dev"]


def refused(call: Callable[[], object]) -> bool:
    """Return whether a call is denied. Raises any other error."""
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException", "403"):
            return True
        raise
    return False


def test_bootstrap_adopts_the_bucket_and_a_second_run_changes_nothing(clone: Clone, bootstrapped: Caller) -> None:
    s3 = bootstrapped.client("s3")
    assert s3.get_bucket_versioning(Bucket=STATE_BUCKET)["Status"] == "Enabled"
    assert s3.head_object(Bucket=STATE_BUCKET, Key="bootstrap/terraform.tfstate")["ServerSideEncryption"] == "AES256"
    assert "Plan for bootstrap: no changes." in clone.run("bootstrap", "dev")


def test_bootstrap_deletes_no_role_without_consent(clone: Clone, bootstrapped: Caller) -> None:
    settings = (clone.folder / "env/bootstrap.tfvars").read_text()
    (clone.folder / "env/bootstrap.tfvars").write_text("")
    assert clone.refused("bootstrap", "dev") == (
        "error: this plan deletes the state bucket or what GitHub signs in with, so nothing was changed. "
        "If this is intended, run: ./deploy.sh bootstrap dev --allow-data-loss"
    )
    (clone.folder / "env/bootstrap.tfvars").write_text(settings)
    assert len(bootstrapped.client("iam").list_roles()["Roles"]) == 4


@pytest.mark.parametrize(
    ("role", "subject", "audience"),
    [
        ("dev-plan", "repo:acme@1/other@3:environment:dev-plan", AWS),
        ("dev-plan", "repo:acme/retina:environment:dev-plan", AWS),
        ("dev-plan", PULL_REQUEST, AWS),
        ("dev-plan", MAIN, AWS),
        ("dev-plan", "repo:acme@1/retina@2:ref:refs/heads/feature", AWS),
        ("dev-plan", DEV, AWS),
        ("dev-plan", f"{PROD}-plan", AWS),
        ("dev-plan", f"{DEV}-plan", "https://github.com/acme"),
        ("dev-apply", PULL_REQUEST, AWS),
        ("dev-apply", MAIN, AWS),
        ("dev-apply", PROD, AWS),
        ("dev-apply", f"{DEV}-plan", AWS),
        ("dev-apply", "repo:acme@1/other@3:environment:dev", AWS),
        ("dev-apply", f"{DEV}x", AWS),
        ("dev-apply", DEV, "https://github.com/acme"),
        ("prod-apply", DEV, AWS),
    ],
)
def test_no_other_token_can_assume_a_role(bootstrapped: Caller, role: str, subject: str, audience: str) -> None:
    assert refused(lambda: workflow(bootstrapped, role, subject, audience))


@pytest.mark.parametrize(
    "ref", ["refs/heads/feature", "refs/heads/mainx", "refs/tags/main", "refs/pull/1/merge", "main", ""]
)
def test_no_other_branch_can_assume_an_apply_role(bootstrapped: Caller, ref: str) -> None:
    assert refused(lambda: workflow(bootstrapped, "dev-apply", DEV, ref=ref))
    assert refused(lambda: workflow(bootstrapped, "prod-apply", PROD, ref=ref))
    workflow(bootstrapped, "dev-plan", f"{DEV}-plan", ref=ref)  # a pull request plans


def test_each_role_can_be_assumed_with_its_tokens(bootstrapped: Caller) -> None:
    tokens = [("dev-plan", f"{DEV}-plan"), ("prod-plan", f"{PROD}-plan"), ("dev-apply", DEV), ("prod-apply", PROD)]
    names = [
        workflow(bootstrapped, role, subject).client("sts").get_caller_identity()["Arn"] for role, subject in tokens
    ]
    assert names == [f"arn:aws:sts::{ACCOUNT}:assumed-role/{PROJECT}-github-{role}/workflow" for role, _ in tokens]


def test_the_apply_role_rolls_back(deployer: Caller, pipeline: dict[str, str]) -> None:
    functions, name = deployer.client("lambda"), pipeline["lambda_function_name"]
    versions = [version["Version"] for version in functions.list_versions_by_function(FunctionName=name)["Versions"]]
    live = functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
    assert live in versions
    assert functions.update_alias(FunctionName=name, Name="live", FunctionVersion=live)["FunctionVersion"] == live


def test_the_plan_role_plans_without_a_change(clone: Clone, planner: Caller) -> None:
    assert changes(clone.run("plan", "dev", **planner.credentials)) == []


def test_a_state_that_could_not_be_saved_is_saved_by_the_next_deploy(clone: Clone, deployer: Caller) -> None:
    administrator, kept = Caller(deployer.aws, {}), clone.folder / "errored-dev.tfstate"
    iam, name = administrator.client("iam"), {"RoleName": f"{PROJECT}-github-dev-apply", "PolicyName": "no-state"}
    resource = f"arn:aws:s3:::{STATE_BUCKET}/dev/terraform.tfstate"
    statement = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": resource}
    iam.put_role_policy(PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}), **name)
    clone.edit("env/dev.tfvars", "dev = {", "dev = { log_retention_days = 30,")
    assert clone.refused("deploy", "dev", **deployer.credentials) == (
        f"error: the state of dev could not be saved; it is in {kept}. Keep that file: "
        "./deploy.sh deploy dev tries again."
    )
    assert kept.exists()
    iam.delete_role_policy(**name)
    output = clone.run("deploy", "dev", **deployer.credentials)
    assert f"== Save the state of {kept}\n" in output
    assert changes(output) == []
    assert not kept.exists()


# Calls that must be refused: service, call and what it is about. A name in braces is one of the surroundings.
type Call = tuple[str, str, dict[str, Any]]

STATE = {"Bucket": STATE_BUCKET, "Key": "dev/terraform.tfstate"}
RAW_OBJECT = {"Bucket": "{raw_data_bucket_name}", "Key": "a.json"}
READING: dict[str, Call] = {
    "read a raw object": ("s3", "get_object", RAW_OBJECT),
    "read a version": ("s3", "get_object", RAW_OBJECT | {"VersionId": "{version}"}),
    "read a result": ("s3", "get_object", {"Bucket": "{processed_data_bucket_name}", "Key": "a.json"}),
    "write an object": ("s3", "put_object", RAW_OBJECT | {"Body": b""}),
    "read prod's state": ("s3", "get_object", STATE | {"Key": "prod/terraform.tfstate"}),
    "write prod's state": ("s3", "put_object", STATE | {"Key": "prod/terraform.tfstate", "Body": b""}),
    "delete its state": ("s3", "delete_object", STATE),
    "read a message": ("sqs", "receive_message", {"QueueUrl": "{dead_letter_queue_url}"}),
    "read the log": ("logs", "filter_log_events", {"logGroupName": "{log_group_name}"}),
    "decrypt": ("kms", "decrypt", {"CiphertextBlob": "{secret}", "KeyId": "{key}"}),
    "start the function": ("lambda", "invoke", {"FunctionName": "{lambda_function_name}", "Payload": b"{}"}),
}

ALIAS = {"FunctionName": "{lambda_function_name}", "Name": "live", "FunctionVersion": "1"}
CHANGING: dict[str, Call] = {
    "write its state": ("s3", "put_object", STATE | {"Body": b""}),
    "lock its state": ("s3", "put_object", STATE | {"Key": "dev/terraform.tfstate.tflock", "Body": b""}),
    "delete an object": ("s3", "delete_object", RAW_OBJECT),
    "change the function": ("lambda", "update_alias", ALIAS),
    "change the bucket": ("s3", "delete_bucket_policy", {"Bucket": "{raw_data_bucket_name}"}),
}

NOBODY = json.dumps({"Version": "2012-10-17", "Statement": []})
ANYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
BOUNDARY_ARN = f"arn:aws:iam::{ACCOUNT}:policy/{BOUNDARY}"
PROVIDER = {"OpenIDConnectProviderArn": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"}
PROD_FUNCTION, ITSELF = f"{PROJECT}-prod-data-processor", f"{PROJECT}-github-dev-apply"
MORE = {"PolicyName": "more", "PolicyDocument": ANYTHING}
NEW_ROLE = {"RoleName": f"{PROJECT}-admin", "AssumeRolePolicyDocument": NOBODY, "PermissionsBoundary": BOUNDARY_ARN}
OWN_ROLE = {"RoleName": "{lambda_function_name}"}
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{PROJECT}-ingestion"


def key_tags(environment: str) -> dict[str, list[dict[str, str]]]:
    return {"Tags": [{"TagKey": "Project", "TagValue": PROJECT}, {"TagKey": "Environment", "TagValue": environment}]}


ELSEWHERE: dict[str, Call] = {
    "open the state bucket": ("s3", "delete_bucket_policy", {"Bucket": STATE_BUCKET}),
    "make another bucket": ("s3", "create_bucket", {"Bucket": f"{PROJECT}-elsewhere-12345678"}),
    "make prod's bucket": ("s3", "create_bucket", {"Bucket": f"{PROJECT}-prod-raw-data-12345678"}),
    "open prod's bucket": ("s3", "delete_bucket_policy", {"Bucket": "{prod_bucket}"}),
    "delete prod's bucket": ("s3", "delete_bucket", {"Bucket": "{prod_bucket}"}),
    "make another role": ("iam", "create_role", NEW_ROLE),
    "permit prod's role": ("iam", "put_role_policy", {"RoleName": PROD_FUNCTION} | MORE),
    "delete prod's role": ("iam", "delete_role", {"RoleName": PROD_FUNCTION}),
    "permit itself": ("iam", "put_role_policy", {"RoleName": ITSELF} | MORE),
    "trust others": ("iam", "update_assume_role_policy", {"RoleName": ITSELF, "PolicyDocument": NOBODY}),
    "change the boundary": ("iam", "create_policy_version", {"PolicyArn": BOUNDARY_ARN, "PolicyDocument": ANYTHING}),
    "remove the boundary": ("iam", "delete_role_permissions_boundary", OWN_ROLE),
    "widen the boundary": ("iam", "put_role_permissions_boundary", OWN_ROLE | {"PermissionsBoundary": ADMINISTRATOR}),
    "attach a policy": ("iam", "attach_role_policy", OWN_ROLE | {"PolicyArn": ADMINISTRATOR}),
    "trust another issuer": ("iam", "create_open_id_connect_provider", {"Url": "https://example.org"}),
    "remove the issuer": ("iam", "delete_open_id_connect_provider", PROVIDER),
    "delete prod's function": ("lambda", "delete_function", {"FunctionName": PROD_FUNCTION}),
    "feed prod's function": (
        "lambda",
        "create_event_source_mapping",
        {"EventSourceArn": QUEUE_ARN, "FunctionName": PROD_FUNCTION},
    ),
    "make prod's queue": ("sqs", "create_queue", {"QueueName": f"{PROJECT}-prod-ingestion"}),
    "delete prod's alarm": ("cloudwatch", "delete_alarms", {"AlarmNames": [f"{PROJECT}-prod-function-errors"]}),
    "delete prod's dashboard": ("cloudwatch", "delete_dashboards", {"DashboardNames": [f"{PROJECT}-prod"]}),
    "delete prod's key": ("kms", "schedule_key_deletion", {"KeyId": "{prod_key}"}),
    "take prod's key over": ("kms", "tag_resource", {"KeyId": "{prod_key}"} | key_tags("dev")),
    "make a key for prod": ("kms", "create_key", key_tags("prod")),
}


def attempt(caller: Caller, call: Call, surroundings: Mapping[str, Any]) -> object:
    service, name, arguments = call
    names = {f"{{{name}}}": value for name, value in surroundings.items()}
    filled = {key: names.get(value, value) if isinstance(value, str) else value for key, value in arguments.items()}
    return getattr(caller.client(service), name)(**filled)


@pytest.fixture(scope="module")
def surroundings(administrator: Caller, pipeline: dict[str, str]) -> dict[str, Any]:
    """Add data to dev, and things of prod beside it, so that only permission can be missing."""
    s3, kms = administrator.client("s3"), administrator.client("kms")
    version = s3.put_object(Bucket=pipeline["raw_data_bucket_name"], Key="a.json", Body=RECORDS)["VersionId"]
    s3.get_waiter("object_exists").wait(
        Bucket=pipeline["processed_data_bucket_name"], Key="a.json", WaiterConfig={"Delay": 1}
    )
    s3.put_object(Bucket=STATE_BUCKET, Key="prod/terraform.tfstate", Body=b"{}")
    prod_bucket = f"{PROJECT}-prod-raw-data-abcdefgh"
    s3.create_bucket(Bucket=prod_bucket)
    administrator.client("iam").create_role(RoleName=f"{PROJECT}-prod-data-processor", AssumeRolePolicyDocument=NOBODY)
    prod_key = kms.create_key(**key_tags("prod"))["KeyMetadata"]["KeyId"]
    key = kms.describe_key(KeyId=f"alias/{PROJECT}")["KeyMetadata"]["KeyId"]
    secret = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    return pipeline | {
        "version": version,
        "prod_bucket": prod_bucket,
        "prod_key": prod_key,
        "key": key,
        "secret": secret,
    }


@pytest.mark.parametrize("what", [*READING, *CHANGING])
def test_the_plan_role_cannot(planner: Caller, surroundings: dict[str, Any], what: str) -> None:
    assert refused(lambda: attempt(planner, (READING | CHANGING)[what], surroundings))


@pytest.mark.parametrize("what", [*READING, *ELSEWHERE])
def test_the_apply_role_cannot(deployer: Caller, surroundings: dict[str, Any], what: str) -> None:
    assert refused(lambda: attempt(deployer, (READING | ELSEWHERE)[what], surroundings))


def test_a_role_without_the_boundary_is_refused_and_one_within_it_gains_nothing(
    deployer: Caller, surroundings: dict[str, Any]
) -> None:
    iam, function = deployer.client("iam"), surroundings["lambda_function_name"]
    unbounded = workflow(deployer, "prod-apply", PROD).client("iam")
    assert refused(
        lambda: unbounded.put_role_policy(
            RoleName=f"{PROJECT}-prod-data-processor", PolicyName="more", PolicyDocument=ANYTHING
        )
    )
    iam.put_role_policy(RoleName=function, PolicyName="more", PolicyDocument=ANYTHING)
    trust = iam.get_role(RoleName=function)["Role"]["AssumeRolePolicyDocument"]
    everybody = {
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        ]
    }
    iam.update_assume_role_policy(RoleName=function, PolicyDocument=json.dumps(everybody))
    try:
        role = f"arn:aws:iam::{ACCOUNT}:role/{function}"
        answer = (
            Caller(deployer.aws, {}).client("sts").assume_role(RoleArn=role, RoleSessionName="thief")["Credentials"]
        )
        thief = Caller(
            deployer.aws,
            {
                "AWS_ACCESS_KEY_ID": answer["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"],
                "AWS_SESSION_TOKEN": answer["SessionToken"],
            },
        )
        assert refused(lambda: thief.client("iam").create_user(UserName="thief"))
        assert refused(
            lambda: thief.client("s3").delete_object(Bucket=surroundings["raw_data_bucket_name"], Key="a.json")
        )
        assert refused(lambda: thief.client("s3").list_objects_v2(Bucket=surroundings["prod_bucket"]))
    finally:
        iam.update_assume_role_policy(RoleName=function, PolicyDocument=json.dumps(trust))
        iam.delete_role_policy(RoleName=function, PolicyName="more")


def test_the_apply_role_destroys_what_it_deployed(clone: Clone, deployer: Caller, surroundings: dict[str, Any]) -> None:
    clone.run("destroy", "dev", "--yes", **deployer.credentials)
    administrator = Caller(deployer.aws, {})
    names = [bucket["Name"] for bucket in administrator.client("s3").list_buckets()["Buckets"]]
    assert not [
        name for name in names if name.startswith((f"{PROJECT}-raw", f"{PROJECT}-processed", f"{PROJECT}-access"))
    ]
    assert surroundings["prod_bucket"] in names
    assert administrator.client("lambda").list_functions()["Functions"] == []
    roles = [role["RoleName"] for role in administrator.client("iam").list_roles()["Roles"]]
    assert f"{PROJECT}-data-processor" not in roles
    assert f"{PROJECT}-prod-data-processor" in roles
