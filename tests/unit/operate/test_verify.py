"""verify: each row passes on a sound pipeline and fails on a broken one."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError
from commands import deploy
from commands.aws import Account
from commands.environment import Environment
from commands.operate import audit, claims, verify
from commands.operate.claims import CLAIMS, Claim, Patience, Trial
from commands.operate.verify import Answer
from commands.plan import Summary
from commands.settings import ROOT
from commands.terminal import Refused

import lambda_function
from tests.unit.invocations import notification

from .pipeline import (
    FILE,
    NAME,
    Client,
    Pipeline,
    Run,
    make,
)

ROWS = {claim.name: claim for claim in CLAIMS}
WRONG_UPLOADS = ("other-encryption", "unnamed-key", "other-key", "double-encryption", "callers-key")
KEY = "arn:aws:kms:us-east-1:123456789012:key/0"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:ingestion"
TRACE = "1-5759e988-bd862e3fe1be46a994272793"
PRIVATE = {"availability_zones": ["us-east-1b", "us-east-1a"], "cidr_block": "10.0.0.0/24"}


def denied(code: str = "AccessDenied", message: str = "by an explicit deny in a resource-based policy") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "PutObject")


class Buckets(Client):
    """S3, which enforces the buckets' policies and notifies the function of uploads."""

    def __init__(self, aws: Aws) -> None:
        super().__init__(make("s3"))
        self._aws, self._lock = aws, threading.Lock()
        self.meta = self._s3.meta

    def put_object(self, **request: Any) -> Any:
        kind, key = request.get("ServerSideEncryption"), request.get("SSEKMSKeyId")
        wrong = kind not in (None, "aws:kms") or (kind and not key) or (key and key != KEY)
        if (wrong or "SSECustomerKey" in request) and self._aws.refusal:
            raise self._aws.refusal
        plain = {name: value for name, value in request.items() if not name.startswith(("SSE", "ServerSide"))}
        with self._lock:
            answer = self._s3.put_object(**plain)
            if request["Bucket"] == "raw" and request["Key"].endswith(".json"):
                self._aws.on_upload(request["Key"])
        return answer


class CloudWatch:
    """Two alarms with their history, and the metrics of the files."""

    def __init__(self, topic: str) -> None:
        self.topic, self.state = topic, {"function-throttles": "OK", "lost-events": "OK"}
        self.states: list[str] = []  # that were set by hand
        self.history: list[dict[str, Any]] = []
        self.sent: dict[str, Any] = {"actionState": "Succeeded", "error": None}
        self.counted = [2.0]

    def get_paginator(self, _: str) -> CloudWatch:
        return self

    def paginate(self, AlarmNamePrefix: str) -> list[dict[str, Any]]:
        alarms = [
            {"AlarmName": f"{AlarmNamePrefix}{name}", "StateValue": state, "AlarmActions": [self.topic]}
            for name, state in self.state.items()
        ]
        return [{"MetricAlarms": alarms}, {"MetricAlarms": [{"AlarmName": "other", "AlarmActions": []}]}]

    def set_alarm_state(self, AlarmName: str, StateValue: str, StateReason: str) -> None:
        assert AlarmName == "pipeline-function-throttles"
        assert "verify" in StateReason
        self.states.append(StateValue)
        if self.sent:
            told = self.sent | {"notificationResource": self.topic, "stateUpdateTimestamp": len(self.states)}
            self.history.append({"HistoryData": json.dumps(told)})

    def describe_alarm_history(self, AlarmName: str, HistoryItemType: str) -> dict[str, Any]:
        assert (AlarmName, HistoryItemType) == ("pipeline-function-throttles", "Action")
        return {"AlarmHistoryItems": self.history[::-1]}

    def get_metric_data(self, MetricDataQueries: list[Any], **_: Any) -> dict[str, Any]:
        metric = MetricDataQueries[0]["MetricStat"]["Metric"]
        dimensions = [{"Name": "service", "Value": "function"}]
        ours = {"Namespace": "Scans", "MetricName": "FilesProcessed", "Dimensions": dimensions}
        return {"MetricDataResults": [{"Values": self.counted if metric == ours else []}]}


