"""One object: from the raw bucket to the processed one."""

from __future__ import annotations

import base64
import datetime
import io
import json
import re
import threading
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import lambda_function
from lambda_function import Download, Failure, Upload, Work, process_object

from . import PATIENCE_SECONDS
from .framing import frame
from .invocations import Context, lines, notification, processed, verdict

ONE = b'[{"patient_id":"1","patient_name":"Ann","diagnosis":"healthy"}]'


def many(count: int) -> bytes:
    return json.dumps(
        [{"patient_id": str(n), "patient_name": "x" * (n % 50 + 1), "n": n} for n in range(count)]
    ).encode()


def run(key: str = "scan.json", remaining: int = 300_000) -> Work:
    work = Work("raw", key)
    work.outcome, work.reason = process_object(work, lambda: remaining)
    return work


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_function, "PART_BYTES", 10_000)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 10_000)


def test_a_small_object_is_put_with_its_source_in_the_metadata(s3: Any) -> None:
    version = s3.put_object(Bucket="raw", Key="scan.json", Body=ONE)["VersionId"]
    work = run()
    result = s3.get_object(Bucket="processed", Key="scan.json")
    assert result["Body"].read() == b'[\n{"patient_id":"1","patient_name":"Ann"}\n]\n'
    assert result["ContentType"] == "application/json"
    etag = s3.head_object(Bucket="raw", Key="scan.json")["ETag"].strip('"')
    assert result["Metadata"] == {"source-version-id": version, "source-etag": etag, "record-count": "1"}
    assert (work.version_id, work.rounds, work.records, work.bytes_in) == (version, 1, 1, len(ONE))
    assert work.bytes_out == result["ContentLength"]


@pytest.mark.usefixtures("small_parts")
def test_a_large_object_is_sent_in_parts_with_the_same_content(s3: Any) -> None:
    data = many(5000)
    version = s3.put_object(Bucket="raw", Key="scan.json", Body=data)["VersionId"]
    work = run()
    result = s3.get_object(Bucket="processed", Key="scan.json")
    text = result["Body"].read()
    assert [(r["patient_id"], r["patient_name"]) for r in json.loads(text)] == frame([data])
    assert text.count(b"\n") == 5000 + 2
    assert result["ETag"].strip('"').partition("-")[2] == str(len(text) // 10_000 + 1) or "-" in result["ETag"]
    assert result["ContentType"] == "application/json"
    assert result["Metadata"]["source-version-id"] == version
    assert work.bytes_out == len(text)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("records", [1, 1000, None])
def test_every_write_carries_its_checksum(s3: Any, records: int | None) -> None:
    """As S3 demands it of parts, and of any object in a bucket with object lock, whatever the SDK sends by itself."""
    sent = list[Any]()

    def note(request: Any, **_: Any) -> None:
        body = request.body.getvalue() if isinstance(request.body, io.BytesIO) else request.body
        sent.append((request.method, request.headers, body))

    s3.put_object(Bucket="raw", Key="scan.json", Body=many(records) if records else b"{}")
    s3.meta.events.register("before-send.s3", note, unique_id="note")
    run()
    s3.meta.events.unregister("before-send.s3", unique_id="note")
    written = [(headers, body) for method, headers, body in sent if method == "PUT"]
    assert len(written) == (2 if records == 1000 else 1)
    checksums = [base64.b64encode(zlib.crc32(body).to_bytes(4)) for _, body in written]
    assert [headers["x-amz-checksum-crc32"] for headers, _ in written] == checksums
    assert all("x-amz-trailer" not in headers for headers, _ in written)
    posts = [(headers, body) for method, headers, body in sent if method == "POST"]
    if records == 1000:
        (begun, _), (_, completed) = posts
        assert begun["x-amz-checksum-algorithm"] == b"CRC32"
        assert re.findall(rb"<ChecksumCRC32>(.*?)</ChecksumCRC32>", completed) == checksums
    else:
        assert not posts


def test_a_running_large_copy_is_awaited_when_time_runs_out(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    time_is_up = threading.Event()
    submit = lambda_function._large_object_thread.submit

    def submit_and_tell(copy: Callable[[], None]) -> Any:
        future = submit(copy)
        monkeypatch.setattr(future, "cancel", cannot_be_cancelled)
        return future

    def cannot_be_cancelled() -> bool:
        time_is_up.set()
        return False

    def fail_then(_: Upload) -> None:
        assert time_is_up.wait(PATIENCE_SECONDS)
        raise Failure("told by the copy")

    def remaining() -> int:
        waits = threading.current_thread() is threading.main_thread()
        return lambda_function.TIME_MARGIN_MS + 1 if waits else 300_000

    monkeypatch.setattr(lambda_function, "_large_object_thread", SimpleNamespace(submit=submit_and_tell))
    monkeypatch.setattr(lambda_function, "READ_BYTES", len(ONE) - 1)
    monkeypatch.setattr(Upload, "finish", fail_then)
    s3.put_object(Bucket="raw", Key="scan.json", Body=ONE)
    with pytest.raises(Failure, match="told by the copy"):
        process_object(Work("raw", "scan.json"), remaining)


def test_a_file_without_records_gives_an_empty_array(s3: Any) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=b" [ ] ")
    run()
    result = s3.get_object(Bucket="processed", Key="scan.json")
    assert result["Body"].read() == b"[]\n"
    assert result["Metadata"]["record-count"] == "0"


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("tail", [b"", b"x]", b',{"patient_id":"1"}]', b"]]"])
def test_a_rejected_file_leaves_the_processed_object_as_it_was(s3: Any, tail: bytes) -> None:
    s3.put_object(Bucket="processed", Key="scan.json", Body=b"as it was")
    s3.put_object(Bucket="raw", Key="scan.json", Body=many(5000)[:-1] + tail)
    assert run().outcome == "rejected"
    assert s3.get_object(Bucket="processed", Key="scan.json")["Body"].read() == b"as it was"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="processed")


