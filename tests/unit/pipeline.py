"""A pipeline in this process (S3, SQS, CloudWatch Logs and the real function), and the commands that operate it.

Test modules import the fixtures, which pytest knows as `pipeline` and `run`.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from commands import __main__, environment, state, terminal
from commands.aws import Account
from commands.operate import deep, ledger, queues

import lambda_function

from .conftest import Context, event, notification

NAME, FILE = "test", "dev"  # the pipeline is this entry of env/dev.tfvars
ONE = b'[{"patient_id":"1","patient_name":"Ann"}]'
TWO = b'[{"patient_id":"1","patient_name":"Ann"},{"patient_id":"2","patient_name":"Bob"}]'
BAD = b'[{"patient_id":"1"}]'
ODD_KEYS = [
    *("a b.json", "a+b.json", "100%.json", "x%20y.json", "müller-眼.json", "line\nbreak.json", "a; b key=c.json"),
    "O'Brien.json",
]

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
    """What Terraform says of a pipeline with these queues."""
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
    """A pipeline whose events this class carries, to the real function, as Lambda would."""

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
        """Take credentials, and make clients, anew."""
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


@pytest.fixture(name="pipeline")
def pipeline_fixture(s3: Any, log: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(ledger, "FOLDER", tmp_path / "runs")
    monkeypatch.setattr(queues, "WAIT_SECONDS", 0)  # there is only one server here
    # Metrics go to standard output, as do the commands' answers.
    monkeypatch.setattr(lambda_function, "_count", lambda *_: None)
    deep.function_code.cache_clear()
    pipeline = Pipeline(s3, log)
    client = Client(s3)
    client.put_object = pipeline.refuse_results
    monkeypatch.setattr(lambda_function, "s3", client)  # which --deep replaces
    return pipeline


@pytest.fixture(name="function")
def function_fixture(pipeline: Pipeline) -> str:
    """A function with an alias; return the code's hash."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = make("iam").create_role(RoleName="function", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    functions = make("lambda")
    zip_file = base64.b64decode("UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==")
    made = functions.create_function(
        FunctionName="function",
        Role=role,
        Handler="x.y",
        Runtime="python3.12",
        Code={"ZipFile": zip_file},
        Publish=True,
    )
    functions.create_alias(FunctionName="function", Name="live", FunctionVersion=made["Version"])
    return str(made["CodeSha256"])


class Run:
    """What a command answered."""

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


@pytest.fixture(name="signals")
def signals_fixture() -> Iterator[None]:
    """Undo what a command does to signals."""
    handlers = {number: signal.getsignal(number) for number in terminal.SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    terminal.stopping.clear()


@pytest.fixture(name="run")
def run_fixture(
    pipeline: Pipeline, signals: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """Run the command line, which finds the pipeline whatever environment it names."""

    opened: list[ledger.Ledger] = []
    make_ledger = ledger.Ledger.__init__

    def note(self: ledger.Ledger, *arguments: Any) -> None:
        make_ledger(self, *arguments)
        opened.append(self)

    def run(*arguments: str) -> Run:
        while opened:
            opened.pop().db.close()  # as does the end of a process that was interrupted
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(ledger.Ledger, "__init__", note)
            return Run(__main__.main(list(arguments)), capsys.readouterr())

    monkeypatch.setattr(environment, "holding", lambda _: environment.Environment(FILE, {}))
    monkeypatch.setattr(state, "find_pipeline", lambda *_: pipeline.deployed)
    return run


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