class Iam:
    """The simulation of a role, whose statements are conditions with the values that each allows."""

    def __init__(self) -> None:
        self.statements = [
            {
                "kms:ViaService": ["s3.us-east-1.amazonaws.com"],
                "kms:EncryptionContext:aws:s3:arn": ["arn:aws:s3:::raw"],
            },
            {"kms:ViaService": ["sqs.us-east-1.amazonaws.com"], "kms:EncryptionContext:aws:sqs:arn": [QUEUE]},
        ]

    def simulate_principal_policy(self, ContextEntries: list[Any], ActionNames: list[str], **who: Any) -> Any:
        assert who == {"PolicySourceArn": "role", "ResourceArns": [KEY]}
        given = {entry["ContextKeyName"]: entry["ContextKeyValues"][0] for entry in ContextEntries}
        allowed = any(
            all(given.get(name) in values for name, values in statement.items()) for statement in self.statements
        )
        decision = "allowed" if allowed else "implicitDeny"
        return {"EvaluationResults": [{"EvalActionName": name, "EvalDecision": decision} for name in ActionNames]}


class Ec2:
    """The network that the function is in."""

    def __init__(self) -> None:
        self.zones, self.cidr, self.gateways = ["us-east-1a", "us-east-1b"], "10.0.0.0/24", list[str]()

    def describe_subnets(self, SubnetIds: list[str]) -> Any:
        assert SubnetIds == ["subnet-a", "subnet-b"]
        return {"Subnets": [{"AvailabilityZone": zone} for zone in self.zones]}

    def describe_vpcs(self, VpcIds: list[str]) -> Any:
        assert VpcIds == ["vpc"]
        return {"Vpcs": [{"CidrBlock": self.cidr}]}

    def describe_internet_gateways(self, Filters: list[Any]) -> Any:
        assert Filters == [{"Name": "attachment.vpc-id", "Values": ["vpc"]}]
        return {"InternetGateways": self.gateways}