def test_a_version_that_arrives_during_processing_is_processed_too(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=b"[]")
    finish = Upload.finish

    def overwrite_then_finish(upload: Upload) -> None:
        if upload._work.rounds < 3:
            s3.put_object(Bucket="raw", Key="scan.json", Body=many(upload._work.rounds))
        finish(upload)

    monkeypatch.setattr(Upload, "finish", overwrite_then_finish)
    work = run()
    assert work.rounds == 3
    assert [record["patient_id"] for record in processed(s3, "scan.json")] == ["0", "1"]
    newest = s3.head_object(Bucket="raw", Key="scan.json")["VersionId"]
    assert s3.head_object(Bucket="processed", Key="scan.json")["Metadata"]["source-version-id"] == newest


def test_a_connection_that_breaks_after_the_last_byte_loses_nothing(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Body(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if data := super().read(size):
                return data
            raise OSError

    get_object = s3.get_object
    monkeypatch.setattr(s3, "get_object", lambda **names: {**get_object(**names), "Body": Body(ONE)})
    monkeypatch.setattr(lambda_function, "READ_BYTES", 16)
    s3.put_object(Bucket="raw", Key="scan.json", Body=ONE)
    assert run().bytes_in == len(ONE)
    monkeypatch.undo()
    assert processed(s3, "scan.json") == [{"patient_id": "1", "patient_name": "Ann"}]


def test_a_key_that_keeps_changing_fails_after_a_bounded_number_of_rounds(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=b"[]")
    finish = Upload.finish

    def finish_then_overwrite(upload: Upload) -> None:
        finish(upload)
        s3.put_object(Bucket="raw", Key="scan.json", Body=b"[]")

    monkeypatch.setattr(Upload, "finish", finish_then_overwrite)
    with pytest.raises(Failure, match=r"^still_changing$"):
        run()
    versions = s3.list_object_versions(Bucket="raw")["Versions"]
    assert len(versions) == 1 + lambda_function.MAX_ROUNDS


def test_an_unversioned_raw_bucket_converges_too(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.create_bucket(Bucket="plain")
    s3.put_object(Bucket="plain", Key="scan.json", Body=b"[]")
    finish = Upload.finish

    def overwrite_then_finish(upload: Upload) -> None:
        s3.put_object(Bucket="plain", Key="scan.json", Body=ONE)
        finish(upload)

    monkeypatch.setattr(Upload, "finish", overwrite_then_finish)
    work = Work("plain", "scan.json")
    process_object(work, lambda: 300_000)
    assert (work.rounds, work.version_id) == (2, "null")
    assert len(processed(s3, "scan.json")) == 1


INVALID = b'[{"patient_id":"1","patient_name":"Ann"},{"patient_id":"2","patient_name":3}]'


def test_a_verdict_holds_the_reason_and_the_version(s3: Any) -> None:
    put = s3.put_object(Bucket="raw", Key="scan.json", Body=INVALID)
    work = run()
    assert (work.outcome, work.reason) == ("rejected", "invalid_field record=1 field=patient_name")
    found = s3.get_object(Bucket="rejected", Key="scan.json")
    etag = put["ETag"].strip('"')
    assert found["Metadata"] == {"source-version-id": put["VersionId"], "source-etag": etag}
    assert found["ContentType"] == "application/json"
    told = verdict(s3, "scan.json")
    assert datetime.datetime.fromisoformat(told.pop("rejected_at")).tzinfo == datetime.UTC
    assert told == {
        "reason": "invalid_field",
        "record": 1,
        "field": "patient_name",
        "source_version_id": put["VersionId"],
        "source_etag": etag,
    }
    assert processed(s3, "scan.json") is None


def versions(s3: Any, bucket: str) -> int:
    """How many versions and delete markers there are."""
    listing = s3.list_object_versions(Bucket=bucket)
    return len(listing.get("Versions", [])) + len(listing.get("DeleteMarkers", []))


def test_a_verdict_is_written_once_however_often_its_event_arrives(s3: Any) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=INVALID)
    assert run().reason == run().reason
    assert versions(s3, "rejected") == 1


@pytest.mark.parametrize("then", ["fixed", "deleted"])
def test_a_verdict_is_removed_once_its_version_is_replaced_or_deleted(s3: Any, then: str) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=INVALID)
    run()
    if then == "fixed":
        s3.put_object(Bucket="raw", Key="scan.json", Body=ONE)
    else:
        s3.delete_object(Bucket="raw", Key="scan.json")
    assert run().outcome == ("processed" if then == "fixed" else "gone")
    assert verdict(s3, "scan.json") is None
    assert versions(s3, "rejected") == 2  # it can be brought back


def test_without_a_verdict_there_is_nothing_to_remove(s3: Any) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=ONE)
    run()
    run()
    s3.delete_object(Bucket="raw", Key="scan.json")
    run()
    assert versions(s3, "rejected") == 0


