"""The state bucket: whether it exists, who owns it, and whether bootstrap is complete."""

import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import moto
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from commands import state
from commands.aws import Account
from commands.environment import Environment
from commands.terminal import Refused
from urllib3 import HTTPResponse

ACCOUNT = "123456789012"
DEV = Environment("dev", {"environments": {"dev": {}}})
BUCKET = DEV.state_bucket(ACCOUNT)


@pytest.fixture
def account() -> Iterator[Account]:
    with moto.mock_aws():
        yield Account(boto3.Session(region_name="us-east-1"), ACCOUNT)


def test_a_bucket_is_made_once_and_keeps_its_versions(account: Account) -> None:
    assert not state.has_bucket(DEV, account)
    for _ in range(2):
        state.make_bucket(DEV, account)
    assert state.has_bucket(DEV, account)
    assert account.client("s3").get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"


def test_a_bucket_in_another_region() -> None:
    with moto.mock_aws():
        account = Account(boto3.Session(region_name="eu-central-1"), ACCOUNT)
        state.make_bucket(DEV, account)
        place = account.client("s3").get_bucket_location(Bucket=BUCKET)["LocationConstraint"]
        assert place == "eu-central-1"


COMPLETE = {"type": "terraform_data", "name": "complete"}


@pytest.mark.parametrize(
    ("resources", "bootstrapped"),
    [
        (None, False),
        ([], False),
        ([COMPLETE | {"name": "other"}], False),
        ([{"type": "a", "name": "b"}, COMPLETE], True),
    ],
)
def test_bootstrap_is_complete_when_its_last_resource_exists(
    account: Account, resources: list[dict[str, str]] | None, bootstrapped: bool
) -> None:
    state.make_bucket(DEV, account)
    if resources is not None:
        # An import after a bootstrap that died writes outputs, whatever else is missing.
        content = json.dumps({"outputs": {"state_bucket_name": {}}, "resources": resources}).encode()
        account.client("s3").put_object(Bucket=BUCKET, Key="bootstrap/terraform.tfstate", Body=content)
    assert state.is_bootstrapped(DEV, account) == bootstrapped


def test_resource_types_are_read_from_the_state(account: Account) -> None:
    assert state.resource_types(DEV, account) == set()
    state.make_bucket(DEV, account)
    assert state.resource_types(DEV, account) == set()
    resources = [{"mode": "managed", "type": each} for each in ("aws_s3_bucket", "aws_sqs_queue", "aws_s3_bucket")]
    content = json.dumps({"outputs": {}, "resources": resources}).encode()
    account.client("s3").put_object(Bucket=BUCKET, Key="dev/terraform.tfstate", Body=content)
    assert state.resource_types(DEV, account) == {"aws_s3_bucket", "aws_sqs_queue"}


def test_an_account_without_a_bucket_is_not_bootstrapped(account: Account) -> None:
    assert not state.is_bootstrapped(DEV, account)


def test_a_bucket_of_another_account_is_refused(account: Account) -> None:
    s3 = account.client("s3")
    s3.create_bucket(Bucket=BUCKET)  # and then S3 answers as it does when the owner is not the one that was expected

    def forbid(request: AWSPreparedRequest, **_: object) -> Any:
        expected = request.headers.get("x-amz-expected-bucket-owner", b"999988887777")
        return (
            AWSResponse(request.url, 403, HTTPHeaders(), HTTPResponse(io.BytesIO()))
            if expected != b"999988887777"
            else None
        )

    s3.meta.events.register_first("before-send.s3", forbid)
    for ask in (state.has_bucket, state.make_bucket):
        with pytest.raises(Refused) as refused:
            ask(DEV, account)
        assert str(refused.value) == (
            f"the state bucket {BUCKET} belongs to another account or refuses access; nothing was done. "
            "Check your permissions on it, or choose another project_name."
        )


def test_outputs_of_an_older_deploy_are_refused(account: Account) -> None:
    with pytest.raises(
        Refused, match=r"^dev was deployed by an older version of this code: its state has no raw_data_"
    ):
        state.Pipeline.from_outputs("dev", "dev", {}, account)
