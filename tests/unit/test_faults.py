"""Faults: every request to S3, failing in every way it can. The result is whole or absent, and the event comes again.

The handler's client talks over real connections to a proxy on 127.0.0.1, which passes requests on to moto's S3
server, and breaks those that it is told to break.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from typing import Any

import boto3
import pytest
from botocore.config import Config

import lambda_function
from lambda_function import Failure, lambda_handler

from . import PATIENCE_SECONDS
from .invocations import Context, batch, failed, notification, processed, verdict
from .proxy import Proxy, proxy_fixture, server_fixture, time_out_immediately  # noqa: F401 - fixtures

LARGE = json.dumps([{"patient_id": str(n), "patient_name": "x" * 40} for n in range(2000)]).encode()
CHECKSUM = b64encode(zlib.crc32(LARGE).to_bytes(4)).decode()
SMALL = b'[{"patient_id":"1","patient_name":"Ann"}]'
FAULTS = ["throttled", "error", "timeout", "reset", "denied"]
LARGE_REQUESTS = ["get", "create", "part", "complete", "look for a verdict", "head"]


@pytest.fixture
def s3(server: tuple[str, int], proxy: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the server itself; the handler's goes through the proxy."""
    time_out_immediately(proxy, monkeypatch)
    # An answer that only comes late is no fault, and must not be taken for one here.
    monkeypatch.setattr(lambda_function, "s3", client_with(PATIENCE_SECONDS, proxy))
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    monkeypatch.setattr(lambda_function, "PART_BYTES", 40_000)
    monkeypatch.setattr(lambda_function, "READ_BYTES", 32_768)
    monkeypatch.setattr(lambda_function, "BATCH_BYTES", 32_768)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    client: Any = boto3.client("s3", endpoint_url=f"http://{server[0]}:{server[1]}")
    client.proxy = proxy
    for bucket in ("raw", "processed", "rejected"):
        client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket="raw", VersioningConfiguration={"Status": "Enabled"})
    return client


def client_with(read_timeout: float, proxy: Any) -> Any:
    """Return the handler's client with another read timeout, in seconds, through the proxy."""
    config = lambda_function.s3.meta.config.merge(Config(read_timeout=read_timeout))
    return boto3.client("s3", endpoint_url=proxy.url, config=config)


def content(data: bytes) -> Any:
    return [{"patient_id": r["patient_id"], "patient_name": r["patient_name"]} for r in json.loads(data)]


def uploads(s3: Any) -> list[Any]:
    return list(s3.list_multipart_uploads(Bucket="processed").get("Uploads", []))


def cases(requests: list[str], faults: list[str]) -> list[Any]:
    return [pytest.param(request, fault, id=f"{request}-{fault}") for request in requests for fault in faults]


@pytest.mark.parametrize(("request_", "fault"), cases([*LARGE_REQUESTS, "put"], FAULTS[:4]))
def test_a_transient_fault_has_no_effect(s3: Any, context: Context, request_: str, fault: str) -> None:
    data = SMALL if request_ == "put" else LARGE
    s3.put_object(Bucket="raw", Key="scan.json", Body=data)
    s3.proxy.break_next(request_, fault, 1)
    assert lambda_handler(notification("scan.json"), context) is None
    assert s3.proxy.seen.count(request_) > 1 or "resume" in s3.proxy.seen
    assert processed(s3, "scan.json") == content(data)
    assert not uploads(s3)