@pytest.mark.parametrize("stale_results", ["keep", "remove"])
@pytest.mark.parametrize("then", ["rejected", "deleted"])
def test_the_result_of_an_older_version_is_kept_or_removed_as_configured(
    s3: Any, monkeypatch: pytest.MonkeyPatch, stale_results: str, then: str
) -> None:
    monkeypatch.setattr(lambda_function, "STALE_RESULTS", stale_results)
    others = "earlier.json", "scan.json.json"  # one sorts before the key, one begins with it
    for key in ("scan.json", *others):
        s3.put_object(Bucket="raw", Key=key, Body=ONE)
        run(key)
    if then == "rejected":
        s3.put_object(Bucket="raw", Key="scan.json", Body=INVALID)
    else:
        s3.delete_object(Bucket="raw", Key="scan.json")
    run()
    assert bool(processed(s3, "scan.json")) == (stale_results == "keep")
    run()
    assert versions(s3, "processed") == (3 if stale_results == "keep" else 4)  # three results, one delete marker
    assert all(processed(s3, key) for key in others)


def test_a_version_deleted_while_it_is_read_is_not_taken_for_the_newest(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=ONE)
    newer = s3.put_object(Bucket="raw", Key="scan.json", Body=many(3))["VersionId"]
    read = Download._read

    def delete_then_read(download: Download) -> bytes:
        if download._work.version_id == newer:
            s3.delete_object(Bucket="raw", Key="scan.json", VersionId=newer)
            download._resume()
        return read(download)

    monkeypatch.setattr(Download, "_read", delete_then_read)
    work = run()
    assert (work.outcome, work.rounds) == ("processed", 2)
    assert processed(s3, "scan.json") == [{"patient_id": "1", "patient_name": "Ann"}]


@pytest.mark.parametrize("when", ["before", "during"])
def test_an_object_that_is_gone_is_acknowledged(
    s3: Any, context: Context, log: io.StringIO, capsys: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=ONE)
    finish = Upload.finish

    def delete_then_finish(upload: Upload) -> None:
        s3.delete_object(Bucket="raw", Key="scan.json")
        finish(upload)

    if when == "before":
        s3.delete_object(Bucket="raw", Key="scan.json")
    monkeypatch.setattr(Upload, "finish", delete_then_finish)
    assert lambda_function.lambda_handler(notification("scan.json"), context) is None
    assert [line["message"] for line in lines(log)] == ["gone"]
    assert '"FilesGone":[1.0]' in capsys.readouterr().out