class Aws:
    """A sound account, until a test breaks a part of it; also the services that have no class here."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.refusal: Exception | None = denied()
        self.on_upload: Callable[[str], Any] = self.process
        self.s3, self.cloudwatch, self.iam, self.ec2 = Buckets(self), CloudWatch(pipeline.deployed.topic), Iam(), Ec2()
        self.traced = [TRACE]
        self.function = {
            "Role": "role", "KMSKeyArn": KEY, "TracingConfig": {"Mode": "Active"}, "VpcConfig": {"SubnetIds": []},
            "Environment": {
                "Variables": {"POWERTOOLS_METRICS_NAMESPACE": "Scans", "POWERTOOLS_SERVICE_NAME": "function"}
            },
        }  # fmt: skip
        self.changes: list[str] = []
        self.asked: dict[str, list[str]] = {}  # addresses, and how
        self.codes = {"https": "NoSuchKey", "http": "AccessDenied"}

    def client(self, service: str) -> Any:
        named = {"s3": self.s3, "cloudwatch": self.cloudwatch, "iam": self.iam, "ec2": self.ec2}
        others = {"sqs": self.pipeline.sqs, "logs": self.pipeline.logs}
        return (named | others).get(service, self)

    def answer(self, _: Trial, url: str) -> str:
        scheme, address = url.split("://", 1)
        self.asked.setdefault(address, []).append(scheme)
        return self.codes[scheme]

    def process(self, key: str) -> None:
        self.pipeline.invoke(notification(key))

    def get_function_configuration(self, FunctionName: str, Qualifier: str) -> Any:
        assert (FunctionName, Qualifier) == ("function", "live")
        return self.function

    def batch_get_traces(self, TraceIds: list[str]) -> Any:
        assert len(TraceIds) <= claims.TRACES
        return {"Traces": [name for name in TraceIds if name in self.traced]}

    def plan(self, run: Any, *options: str) -> Any:
        assert (run.environment.name, options) == (FILE, ("-lock=false",))
        print("what Terraform is at")
        return self, Summary(FILE, self.changes, [], [])

    def forget_plan(self) -> None:
        self.forgotten = True


@pytest.fixture
def aws(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Aws]:
    aws = Aws(pipeline)
    monkeypatch.setattr(Account, "client", lambda _, service: aws.client(service))
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(verify, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(claims, "code_of_answer", aws.answer)
    monkeypatch.setattr(claims, "check_version", lambda: None)
    monkeypatch.setattr(claims, "data_dir", lambda: tmp_path)
    monkeypatch.setattr(deploy, "keep_others_out", lambda: None)
    monkeypatch.setattr(deploy, "plan_anew", aws.plan)
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={TRACE};Parent=0;Sampled=1")
    pipeline.sqs.meta.events.register("after-call.sqs.GetQueueAttributes", arn_of_ingestion)
    yield aws
    pipeline.sqs.meta.events.unregister("after-call.sqs.GetQueueAttributes", arn_of_ingestion)
    for bucket in ("raw", "processed", "rejected"):
        found = pipeline.s3.list_object_versions(Bucket=bucket, Prefix="smoke-test/")
        assert not found.get("Versions", []) + found.get("DeleteMarkers", []), bucket


def arn_of_ingestion(parsed: Any, **_: Any) -> None:
    parsed["Attributes"]["QueueArn"] = QUEUE


@pytest.fixture
def trial(aws: Aws) -> Iterator[Trial]:
    """A run, whose rows are asked one by one."""
    trial = Trial(aws.pipeline.deployed, Environment(FILE, {}), "verify-test", time.time())
    yield trial
    verify.cleaned(trial)


def answer(row: str, trial: Trial, seconds: float = 0.2) -> Answer:
    return verify.answer_of(ROWS[row], trial, ROWS[row].ask, trial, Patience(seconds))


# --- the whole --------------------------------------------------------------------------------------------------------


def test_every_row_of_a_sound_pipeline_passes_and_nothing_is_left(aws: Aws, run: Callable[..., Run]) -> None:
    done = run("verify", "--json")
    *rows, summary = done.lines
    assert {row["row"]: (row["answer"], row["detail"]) for row in rows} == dict.fromkeys(ROWS, ("yes", ""))
    assert (done.code, summary["summary"]["yes"], summary["left"]) == (0, len(CLAIMS), [])
    assert "Terraform" not in done.text


def test_the_table_for_people_shows_questions_and_answers(aws: Aws, run: Callable[..., Run]) -> None:
    aws.iam.statements = []
    done = run("verify")
    assert done.code == 1
    lines = done.text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("no "))
    assert re.split("  +", lines[at]) == ["no", ROWS["key"].text, ROWS["key"].how]
    assert lines[at + 1].strip() == "key: the role may not use kms:Decrypt for objects of the raw bucket"
    assert lines[-1] == f"{len(CLAIMS)} claims about {NAME}: {len(CLAIMS) - 1} yes, 1 no."
    assert "What to do about key: docs/verify.md" in done.errors


@pytest.mark.parametrize("place", ["on_upload", "plan"])
def test_ctrl_c_stops_verify_and_nothing_is_left(
    aws: Aws, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    pressed = iter([True])

    def interrupt(*arguments: Any) -> Any:
        if next(pressed, False):
            os.kill(os.getpid(), signal.SIGINT)
        return aws.plan(*arguments) if place == "plan" else None

    if place == "plan":
        monkeypatch.setattr(deploy, "plan_anew", interrupt)
    else:
        aws.on_upload = interrupt
    done = run("verify")
    assert (done.code, done.text) == (130, "")
    assert "Removing what was uploaded." in done.errors


def test_interrupting_the_cleanup_reports_where_leftovers_are(
    aws: Aws, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "CLAIMS", (ROWS["network"],))
    monkeypatch.setattr(verify, "swept", interrupt)
    done = run("verify")
    assert done.code == 130
    assert re.search(
        rf"^Stopped. The remaining files are under smoke-test/verify-\S+/ in the buckets of {NAME}.$", done.errors, re.M
    )


def test_a_failure_halfway_leaves_nothing(aws: Aws, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(verify, "CLAIMS", (ROWS["result"], Claim("crash", "", "", crash)))
    with pytest.raises(RuntimeError):
        run("verify")


def test_a_row_without_permission_names_it_and_the_others_continue(aws: Aws, run: Callable[..., Run]) -> None:
    def refused(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "SimulatePrincipalPolicy")

    aws.iam.simulate_principal_policy = refused  # type: ignore[method-assign,assignment]
    done = run("verify", "--json")
    (bad,) = [row for row in done.lines[:-1] if row["answer"] != "yes"]
    assert (done.code, bad["row"], bad["answer"]) == (1, "key", "no answer")
    assert bad["detail"].endswith("These credentials need the permission iam:SimulatePrincipalPolicy.")


def test_the_local_aws_is_excused_only_for_what_it_cannot_do(
    aws: Aws, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trial, "is_local", True)
    monkeypatch.setattr(verify, "LOCAL_SECONDS", 0.1)
    monkeypatch.setattr(claims, "LOG_SECONDS", 0)
    monkeypatch.setattr(claims, "RESULT_SECONDS", 0.2)
    aws.refusal, aws.cloudwatch.sent, aws.cloudwatch.counted, aws.traced = None, {}, [], []
    aws.iam.statements, aws.codes = [], {"https": "NoSuchKey", "http": "NoSuchKey"}
    aws.changes = ["change   module.monitoring.aws_cloudwatch_metric_alarm.this"]
    aws.on_upload = lambda _: None  # and the pipeline is broken
    done = run("verify", "--json")
    said = {row["row"]: row["answer"] for row in done.lines[:-1]}
    excused = {"callers-key", "plain-http", "alarm", "metrics", "traces", "key", "plan"}
    assert {row for row, says in said.items() if says == "not enforced here"} == excused
    assert {row for row, says in said.items() if says == "no"} == set(WRONG_UPLOADS) - excused
    assert {row for row, says in said.items() if says == "not yet"} == {
        *("result", "large-result", "overwrite", "rejected", "log"),
    }
    assert done.code == 1


def test_the_local_aws_is_recognized_by_its_address(aws: Aws, trial: Trial) -> None:
    assert not trial.is_local
    aws.s3.meta = type("Meta", (), {"endpoint_url": "https://127.0.0.1:4566"})
    assert Trial(trial.pipeline, trial.environment, "", 0).is_local


def test_bucket_policies_do_not_bind_the_root_user_of_the_local_aws(aws: Aws, trial: Trial, monkeypatch: Any) -> None:
    monkeypatch.setattr(Trial, "is_local", True)
    aws.refusal = None
    assert answer("other-key", trial).says == "no"
    trial.pipeline.account.arn = "arn:aws:iam::000000000000:root"
    assert answer("other-key", trial).says == "not enforced here"


# --- each row ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["result", "large-result", "overwrite", "rejected", "log", "traces"])
def test_without_a_notification_no_result_appears(aws: Aws, trial: Trial, row: str) -> None:
    aws.on_upload = lambda _: None
    said = answer(row, trial)
    assert said.says == "not yet"
    assert said.detail.startswith("waited for the ")


def test_a_result_with_more_than_ids_and_names(aws: Aws, trial: Trial, monkeypatch: Any) -> None:
    cut_down = lambda_function.cut_down
    monkeypatch.setattr(lambda_function, "cut_down", lambda some: cut_down(some).replace(b'"}', b'","more":"made up"}'))
    assert answer("result", trial) == (
        "no",
        "the result does not hold exactly the ids and names that were uploaded",
    )


def test_a_result_that_is_not_json(aws: Aws, trial: Trial, monkeypatch: Any) -> None:
    monkeypatch.setattr(lambda_function, "cut_down", lambda _: b"?,\n")
    assert answer("result", trial) == ("no", "the result is not JSON")


def test_a_large_result_that_is_not_written_in_parts(aws: Aws, trial: Trial, monkeypatch: Any) -> None:
    assert answer("large-result", trial).says == "yes"
    monkeypatch.setattr(lambda_function, "PART_BYTES", 64 * 1024 * 1024)
    assert answer("large-result", trial) == ("no", "the result was not written in parts")


def test_a_late_result_of_an_overwritten_version(aws: Aws, run: Callable[..., Run], monkeypatch: Any) -> None:
    s3, done = aws.pipeline.s3, threading.Event()

    def late(trial: Trial, patience: Patience) -> None:
        """Write, after the row, the result of a function that does not check for a newer version."""
        done.wait()
        key = f"{trial.folder}overwritten.json"
        versions = s3.list_object_versions(Bucket="raw", Prefix=key)["Versions"]
        (old,) = [version for version in versions if not version["IsLatest"]]
        metadata = {"source-version-id": old["VersionId"], "source-etag": old["ETag"].strip('"')}
        s3.put_object(Bucket="processed", Key=key, Body=b"[]", Metadata=metadata)

    def ask(trial: Trial, patience: Patience) -> None:
        try:
            claims.overwritten(trial, patience)
        finally:
            done.set()

    overwrite = Claim("overwrite", "", "", ask, at_the_end=ROWS["overwrite"].at_the_end)
    monkeypatch.setattr(verify, "CLAIMS", (overwrite, Claim("late", "", "", late)))
    *rows, _ = run("verify", "--json").lines
    assert [(row["answer"], row["detail"]) for row in rows] == [("no", "in the end the result is stale"), ("yes", "")]


@pytest.mark.parametrize("setting", ["keep", "remove"])
def test_a_rejected_file_with_an_older_result(aws: Aws, trial: Trial, monkeypatch: Any, setting: str) -> None:
    aws.pipeline.outputs["stale_results"] = setting
    trial = Trial(aws.pipeline.deployed, trial.environment, trial.name, trial.began)
    monkeypatch.setattr(lambda_function, "STALE_RESULTS", setting)
    assert answer("rejected", trial).says == "yes"
    # And with a function that does the other thing.
    monkeypatch.setattr(lambda_function, "STALE_RESULTS", "remove" if setting == "keep" else "keep")
    expected = {
        "keep": "the older result is gone although stale_results is keep",
        "remove": "with stale_results = remove, audit finds it stale",
    }
    assert answer("rejected", trial) == ("no", expected[setting])


def test_a_verdict_with_another_reason(aws: Aws, trial: Trial, monkeypatch: Any) -> None:
    monkeypatch.setattr(lambda_function.Rejected, "__init__", rejected_for_something_else)
    assert answer("rejected", trial) == ("no", "the verdict says malformed")


def rejected_for_something_else(self: Any, *_: Any) -> None:
    self.reason, self.record, self.field = "malformed", None, None


def test_a_verdict_on_another_version_does_not_count(aws: Aws, trial: Trial) -> None:
    def leave_verdict(key: str) -> None:
        metadata = {"source-version-id": "another", "source-etag": "0"}
        body = b'{"reason": "missing_field", "record": 0, "field": "patient_name"}'
        aws.pipeline.s3.put_object(Bucket="rejected", Key=key, Body=body, Metadata=metadata)

    handlers = iter([aws.process, leave_verdict])
    aws.on_upload = lambda key: next(handlers)(key)
    assert answer("rejected", trial) == ("not yet", f"waited for the verdict on {trial.folder}rejected.json")


@pytest.mark.parametrize("row", WRONG_UPLOADS)
def test_a_bucket_that_accepts_wrong_uploads(aws: Aws, trial: Trial, row: str) -> None:
    assert answer(row, trial).says == "yes"
    aws.refusal = None
    assert answer(row, trial) == ("no", "the raw bucket takes it; the processed bucket takes it")


@pytest.mark.parametrize(
    "refusal", [denied("KMS.NotFoundException"), denied(message="not authorized to perform: kms:GenerateDataKey")]
)
def test_an_upload_that_only_its_key_refuses(aws: Aws, trial: Trial, refusal: ClientError) -> None:
    aws.refusal, code = refusal, refusal.response["Error"]["Code"]
    details = [f"the {role} bucket's policy lets it pass, to fail with {code}" for role in ("raw", "processed")]
    assert answer("other-key", trial) == ("no", "; ".join(details))


def test_without_permission_to_upload_wrong_uploads_prove_nothing(aws: Aws, trial: Trial, monkeypatch: Any) -> None:
    def refuse_all(**_: Any) -> None:
        raise denied()

    monkeypatch.setattr(aws.s3, "put_object", refuse_all)
    assert answer("other-key", trial).says == "no answer"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({"http": "NoSuchKey"}, ("no", "over plain http the raw bucket answers NoSuchKey")),
        (
            {"https": "AccessDenied"},
            ("no answer", "over TLS the raw bucket answers AccessDenied in place of NoSuchKey"),
        ),
    ],
)
def test_plain_http(aws: Aws, trial: Trial, codes: dict[str, str], expected: tuple[str, str]) -> None:
    assert answer("plain-http", trial).says == "yes"
    assert set(map(tuple, aws.asked.values())) == {("https", "http")}
    addresses = [urlsplit(f"//{address}") for address in aws.asked]
    bucket = re.compile(r"(raw|processed|rejected)/smoke-test/verify-test/not-there")
    assert [bool(bucket.search(address.path)) for address in addresses] == [True] * 3
    assert {parse_qs(address.query)["X-Amz-Expires"][0] for address in addresses} == {"30"}
    aws.codes |= codes
    assert answer("plain-http", trial) == expected


class S3Error(BaseHTTPRequestHandler):
    """Answers like S3, or like a proxy in between."""

    def do_GET(self) -> None:
        self.send_response(403)
        if "/s3/" in self.path:
            self.send_header("x-amz-request-id", "0")
        self.end_headers()
        self.wfile.write(b"<Error><Code>AccessDenied</Code></Error>")

    def log_message(self, *_: Any) -> None:
        pass


def test_an_answer_counts_only_if_s3_gave_it_and_its_address_is_not_shown(pipeline: Pipeline) -> None:
    trial = Trial(pipeline.deployed, Environment(FILE, {}), "verify-test", 0)
    with ThreadingHTTPServer(("127.0.0.1", 0), S3Error) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert claims.code_of_answer(trial, f"{address}/s3/key?signed") == "AccessDenied"
        assert claims.code_of_answer(trial, f"{address}/proxy") == "status 403"
        server.shutdown()
    with pytest.raises(claims.Unknown) as unknown:
        claims.code_of_answer(trial, f"{address}/s3/key?signed")
    assert str(unknown.value).endswith(f" on the way to {address}/s3/key")


def test_an_alarm_that_cannot_be_sent(aws: Aws, trial: Trial) -> None:
    aws.cloudwatch.sent = {"actionState": "Failed", "error": "no access to the key"}
    assert answer("alarm", trial) == (
        "no",
        "CloudWatch could not notify the topic about pipeline-function-throttles: no access to the key",
    )
    assert aws.cloudwatch.states == ["ALARM", "OK"]


def test_an_alarm_that_notifies_nobody_is_reset_too(aws: Aws, trial: Trial) -> None:
    before = {"notificationResource": aws.cloudwatch.topic, "actionState": "Succeeded"}
    aws.cloudwatch.history = [{"HistoryData": json.dumps(before)}]
    aws.cloudwatch.state["function-throttles"], aws.cloudwatch.sent = "INSUFFICIENT_DATA", {}
    assert answer("alarm", trial) == ("not yet", "waited for pipeline-function-throttles to report its action")
    assert aws.cloudwatch.states == ["ALARM", "INSUFFICIENT_DATA"]


def test_no_alarm_can_be_set_off(aws: Aws, trial: Trial) -> None:
    aws.cloudwatch.state = dict.fromkeys(aws.cloudwatch.state, "ALARM")
    assert answer("alarm", trial) == ("no answer", "every alarm is in ALARM or has its actions disabled")
    aws.cloudwatch.state = {}
    assert answer("alarm", trial) == ("no", "no alarm sends to the environment's topic")
    assert aws.cloudwatch.states == []


def test_a_log_that_quotes_a_patient(aws: Aws, trial: Trial) -> None:
    answer("result", trial)
    assert answer("log", trial).says == "yes"
    aws.pipeline.write(json.dumps({"message": "record", "patient": f"{trial.name}-0"}))
    assert answer("log", trial) == ("no", "the log quotes a patient of the file")


def test_metrics_that_do_not_arrive_or_whose_names_may_not_be_read(aws: Aws, trial: Trial) -> None:
    assert answer("metrics", trial).says == "yes"
    aws.cloudwatch.counted = []
    assert answer("metrics", trial) == ("not yet", "waited for FilesProcessed to count this run's files")
    aws.function["Environment"] = {"Error": {"ErrorCode": "AccessDenied"}}
    trial = Trial(trial.pipeline, trial.environment, trial.name, trial.began)
    assert answer("metrics", trial) == (
        "no answer",
        "the function's variables cannot be read; these credentials need kms:Decrypt on its key",
    )


def test_traces_that_do_not_arrive_or_are_off(aws: Aws, trial: Trial) -> None:
    answer("result", trial)
    assert answer("traces", trial).says == "yes"
    aws.traced = []
    assert answer("traces", trial) == ("not yet", "waited for the trace of an invocation that the log names")
    aws.function["TracingConfig"] = {"Mode": "PassThrough"}
    trial = Trial(trial.pipeline, trial.environment, trial.name, trial.began)
    assert answer("traces", trial) == ("no", "the function's tracing is PassThrough")


def test_a_function_in_a_network_that_nobody_asked_for(aws: Aws, trial: Trial) -> None:
    aws.function["VpcConfig"] = {"SubnetIds": ["subnet-a"]}
    assert answer("network", trial) == ("no", "the function is in subnet-a, but env/ has no private_network")


def test_a_function_that_is_not_in_its_network(aws: Aws, trial: Trial) -> None:
    environment = Environment(FILE, {"environments": {NAME: {"private_network": PRIVATE}}})

    def said() -> Answer:
        return answer("network", Trial(trial.pipeline, environment, trial.name, 0))

    assert said() == ("no", "the function is in no network, but env/ has a private_network")
    aws.function["VpcConfig"] = {"SubnetIds": ["subnet-a", "subnet-b"], "VpcId": "vpc"}
    assert said().says == "yes"
    aws.ec2.zones[0] = "us-east-1c"
    assert said() == ("no", "the function is in us-east-1b, us-east-1c")
    aws.ec2.zones[0], aws.ec2.cidr = "us-east-1a", "10.1.0.0/24"
    assert said() == ("no", "the function's network is 10.1.0.0/24")
    aws.ec2.cidr, aws.ec2.gateways = "10.0.0.0/24", ["igw"]
    assert said() == ("no", "the function's network has a way to the internet")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ({}, "itself, by no service"),
        ({"kms:ViaService": ["s3.us-east-1.amazonaws.com"]}, "objects of other buckets"),
        ({"kms:ViaService": ["secretsmanager.us-east-1.amazonaws.com"]}, "Secrets Manager"),
    ],
)
def test_a_role_that_may_use_the_key_for_more(aws: Aws, trial: Trial, statement: Any, what: str) -> None:
    assert answer("key", trial).says == "yes"
    aws.iam.statements.append(statement)
    assert answer("key", trial) == ("no", f"the role may use kms:Decrypt for {what}")


def test_a_role_that_may_not_use_the_key_for_messages(aws: Aws, trial: Trial) -> None:
    aws.iam.statements.pop()
    assert answer("key", trial) == ("no", "the role may not use kms:Decrypt for messages of the ingestion queue")


def test_a_second_plan_with_changes(aws: Aws, trial: Trial, monkeypatch: Any) -> None:
    aws.changes = [f"change   module.aws_thing.n{number}" for number in range(5)]
    assert answer("plan", trial) == (
        "no",
        "it would change module.aws_thing.n0, change module.aws_thing.n1, change module.aws_thing.n2 and 2 others; "
        "./deploy.sh drift dev shows all of it",
    )
    assert aws.forgotten
    aws.changes = ["change   module.monitoring.aws_cloudwatch_metric_alarm.this"]
    assert answer("plan", trial).says == "no"
    monkeypatch.setattr(Trial, "is_local", True)
    trial = replace(trial)  # which has not looked yet
    assert answer("plan", trial).says == "not enforced here"
    aws.changes.append("change   module.aws_thing.this")
    assert answer("plan", trial).says == "no"


def test_a_plan_that_cannot_be_made(aws: Aws, trial: Trial, monkeypatch: Any) -> None:
    def refuse() -> None:
        raise Refused("Terraform is missing.")

    monkeypatch.setattr(claims, "check_version", refuse)
    assert answer("plan", trial) == ("no answer", "Terraform is missing.")


# --- cleaning up ------------------------------------------------------------------------------------------------------


def test_late_results_are_removed_too(aws: Aws, trial: Trial, monkeypatch: Any) -> None:
    answer("result", trial)
    late = iter([True])

    def settle(_: float) -> None:
        if next(late, False):
            aws.pipeline.s3.put_object(Bucket="processed", Key=f"{trial.folder}small.json", Body=b"[]")
            aws.pipeline.s3.delete_object(Bucket="processed", Key=f"{trial.folder}small.json")

    monkeypatch.setattr(time, "sleep", settle)
    assert verify.cleaned(trial) == []
    assert list(late) == []  # and the test has seen what it is about


def test_locked_versions_stay_hidden_and_are_reported_with_their_retention(
    aws: Aws, trial: Trial, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answer("result", trial)
    s3, delete = aws.pipeline.s3, aws.pipeline.s3.delete_object

    def locked(**request: Any) -> Any:
        if request["Bucket"] == "raw" and "VersionId" in request and request["VersionId"] == version:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")
        return delete(**request)

    class Retention:
        def date(self) -> str:
            return "2026-12-24"

    key = f"{trial.folder}small.json"
    version = s3.head_object(Bucket="raw", Key=key)["VersionId"]
    aws.s3.delete_object = locked  # type: ignore[attr-defined]
    aws.s3.get_object_retention = lambda **_: {"Retention": {"RetainUntilDate": Retention()}}  # type: ignore[attr-defined]
    capsys.readouterr()
    assert verify.cleaned(trial) == []
    assert f"Kept by object lock until 2026-12-24, hidden: s3://raw/{key}\n" in capsys.readouterr().err
    listing = s3.list_object_versions(Bucket="raw", Prefix=key)
    assert [marker["IsLatest"] for marker in listing["DeleteMarkers"]] == [True]
    del aws.s3.get_object_retention
    (line,) = verify.cleaned(trial)
    assert line.startswith(f"Not removed: s3://raw/{key}. AWS refuses DeleteObject.")
    del aws.s3.delete_object


def test_leftovers_that_cannot_be_removed_are_reported_and_fail_the_run(
    aws: Aws, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "CLAIMS", (ROWS["network"],))

    def refuse(_: str) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "ListObjectVersions")

    aws.s3.get_paginator = refuse  # type: ignore[attr-defined]
    done = run("verify", "--json")
    assert done.code == 1
    assert [line.partition("/smoke-test/")[0] for line in done.lines[-1]["left"]] == [
        f"Not removed: s3://{bucket}" for bucket in ("processed", "rejected", "raw")
    ]
    assert done.errors.count("These credentials need the permission s3:ListBucketVersions.") == 3


def test_the_runbook_explains_each_row_and_where_to_read_on() -> None:
    first_cells = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs/verify.md").read_text(), re.M)
    assert re.findall(r"`([a-z-]+)`", " ".join(first_cells)) == list(ROWS)


def test_the_sizes_of_files_are_what_the_rows_say() -> None:
    assert lambda_function.PART_BYTES == audit.SINGLE_BYTES
