"""A pipeline in this process (S3, SQS, CloudWatch Logs and the real function), and ways in which it and AWS fail."""

from __future__ import annotations

import functools
import io
import json
import time
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from commands import state, terminal
from commands.aws import Account
from commands.operate import queues

import lambda_function
from tests.unit.invocations import Context, event, notification

NAME, FILE = "test", "dev"  # the pipeline is this entry of env/dev.tfvars
ONE = b'[{"patient_id":"1","patient_name":"Ann"}]'
TWO = b'[{"patient_id":"1","patient_name":"Ann"},{"patient_id":"2","patient_name":"Bob"}]'
BAD = b'[{"patient_id":"1"}]'
ODD_KEYS = [
    *("a b.json", "a+b.json", "100%.json", "x%20y.json", "müller-眼.json", "line\nbreak.json", "a; b key=c.json"),
    "O'Brien.json",
]

AUDIT = ("audit", "--json", "--in-flight", "0")

# A process that runs a command on a pipeline: OUTPUTS, what Terraform says of it; FOLDER, where runs are kept.
PROGRAM = f"""
import json, os, sys
from pathlib import Path
import boto3
from commands import __main__, environment, state
from commands.aws import Account
from commands.operate import ledger

def find_pipeline(*_):
    account = Account(boto3.Session(region_name="us-east-1"))
    return state.Pipeline.from_outputs({NAME!r}, {FILE!r}, json.loads(os.environ["OUTPUTS"]), account)

ledger.FOLDER = Path(os.environ["FOLDER"])
environment.holding, state.find_pipeline = lambda _: None, find_pipeline
sys.exit(__main__.main(sys.argv[1:]))
"""


@functools.cache
def make(service: str) -> Any:
    """Return a client of the tests' own."""
    client: Any = boto3.client
    return client(service)


def outputs(ingestion: str, dead_letter: str) -> dict[str, Any]:
    """Terraform's outputs for a pipeline with these queues."""
    return {
        "raw_data_bucket_name": "raw",
        "processed_data_bucket_name": "processed",
        "rejected_bucket_name": "rejected",
        "lambda_function_name": "function",
        "function_alias": "live",
        "log_group_name": "group",
        "ingestion_queue_url": ingestion,
        "dead_letter_queue_url": dead_letter,
        "alarm_topic_arn": "arn:aws:sns:us-east-1:123456789012:pipeline-alarms",
        "dashboard_name": "pipeline",
        "force_destroy": False,
        "stale_results": "keep",
    }


class Pipeline:
    """A pipeline that invokes the real function with its events, as Lambda would."""

    def __init__(self, s3: Any, log: io.StringIO) -> None:
        self.s3, self.sqs, self.logs = s3, make("sqs"), make("logs")
        self.dead_letter = self.sqs.create_queue(QueueName="dead-letter")["QueueUrl"]
        target = self.sqs.get_queue_attributes(QueueUrl=self.dead_letter, AttributeNames=["QueueArn"])["Attributes"]
        policy = json.dumps({"deadLetterTargetArn": target["QueueArn"], "maxReceiveCount": 2})
        attributes = {"RedrivePolicy": policy, "VisibilityTimeout": "0"}
        self.ingestion = self.sqs.create_queue(QueueName="ingestion", Attributes=attributes)["QueueUrl"]
        self.logs.create_log_group(logGroupName="group")
        self.logs.create_log_stream(logGroupName="group", logStreamName="stream")
        self._log = log
        self.refused: set[str] = set()  # keys whose results S3 refuses
        self.outputs = outputs(self.ingestion, self.dead_letter)
        self.sign_in()

    def sign_in(self) -> None:
        """Take credentials and make clients again."""
        self.account = Account(boto3.Session(region_name="us-east-1"))

    def client(self, service: str) -> Any:
        """Return the client that the commands use."""
        return self.account.client(service)

    @property
    def deployed(self) -> state.Pipeline:
        """The pipeline as the commands know it."""
        return state.Pipeline.from_outputs(NAME, FILE, self.outputs, self.account)

    def put(self, key: str, body: bytes = ONE) -> str:
        """Upload; S3's notification is lost."""
        return str(self.s3.put_object(Bucket="raw", Key=key, Body=body)["VersionId"])

    def upload(self, *keys: str, body: bytes = ONE) -> None:
        """Upload in direct mode: a failed event goes to the dead-letter queue in Lambda's record."""
        for key in keys:
            version = self.put(key, body)
            sent = notification(quote_plus(key))
            sent["Records"][0]["s3"]["object"]["versionId"] = version
            try:
                self.invoke(sent)
            except lambda_function.Failure as error:
                answer = {"errorMessage": str(error), "errorType": "Failure"}
                record = {**event("lambda_failure_record"), "requestPayload": sent, "responsePayload": answer}
                self.sqs.send_message(QueueUrl=self.dead_letter, MessageBody=json.dumps(record))

    def refuse_results(self, Bucket: str, Key: str, **request: Any) -> Any:
        """Write what the function writes, unless it is a result that is refused."""
        if Bucket == "processed" and Key in self.refused:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
        return self.s3.put_object(Bucket=Bucket, Key=Key, **request)

    def invoke(self, what: Any) -> Any:
        try:
            return lambda_function.lambda_handler(what, Context())
        finally:
            lines = self._log.getvalue().splitlines()
            self._log.truncate(0)
            self._log.seek(0)
            self.write(*lines)

    def write(self, *lines: str) -> None:
        """Write lines to the function's log."""
        events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines]
        if events:
            self.logs.put_log_events(logGroupName="group", logStreamName="stream", logEvents=events)

    def work_off(self) -> int:
        """Feed the ingestion queue to the function until it is empty; return how many messages were taken from it."""
        taken = 0
        while queues.depth(self.deployed, self.ingestion):
            answer = self.sqs.receive_message(QueueUrl=self.ingestion, MaxNumberOfMessages=10)
            messages = answer.get("Messages", [])  # none, too, in the millisecond before one is visible again
            if not messages:
                continue
            taken += len(messages)
            batch = [{"messageId": one["MessageId"], "body": one["Body"], "eventSource": "aws:sqs"} for one in messages]
            again = {item["itemIdentifier"] for item in self.invoke({"Records": batch})["batchItemFailures"]}
            for one in messages:
                if one["MessageId"] not in again:
                    self.sqs.delete_message(QueueUrl=self.ingestion, ReceiptHandle=one["ReceiptHandle"])
        return taken

    def dead(self) -> int:
        return queues.depth(self.deployed, self.dead_letter)

    def overwrite(self, key: str, body: bytes, **metadata: str) -> None:
        """Overwrite a result, with the metadata it has and those that are given."""
        kept = self.s3.head_object(Bucket="processed", Key=key)["Metadata"]
        self.s3.put_object(Bucket="processed", Key=key, Body=body, Metadata=kept | metadata)