def test_a_missing_bucket_is_not_taken_for_a_missing_object(s3: Any, context: Context) -> None:
    with pytest.raises(Failure, match="GetObject NoSuchBucket"):
        lambda_function.lambda_handler(notification("scan.json", bucket="no-such-bucket"), context)


def test_without_time_nothing_is_started(s3: Any) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=ONE)
    with pytest.raises(Failure, match="out_of_time"):
        run(remaining=lambda_function.TIME_MARGIN_MS - 1)
    assert processed(s3, "scan.json") is None


@pytest.mark.usefixtures("small_parts")
def test_when_time_runs_out_the_upload_is_aborted(s3: Any) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=many(30_000))
    asked = iter(range(10_000))

    def remaining() -> int:
        sent = "Uploads" in s3.list_multipart_uploads(Bucket="processed")
        next(asked)
        return 0 if sent else 300_000

    with pytest.raises(Failure, match="out_of_time"):
        process_object(Work("raw", "scan.json"), remaining)
    assert processed(s3, "scan.json") is None
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="processed")


def test_a_stalled_download_is_abandoned_when_time_runs_out() -> None:
    stalled = threading.Event()

    class Stalled:
        def read(self, _: int) -> bytes:
            stalled.wait()
            return b""

        def close(self) -> None:
            closed.set()

    closed = threading.Event()
    reading: Any = Stalled()
    with pytest.raises(Failure, match="out_of_time") as caught:
        list(read_ahead(reading, lambda_function.TIME_MARGIN_MS + 1))
    assert caught.value.__context__ is None
    stalled.set()
    assert closed.wait(PATIENCE_SECONDS)


class Reads:
    """A body that counts its reads; how each ends is what `answer` does."""

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self.answer = answer
        self.count = 0
        self.more, self.closed = threading.Condition(), threading.Event()

    def read(self, _: int) -> bytes:
        with self.more:
            self.count += 1
            self.more.notify()
        return self.answer()

    def close(self) -> None:
        self.closed.set()


def read_ahead(body: Any, remaining: int = 300_000) -> Any:
    size = lambda_function.READ_BYTES + 1
    return Download(Work("raw", "scan.json"), body, size, lambda: remaining).pieces_ahead()


def test_reading_stays_ahead_of_the_parser_within_a_limit() -> None:
    ahead = lambda_function.READS_AHEAD + 1
    body = Reads(lambda: b"x")
    data = read_ahead(body)
    next(data)
    with body.more:
        assert body.more.wait_for(lambda: body.count >= ahead, PATIENCE_SECONDS)
    data.close()
    assert body.closed.wait(PATIENCE_SECONDS)
    assert body.count == ahead


def test_an_abandoned_download_is_not_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()

    def break_when_given_up() -> bytes:
        given_up.wait()
        raise OSError

    body = Reads(break_when_given_up)
    resumed: list[Any] = []
    monkeypatch.setattr(lambda_function, "s3", SimpleNamespace(get_object=resumed.append))
    with pytest.raises(Failure, match="out_of_time"):
        list(read_ahead(body, lambda_function.TIME_MARGIN_MS + 1))
    given_up.set()
    assert body.closed.wait(PATIENCE_SECONDS)
    for thread in threading.enumerate():
        if thread.name.startswith("download"):
            thread.join()
    assert not resumed


def test_a_read_timeout_is_not_taken_for_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(**_: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(lambda_function, "s3", SimpleNamespace(get_object=time_out))
    with pytest.raises(TimeoutError):
        list(read_ahead(Reads(time_out)))


def test_the_client_times_out_after_seconds_and_retries() -> None:
    config: Any = lambda_function.s3.meta.config
    assert (config.connect_timeout, config.read_timeout) == (3, 10)
    assert config.retries == {"mode": "standard", "total_max_attempts": 4}


def test_processing_twice_gives_the_same_object(s3: Any, context: Context) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=many(10))
    lambda_function.lambda_handler(notification("scan.json"), context)
    first = s3.get_object(Bucket="processed", Key="scan.json")
    lambda_function.lambda_handler(notification("scan.json"), context)
    second = s3.get_object(Bucket="processed", Key="scan.json")
    assert first["Body"].read() == second["Body"].read()
    assert first["Metadata"] == second["Metadata"]
