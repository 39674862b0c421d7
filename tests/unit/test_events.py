"""Events: what each kind leads to, what is logged and counted, and what is delivered again."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import lambda_function
from lambda_function import Failure, lambda_handler

from . import PATIENCE_SECONDS
from .invocations import Context, batch, event, failed, lines, notification, processed, verdict

ONE = b'[{"patient_id":"1","patient_name":"Ann"}]'
BAD = b'[{"patient_id":"1"}]'


def put(s3: Any, *keys: str, body: bytes = ONE) -> None:
    for key in keys:
        s3.put_object(Bucket="raw", Key=key, Body=body)


@pytest.mark.parametrize("name", ["s3_put", "s3_multipart_upload", "lambda_failure_record"])
def test_the_object_that_an_event_names_is_processed(s3: Any, context: Context, name: str) -> None:
    put(s3, "scan.json")
    assert lambda_handler(event(name), context) is None
    assert processed(s3, "scan.json") == [{"patient_id": "1", "patient_name": "Ann"}]


def test_keys_are_decoded_exactly_once(s3: Any, context: Context) -> None:
    keys = ["a b+c%25é.json", "x%20y.json", "in/a/folder/目.json"]
    put(s3, *keys)
    assert lambda_handler(event("s3_encoded_keys"), context) is None
    assert all(processed(s3, key) for key in keys)


def test_a_key_that_is_not_utf8_is_an_error_and_not_gone(s3: Any, context: Context) -> None:
    with pytest.raises(Failure, match="unsupported_event"):
        lambda_handler(notification("%ff.json"), context)


def test_other_keys_and_folder_markers_are_skipped_with_a_log_line(s3: Any, context: Context, log: io.StringIO) -> None:
    for record in event("s3_other_keys")["Records"]:
        put(s3, record["s3"]["object"]["key"], body=b"")
    assert lambda_handler(event("s3_other_keys"), context) is None
    assert "Contents" not in s3.list_objects_v2(Bucket="processed")
    assert [(line["message"], line["key"]) for line in lines(log)] == [
        ("skipped", key) for key in ("folder/", "folder.json/", "scan.JSON", "scan.json.gz", "notes.txt")
    ]


@pytest.mark.parametrize("name", ["s3_empty_records", "s3_test_event"])
def test_events_without_objects_are_acknowledged(context: Context, name: str) -> None:
    assert lambda_handler(event(name), context) is None


@pytest.mark.parametrize(
    "unknown",
    [
        event("sns_notification"),
        event("eventbridge_object_created"),
        {},
        [],
        None,
        "text",
        7,
        {"Records": None},
        {"Records": {}},
        {"Records": [{}]},
        {"Records": [None]},
        {"Records": [{"s3": {"bucket": {"name": "raw"}, "object": {"key": 7}}}]},
        {"requestPayload": {}},
        {"Event": "s3:Other"},
    ],
)
def test_any_other_event_is_refused(context: Context, unknown: Any) -> None:
    with pytest.raises(Failure) as caught:
        lambda_handler(unknown, context)
    assert str(caught.value) == "unsupported_event"


def test_a_replay_of_a_replay_is_processed(s3: Any, context: Context) -> None:
    put(s3, "scan.json")
    lambda_handler({**event("lambda_failure_record"), "requestPayload": event("lambda_failure_record")}, context)
    assert processed(s3, "scan.json")


def fail(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    """Let S3 refuse what is asked of some keys."""
    get_object = lambda_function.s3.get_object

    def refuse(**request: Any) -> Any:
        return get_object(**request | ({"Bucket": "no-such-bucket"} if request["Key"] in keys else {}))

    monkeypatch.setattr(lambda_function.s3, "get_object", refuse)


def test_one_failure_does_not_stop_the_others_and_then_raises(
    s3: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, "a.json", "b.json", "c.json", "d.json")
    with monkeypatch.context() as broken:
        fail(broken, "b.json", "d.json")
        with pytest.raises(Failure) as caught:
            lambda_handler(notification("a.json", "b.json", "c.json", "d.json"), context)
    assert processed(s3, "a.json")
    assert processed(s3, "c.json")
    assert str(caught.value).count("GetObject NoSuchBucket bucket=raw key=") == 2
    assert caught.value.__context__ is None


def test_a_rejected_file_is_acknowledged_with_its_verdict(s3: Any, context: Context, log: io.StringIO) -> None:
    put(s3, "bad.json", body=BAD)
    assert lambda_handler(notification("bad.json"), context) is None
    assert failed(lambda_handler(batch(notification("bad.json")), context)) == []
    assert verdict(s3, "bad.json")["reason"] == "missing_field"
    assert [(line["level"], line["message"], line["reason"]) for line in lines(log)] == [
        ("WARNING", "rejected", "missing_field record=0 field=patient_name")
    ] * 2


def test_only_the_messages_that_failed_are_delivered_again(
    s3: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, "good.json", "bad.json")
    put(s3, "rejected.json", body=BAD)
    bodies = [
        notification("good.json"),
        notification("bad.json"),
        event("s3_test_event"),
        notification("good.json", "bad.json"),
        notification("gone.json"),
        "not json",
        "[" * 10_000,
        '"\\ud800"',
        "null",
        event("s3_empty_records"),
        event("lambda_failure_record"),
        event("sns_notification"),
        "",
        '{"requestPayload":' * 1200 + "1" + "}" * 1200,
        "\ud800",
        notification("good.json"),
    ]
    messages = batch(*bodies)
    messages["Records"] += [
        {"eventSource": "aws:sqs", "messageId": "without a body"},
        {"eventSource": "aws:sqs", "messageId": "of another type", "body": None},
    ]
    messages["Records"] += batch(notification("rejected.json"))["Records"]
    messages["Records"][-1]["messageId"] = "rejected"
    with monkeypatch.context() as broken:
        fail(broken, "bad.json")
        answer = lambda_handler(messages, context)
    assert failed(answer) == [
        *("m1", "m3", "m5", "m6", "m7", "m8", "m11", "m12", "m13", "m14"),
        *("without a body", "of another type"),
    ]
    assert processed(s3, "good.json")


def test_a_batch_without_failures_asks_for_nothing(s3: Any, context: Context) -> None:
    put(s3, "scan.json", "other.json")
    assert lambda_handler(event("sqs_batch"), context) == {"batchItemFailures": []}
    assert lambda_handler(event("sqs_test_event"), context) == {"batchItemFailures": []}
    assert processed(s3, "other.json")


@pytest.mark.parametrize("name", ["s3_batch_operations_1", "s3_batch_operations_2"])
def test_a_task_of_batch_operations_is_processed(s3: Any, context: Context, name: str) -> None:
    put(s3, "in/a folder/scán+1.json")
    job = event(name)
    assert lambda_handler(job, context) == {
        "invocationSchemaVersion": job["invocationSchemaVersion"],
        "invocationId": job["invocationId"],
        "treatMissingKeysAs": "TemporaryFailure",
        "results": [{"taskId": job["tasks"][0]["taskId"], "resultCode": "Succeeded", "resultString": "processed"}],
    }
    assert processed(s3, "in/a folder/scán+1.json")


def test_each_task_of_batch_operations_has_a_result_of_its_own_without_content(s3: Any, context: Context) -> None:
    put(s3, "good.json", "notes.txt")
    put(s3, "bad.json", body=b'[{"patient_id":"1","patient_name":"Ann"},{"patient_id":"2","patient_name":3}]')
    keys = ["good.json", "bad.json", "gone.json", "notes.txt", "%ff.json", None]
    tasks = [{"taskId": f"t{n}", "s3Key": key, "s3VersionId": None, "s3Bucket": "raw"} for n, key in enumerate(keys)]
    tasks.append({"taskId": "t6", "s3Key": "good.json", "s3BucketArn": "arn:aws:s3:::missing-bucket"})
    answer = lambda_handler({**event("s3_batch_operations_2"), "tasks": tasks}, context)
    assert answer
    assert [(result["taskId"], result["resultCode"], result["resultString"]) for result in answer["results"]] == [
        ("t0", "Succeeded", "processed"),
        ("t1", "PermanentFailure", "invalid_field record=1 field=patient_name"),
        ("t2", "Succeeded", "gone"),
        ("t3", "Succeeded", "skipped"),
        ("t4", "PermanentFailure", "unsupported_event"),
        ("t5", "PermanentFailure", "unsupported_event"),
        ("t6", "TemporaryFailure", "GetObject NoSuchBucket"),
    ]


def test_an_unknown_schema_of_batch_operations_is_refused(context: Context) -> None:
    with pytest.raises(Failure, match="unsupported_event"):
        lambda_handler({**event("s3_batch_operations_2"), "invocationSchemaVersion": "3.0"}, context)


def test_near_the_timeout_the_rest_of_a_batch_is_delivered_again(
    s3: Any, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled, put_object = threading.Event(), s3.put_object
    put(s3, "a.json", "b.json", "c.json")

    def stall(**request: Any) -> Any:
        if request["Key"] == "c.json":
            stalled.wait()
            raise OSError
        return put_object(**request)

    def remaining() -> int:
        return 0 if len(lines(log)) == 2 else 300_000

    monkeypatch.setattr(s3, "put_object", stall)
    answer = lambda_handler(batch(*(notification(key) for key in ("a.json", "b.json", "c.json"))), Context(remaining))
    stalled.set()
    assert failed(answer) == ["m2"]
    assert processed(s3, "c.json") is None


def test_the_files_of_a_batch_are_processed_side_by_side(
    s3: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{n}.json" for n in range(lambda_function.CONCURRENT_OBJECTS)]
    put(s3, *keys)
    put_object, all_of_them = s3.put_object, threading.Barrier(len(keys))

    def wait_for_the_others(**request: Any) -> Any:
        all_of_them.wait(PATIENCE_SECONDS)
        return put_object(**request)

    monkeypatch.setattr(s3, "put_object", wait_for_the_others)
    assert failed(lambda_handler(batch(*map(notification, keys)), context)) == []


def requests_about_verdicts(s3: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the key of each HEAD request to the rejected bucket, and the name of each listing."""
    asked = list[str]()
    for name in ("head_object", "list_objects_v2"):
        ask = getattr(s3, name)

        def count(ask: Any = ask, name: str = name, **request: Any) -> Any:
            if request["Bucket"] == "rejected":
                asked.append(request.get("Key") or name)
            return ask(**request)

        monkeypatch.setattr(s3, name, count)
    return asked


