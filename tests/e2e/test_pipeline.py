"""Files through the deployed dev pipeline: real notification, real function process, enforced IAM."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from conftest import Pipeline, wait_for

CANARY = "Zebulon-Quixote"


def patients(count: int, name: str = "Name") -> bytes:
    return json.dumps([{"patient_id": f"P-{n}", "patient_name": name, "diagnosis": "x"} for n in range(count)]).encode()


@pytest.mark.parametrize(
    "key",
    ["a b.json", "a+b.json", "100%.json", "x%20y.json", "müller-眼.json", "2026/11/scan 1.json", "a b+c%25é.json"],
)
def test_a_key_of_any_form_comes_out_unchanged(dev: Pipeline, key: str) -> None:
    version = dev.upload(key, patients(1))
    assert dev.await_result(key, version) == [{"patient_id": "P-0", "patient_name": "Name"}]


def test_a_text_file_does_not_start_the_function(dev: Pipeline) -> None:
    dev.upload("notes.txt", patients(1))
    dev.upload("notes.JSON", patients(1))
    dev.await_result("after-notes.json", dev.upload("after-notes.json", patients(1)))
    assert dev.result("notes.txt") is None
    assert not [line for line in dev.log() if "notes.txt" in line or "notes.JSON" in line]


def test_fifty_files_at_once_all_come_out(dev: Pipeline) -> None:
    keys = [f"burst/{n}.json" for n in range(50)]
    with ThreadPoolExecutor(10) as pool:
        versions = list(pool.map(lambda key: dev.upload(key, patients(int(key[6:-5]))), keys))
    for n, (key, version) in enumerate(zip(keys, versions, strict=True)):
        assert len(dev.await_result(key, version)) == n


def test_an_overwrite_wins(dev: Pipeline) -> None:
    versions = [dev.upload("overwritten.json", patients(n)) for n in (1, 2, 3)]
    assert len(dev.await_result("overwritten.json", versions[-1])) == 3


def test_a_broken_file_reaches_the_dead_letter_queue_and_nothing_else(dev: Pipeline) -> None:
    dev.upload("broken.json", patients(2, CANARY)[:-20])
    failure = dev.await_failure()
    assert failure["requestPayload"]["Records"][0]["s3"]["object"]["key"] == "broken.json"
    assert "not_json" in failure["responsePayload"]["errorMessage"]
    assert dev.result("broken.json") is None
    assert CANARY not in json.dumps(failure)
    assert not [line for line in dev.log() if CANARY in line]
    assert CANARY not in dev.aws.log.read_text()


@pytest.fixture
def user(dev: Pipeline) -> Any:
    """A session of an IAM user who may do anything, as bucket policies do not bind the local AWS's root."""
    dev.iam.create_user(UserName="anybody")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    dev.iam.put_user_policy(UserName="anybody", PolicyName="all", PolicyDocument=json.dumps(policy))
    key = dev.iam.create_access_key(UserName="anybody")["AccessKey"]
    yield boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-east-1")
    dev.iam.delete_access_key(UserName="anybody", AccessKeyId=key["AccessKeyId"])
    dev.iam.delete_user_policy(UserName="anybody", PolicyName="all")
    dev.iam.delete_user(UserName="anybody")


@pytest.mark.parametrize("bucket", ["raw", "processed"])
def test_buckets_and_queue_refuse_requests_without_tls(dev: Pipeline, user: Any, bucket: str) -> None:
    environment = dev.aws.environment()
    where = {"endpoint_url": environment["AWS_ENDPOINT_URL"], "verify": environment["AWS_CA_BUNDLE"]}
    s3, sqs = user.client("s3", **where), user.client("sqs", **where)
    name = getattr(dev, bucket)
    s3.list_objects_v2(Bucket=name)
    sqs.get_queue_attributes(QueueUrl=dev.queue)

    def say_http(request: Any, **_: Any) -> None:
        request.headers["x-forwarded-proto"] = "http"

    for client in (s3, sqs):
        # The local AWS takes this header's word for the transport, as if it stood behind a load balancer.
        client.meta.events.register("before-send.*", say_http)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.list_objects_v2(Bucket=name)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_object(Bucket=name, Key="any.json")
    with pytest.raises(ClientError, match="AccessDenied"):
        sqs.get_queue_attributes(QueueUrl=dev.queue)


def test_log_group_keeps_14_days(dev: Pipeline) -> None:
    (group,) = dev.logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/ikerian-data-pipeline-data")["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (
        "/aws/lambda/ikerian-data-pipeline-data-processor",
        14,
    )


def test_nothing_is_left_in_the_dead_letter_queue(dev: Pipeline) -> None:
    attributes = wait_for(
        "the queue's attributes",
        lambda: dev.sqs.get_queue_attributes(QueueUrl=dev.queue, AttributeNames=["All"])["Attributes"],
    )
    assert (attributes["ApproximateNumberOfMessages"], attributes["SqsManagedSseEnabled"]) == ("0", "true")
