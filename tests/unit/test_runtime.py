"""The packages as Lambda runs them: by AWS's own runtime client, with the SDK that is pinned here and the oldest one.

A function finds boto3 in its runtime, and Lambda decides which; the oldest is the one that python3.12 began with.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import re
import sys
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import parts
import pytest
import python_env
from commands.build import build_function, build_layer

from . import PATIENCE_SECONDS
from .invocations import batch, event, failed, notification, processed, verdict
from .proxy import proxy_fixture, server_fixture  # noqa: F401 - fixtures
from .runtime import CLIENT, ROOT, SDK, Answer, Runtime, block, link, settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="AWS's runtime client is published for Linux only"),
]

NAME, ID = "Xylophonia Quetzalcoatl", "987-65-4329"
GOOD = json.dumps([{"patient_id": ID, "patient_name": NAME, "diagnosis": "Zygomycosis"}]).encode()
BAD = json.dumps([{"patient_id": ID, "patient_name": NAME, "scan_date": "Zygomycosis"}]).encode()
LARGE = json.dumps([{"patient_id": f"{n}", "patient_name": "x" * 10_000} for n in range(1000)]).encode()
BOTH = pytest.mark.parametrize("sdk", ["pinned", "oldest"])
VARIABLES = {
    "PROCESSED_BUCKET": "processed",
    "REJECTED_BUCKET": "rejected",
    "STALE_RESULTS": "keep",
    "POWERTOOLS_SERVICE_NAME": "data-processor",
    "POWERTOOLS_METRICS_NAMESPACE": "RetinaScanPipeline",
}
NEARLY_UP_MS = 5_000  # until the deadline
LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
FRAME_KINDS = {"INFO": 0x0E, "WARNING": 0x12, "ERROR": 0x16}  # of records in JSON


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `task` and `opt`, from the packages, the runtime's `client`, and the SDKs `pinned` and `oldest`."""
    folder = tmp_path_factory.mktemp("lambda")
    architecture = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    built = {"task": build_function(folder), "opt": build_layer(ROOT / "build", architecture, for_this_machine=False)}
    for name, package in built.items():
        zipfile.ZipFile(package).extractall(folder / name)
    link(folder / "client", CLIENT)
    link(folder / "pinned", SDK)
    environment, requirements = (ROOT / name for name in parts.OLDEST_SDK)
    python_env.make(environment, requirements)
    (folder / "oldest").symlink_to(next(environment.glob("lib/python3*/site-packages")))
    return folder


@pytest.fixture
def sdk() -> str:
    return "pinned"


@pytest.fixture
def make(packages: Path, proxy: Any, sdk: str, tmp_path: Path) -> Iterator[Callable[..., Runtime]]:
    """Make an execution environment, with these variables beside those that it has, and without those that are None."""
    with contextlib.ExitStack() as made:

        def make(**changes: str | None) -> Runtime:
            variables = VARIABLES | {"AWS_ENDPOINT_URL": proxy.url} | changes
            path = [packages / name for name in ("task", "opt/python", "client", sdk)]
            runtime = Runtime(tmp_path, path, {name: value for name, value in variables.items() if value is not None})
            made.callback(runtime.close)
            return runtime

        yield make


@pytest.fixture
def runtime(make: Callable[..., Runtime]) -> Runtime:
    return make()


@pytest.fixture
def s3(server: tuple[str, int]) -> Any:
    """The buckets, by a client that does not go through the proxy."""
    client: Any = boto3.client("s3", endpoint_url=f"http://{server[0]}:{server[1]}")
    for bucket in ("raw", "processed", "rejected"):
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=bucket != "raw")
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return client


def hidden(text: str) -> None:
    """Assert that a text holds nothing of a file."""
    assert text
    for word in (*NAME.split(), ID, "Zygomycosis"):
        assert word not in text


def said(answer: Answer) -> list[Any]:
    """The records of the telemetry descriptor, checked to be of the types of their levels, once each, without those
    that tell where the SDK has found its settings."""
    for frame in answer.frames:
        assert frame.kind == FRAME_KINDS[frame.message["level"]]
        assert answer.frames.count(frame) == 1
    messages = [frame.message for frame in answer.frames]
    return [message for message in messages if not message.get("logger", "").startswith("botocore.")]