@pytest.mark.parametrize(("request_", "fault"), cases([*LARGE_REQUESTS, "put"], FAULTS))
def test_a_permanent_fault_leaves_all_or_nothing_and_the_event_is_redelivered(
    s3: Any, context: Context, request_: str, fault: str
) -> None:
    data = SMALL if request_ == "put" else LARGE
    s3.put_object(Bucket="raw", Key="scan.json", Body=data)
    s3.proxy.break_next(request_, fault, 1000)
    if (request_, fault) == ("get", "reset"):
        s3.proxy.kind = "get"  # the first answer breaks off; make those that resume it break off as well
        s3.proxy._kind = lambda self: "get" if self.command == "GET" else Proxy._kind(self)
    with pytest.raises(Failure) as caught:
        lambda_handler(notification("scan.json"), context)
    assert "bucket=raw key=scan.json" in str(caught.value)
    assert (fault == "timeout") == ("Timeout" in str(caught.value))
    is_written = request_ in ("look for a verdict", "head")
    assert processed(s3, "scan.json") == (content(data) if is_written else None)
    assert not uploads(s3)
    assert failed(lambda_handler(batch(notification("scan.json")), context)) == ["m0"]
    s3.proxy.break_next("", "", 0)
    assert lambda_handler(batch(notification("scan.json")), context) == {"batchItemFailures": []}
    assert processed(s3, "scan.json") == content(data)
    assert not uploads(s3)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_abort_is_logged_and_the_file_is_still_rejected(
    s3: Any, context: Context, log: Any, fault: str
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE[:-1] + b"x")
    s3.proxy.break_next("abort", fault, 1000)
    assert lambda_handler(notification("scan.json"), context) is None
    assert '"message":"abort failed"' in log.getvalue()
    assert verdict(s3, "scan.json")["reason"] == "malformed"
    assert processed(s3, "scan.json") is None


def test_a_request_without_an_answer_times_out_after_the_clients_read_timeout(
    s3: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=SMALL)
    s3.proxy.released.clear()  # elsewhere the connection is closed immediately, and the socket reports a timeout
    s3.proxy.break_next("get", "timeout", 1000)
    monkeypatch.setattr(lambda_function, "s3", client_with(0.1, s3.proxy))
    with pytest.raises(Failure, match="ReadTimeoutError"):
        lambda_handler(notification("scan.json"), context)


BAD = b'[{"patient_id":"1"}]'


@pytest.mark.parametrize(
    ("request_", "fault"), cases(["get", "look for a verdict", "write it", "remove it", "head"], FAULTS)
)
def test_a_verdict_is_finally_written_or_removed_whatever_fails(
    s3: Any, context: Context, request_: str, fault: str
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=BAD)
    if request_ == "remove it":
        lambda_handler(notification("scan.json"), context)
        s3.put_object(Bucket="raw", Key="scan.json", Body=SMALL)
    s3.proxy.break_next(request_, fault, 1000)
    if (request_, fault) == ("get", "reset"):
        s3.proxy._kind = lambda self: "get" if self.command == "GET" else Proxy._kind(self)
    with pytest.raises(Failure, match=" bucket=raw key="):
        lambda_handler(notification("scan.json"), context)
    assert bool(verdict(s3, "scan.json")) == (request_ in ("remove it", "head"))
    s3.proxy.break_next("", "", 0)
    assert lambda_handler(batch(notification("scan.json")), context) == {"batchItemFailures": []}
    assert bool(verdict(s3, "scan.json")) == (request_ != "remove it")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_batch_is_redelivered_if_its_verdicts_cannot_be_listed(s3: Any, context: Context, fault: str) -> None:
    s3.put_object(Bucket="raw", Key="a.json", Body=SMALL)
    s3.put_object(Bucket="raw", Key="b.json", Body=BAD)
    events = batch(notification("a.json"), notification("b.json"))
    s3.proxy.break_next("list verdicts", fault, 1000)
    assert failed(lambda_handler(events, context)) == ["m0", "m1"]
    assert verdict(s3, "b.json") is None
    s3.proxy.break_next("list verdicts", fault, 0 if fault == "denied" else 1)
    assert failed(lambda_handler(events, context)) == []
    assert verdict(s3, "b.json")


def test_an_answer_from_another_offset_is_not_taken_for_the_rest(s3: Any, context: Context) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    s3.proxy.break_next("get", "reset", 1)
    s3.proxy.ranges = False  # then HTTP has it that the whole object comes once more
    with pytest.raises(Failure, match="range_ignored"):
        lambda_handler(notification("scan.json"), context)
    assert processed(s3, "scan.json") is None