@pytest.mark.parametrize("listed", [1, 2, 100])
def test_the_verdicts_of_a_batch_are_found_by_one_listing(
    s3: Any, context: Context, monkeypatch: pytest.MonkeyPatch, listed: int
) -> None:
    keys = ["in/a.json", "in/b.json", "in/c d.json", "in/z.json"]
    put(s3, *keys, body=BAD)
    assert failed(lambda_handler(batch(*map(notification, keys)), context)) == []
    asked = requests_about_verdicts(s3, monkeypatch)
    monkeypatch.setattr(lambda_function, "LISTED_VERDICTS", listed)
    keys[3:] = ["in/y.json"]
    put(s3, *keys)
    assert failed(lambda_handler(batch(*map(notification, keys)), context)) == []
    assert sorted(asked) == [*keys[: None if listed < 3 else 3], "list_objects_v2"]
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="rejected")["Contents"]] == ["in/z.json"]
    asked.clear()
    monkeypatch.setattr(lambda_function, "LISTED_VERDICTS", 100)
    assert failed(lambda_handler(batch(*map(notification, keys)), context)) == []
    assert asked == ["list_objects_v2"]


def test_verdicts_on_earlier_keys_do_not_fill_the_listing(
    s3: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected, good = ["in/1.json", "in/7.json"], ["in/3.json", "in/5.json"]
    put(s3, *rejected, body=BAD)
    put(s3, *good)
    assert failed(lambda_handler(batch(*map(notification, rejected)), context)) == []
    asked = requests_about_verdicts(s3, monkeypatch)
    monkeypatch.setattr(lambda_function, "LISTED_VERDICTS", 1)
    assert failed(lambda_handler(batch(*map(notification, good)), context)) == []
    assert asked == ["list_objects_v2"]


def test_large_files_are_processed_one_after_the_other(
    s3: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{n}.json" for n in range(5)]
    put(s3, *keys)
    copied, most, threads = list[str](), list[int](), set[int]()
    finish = lambda_function.Upload.finish

    def count(upload: Any) -> None:
        copied.append(upload._work.key)
        most.append(len(copied))
        threads.add(threading.get_ident())
        finish(upload)
        copied.remove(upload._work.key)

    monkeypatch.setattr(lambda_function.Upload, "finish", count)
    monkeypatch.setattr(lambda_function, "READ_BYTES", len(ONE) - 1)
    assert failed(lambda_handler(batch(*map(notification, keys)), context)) == []
    assert most == [1] * len(keys)
    assert len(threads) == 1  # each thread would keep memory of its own for the parts of a large file


def test_a_large_file_waits_for_its_turn_only_while_there_is_time(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(s3, "scan.json")
    monkeypatch.setattr(lambda_function, "READ_BYTES", len(ONE) - 1)
    other_file_is_done = threading.Event()
    lambda_function._large_object_thread.submit(other_file_is_done.wait)
    soon = Context(lambda: lambda_function.TIME_MARGIN_MS + 1)
    assert failed(lambda_handler(batch(notification("scan.json")), soon)) == ["m0"]
    other_file_is_done.set()
    lambda_function._large_object_thread.submit(int).result()
    assert processed(s3, "scan.json") is None


def test_an_object_that_several_messages_name_is_processed_once(s3: Any, context: Context, log: io.StringIO) -> None:
    put(s3, "scan.json")
    assert failed(lambda_handler(batch(*[notification("scan.json", "scan.json")] * 3), context)) == []
    assert [line["message"] for line in lines(log)] == ["processed"]


@pytest.mark.parametrize("bucket", ["processed", "rejected"])
def test_an_event_from_a_bucket_that_is_written_to_is_refused(s3: Any, context: Context, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="scan.json", Body=ONE)
    with pytest.raises(Failure, match=r"^not_the_raw_bucket bucket="):
        lambda_handler(notification("scan.json", bucket=bucket), context)
    assert s3.get_object(Bucket=bucket, Key="scan.json")["Body"].read() == ONE


def test_an_unexpected_error_fails_its_object_only_and_is_named_by_type_and_place(
    s3: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, "a.json", "b.json")
    cut_down = lambda_function.cut_down
    calls = list[Any]()

    def broken_at_first(records: Any) -> bytes:
        calls.append(records)
        if len(calls) == 1:
            raise ValueError("Ann")
        return cut_down(records)

    monkeypatch.setattr(lambda_function, "cut_down", broken_at_first)
    answer = lambda_handler(batch(notification("a.json"), notification("b.json")), context)
    assert failed(answer) in (["m0"], ["m1"])  # whichever comes first
    assert bool(processed(s3, "a.json")) != bool(processed(s3, "b.json"))
    calls.clear()
    with pytest.raises(Failure, match="ValueError in broken_at_first line") as caught:
        lambda_handler(notification("a.json"), context)
    assert "Ann" not in str(caught.value)


def test_each_file_has_one_log_line(s3: Any, context: Context, log: io.StringIO) -> None:
    put(s3, "a.json", "b.json")
    lambda_handler(notification("a.json", "b.json"), context)
    first, second = sorted(lines(log), key=lambda line: str(line["key"]))
    assert first["message"] == "processed"
    assert (first["bucket"], first["key"], second["key"]) == ("raw", "a.json", "b.json")
    assert first["version_id"] == s3.head_object(Bucket="raw", Key="a.json")["VersionId"]
    assert (first["records"], first["rounds"], first["bytes_in"]) == (1, 1, len(ONE))
    assert first["bytes_out"] == len(b'[\n{"patient_id":"1","patient_name":"Ann"}\n]\n')
    assert first["milliseconds"] >= 0
    assert first["function_request_id"] == context.aws_request_id


def metrics_of(capsys: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_files_are_counted(s3: Any, context: Context, capsys: Any) -> None:
    put(s3, "scan.json", body=b'[{"patient_id":"1","patient_name":"Ann"},{"patient_id":"2","patient_name":"Bob"}]')
    put(s3, "short.json")
    put(s3, "bad.json", body=BAD)
    lambda_handler(notification("scan.json", "short.json", "gone.json", "skipped.txt"), context)
    (done,) = metrics_of(capsys)
    assert (done["FilesProcessed"], sorted(done["RecordsProcessed"])) == ([1.0, 1.0], [1.0, 2.0])
    assert sorted(done["BytesRead"]) == [len(ONE), 81.0]
    assert all(milliseconds >= 0 for milliseconds in done["ProcessingTime"])
    assert {"Name": "ProcessingTime", "Unit": "Milliseconds"} in done["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    assert done["FilesGone"] == [1.0]
    assert done["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
    assert "Reprocessed" not in done
    put(s3, "worse.json", body=BAD)
    put(s3, "empty.json", body=b"")
    lambda_handler(notification("bad.json", "worse.json", "empty.json", "scan.json"), context)
    *others, rejected = sorted(metrics_of(capsys), key=lambda metrics: metrics.get("reason", ""))
    assert [len(metrics.get("FilesRejected", [])) for metrics in others] == [0, 1]
    assert (rejected["FilesRejected"], rejected["reason"]) == ([1.0, 1.0], "missing_field")
    assert rejected["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"], ["service", "reason"]]
    with pytest.raises(Failure):
        lambda_handler(notification("scan.json", bucket="processed"), context)
    (broken,) = metrics_of(capsys)
    assert broken["FilesFailed"] == [1.0]
    assert "reason" not in broken


def test_a_message_that_is_not_an_event_is_counted(s3: Any, context: Context, capsys: Any) -> None:
    assert s3
    with pytest.raises(Failure):
        lambda_handler({"what": "is this"}, context)
    (failed,) = metrics_of(capsys)
    assert failed["FilesFailed"] == [1.0]
    assert failed["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]


def test_saved_queries_ask_for_what_is_logged(s3: Any, context: Context, log: io.StringIO) -> None:
    put(s3, "scan.json")
    put(s3, "bad.json", body=BAD)
    lambda_handler(notification("scan.json", "bad.json"), context)
    logged = {line["message"]: line for line in lines(log)}
    dashboard = (Path(lambda_function.__file__).parent / "modules/monitoring/dashboard.tf").read_text()
    queries = re.findall(r"fields (.*)\n +\| filter message = \"(\w+)\"\n +\| sort (\S+)", dashboard)
    assert len(queries) == 2
    for fields, message, order in queries:
        assert {*fields.split(", "), order} - {"@timestamp"} <= set(logged[message])


def test_reprocessing_is_counted(s3: Any, context: Context, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(s3, "scan.json")
    finish = lambda_function.Upload.finish

    def overwrite_then_finish(upload: Any) -> None:
        if upload._work.rounds == 1:
            put(s3, "scan.json")
        finish(upload)

    monkeypatch.setattr(lambda_function.Upload, "finish", overwrite_then_finish)
    lambda_handler(notification("scan.json"), context)
    (done,) = metrics_of(capsys)
    assert done["Reprocessed"] == [1.0]
    assert done["RecordsProcessed"] == [1.0]


def test_no_state_leaks_into_the_next_invocation(s3: Any, log: io.StringIO, capsys: Any) -> None:
    put(s3, "good.json")
    put(s3, "bad.json", body=BAD)
    first, second = Context(), Context()
    second.aws_request_id = "second"
    lambda_handler(notification("bad.json"), first)
    log.truncate(0)
    log.seek(0)
    capsys.readouterr()
    lambda_handler(notification("good.json"), second)
    (line,) = lines(log)
    assert line["function_request_id"] == "second"
    assert (line["key"], line["reason"]) == ("good.json", "")
    counted = {"FilesProcessed", "RecordsProcessed", "BytesRead", "ProcessingTime"}
    assert metrics_of(capsys)[0].keys() == {"_aws", "service"} | counted


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PROCESSED_BUCKET", "", "PROCESSED_BUCKET is not set"),
        ("REJECTED_BUCKET", "", "REJECTED_BUCKET is not set"),
        ("STALE_RESULTS", "Keep", "STALE_RESULTS is unknown"),
    ],
)
def test_a_wrong_setting_fails_the_import_with_one_clear_line(name: str, value: str, says: str) -> None:
    environment = {**os.environ, name: value}
    run = subprocess.run(
        [sys.executable, "-c", "import lambda_function"],
        cwd=Path(lambda_function.__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(f"RuntimeError: {says}")