def level(line: dict[str, Any]) -> str:
    """The level by which Lambda filters a line of standard output. INFO, if level or time are not as documented:
    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html"""
    rfc_3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    is_timed = re.fullmatch(rfc_3339, str(line.get("timestamp")))
    return line["level"] if is_timed and line.get("level") in LEVELS else "INFO"


def counted(answer: Answer) -> dict[str, float]:
    """The metrics in an answer's log, checked to be what CloudWatch reads as such, by name, with the reason if any:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""
    found = {}
    for line in answer.metrics:
        made = datetime.datetime.fromtimestamp(line["_aws"]["Timestamp"] / 1000, datetime.UTC)
        assert abs(datetime.datetime.now(datetime.UTC) - made) < datetime.timedelta(days=1)  # milliseconds
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == VARIABLES["POWERTOOLS_METRICS_NAMESPACE"]
        assert directive["Dimensions"][0] == ["service"]
        for names in directive["Dimensions"]:
            assert all(isinstance(line[name], str) for name in names)
        for metric in directive["Metrics"]:
            values = line[metric["Name"]]
            assert metric["Unit"] in ("Count", "Bytes", "Milliseconds")
            assert all(isinstance(value, (int, float)) for value in values)
            found[" ".join([metric["Name"], line.get("reason", "")]).strip()] = sum(values)
    return found


def test_a_good_file_is_processed_and_every_line_is_logged_once(runtime: Runtime, s3: Any) -> None:
    for key in ("first.json", "second.json"):  # nothing of the first invocation comes again with the second
        s3.put_object(Bucket="raw", Key=key, Body=GOOD)
        answer = runtime.invoke(notification(key))
        assert (answer.to, answer.body) == ("response", None)
        assert processed(s3, key) == [{"patient_id": ID, "patient_name": NAME}]
        (line,) = answer.logged
        assert (line["message"], line["key"], line["level"]) == ("processed", key, "INFO")
        assert (line["function_name"], line["function_memory_size"]) == ("data-processor", "512")
        assert line["function_request_id"] == "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
        assert line["xray_trace_id"] == "1-5bef4de7-ad49b0e87f6ef6c87fc2e700"
        assert line["cold_start"] == (key == "first.json")
        assert len(answer.metrics) == 1
        counts = counted(answer)
        assert (counts["FilesProcessed"], counts["RecordsProcessed"], counts["BytesRead"]) == (1, 1, len(GOOD))
        assert not said(answer)
        hidden(answer.everything)


def test_a_failed_upload_raises_enough_for_a_replay_and_no_content(
    runtime: Runtime, s3: Any, proxy: Any, packages: Path
) -> None:
    version = s3.put_object(Bucket="raw", Key="scan.json", Body=GOOD)["VersionId"]
    proxy.break_next("put", "denied", 1)
    answer = runtime.invoke(notification("scan.json"))
    why = f"PutObject AccessDenied bucket=raw key=scan.json version={version}"
    assert answer.to == "error"
    assert (answer.body["errorType"], answer.body["errorMessage"]) == ("Failure", why)
    files = re.findall(r'File "(.*?)"', "".join(answer.body["stackTrace"]))
    code = ["opt/python/aws_lambda_powertools/logging/logger.py", "task/lambda_function.py"]
    assert files == [str(packages / name) for name in code]
    (line,) = answer.logged
    assert (line["message"], line["reason"], line["level"]) == ("failed", "PutObject AccessDenied", "ERROR")
    assert counted(answer) == {"FilesFailed": 1}
    (report,) = said(answer)  # the runtime client's own
    assert (report["level"], report["errorMessage"]) == ("ERROR", why)
    hidden(answer.everything)
    record = {**event("lambda_failure_record"), "requestPayload": notification("scan.json")}
    assert runtime.invoke({**record, "responsePayload": answer.body}).body is None
    assert processed(s3, "scan.json") == [{"patient_id": ID, "patient_name": NAME}]


def test_a_handler_bug_leaks_no_content(runtime: Runtime, s3: Any, packages: Path) -> None:
    handler = packages / "task/lambda_function.py"
    code = handler.read_text()
    try:
        handler.write_text(code + "\n\ndef cut_down(batch):\n    raise ValueError(batch)\n")
        s3.put_object(Bucket="raw", Key="scan.json", Body=GOOD)
        answer = runtime.invoke(notification("scan.json"))
    finally:
        handler.write_text(code)
    assert (answer.to, answer.body["errorType"]) == ("error", "Failure")
    assert re.match(r"ValueError in cut_down line \d+ bucket=raw key=scan.json version=", answer.body["errorMessage"])
    assert counted(answer) == {"FilesFailed": 1}
    hidden(answer.everything)


def test_only_the_failed_messages_of_a_batch_are_redelivered(runtime: Runtime, s3: Any) -> None:
    keys = [f"{n}.json" for n in range(7)]
    for key in keys:
        s3.put_object(Bucket="raw", Key=key, Body=GOOD)
    s3.put_object(Bucket="raw", Key="bad.json", Body=BAD)
    lost = notification("lost.json", bucket="no-such-bucket")
    answer = runtime.invoke(batch(*map(notification, keys), notification("bad.json"), lost, GOOD.decode()[:-1]))
    assert answer.to == "response"
    assert answer.body == {"batchItemFailures": [{"itemIdentifier": "m8"}, {"itemIdentifier": "m9"}]}
    assert all(processed(s3, key) for key in keys)
    assert verdict(s3, "bad.json")["reason"] == "invalid_field"
    outcomes = sorted((line["message"], line["level"], line.get("reason", "")) for line in answer.logged)
    assert outcomes == [
        ("failed", "ERROR", "GetObject NoSuchBucket"),
        ("failed", "ERROR", "unsupported_event"),
        *[("processed", "INFO", "")] * 7,
        ("rejected", "WARNING", "invalid_field record=0 field=scan_date"),
    ]
    counts = counted(answer)
    assert (counts["FilesProcessed"], counts["FilesRejected invalid_field"]) == (7, 1)
    assert sum(sum(line["FilesFailed"]) for line in answer.metrics if "FilesFailed" in line) == 2
    assert not said(answer)
    hidden(answer.everything)


@pytest.mark.parametrize("least", LEVELS[LEVELS.index(settings()["application_log_level"]) : -1])
def test_lambdas_log_filter_recognizes_the_level_of_each_line(
    make: Callable[..., Runtime], s3: Any, least: str
) -> None:
    """Whatever the level in the function's settings, and metrics at the level that Terraform sets."""
    for key, body in {"good.json": GOOD, "bad.json": BAD}.items():
        s3.put_object(Bucket="raw", Key=key, Body=body)
    lost = notification("lost.json", bucket="no-such-bucket")
    runtime = make(AWS_LAMBDA_LOG_LEVEL={"WARNING": "WARN", "CRITICAL": "FATAL"}.get(least, least))
    answer = runtime.invoke(batch(notification("good.json"), notification("bad.json"), lost))
    told = {"processed": "INFO", "rejected": "WARNING", "failed": "ERROR"}
    kept = {message: taken for message, taken in told.items() if LEVELS.index(taken) >= LEVELS.index(least)}
    assert {line["message"]: level(line) for line in answer.logged} == kept
    counts = counted(answer)
    assert [counts[f"Files{name}"] for name in ("Processed", "Failed", "Rejected invalid_field")] == [1, 1, 1]
    if least == settings()["application_log_level"]:
        assert all(LEVELS.index(level(line)) >= LEVELS.index(least) for line in answer.metrics)