class Client:
    """A client of S3, some of whose calls are replaced."""

    put_object: Any

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)


class Run:
    """A command's exit code and output."""

    def __init__(self, code: int, output: Any) -> None:
        self.code, self.text, self.errors = code, output.out, output.err

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def states(self) -> dict[str, str]:
        return {line["key"]: line["state"] for line in self.lines if "state" in line}

    @property
    def reasons(self) -> dict[str, str]:
        return {line["key"]: line["reason"] for line in self.lines if "reason" in line}

    @property
    def summary(self) -> Any:
        return self.lines[-1]["summary"]


def refuse(client: Any, service: str, call: str, code: str, status: int = 403) -> None:
    """Let AWS answer a call with an error."""

    def answer(request: Any, **_: Any) -> AWSResponse:
        if service == "s3":
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        else:
            body = json.dumps({"__type": code, "message": "no"}).encode()
        raw: Any = io.BytesIO(b"" if request.method == "HEAD" else body)
        raw.stream = lambda **_: [raw.read()]
        request.url = "https://nowhere.invalid/"  # moto comes next, and would do what it is asked
        return AWSResponse(request.url, status, HTTPHeaders(), raw)

    client.meta.events.register_first(f"before-send.{service}.{call}", answer)


def stop_sending_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Interrupt the run once so many calls have sent events."""
    left = iter(range(calls - 1))

    def send(*arguments: Any) -> None:
        queues.send(*arguments)
        if next(left, None) is None:
            terminal.stopping.set()

    monkeypatch.setattr("commands.operate.verbs.send", send)


def fail_in_queue_mode(pipeline: Pipeline, *keys: str) -> None:
    """Upload files that fail, in queue mode: the events themselves end in the dead-letter queue."""
    pipeline.refused |= set(keys)
    for key in keys:
        version = pipeline.put(key)
        sent = notification(quote_plus(key))
        sent["Records"][0]["s3"]["object"]["versionId"] = version
        pipeline.sqs.send_message(QueueUrl=pipeline.ingestion, MessageBody=json.dumps(sent))
    pipeline.work_off()


def fail_in_direct_mode(pipeline: Pipeline, *keys: str) -> None:
    pipeline.refused |= set(keys)
    pipeline.upload(*keys)


MODES = pytest.mark.parametrize("fail", [fail_in_direct_mode, fail_in_queue_mode], ids=["direct", "queue"])


def a_line(key: str, outcome: str) -> dict[str, Any]:
    return {"message": outcome, "key": key, "bytes_out": 3, "reason": ""}