@pytest.mark.parametrize("fault", ["reset", "cut short", "stall"])
@pytest.mark.parametrize("times", [1, 8])
def test_a_broken_download_is_resumed_at_the_same_byte(
    s3: Any, context: Context, monkeypatch: pytest.MonkeyPatch, fault: str, times: int
) -> None:
    s3.proxy.checksum = CHECKSUM
    monkeypatch.setattr(lambda_function, "READ_BYTES", 256)  # so that half of what is left is always some progress
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    s3.proxy._kind = lambda self: "get" if self.command == "GET" else Proxy._kind(self)
    s3.proxy.break_next("get", fault, times)
    assert lambda_handler(notification("scan.json"), context) is None
    assert s3.proxy.seen.count("get") == times + 1
    assert not s3.proxy.silent  # each timeout was noticed
    assert processed(s3, "scan.json") == content(LARGE)


@pytest.mark.parametrize("fault", FAULTS[:4])
def test_the_request_that_resumes_a_download_is_retried_too(s3: Any, context: Context, fault: str) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    break_body(s3)
    s3.proxy.break_next("resume", fault, 1)
    assert lambda_handler(notification("scan.json"), context) is None
    assert s3.proxy.seen.count("resume") == 2
    assert processed(s3, "scan.json") == content(LARGE)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_download_that_cannot_be_resumed_leaves_nothing_and_is_redelivered(
    s3: Any, context: Context, fault: str
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    break_body(s3)
    s3.proxy.break_next("resume", fault, 1000)
    assert failed(lambda_handler(batch(notification("scan.json")), context)) == ["m0"]
    assert processed(s3, "scan.json") is None
    assert not uploads(s3)


def break_body(s3: Any) -> None:
    """Cut short every answer that begins a download, whatever else is to break."""
    answer = s3.proxy._answer

    def cut_short(self: Any, *args: Any, broken: str = "") -> None:
        answer(self, *args, broken=broken or ("cut short" if self._kind() == "get" else ""))

    s3.proxy._answer = cut_short


def test_content_that_does_not_match_its_checksum_is_not_published(s3: Any, context: Context) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    s3.proxy.checksum = CHECKSUM
    s3.proxy.break_next("get", "corrupt", 1)
    with pytest.raises(Failure, match=r"^checksum_mismatch "):
        lambda_handler(notification("scan.json"), context)
    assert processed(s3, "scan.json") is None
    assert not uploads(s3)


def test_a_download_is_not_resumed_from_a_replaced_unversioned_object(s3: Any, context: Context) -> None:
    s3.create_bucket(Bucket="plain")
    s3.put_object(Bucket="plain", Key="scan.json", Body=LARGE)
    s3.proxy.break_next("get", "cut short", 1)
    answer = s3.proxy._answer

    def overwrite_then_answer(self: Any, *args: Any, broken: str = "") -> None:
        if broken:
            s3.put_object(Bucket="plain", Key="scan.json", Body=LARGE.replace(b"x", b"y"))
        answer(self, *args, broken=broken)

    s3.proxy._answer = overwrite_then_answer
    with pytest.raises(Failure, match=r"^GetObject PreconditionFailed "):
        lambda_handler(notification("scan.json", bucket="plain"), context)
    assert processed(s3, "scan.json") is None


def test_a_broken_download_is_resumed_on_the_version_it_began_with(s3: Any, context: Context) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=LARGE)
    s3.proxy.break_next("get", "cut short", 1)
    answer = s3.proxy._answer

    def overwrite_then_answer(self: Any, *args: Any, broken: str = "") -> None:
        if broken:
            s3.put_object(Bucket="raw", Key="scan.json", Body=SMALL)
        answer(self, *args, broken=broken)

    s3.proxy._answer = overwrite_then_answer
    assert lambda_handler(notification("scan.json"), context) is None
    assert [kind for kind in s3.proxy.seen if kind in ("get", "resume", "head")] == [
        "get",
        "resume",
        "head",
        "get",
        "head",
    ]
    assert processed(s3, "scan.json") == content(SMALL)