def test_near_the_deadline_nothing_is_started_and_everything_is_redelivered(
    runtime: Runtime, s3: Any, proxy: Any
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=GOOD)
    answer = runtime.invoke(notification("scan.json"), NEARLY_UP_MS)
    assert (answer.to, answer.body["errorType"]) == ("error", "Failure")
    assert answer.body["errorMessage"] == "out_of_time bucket=raw key=scan.json version="
    assert failed(runtime.invoke(batch(*[notification("scan.json")] * 2), NEARLY_UP_MS).body) == ["m0", "m1"]
    assert not {"get", "put"} & set(proxy.seen)
    assert processed(s3, "scan.json") is None
    assert runtime.invoke(notification("scan.json")).to == "response"
    assert processed(s3, "scan.json")


def test_an_invocation_killed_at_the_deadline_leaves_the_older_result_whole(
    runtime: Runtime, s3: Any, proxy: Any
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=GOOD)
    runtime.invoke(notification("scan.json"))
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    proxy.break_next("complete", "timeout", 1)
    runtime.send(notification("scan.json"))
    assert proxy.reached.wait(PATIENCE_SECONDS)
    runtime.kill()
    assert processed(s3, "scan.json") == [{"patient_id": ID, "patient_name": NAME}]
    assert len(s3.list_multipart_uploads(Bucket="processed")["Uploads"]) == 1  # for the bucket's lifecycle rule
    hidden(json.dumps(runtime.printed()))
    assert runtime.invoke(notification("scan.json")).to == "response"
    assert processed(s3, "scan.json") == json.loads(LARGE)


