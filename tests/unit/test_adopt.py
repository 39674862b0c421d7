"""Resources that a killed deploy had made are found; a refused lookup is reported, not guessed."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import moto
import pytest
from commands.adopt import adoptable
from commands.aws import Account
from commands.terminal import Refused
from moto.core import set_initial_no_auth_action_count

URL = "https://token.actions.githubusercontent.com"
PLANNED: dict[str, dict[str, Any]] = {
    "aws_iam_role": {"name": "role"},
    "aws_iam_policy": {"name": "policy"},
    "aws_iam_openid_connect_provider": {"url": URL},
    "aws_cloudwatch_log_group": {"name": "/aws/lambda/f"},
    "aws_kms_alias": {"name": "alias/key"},
    "aws_sqs_queue": {"name": "queue"},
}


@pytest.fixture
def aws() -> Iterator[None]:
    with moto.mock_aws():
        yield


def plan(planned: dict[str, dict[str, Any]], action: str = "create") -> dict[str, Any]:
    changes = [
        {"address": f"{kind}.this", "type": kind, "change": {"actions": [action], "after": after}}
        for kind, after in planned.items()
    ]
    return {"resource_changes": changes}


def found(plan: dict[str, Any]) -> dict[str, str]:
    session = boto3.Session(region_name="us-east-1")
    return dict(adoptable(plan, Account(session, "123456789012", "arn:aws:iam::123456789012:user/ada")))


def make_all() -> None:
    iam = boto3.client("iam")
    iam.create_role(RoleName="role", AssumeRolePolicyDocument="{}")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.create_policy(PolicyName="policy", PolicyDocument=json.dumps(document))
    iam.create_open_id_connect_provider(Url=URL, ThumbprintList=["0" * 40])
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="/aws/lambda/f-other")
    logs.create_log_group(logGroupName="/aws/lambda/f")
    kms = boto3.client("kms")
    kms.create_alias(AliasName="alias/key", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    boto3.client("sqs").create_queue(QueueName="queue")


def test_existing_resources_are_found(aws: None) -> None:
    make_all()
    assert found(plan(PLANNED)) == {
        "aws_iam_role.this": "role",
        "aws_iam_policy.this": "arn:aws:iam::123456789012:policy/policy",
        "aws_iam_openid_connect_provider.this": f"arn:aws:iam::123456789012:oidc-provider/{URL.partition('//')[2]}",
        "aws_cloudwatch_log_group.this": "/aws/lambda/f",
        "aws_kms_alias.this": "alias/key",
        "aws_sqs_queue.this": "https://sqs.us-east-1.amazonaws.com/123456789012/queue",
    }
    assert found(plan(PLANNED, action="update")) == {}


def test_missing_resources_are_not_found(aws: None) -> None:
    boto3.client("logs").create_log_group(logGroupName="/aws/lambda/f-other")
    assert found(plan(PLANNED)) == {}


def test_unnamed_and_unadoptable_resources_are_left_alone(aws: None) -> None:
    make_all()
    assert found(plan({kind: {} for kind in PLANNED} | {"aws_s3_bucket": {"bucket": "b"}})) == {}


def test_an_event_source_mapping_is_identified_by_its_queue(aws: None) -> None:
    role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    functions, archive = boto3.client("lambda"), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("f.py", "")
    functions.create_function(
        FunctionName="f", Runtime="python3.12", Role=role, Handler="f.f", Code={"ZipFile": archive.getvalue()}
    )
    arns = {}
    for name in ("other", "ingestion"):
        boto3.client("sqs").create_queue(QueueName=name)
        arns[name] = f"arn:aws:sqs:us-east-1:123456789012:{name}"
    mappings = {
        name: functions.create_event_source_mapping(FunctionName="f", EventSourceArn=arn)["UUID"]
        for name, arn in arns.items()
    }
    planned = {"function_name": "f", "event_source_arn": arns["ingestion"]}
    assert found(plan({"aws_lambda_event_source_mapping": planned})) == {
        "aws_lambda_event_source_mapping.this": mappings["ingestion"]
    }
    planned["event_source_arn"] = "arn:aws:sqs:us-east-1:123456789012:gone"
    assert found(plan({"aws_lambda_event_source_mapping": planned})) == {}


@pytest.mark.parametrize("kind", PLANNED)
@set_initial_no_auth_action_count(0)
def test_a_refused_lookup_ends_with_the_cause(aws: None, kind: str) -> None:
    with pytest.raises(Refused) as refused:
        found(plan({kind: PLANNED[kind]}))
    message = str(refused.value)
    assert message.startswith(f"{kind}.this could not be searched for: ")
    assert message.endswith(". Check your permissions, then run this again.")
