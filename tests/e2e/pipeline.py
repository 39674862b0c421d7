"""A deployed pipeline, seen from outside: upload to it, wait for the outcome, and change its surroundings."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from local_aws.process import LocalAws
from shared_aws import client
from waiting import wait_for

# Good files.
RECORDS = b'[{"patient_id": "P-1", "patient_name": "Name"}]'
TWO_RECORDS = b'[{"patient_id": "P-1", "patient_name": "Name"}, {"patient_id": "P-2", "patient_name": "Name"}]'


@dataclass
class Pipeline:
    """One deployed environment, seen from outside."""

    aws: LocalAws
    outputs: dict[str, Any]

    def client(self, service: str, **credentials: str) -> Any:
        return client(self.aws, service, **credentials)

    def __post_init__(self) -> None:
        self.raw: str = self.outputs["raw_data_bucket_name"]
        self.processed: str = self.outputs["processed_data_bucket_name"]
        self.rejected: str = self.outputs["rejected_bucket_name"]
        self.removes_results: bool = self.outputs["stale_results"] == "remove"
        self.function: str = self.outputs["lambda_function_name"]
        self.queue: str = self.outputs["dead_letter_queue_url"]
        self.s3, self.sqs, self.logs = self.client("s3"), self.client("sqs"), self.client("logs")
        self.iam, self.functions = self.client("iam"), self.client("lambda")

    def upload(self, key: str, content: bytes) -> str:
        """Upload to the raw bucket; return the version id."""
        return str(self.s3.put_object(Bucket=self.raw, Key=key, Body=content)["VersionId"])

    def result(self, key: str) -> dict[str, Any] | None:
        """Return the processed object of a key with its metadata and records, or None when there is none."""
        try:
            found = self.s3.get_object(Bucket=self.processed, Key=key)
        except self.s3.exceptions.NoSuchKey:
            return None
        return {"metadata": found["Metadata"], "records": json.loads(found["Body"].read())}

    def await_result(self, key: str, version: str) -> list[dict[str, str]]:
        """Wait until the processed object of a key is made from that version; return its records."""

        def made_from_version() -> dict[str, Any] | None:
            result = self.result(key)
            return result if result and result["metadata"]["source-version-id"] == version else None

        records: list[dict[str, str]] = wait_for(f"the result of {key}", made_from_version)["records"]
        return records

    def verdict(self, key: str) -> dict[str, Any] | None:
        """Return the verdict on a key, or None when there is none."""
        try:
            found = self.s3.get_object(Bucket=self.rejected, Key=key)
        except self.s3.exceptions.NoSuchKey:
            return None
        verdict: dict[str, Any] = json.loads(found["Body"].read())
        assert verdict["source_version_id"] == found["Metadata"]["source-version-id"]
        return verdict

    def await_verdict(self, key: str, version: str) -> dict[str, Any]:
        """Wait until that version of a key is rejected; return the verdict."""

        def on_version() -> dict[str, Any] | None:
            verdict = self.verdict(key)
            return verdict if verdict and verdict["source_version_id"] == version else None

        return wait_for(f"the verdict on {key}", on_version)

    def depth(self, queue: str = "ingestion_queue_url") -> int:
        """Return how many messages are in a queue or in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.outputs[queue], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def await_failure(self) -> dict[str, Any]:
        """Wait for a message in the dead-letter queue, take it out and return it."""

        def receive() -> Any:
            return self.sqs.receive_message(QueueUrl=self.queue, WaitTimeSeconds=1).get("Messages")

        (message,) = wait_for("a message in the dead-letter queue", receive)
        self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        body: dict[str, Any] = json.loads(message["Body"])
        return body

    def log(self) -> list[str]:
        pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=self.outputs["log_group_name"])
        return [event["message"] for page in pages for event in page["events"]]


@contextlib.contextmanager
def without(pipeline: Pipeline, action: str) -> Iterator[None]:
    """Take an action away from the execution role."""
    role, name = pipeline.function, "pipeline"
    policy = pipeline.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    smaller = json.loads(json.dumps(policy))
    for statement in smaller["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [a for a in actions if a != action]
    assert smaller != policy, f"the role has no {action}"
    smaller["Statement"] = [s for s in smaller["Statement"] if s["Action"]]
    pipeline.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(smaller))
    try:
        yield
    finally:
        pipeline.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))


@contextlib.contextmanager
def inbox(pipeline: Pipeline, topic: str) -> Iterator[Callable[[], list[Any]]]:
    """Subscribe a queue to a topic, as an e-mail address would be; yield a function that takes its messages."""
    url = pipeline.sqs.create_queue(QueueName=f"inbox-of-{topic.rpartition(':')[2]}")["QueueUrl"]
    arn = pipeline.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    statement |= {"Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    pipeline.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sns = pipeline.client("sns")
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)

    def take() -> list[Any]:
        messages = pipeline.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in messages.get("Messages", []):
            pipeline.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(json.loads(message["Body"])["Message"]) for message in messages.get("Messages", [])]

    yield take
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    pipeline.sqs.delete_queue(QueueUrl=url)