@pytest.mark.parametrize(
    ("variables", "cause"),
    [
        ({"PROCESSED_BUCKET": None}, "PROCESSED_BUCKET is not set: it must name the bucket for the results"),
        ({"REJECTED_BUCKET": None}, "REJECTED_BUCKET is not set: it must name the bucket for the verdicts"),
        ({"STALE_RESULTS": "burn"}, "STALE_RESULTS is unknown: it must be keep or remove"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(make: Callable[..., Runtime], variables: Any, cause: str) -> None:
    runtime = make(**variables)
    runtime.start()
    answer = runtime.answer()
    assert answer.to == "init/error"
    assert (answer.body["errorType"], answer.body["errorMessage"]) == ("RuntimeError", cause)
    assert not answer.lines
    warning, report = said(answer)  # that the function did not start, and why
    assert (warning["level"], report["level"], report["errorMessage"]) == ("WARNING", "ERROR", cause)
    assert runtime.process
    assert runtime.process.wait(PATIENCE_SECONDS) == 1


def test_the_function_has_the_variables_that_terraform_sets() -> None:
    assert block("pipeline", "module", "lambda")["environment_variables"].keys() == VARIABLES.keys()


def test_the_layer_contains_no_part_of_the_sdk(packages: Path) -> None:
    folders = [packages / name for name in ("client", "pinned", "oldest")]
    brought = {path.name for folder in folders for path in folder.iterdir() if path.suffix != ".dist-info"}
    assert {"boto3", "botocore", "urllib3", "awslambdaric"} <= brought
    # Powertools needs it too, and the layer's comes first.
    assert {path.name for path in (packages / "opt/python").iterdir()} & brought - {"__pycache__"} == {"jmespath"}


@BOTH
def test_a_small_result_is_written_and_overwritten(runtime: Runtime, s3: Any, proxy: Any, sdk: str) -> None:
    for body in (GOOD, b"[]", GOOD):
        version = s3.put_object(Bucket="raw", Key="scan.json", Body=body)["VersionId"]
        assert runtime.invoke(notification("scan.json")).to == "response"
        expected = [{"patient_id": ID, "patient_name": NAME}] if body == GOOD else []
        assert processed(s3, "scan.json") == expected
        head = s3.head_object(Bucket="processed", Key="scan.json")
        assert (head["Metadata"]["source-version-id"], head["ContentType"]) == (version, "application/json")
        assert head["Metadata"]["record-count"] == str(len(expected))
    checked = with_checksums(proxy)
    assert checked == ["put"] * 3
    used = {re.search(r"Boto3/(\S+)", headers["User-Agent"])[1] for _, headers, _ in proxy.requests}  # type: ignore[index]
    assert used == {boto3.__version__ if sdk == "pinned" else oldest_boto3()}


def oldest_boto3() -> str:
    (version,) = re.findall(r"(?m)^boto3==(\S+)", (ROOT / parts.OLDEST_SDK[1]).read_text())
    return str(version)


def with_checksums(proxy: Any) -> list[str]:
    """The kinds of requests that wrote something, checked to say its checksum, as object lock and parts demand."""
    writes = [one for one in proxy.requests if one[0] in ("put", "part", "write it")]
    sums = [b64encode(zlib.crc32(body).to_bytes(4)).decode() for _, _, body in writes]
    assert [headers["x-amz-checksum-crc32"] for _, headers, _ in writes] == sums
    for kind, headers, body in proxy.requests:
        if kind == "create":
            assert headers["x-amz-checksum-algorithm"] == "CRC32"
        if kind == "complete":
            parts_sums = [one for one, (kind, *_) in zip(sums, writes, strict=True) if kind == "part"]
            assert re.findall(r"<ChecksumCRC32>(.*?)</ChecksumCRC32>", body.decode()) == parts_sums
    return [kind for kind, _, _ in writes]


@BOTH
def test_a_large_result_is_written_in_parts(runtime: Runtime, s3: Any, proxy: Any) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    assert runtime.invoke(notification("scan.json")).to == "response"
    assert processed(s3, "scan.json") == json.loads(LARGE)
    assert with_checksums(proxy) == ["part", "part"]
    assert {"create", "complete"} <= set(proxy.seen)


@BOTH
def test_a_rejected_file_has_its_verdict_until_it_is_fixed(make: Callable[..., Runtime], s3: Any, proxy: Any) -> None:
    runtime = make(STALE_RESULTS="remove")
    for body in (GOOD, BAD):
        version = s3.put_object(Bucket="raw", Key="scan.json", Body=body)["VersionId"]
        assert runtime.invoke(notification("scan.json")).to == "response"
    assert processed(s3, "scan.json") is None
    assert verdict(s3, "scan.json")["source_version_id"] == version
    assert with_checksums(proxy) == ["put", "write it"]
    s3.put_object(Bucket="raw", Key="scan.json", Body=GOOD)
    assert runtime.invoke(notification("scan.json")).to == "response"
    assert verdict(s3, "scan.json") is None
    assert processed(s3, "scan.json")


@BOTH
def test_the_verdicts_of_a_batch_are_listed(runtime: Runtime, s3: Any, proxy: Any) -> None:
    for key in ("a.json", "b.json"):
        s3.put_object(Bucket="raw", Key=key, Body=BAD)
    bodies = batch(notification("a.json"), notification("b.json"))
    for _ in range(2):
        assert failed(runtime.invoke(bodies).body) == []
    assert proxy.seen.count("list verdicts") == 2
    assert proxy.seen.count("write it") == 2  # the second time they are found


@BOTH
@pytest.mark.parametrize(("body", "request_"), [(GOOD, "put"), (LARGE, "create"), (BAD, "write it")])
def test_a_disabled_key_is_named_as_the_reason(
    runtime: Runtime, s3: Any, proxy: Any, body: bytes, request_: str
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=body)
    proxy.break_next(request_, "key disabled", 1)
    answer = runtime.invoke(notification("scan.json"))
    operation = "CreateMultipartUpload" if request_ == "create" else "PutObject"
    assert answer.body["errorMessage"].startswith(f"{operation} KMS.DisabledException bucket=raw key=scan.json")
    assert processed(s3, "scan.json") is None


@BOTH
def test_a_damaged_download_is_not_published(runtime: Runtime, s3: Any, proxy: Any) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    proxy.checksum = b64encode(zlib.crc32(LARGE).to_bytes(4)).decode()
    proxy.break_next("get", "corrupt", 1)
    answer = runtime.invoke(notification("scan.json"))
    assert answer.body["errorMessage"].startswith("checksum_mismatch")
    assert processed(s3, "scan.json") is None


@BOTH
def test_a_broken_download_is_resumed(runtime: Runtime, s3: Any, proxy: Any) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    proxy.break_next("get", "cut short", 1)
    assert runtime.invoke(notification("scan.json")).to == "response"
    assert processed(s3, "scan.json") == json.loads(LARGE)
    assert "resume" in proxy.seen
