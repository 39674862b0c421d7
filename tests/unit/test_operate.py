"""The verbs that operate a pipeline, on S3, SQS and CloudWatch Logs in this process, with the real function."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.validate import validate_parameters
from commands import state, terminal
from commands.aws import Account
from commands.operate import audit, deep, ledger, listing, log, queues
from commands.settings import ROOT
from commands.terminal import Refused

import lambda_function

from .conftest import event, notification
from .pipeline import (
    BAD,
    ODD_KEYS,
    ONE,
    TWO,
    Pipeline,
    Run,
    function_fixture,  # noqa: F401 - a fixture
    make,
    pipeline_fixture,  # noqa: F401 - likewise
    refuse,
    run_fixture,  # noqa: F401 - likewise
    signals_fixture,  # noqa: F401 - likewise
)

RUNBOOK = (ROOT / "docs/operations.md").read_text()
INVENTORY, JOB = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", RUNBOOK, re.S))

AUDIT = ("audit", "--json", "--in-flight", "0")


# --- audit ------------------------------------------------------------------------------------------------------------


def test_audit_finds_nothing_where_nothing_is_wrong(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json", "b/c.json", *ODD_KEYS)
    pipeline.upload("empty.json", body=b"[]")
    pipeline.upload("a.json", body=TWO)
    pipeline.put("notes.txt")
    for options in ((), ("--deep",)):
        answer = run(*AUDIT, *options)
        assert (answer.code, answer.states) == (0, {"notes.txt": "ignored"})
        assert answer.lines[-1] == {"summary": answer.summary, "ok": True}
        assert answer.summary == dict.fromkeys(audit.STATES, 0) | {"processed": 3 + len(ODD_KEYS), "ignored": 1}


def test_audit_finds_each_planted_fault(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    s3 = pipeline.s3
    pipeline.upload(*(f"good/{n}.json" for n in range(5)))
    pipeline.upload("deleted.json", "stale.json", "replaced.json", "cut.json", "forged.json", "sourceless.json")
    pipeline.put("never.json")
    s3.delete_object(Bucket="processed", Key="deleted.json")
    pipeline.put("stale.json", TWO)
    s3.put_object(Bucket="processed", Key="replaced.json", Body=b"[]")
    pipeline.overwrite("cut.json", b"[]\n")
    forged = s3.get_object(Bucket="processed", Key="forged.json")["Body"].read()
    pipeline.overwrite("forged.json", forged, **{"source-etag": "0" * 32})
    s3.delete_object(Bucket="raw", Key="sourceless.json")
    s3.put_object(Bucket="processed", Key="stranger.json", Body=ONE)
    s3.put_object(Bucket="processed", Key="stranger.txt", Body=ONE)
    answer = run(*AUDIT)
    assert answer.code == 1
    assert answer.states == {
        "cut.json": "tampered",
        "deleted.json": "missing",
        "forged.json": "tampered",
        "never.json": "missing",
        "replaced.json": "tampered",
        "sourceless.json": "orphaned",
        "stale.json": "stale",
        "stranger.json": "orphaned",
        "stranger.txt": "orphaned",
    }
    assert answer.summary == {
        "processed": 5, "stale": 1, "missing": 2, "tampered": 3, "archived": 0, "rejected": 0, "in_flight": 0,
        "orphaned": 3, "ignored": 0,
    }  # fmt: skip
    assert list(answer.states) == sorted(answer.states)


def test_an_orphan_alone_is_no_failure(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json")
    pipeline.s3.delete_object(Bucket="raw", Key="a.json")
    answer = run(*AUDIT)
    assert (answer.code, answer.states) == (0, {"a.json": "orphaned"})


@pytest.mark.parametrize("records", [1, 250_000], ids=["one part", "several parts"])
def test_a_result_replaced_with_all_its_metadata_is_found_by_making_it_again(
    pipeline: Pipeline, run: Callable[..., Run], records: int
) -> None:
    content = b'{"patient_id":"1","patient_name":"Ann Example"}'
    pipeline.upload("a.json", "b.json", body=b"[" + b",".join([content] * records) + b"]")
    result = pipeline.s3.get_object(Bucket="processed", Key="a.json")["Body"].read()
    pipeline.overwrite("a.json", result.replace(b"Ann", b"Eve", 1))
    assert run(*AUDIT).code == 0  # which is why there is --deep
    answer = run(*AUDIT, "--deep")
    assert (answer.code, answer.states, answer.reasons) == (1, {"a.json": "tampered"}, {"a.json": "content"})


def test_the_functions_code_is_set_up_once_before_threads_use_it(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by = []

    class Watched(deep.Digest):
        def __init__(self, s3: Any) -> None:
            made_by.append(threading.current_thread())
            super().__init__(s3)

    monkeypatch.setattr(deep, "Digest", Watched)
    pipeline.upload("a.json", "b.json")
    assert run(*AUDIT, "--deep").code == 0
    assert made_by == [threading.current_thread()]


def test_a_result_of_a_file_that_is_to_be_rejected_is_found_by_making_it_again(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    version = pipeline.put("a.json", BAD)
    etag = pipeline.s3.head_object(Bucket="raw", Key="a.json")["ETag"].strip('"')
    metadata = {"source-version-id": version, "source-etag": etag, "record-count": "1"}
    pipeline.s3.put_object(Bucket="processed", Key="a.json", Body=b"[\n%40s\n]\n" % b"", Metadata=metadata)
    answer = run(*AUDIT, "--deep")
    assert answer.reasons == {"a.json": "rejected, delete the result: missing_field record=0 field=patient_name"}


def test_what_vanishes_while_it_is_compared_is_looked_at_again(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.upload("a.json", "b.json", "c.json")
    (source,) = pipeline.s3.list_object_versions(Bucket="raw", Prefix="b.json")["Versions"]
    is_plausible = audit.is_plausible

    def delete_meanwhile(result: Any) -> bool:
        pipeline.s3.delete_object(Bucket="processed", Key="a.json")
        pipeline.s3.delete_object(Bucket="raw", Key="b.json", VersionId=source["VersionId"])
        return is_plausible(result)

    monkeypatch.setattr(audit, "is_plausible", delete_meanwhile)
    answer = run(*AUDIT, "--deep")
    assert (answer.code, answer.states) == (1, {"a.json": "missing", "b.json": "orphaned"})


def test_a_tampered_result_of_a_rejected_file_is_to_be_deleted(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json")
    pipeline.upload("a.json", body=BAD)
    pipeline.s3.put_object(Bucket="processed", Key="a.json", Body=b"[]")
    answer = run(*AUDIT, "--repair")
    assert (answer.code, answer.states) == (1, {"a.json": "tampered"})
    reason = "missing_field record=0 field=patient_name"
    assert answer.reasons == {"a.json": f"rejected, delete the result: {reason}"}
    assert answer.errors == ("To be deleted by hand, as docs/operations.md says: 1 result of rejected files.\n")
    assert pipeline.work_off() == 0  # it would be rejected once more
    pipeline.s3.delete_object(Bucket="processed", Key="a.json")
    answer = run(*AUDIT)
    assert (answer.code, answer.states, answer.reasons) == (0, {"a.json": "rejected"}, {"a.json": reason})


def test_a_failure_on_the_way_to_a_version_does_not_hide_that_it_is_rejected(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    pipeline.upload("a.json", body=b"\x1f\x8b")
    line = a_line("a.json", "failed") | {"level": "ERROR", "version_id": "", "reason": "GetObject SlowDown"}
    pipeline.write(json.dumps(line))
    pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody=json.dumps(notification("a.json")))
    answer = run(*AUDIT)
    assert (answer.code, answer.states, answer.reasons) == (0, {"a.json": "rejected"}, {"a.json": "gzip"})
    told = [(one["state"], one["reason"]) for one in run("failures", "--json").lines[:-1]]
    assert told == [("failed", "GetObject SlowDown"), ("rejected", "gzip")]


def test_a_rejected_file_is_known_without_the_log(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json")
    pipeline.upload("a.json", *ODD_KEYS, body=BAD)
    pipeline.logs.delete_log_stream(logGroupName="group", logStreamName="stream")
    rejected = {"a.json", *ODD_KEYS}
    answer = run(*AUDIT, "--repair")
    assert (answer.code, answer.states) == (0, dict.fromkeys(rejected, "rejected"))
    assert set(answer.reasons.values()) == {"missing_field record=0 field=patient_name"}
    assert queues.depth(pipeline.deployed, pipeline.ingestion) == 0
    assert run("failures", "--json").states == dict.fromkeys(rejected, "rejected")


def test_a_verdict_counts_only_while_its_version_is_the_newest(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("mended.json", "deleted.json", "again.json", body=BAD)
    pipeline.put("mended.json")
    pipeline.s3.delete_object(Bucket="raw", Key="deleted.json")
    pipeline.put("again.json", b"[]x")
    assert run("failures", "--json").lines == [{"summary": {"rejected": 0, "messages": 0, "hidden": 0, "waiting": 0}}]
    assert run(*AUDIT).states == {"mended.json": "missing", "again.json": "missing"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"reason":7,"record":null,"field":null}'])
def test_a_verdict_that_somebody_has_overwritten_is_still_one(
    pipeline: Pipeline, run: Callable[..., Run], body: bytes
) -> None:
    pipeline.upload("a.json", body=BAD)
    metadata = pipeline.s3.head_object(Bucket="rejected", Key="a.json")["Metadata"]
    pipeline.s3.put_object(Bucket="rejected", Key="a.json", Body=body, Metadata=metadata)
    assert run("failures", "--json").reasons == {"a.json": "unknown"}


def test_people_see_rejected_files_and_failed_events_apart(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("bad.json", body=BAD)
    fail_in_direct_mode(pipeline, "failed.json")
    answer = run("failures")
    failed, rejected = answer.text.splitlines()
    assert re.search(r"^\S+Z  failed    failed\.json  PutObject AccessDenied  ", failed)
    assert re.search(r"^\S+Z  rejected  bad\.json  missing_field record=0 field=patient_name$", rejected)
    assert answer.errors.splitlines() == [
        "1 rejected file, to be mended and uploaded again.",
        "1 failed event. To send them through the pipeline again: ./deploy.sh redrive test",
    ]


@pytest.mark.parametrize("then", ["rejected", "deleted"])
def test_where_results_are_removed_one_that_is_left_is_found_and_repaired(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    pipeline.outputs["stale_results"] = "remove"
    pipeline.upload("a.json")
    if then == "rejected":
        pipeline.upload("a.json", body=BAD)  # by a function that keeps results
        assert run(*AUDIT).states == {"a.json": "stale"}
    else:
        pipeline.s3.delete_object(Bucket="raw", Key="a.json")
        assert run(*AUDIT).states == {"a.json": "orphaned"}
    monkeypatch.setattr(lambda_function, "STALE_RESULTS", "remove")
    if then == "rejected":
        run(*AUDIT, "--repair")
        pipeline.work_off()
    else:
        pipeline.invoke(notification("a.json"))
    assert run(*AUDIT).states == ({"a.json": "rejected"} if then == "rejected" else {})


def test_an_upload_in_an_archive_is_told_and_not_sent_in_vain(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    for key, storage_class in (("deep.json", "DEEP_ARCHIVE"), ("instant.json", "GLACIER_IR")):
        pipeline.s3.put_object(Bucket="raw", Key=key, Body=ONE, StorageClass=storage_class)
    pipeline.upload("good.json")
    pipeline.s3.copy_object(
        Bucket="raw", Key="good.json", CopySource="raw/good.json", StorageClass="GLACIER", MetadataDirective="COPY"
    )
    answer = run(*AUDIT, "--repair")
    assert (answer.code, answer.states) == (
        1,
        {"deep.json": "archived", "good.json": "archived", "instant.json": "missing"},
    )
    assert pipeline.work_off() == 1
    assert "To be restored from the archive first, as docs/operations.md says: 2 uploads.\n" in answer.errors


def test_keys_that_start_nothing_are_counted(pipeline: Pipeline, run: Callable[..., Run], function: str) -> None:
    pipeline.upload("a.json")
    for key in ("scan.JSON", "scan.json.gz", "scan"):
        pipeline.put(key)
    answer = run(*AUDIT)
    assert (answer.code, answer.summary["ignored"]) == (0, 3)
    assert function
    assert "\nignored           3 uploads, whose keys do not end in .json\n" in run("status").text


def test_a_rejected_file_is_told_from_a_missing_one_by_its_reason(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("old.json", "mended.json")
    pipeline.upload("bad.json", "old.json", "mended.json", body=BAD)  # a result of old.json's first version stays
    pipeline.upload("gzip.json", "later.json", body=b"\x1f\x8b")
    pipeline.put("later.json")  # its first version was rejected; nobody has looked at this one as yet
    pipeline.upload("mended.json")
    answer = run("audit", "--json")
    assert answer.states == {
        "bad.json": "rejected", "gzip.json": "rejected", "later.json": "in_flight", "old.json": "rejected",
    }  # fmt: skip
    assert answer.reasons["bad.json"] == "missing_field record=0 field=patient_name"
    assert answer.reasons["gzip.json"] == "gzip"
    assert answer.code == 0
    assert run(*AUDIT).states["later.json"] == "missing"


def test_what_failed_for_another_reason_is_missing_and_says_why(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_function, "MAX_ROUNDS", 0)
    pipeline.upload("a.json")
    answer = run(*AUDIT)
    assert (answer.code, answer.states) == (1, {"a.json": "missing"})
    assert answer.reasons == {"a.json": "still_changing"}


def test_a_recent_upload_is_in_flight_and_an_old_one_is_missing(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    assert run("audit", "--json").states == {"a.json": "in_flight"}
    assert run("audit", "--json").code == 0
    assert run(*AUDIT).states == {"a.json": "missing"}


def at_the_end(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Let something happen when an audit has looked at every object, once."""
    settle = audit.settle

    def do_and_settle(*arguments: Any) -> Any:
        monkeypatch.setattr("commands.operate.verbs.settle", settle)
        do()
        return settle(*arguments)

    monkeypatch.setattr("commands.operate.verbs.settle", do_and_settle)


def let_time_pass(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    later = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: later)


def test_what_is_put_right_before_a_long_audit_ends_is_no_fault(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("processed.json", "deleted.json", "missing.json"):
        pipeline.put(key)
    pipeline.upload("tampered.json", "good.json")
    pipeline.s3.put_object(Bucket="processed", Key="tampered.json", Body=b"[]")

    def an_hour_passes() -> None:
        pipeline.invoke(notification("processed.json", "tampered.json"))
        pipeline.s3.delete_object(Bucket="raw", Key="deleted.json")
        let_time_pass(monkeypatch, 3600)

    at_the_end(monkeypatch, an_hour_passes)
    answer = run("audit", "--json")
    assert (answer.code, answer.states, answer.summary["processed"]) == (1, {"missing.json": "missing"}, 3)


def test_a_run_taken_up_again_forms_its_verdict_anew(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a.json", "b.json", "c.json"):
        pipeline.put(key)
    refuse(pipeline.client("sqs"), "sqs", "GetQueueAttributes", "AccessDenied")
    answer = run("audit", "--json")
    assert (answer.code, answer.text) == (1, "")  # no verdict, and nothing that looks like one
    assert "Stopped after 3 objects. To resume, run the same command with --resume.\n" in answer.errors
    pipeline.sign_in()
    pipeline.invoke(notification("a.json"))
    answer = run("audit", "--json", "--resume")
    assert (answer.code, answer.states) == (0, {"b.json": "in_flight", "c.json": "in_flight"})

    def stop() -> None:
        terminal.stopping.set()

    at_the_end(monkeypatch, stop)
    assert run("audit", "--json").code == 130
    pipeline.invoke(notification("b.json"))
    let_time_pass(monkeypatch, 2 * 86_400)
    answer = run("audit", "--json", "--resume")
    assert (answer.code, answer.states, answer.summary["processed"]) == (1, {"c.json": "missing"}, 2)


def test_what_waits_in_the_queue_for_long_is_in_flight_for_as_long(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    metric = {
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": "ingestion"}],
        "Value": 600,
    }
    make("cloudwatch").put_metric_data(Namespace="AWS/SQS", MetricData=[metric])
    assert run(*AUDIT).states == {"a.json": "in_flight"}


def test_an_upload_between_listing_and_look_is_no_fault(pipeline: Pipeline) -> None:
    pipeline.upload("a.json")
    names = pipeline.deployed
    (row,) = listing.listed(names, "", "")
    pipeline.upload("a.json", body=TWO)
    found = audit.look(names, row)
    assert found
    assert found.state == "processed"
    pipeline.s3.delete_object(Bucket="raw", Key="a.json")
    pipeline.s3.delete_object(Bucket="processed", Key="a.json")
    assert audit.look(names, row) is None


def test_repair_sends_what_is_missing_stale_or_tampered_through_the_pipeline(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    pipeline.upload("good.json", "stale.json", "tampered.json", *ODD_KEYS)
    pipeline.upload("bad.json", body=BAD)
    pipeline.put("stale.json", TWO)
    pipeline.s3.put_object(Bucket="processed", Key="tampered.json", Body=b"[]")
    for key in ODD_KEYS:
        pipeline.s3.delete_object(Bucket="processed", Key=key)
    assert run(*AUDIT, "--repair", "--rate", "10000").code == 1
    assert pipeline.work_off() == 2 + len(ODD_KEYS)
    answer = run(*AUDIT)
    assert (answer.code, answer.states) == (0, {"bad.json": "rejected"})


def stop_sending_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Let somebody press Ctrl-C when so many calls have sent events."""
    left = iter(range(calls - 1))

    def send(*arguments: Any) -> None:
        queues.send(*arguments)
        if next(left, None) is None:
            terminal.stopping.set()

    monkeypatch.setattr("commands.operate.verbs.send", send)


def test_a_repair_goes_on_where_it_was_interrupted(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(30):
        pipeline.put(f"{n:02}.json")
    stop_sending_after(monkeypatch, 2)
    answer = run(*AUDIT, "--repair", "--rate", "10000")
    assert answer.code == 130
    assert answer.errors == "Stopped after sending 20 objects. To resume, run the same command with --resume.\n"
    assert pipeline.work_off() == 20
    monkeypatch.setattr("commands.operate.verbs.send", queues.send)
    answer = run(*AUDIT, "--repair", "--rate", "10000", "--resume")
    assert answer.errors.endswith("Sent 30 objects through the pipeline again. Then check: ./deploy.sh audit test\n")
    assert pipeline.work_off() == 10
    assert run(*AUDIT).code == 0


def test_audit_of_a_prefix_sees_nothing_else(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a/1.json")
    pipeline.put("b/1.json")
    answer = run(*AUDIT, "--prefix", "a/")
    assert (answer.code, answer.summary["processed"], answer.states) == (0, 1, {})


def test_an_empty_bucket_is_fine_and_said_so(run: Callable[..., Run]) -> None:
    answer = run("audit")
    assert answer.code == 0
    assert answer.errors == "Nothing in s3://raw/: nothing to compare.\n"


def test_people_see_a_table_and_what_to_do(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("good.json")
    for n in range(audit.SHOWN + 5):
        pipeline.put(f"never/{n}\u202egnp.json")
    answer = run("audit", "--in-flight", "0")
    assert answer.code == 1
    lines = answer.text.splitlines()
    assert re.fullmatch(r'missing     "never/0\\u202egnp\.json"  uploaded \S+Z', lines[0])
    assert lines[audit.SHOWN] == "missing     and 5 more; --json lists them all"
    assert "processed             1  made from the newest version" in lines
    assert answer.errors == ("To send 25 objects through the pipeline again, run the same command with --repair.\n")
    assert "\u202e" not in answer.text


MADE = 1_700_000_000


def inventory(s3: Any, rows: list[list[str]], prefix: str = "", **manifest: Any) -> str:
    """Write an inventory as S3 does, in two files; return its address."""
    s3.create_bucket(Bucket="reports")
    configuration = {
        **INVENTORY,
        "Id": "all",
        "Destination": {"S3BucketDestination": {"Bucket": "arn:aws:s3:::reports", "Format": "CSV"}},
        **({"Filter": {"Prefix": prefix}} if prefix else {}),
    }
    s3.put_bucket_inventory_configuration(Bucket="raw", Id="all", InventoryConfiguration=configuration)
    files = []
    for number, part in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows(part)
        body = gzip.compress(text.getvalue().encode())
        files.append({"key": f"data/{number}.csv.gz", "MD5checksum": hashlib.md5(body).hexdigest()})  # noqa: S324
        s3.put_object(Bucket="reports", Key=files[-1]["key"], Body=body)
    schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"
    made = {"creationTimestamp": str(MADE * 1000)}
    content = {"sourceBucket": "raw", "fileFormat": "CSV", "fileSchema": schema, "files": files} | made | manifest
    s3.put_object(Bucket="reports", Key="raw/all/2026-01-31T01-00Z/manifest.json", Body=json.dumps(content))
    return "s3://reports/raw/all/2026-01-31T01-00Z/manifest.json"


def test_audit_reads_an_inventory_instead_of_listings(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("deleted.json", "stale.json", "sourceless.json", *ODD_KEYS)
    pipeline.s3.delete_object(Bucket="raw", Key="sourceless.json")
    pipeline.put("notes.txt")
    pipeline.put("stale.json", TWO)
    listing = pipeline.s3.list_object_versions(Bucket="raw")
    rows = [
        ["raw", quote_plus(item["Key"]), item["VersionId"], str(item["IsLatest"]).lower(), gone, "1", etag]
        for kind, gone in (("Versions", "false"), ("DeleteMarkers", "true"))
        for item in listing[kind]
        for etag in [item.get("ETag", "").strip('"')]
    ]
    address = inventory(pipeline.s3, rows[::-1])
    # The inventory is a day old: what happened meanwhile is no fault.
    pipeline.s3.delete_object(Bucket="processed", Key="deleted.json")
    pipeline.upload(ODD_KEYS[0], body=TWO)
    pipeline.s3.delete_object(Bucket="raw", Key=ODD_KEYS[1])
    pipeline.s3.delete_object(Bucket="processed", Key=ODD_KEYS[1])
    answer = run(*AUDIT, "--inventory", address)
    assert answer.states == {
        "deleted.json": "missing", "notes.txt": "ignored", "sourceless.json": "orphaned", "stale.json": "stale",
    }  # fmt: skip
    assert answer.summary["processed"] == len(ODD_KEYS) - 1
    assert answer.lines[-1]["up_to"] == terminal.iso(MADE)


def rows_of(pipeline: Pipeline) -> list[list[str]]:
    """Return what an inventory made now would hold."""
    versions = pipeline.s3.list_object_versions(Bucket="raw")["Versions"]
    return [["raw", one["Key"], one["VersionId"], "true", "false", "1", one["ETag"].strip('"')] for one in versions]


def test_the_verdict_of_an_inventory_ends_with_it(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json")
    address = inventory(pipeline.s3, rows_of(pipeline))
    pipeline.put("never.json")
    answer = run("audit", "--in-flight", "0", "--inventory", address)
    assert (answer.code, answer.errors.splitlines()) == (
        0,
        [
            f"The inventory was made at {terminal.iso(MADE)}. Later uploads are not looked at.",
            f"Every upload up to {terminal.iso(MADE)} is accounted for.",
        ],
    )


def test_an_inventory_that_leaves_something_out_is_refused(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("scans/2026/a.json")
    address = inventory(pipeline.s3, rows_of(pipeline), prefix="scans/2026")
    for prefix in ("", "scans/", "other/"):
        answer = run("audit", "--inventory", address, "--prefix", prefix)
        assert (answer.code, answer.text) == (1, "")
        assert answer.errors == "error: the inventory covers scans/2026 only. Say so: --prefix scans/2026\n"
    assert run("audit", "--inventory", address, "--prefix", "scans/2026/").code == 0
    refuse(pipeline.client("s3"), "s3", "GetBucketInventoryConfiguration", "NoSuchConfiguration", 404)
    assert run("audit", "--inventory", address).errors == (
        "error: the inventory's configuration all is gone, and with it what it covers.\n"
    )


def test_an_audit_of_an_inventory_does_not_read_its_finished_files_again(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{n}.json" for n in range(10)]
    pipeline.upload(*keys)
    pipeline.put("never.json")
    address = inventory(pipeline.s3, rows_of(pipeline))
    fetch, fetched, steps = listing.fetch, list[str](), iter(range(6))

    def note_file(*arguments: Any) -> None:
        fetched.append(arguments[2]["key"])
        fetch(*arguments)

    def pause(seconds: float) -> None:
        if next(steps, None) is None:
            terminal.stopping.set()  # in the second file
        terminal.pause(seconds)

    monkeypatch.setattr(listing, "fetch", note_file)
    monkeypatch.setattr(audit, "pause", pause)
    assert run(*AUDIT, "--inventory", address).code == 130
    monkeypatch.setattr(audit, "pause", terminal.pause)
    fetched.clear()
    answer = run(*AUDIT, "--inventory", address, "--resume")
    assert (answer.states, answer.summary["processed"]) == ({"never.json": "missing"}, 10)
    assert fetched == ["data/1.csv.gz"]


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ({"sourceBucket": "other"}, "that inventory is of other. One of raw is needed."),
        ({"fileFormat": "ORC"}, "the inventory must be in CSV, of all versions."),
        ({"fileSchema": "Bucket, Key, Size"}, "the inventory must be in CSV, of all versions."),
    ],
)
def test_an_inventory_of_another_kind_is_refused(
    pipeline: Pipeline, run: Callable[..., Run], manifest: Any, says: str
) -> None:
    answer = run("audit", "--inventory", inventory(pipeline.s3, [], **manifest))
    assert (answer.code, answer.text) == (1, "")
    assert f"error: {says}" in answer.errors


def test_a_damaged_inventory_is_refused(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    address = inventory(pipeline.s3, [])
    pipeline.s3.put_object(Bucket="reports", Key="data/1.csv.gz", Body=b"?")
    assert "error: the inventory's file data/1.csv.gz is damaged." in run("audit", "--inventory", address).errors


def test_an_address_that_is_no_manifest_is_refused(run: Callable[..., Run]) -> None:
    answer = run("audit", "--inventory", "s3://reports/")
    assert answer.errors.splitlines()[-1].startswith("error: not a manifest of an inventory: s3://reports/. ")


# --- failures and redrive ---------------------------------------------------------------------------------------------


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


@MODES
def test_failures_are_shown_with_time_object_reason_and_number_and_stay(
    pipeline: Pipeline, run: Callable[..., Run], fail: Callable[..., None]
) -> None:
    fail(pipeline, *ODD_KEYS, "twice.json", "twice.json")
    assert pipeline.dead() == len(ODD_KEYS) + 2
    for _ in range(2):  # looking at them does not hide them from the next look
        answer = run("failures", "--json")
        assert answer.code == 0
        assert answer.summary == {"rejected": 0, "messages": len(ODD_KEYS) + 2, "hidden": 0, "waiting": 0}
        shown = {line["key"]: line for line in answer.lines[:-1]}
        assert shown.keys() == {*ODD_KEYS, "twice.json"}
        assert {line["reason"] for line in shown.values()} == {"PutObject AccessDenied"}
        assert (shown["twice.json"]["messages"], shown["a b.json"]["messages"]) == (2, 1)
        assert shown["a b.json"]["tries"] == (3 if fail is fail_in_direct_mode else 2)
        newest = pipeline.s3.head_object(Bucket="raw", Key="twice.json")["VersionId"]
        assert shown["twice.json"]["version_id"] == newest
        assert shown["twice.json"]["first"] <= shown["twice.json"]["last"]
    answer = run("failures")
    assert answer.errors == (
        f"{len(ODD_KEYS) + 2} failed events. To send them through the pipeline again: ./deploy.sh redrive test\n"
    )
    text = answer.text.splitlines()
    assert len(text) == len(shown)
    assert re.search(r"\S+Z  failed    twice\.json  PutObject AccessDenied  2 events  \d attempts$", text[-1])


def test_failures_that_the_function_could_not_explain(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    sent = notification("slow.json")
    record = event("lambda_failure_record") | {"requestPayload": sent}
    timeout = {"errorMessage": "2026-01-01T00:00:00Z req Task timed out after 300.00 seconds"}
    crash = {"errorType": "Runtime.ExitError", "errorMessage": "RequestId: x Error: Runtime exited"}
    expired = {"requestId": "x", "condition": "EventAgeExceeded", "approximateInvokeCount": 7}
    unasked = {"version": "1.0", "requestContext": expired, "requestPayload": notification("expired.json")}
    bodies = [
        json.dumps(record | {"responsePayload": timeout}),
        json.dumps(record | {"responsePayload": crash, "requestPayload": notification("crash.json")}),
        json.dumps(unasked),
        json.dumps(notification("silent.json")),
        "not json",
        json.dumps({"requestPayload": {"Records": [7]}}),
    ]
    for body in bodies:
        pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody=body)
    answer = run("failures", "--json")
    assert answer.reasons == {
        "slow.json": "timed_out", "crash.json": "Runtime.ExitError", "expired.json": "EventAgeExceeded",
        "silent.json": "unknown", "": "unsupported_event",
    }  # fmt: skip
    tries = {line["key"]: line["tries"] for line in answer.lines[:-1]}
    assert tries == {"slow.json": 3, "crash.json": 3, "expired.json": 7, "silent.json": None, "": None}
    assert answer.summary["messages"] == 6


def test_of_an_event_with_several_objects_only_those_that_failed_are_shown(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    answer = {"errorMessage": "gzip bucket=raw key=b.json version=2; empty_file bucket=raw key=c.json version=3"}
    record = {"requestPayload": notification("a.json", "b.json", "c.json"), "responsePayload": answer}
    pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody=json.dumps(record))
    shown = run("failures", "--json")
    assert shown.reasons == {"b.json": "gzip", "c.json": "empty_file"}
    assert [line["version_id"] for line in shown.lines[:-1]] == ["2", "3"]


def test_no_failures(run: Callable[..., Run]) -> None:
    assert run("failures").errors == "No failed events.\n"
    assert run("failures", "--json").lines == [{"summary": {"rejected": 0, "messages": 0, "hidden": 0, "waiting": 0}}]
    answer = run("redrive")
    assert (answer.code, answer.errors) == (0, "Sent back 0 events.\n")


@pytest.fixture
def lambda_works(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the function take what is in the queue whenever redrive reads its log."""
    read = log.log_lines

    def work_and_read(*arguments: Any) -> Any:
        pipeline.work_off()
        return read(*arguments)

    monkeypatch.setattr(log, "log_lines", work_and_read)


@MODES
@pytest.mark.usefixtures("lambda_works")
def test_redrive_sends_failed_events_back_and_tells_what_became_of_each(
    pipeline: Pipeline, run: Callable[..., Run], fail: Callable[..., None]
) -> None:
    fail(pipeline, "bad.json", "deleted.json", *ODD_KEYS)
    pipeline.s3.delete_object(Bucket="raw", Key="deleted.json")
    pipeline.refused = {"bad.json"}
    answer = run("redrive", "--json", "--wait", "0.1")
    assert answer.code == 1
    became = {line["key"]: (line["outcome"], line["reason"]) for line in answer.lines[:-1]}
    assert became == dict.fromkeys(ODD_KEYS, ("processed", "")) | {
        "bad.json": ("failed", "PutObject AccessDenied"),
        "deleted.json": ("gone", ""),
    }
    assert answer.summary == {"messages": 10, "hidden": 0, "processed": 8, "gone": 1, "failed": 1}
    assert answer.errors == "Sent back 10 events. Failed again or not done yet: 1 object.\n"
    assert pipeline.dead() == 1  # bad.json is back
    assert run(*AUDIT).states == {"bad.json": "missing"}
    pipeline.refused.clear()
    assert run("redrive").code == 0
    assert pipeline.dead() == 0


NAMED = {"Records": [{"s3": {"bucket": {"name": "raw"}, "object": {"key": "a.json"}}}]}
ODD_MESSAGES = {  # and how many failed events of a.json are seen in them
    "a number for a key": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":7}}}]}', 0),
    "no key": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":null}}}]}', 0),
    "an empty key": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":""}}}]}', 0),
    "half a character": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":"\\ud800.json"}}}]}', 0),
    "a key that is not UTF-8": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":"%ff.json"}}}]}', 0),
    "a list for a bucket": ('{"Records":[{"s3":{"bucket":{"name":[]},"object":{"key":"a.json"}}}]}', 0),
    "open brackets": ("[" * 100_000, 0),
    "open braces": ('{"a":' * 100_000, 0),
    "nested as deep as is read": ('{"Records":[{"s3":{"a":' + "[" * 980 + "]" * 980 + "}}]}", 0),
    "an SNS notification": (json.dumps(event("sns_notification")), 0),
    "an event of EventBridge": (json.dumps(event("eventbridge_object_created")), 0),
    "a test event": (json.dumps(event("s3_test_event")), 0),
    "no records": (json.dumps(event("s3_empty_records")), 0),
    "an object for records": ('{"Records":{}}', 0),
    "null for a record": ('{"Records":[null]}', 0),
    "text": ('"text"', 0),
    "null": ("null", 0),
    "an answer that is text": (json.dumps({"requestPayload": NAMED, "responsePayload": "text"}), 1),
    "a number for a context": (json.dumps({"requestPayload": NAMED, "requestContext": 7}), 1),
    "a huge number of tries": (
        json.dumps({"requestPayload": NAMED, "requestContext": {"approximateInvokeCount": 10**30}}), 1,
    ),
    "an object for a version": (json.dumps(NAMED).replace('"a.json"', '"a.json","versionId":{}'), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_MESSAGES)
def test_an_odd_message_is_an_event_or_it_is_not(name: str) -> None:
    body, seen = ODD_MESSAGES[name]
    assert [found.key for found in queues.failed_objects(body)[1]] == ["a.json"] * seen


def test_odd_messages_do_not_keep_the_others_from_being_seen_and_sent_back(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    seen = sum(seen for _, seen in ODD_MESSAGES.values())
    for body, _ in ODD_MESSAGES.values():
        pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody=body)
    fail_in_direct_mode(pipeline, "good.json")
    answer = run("failures", "--json")
    assert {line["key"]: line["messages"] for line in answer.lines[:-1]} == {
        "": len(ODD_MESSAGES) - seen, "a.json": seen, "good.json": 1,
    }  # fmt: skip
    assert answer.reasons[""] == "unsupported_event"
    answer = run("redrive", "--wait", "0", "--json")
    assert [line["key"] for line in answer.lines[:-1]] == ["a.json", "good.json"]
    assert pipeline.dead() == len(ODD_MESSAGES) - seen


def test_a_line_of_the_log_with_half_a_character_does_not_matter(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    line = a_line("\ud800.json", "failed") | {"level": "ERROR", "version_id": ""}
    pipeline.write(json.dumps(line))
    assert run("failures", "--json").reasons.keys() == {"a.json"}
    assert run("logs", "--once").code == 0


def test_failed_events_that_another_has_in_hand_are_told_of(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b.json")
    (held,) = pipeline.sqs.receive_message(QueueUrl=pipeline.dead_letter, VisibilityTimeout=3600)["Messages"]
    hidden = (
        "Not shown: about 1 failed event, which another command is looking at, or was when it was killed. "
        "Try again later."
    )
    answer = run("failures")
    assert len(answer.text.splitlines()) == 1
    assert hidden in answer.errors
    assert run("failures", "--json").summary == {"rejected": 0, "messages": 1, "hidden": 1, "waiting": 0}
    assert hidden in run("redrive", "--wait", "0").errors
    assert run("failures").errors.splitlines() == [hidden, WAITING]  # and not that there are none
    visible = {"ReceiptHandle": held["ReceiptHandle"], "VisibilityTimeout": 0}
    pipeline.sqs.change_message_visibility(QueueUrl=pipeline.dead_letter, **visible)
    assert run("failures", "--json").summary["messages"] == 1


WAITING = "1 event in the ingestion queue may have failed and be waiting for another attempt."


def test_failed_events_that_are_still_to_be_tried_again_are_told_of(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    pipeline.put("a.json")
    pipeline.sqs.send_message(QueueUrl=pipeline.ingestion, MessageBody=json.dumps(notification("a.json")))
    pipeline.sqs.receive_message(QueueUrl=pipeline.ingestion, VisibilityTimeout=1800)  # failed once: four to go
    assert run("failures").errors.splitlines() == ["No failed events.", WAITING]
    assert run("failures", "--json").summary == {"rejected": 0, "messages": 0, "hidden": 0, "waiting": 1}


def test_an_answer_of_nothing_new_is_not_taken_for_the_end(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, *(f"{n:02}.json" for n in range(21)))
    receive, answers = pipeline.client("sqs").receive_message, list[Any]()

    def receive_again(**request: Any) -> Any:
        if len(answers) == 1:
            answers.append({"Messages": answers[0]["Messages"][:1]})  # its hiding is over
        elif len(answers) == 2:
            answers.append({})  # by servers that have none
        else:
            answers.append(receive(**request))
        return answers[-1]

    monkeypatch.setattr(pipeline.client("sqs"), "receive_message", receive_again)
    answer = run("redrive", "--wait", "0", "--rate", "1000")
    assert answer.errors == "Sent back 21 events.\n"
    assert pipeline.dead() == 0


def test_a_message_is_given_back_by_its_newest_receipt(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody="not json")
    client, given_back = pipeline.client("sqs"), list[str]()
    receive, change = client.receive_message, client.change_message_visibility_batch
    answers: list[Any] = []

    def receive_at_once_again(**request: Any) -> Any:
        answers.append(receive(**request | {"VisibilityTimeout": 0 if len(answers) < 1 else 60}))
        return answers[-1]

    def note(**request: Any) -> Any:
        given_back.extend(entry["ReceiptHandle"] for entry in request["Entries"])
        return change(**request)

    monkeypatch.setattr(client, "receive_message", receive_at_once_again)
    monkeypatch.setattr(client, "change_message_visibility_batch", note)
    assert run("failures", "--json").summary["messages"] == 1
    first, second = (answer["Messages"][0]["ReceiptHandle"] for answer in answers[:2])
    assert (given_back, first == second) == ([second], False)


def test_a_message_that_sqs_does_not_delete_is_told_of_and_given_back(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b.json", "c.json")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    client, calls = pipeline.client("sqs"), list[int]()
    delete = client.delete_message_batch

    def all_but_one(QueueUrl: str, Entries: list[Any]) -> Any:
        calls.append(len(Entries))
        stubborn, *others = Entries
        answer = delete(QueueUrl=QueueUrl, Entries=others) if others else {}
        return answer | {"Failed": [{"Id": stubborn["Id"], "Code": "InternalError", "SenderFault": False}]}

    monkeypatch.setattr(client, "delete_message_batch", all_but_one)
    answer = run("redrive", "--wait", "0")
    assert answer.errors == (
        "Sent back, and still in the dead-letter queue: 1 message. Processing an event twice is harmless.\n"
        "Sent back 3 events.\n"
    )
    assert calls == [3, 1, 1, 1, 1, 1]
    assert run("failures", "--json").summary["messages"] == 1


def test_who_stops_redrive_learns_what_was_sent(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, *(f"{n:02}.json" for n in range(30)))
    stop_sending_after(monkeypatch, 2)
    answer = run("redrive", "--rate", "10000", "--json")
    assert answer.code == 130
    assert [line["outcome"] for line in answer.lines[:-1]] == ["sent"] * 20
    assert answer.summary == {"messages": 20, "hidden": 0, "sent": 20}
    assert answer.errors == (
        "Stopped. Events that were not sent back are still in the dead-letter queue.\nSent back 20 events.\n"
    )
    assert (pipeline.dead(), pipeline.work_off()) == (10, 40)  # each tried twice


def test_what_was_sent_before_aws_refused_is_told(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, *(f"{n:02}.json" for n in range(30)))
    left = iter(range(2))

    def send(*arguments: Any) -> None:
        if next(left, None) is None:
            raise Refused("the ingestion queue is full")
        queues.send(*arguments)

    monkeypatch.setattr("commands.operate.verbs.send", send)
    answer = run("redrive", "--rate", "10000", "--json")
    assert (answer.code, answer.summary["sent"]) == (1, 20)
    assert answer.errors.splitlines()[-1] == "error: the ingestion queue is full"
    monkeypatch.undo()


def test_a_refusal_while_waiting_does_not_hide_what_was_sent(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    refuse(pipeline.client("logs"), "logs", "FilterLogEvents", "AccessDenied")
    answer = run("redrive", "--json")
    assert (answer.code, answer.summary["unfinished"]) == (1, 1)
    assert answer.errors.splitlines()[-1].startswith("error: AWS refuses FilterLogEvents.")


def test_a_key_that_no_failed_event_is_about_is_told(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    answer = run("redrive", "--key", "b.json", "--key", "a.json", "--wait", "0")
    assert answer.errors.splitlines() == ["There is no failed event about b.json.", "Sent back 1 event."]


def test_redrive_of_one_object_leaves_the_others(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b c.json", "d.json")
    answer = run("redrive", "--key", "b c.json", "--key", "d.json", "--wait", "0", "--json")
    assert answer.lines[:-1] == [{"key": key, "outcome": "sent", "reason": ""} for key in ("b c.json", "d.json")]
    assert run("failures", "--json").reasons.keys() == {"a.json"}
    assert pipeline.work_off() == 4  # two messages, each tried twice


def test_a_dry_run_changes_nothing(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    answer = run("redrive", "--dry-run")
    assert (answer.code, answer.text) == (0, "would be sent  a.json\n")
    assert answer.errors == "Would send back 1 event.\n"
    assert (pipeline.work_off(), run("failures", "--json").summary["messages"]) == (0, 1)


def test_what_fails_again_at_once_is_not_sent_back_for_ever(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, *(f"{n:02}.json" for n in range(12)))
    sent: list[int] = []

    def send_and_work(names: state.Pipeline, events: list[str], run: str) -> None:
        sent.append(len(events))
        assert sum(sent) <= 12, "events of this run are sent back again"
        queues.send(names, events, run)
        pipeline.work_off()

    monkeypatch.setattr("commands.operate.verbs.send", send_and_work)
    assert run("redrive", "--wait", "0").code == 0
    assert (sent, pipeline.dead()) == ([10, 2], 12)


def test_what_is_no_event_of_s3_stays_in_the_dead_letter_queue(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody="not json")
    answer = run("redrive")
    assert answer.errors == "Left in the dead-letter queue, as no S3 event: 1 message.\nSent back 0 events.\n"
    assert pipeline.dead() == 1


def test_an_event_is_never_out_of_both_queues(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    refuse(pipeline.client("sqs"), "sqs", "SendMessageBatch", "AccessDenied")
    answer = run("redrive")
    assert answer.code == 1
    assert answer.errors.splitlines()[-1].startswith("error: AWS refuses SendMessageBatch. These credentials need ")
    assert (pipeline.dead(), pipeline.work_off()) == (1, 0)


def test_what_the_log_does_not_tell_redrive_asks_the_buckets(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b.json", "c.json")
    pipeline.refused.remove("a.json")
    pipeline.s3.delete_object(Bucket="raw", Key="b.json")

    def work_in_silence(*_: Any) -> list[Any]:
        pipeline.work_off()
        return []

    monkeypatch.setattr(log, "log_lines", work_in_silence)
    made: list[str] = []

    def make_client(service: str, **options: Any) -> Any:
        made.append(f"{service} by {threading.current_thread().name}")
        return boto3.Session().client(service, **options)  # type: ignore[call-overload]

    session: Any = types.SimpleNamespace(client=make_client, region_name="us-east-1")
    pipeline.account = Account(session)
    answer = run("redrive", "--json", "--wait", "0.1")
    assert made.count("s3 by MainThread") == 1
    assert [client for client in made if "MainThread" not in client] == []
    assert [(line["key"], line["outcome"]) for line in answer.lines[:-1]] == [
        ("a.json", "processed"), ("b.json", "gone"), ("c.json", "unfinished"),
    ]  # fmt: skip
    assert answer.code == 1


def test_who_stops_waiting_still_learns_what_is_known(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b.json")
    pipeline.put("a.json")

    def stop(_: float) -> None:
        terminal.stopping.set()
        terminal.pause(0)

    monkeypatch.setattr("commands.operate.verbs.pause", stop)
    monkeypatch.setattr(log, "log_lines", lambda *_: [(time.time(), a_line("a.json", "processed"))])
    answer = run("redrive", "--json")
    assert [(line["key"], line["outcome"]) for line in answer.lines[:-1]] == [
        ("a.json", "processed"),
        ("b.json", "unfinished"),
    ]
    assert answer.errors == (
        "Stopped waiting. Events that were sent back will still be processed.\n"
        "Sent back 2 events. Failed again or not done yet: 1 object.\n"
    )
    assert answer.code == 1


def a_line(key: str, outcome: str) -> dict[str, Any]:
    return {"message": outcome, "key": key, "bytes_out": 3, "reason": ""}


def test_more_failed_events_than_sqs_hands_out_is_said(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    refuse(pipeline.client("sqs"), "sqs", "ReceiveMessage", "OverLimit")
    assert run("failures").errors.splitlines()[0].startswith("SQS hands out 120,000 messages at a time")


def test_messages_that_sqs_refuses_for_now_are_sent_again(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    names = pipeline.deployed
    calls = []
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def half(QueueUrl: str, Entries: list[Any]) -> Any:
        calls.append([entry["Id"] for entry in Entries])
        answer = pipeline.sqs.send_message_batch(QueueUrl=QueueUrl, Entries=Entries[:1])
        return answer | {"Failed": [{"Id": entry["Id"], "Code": "Busy", "SenderFault": False} for entry in Entries[1:]]}

    monkeypatch.setattr(pipeline.client("sqs"), "send_message_batch", half)
    queues.send(names, [queues.notification("raw", key) for key in ("a.json", "b.json", "c.json")])
    assert calls == [["0", "1", "2"], ["1", "2"], ["2"]]
    assert queues.depth(names, pipeline.ingestion) == 3
    with pytest.raises(Refused, match="does not take events: Busy"):
        queues.send(names, ["{}"] * 9)


# --- reprocess --------------------------------------------------------------------------------------------------------


def test_reprocess_sends_the_objects_of_a_prefix(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    for key in ("a/1.json", "a/2.json", "a/notes.txt", "b/1.json", *(f"a/{key}" for key in ODD_KEYS)):
        pipeline.put(key)
    answer = run("reprocess", "--prefix", "a/", "--rate", "10000")
    assert (answer.code, answer.errors) == (0, f"Sent {2 + len(ODD_KEYS)} objects through the pipeline.\n")
    assert pipeline.work_off() == 2 + len(ODD_KEYS)
    assert run(*AUDIT, "--prefix", "a/").code == 0
    assert run(*AUDIT, "--prefix", "b/").states == {"b/1.json": "missing"}


def test_reprocess_since_a_time(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    assert run("reprocess", "--prefix", "", "--since", "2100-01-01").errors == "There are no such objects.\n"
    assert run("reprocess", "--prefix", "", "--since", "1h").errors == "Sent 1 object through the pipeline.\n"
    assert run("reprocess", "--prefix", "", "--since", "soon").errors.splitlines()[-1] == (
        "error: not a time: soon. Say how long ago, as in 10m, 12h or 7d, or when: 2026-01-31."
    )


def test_reprocess_is_interrupted_and_taken_up_again_where_nothing_is_to_be_sent(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        pipeline.put(f"{n:02}.json")
    asked: list[Any] = []

    def pages_of_five(params: Any, **_: Any) -> None:
        asked.append(params.get("StartAfter", params.get("ContinuationToken")))
        params["MaxKeys"] = 5
        if len(asked) == 2:
            terminal.stopping.set()

    pipeline.client("s3").meta.events.register("provide-client-params.s3.ListObjectsV2", pages_of_five)
    command = ("reprocess", "--prefix", "", "--since", "2100-01-01")
    answer = run(*command)
    assert (answer.code, len(asked)) == (130, 2)
    assert answer.errors == "Stopped after sending 0 objects. To resume, run the same command with --resume.\n"
    answer = run(*command, "--resume")
    assert asked[2] == "09.json"
    assert (answer.code, answer.errors.splitlines()[0]) == (0, "Resuming after 0 objects, at 09.json.")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes only when somebody waits."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(queues, "pause", lambda seconds: clock.__setitem__(0, clock[0] + max(seconds, 0)))
    return clock


def test_a_rate_is_kept_after_a_time_without_anything_to_send(clock: list[float]) -> None:
    pace = queues.Pace(100)
    clock[0] = 600.0
    for _ in range(60):
        pace.keep(10)
    assert clock[0] == pytest.approx(605.0)  # a second's worth is caught up on


def test_a_rate_is_kept(clock: list[float]) -> None:
    pace = queues.Pace(50)
    for _ in range(30):
        clock[0] += 0.01  # what a call takes
        pace.keep(10)
    assert clock[0] == pytest.approx(6.0)


# --- status and logs --------------------------------------------------------------------------------------------------


def test_status_is_one_screen(pipeline: Pipeline, run: Callable[..., Run], function: str) -> None:
    pipeline.upload("a.json", "b.json")
    pipeline.upload("bad.json", "worse.json", body=BAD)
    pipeline.invoke(notification("gone.json"))
    fail_in_queue_mode(pipeline, "bad too.json")  # tried twice
    pipeline.sqs.send_message(QueueUrl=pipeline.ingestion, MessageBody="{}")
    for name, topic in (("pipeline-errors", "pipeline-alarms"), ("pipeline-prod-errors", "pipeline-prod-alarms")):
        make("cloudwatch").put_metric_alarm(
            AlarmName=name, Namespace="n", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=0,
            ComparisonOperator="GreaterThanThreshold", AlarmActions=[f"arn:aws:sns:us-east-1:123456789012:{topic}"],
        )  # fmt: skip
        make("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    answer = run("status")
    assert answer.code == 0
    screen = {line[:17].rstrip(): line[18:] for line in answer.text.splitlines()}
    assert screen["function"] == f"function, version 1, code {function}"
    assert re.fullmatch(r"b\.json, \S+Z", screen["last processed"])
    assert screen["in the last hour"] == "6 files in, 2 out, 2 rejected, 1 failed, 1 gone"
    assert screen["waiting"] == "1 event in the queue"
    assert screen["failed events"] == "1 in the dead-letter queue, see ./deploy.sh failures test"
    assert screen["ignored"] == "none"
    assert screen["alarms"] == "pipeline-errors"


def test_a_file_that_failed_before_its_version_was_known_and_came_through_later_is_one_file(
    pipeline: Pipeline, run: Callable[..., Run], function: str
) -> None:
    lost = a_line("a.json", "failed") | {"level": "ERROR", "version_id": ""}
    pipeline.write(json.dumps(lost), json.dumps(lost | {"key": "b.json"}))
    pipeline.upload("a.json")
    assert function
    assert "\nin the last hour  2 files in, 1 out, 0 rejected, 1 failed, 0 gone\n" in run("status").text


def test_status_of_a_pipeline_that_was_never_used(run: Callable[..., Run], function: str) -> None:
    text = run("status").text
    assert "last processed    none in two weeks" in text
    assert "in the last hour  0 files in, 0 out, 0 rejected, 0 failed, 0 gone" in text
    assert "alarms            none" in text


@pytest.mark.usefixtures("function")
@pytest.mark.parametrize("hours", [60, 96, 335])
def test_status_knows_the_last_file_of_two_weeks(pipeline: Pipeline, run: Callable[..., Run], hours: int) -> None:
    at = time.time() - hours * 3600
    line = {"timestamp": int(at * 1000), "message": json.dumps(a_line("a.json", "processed"))}
    pipeline.logs.put_log_events(logGroupName="group", logStreamName="stream", logEvents=[line])
    assert f"last processed    a.json, {terminal.iso(at)}" in run("status").text


def test_logs_have_a_readable_line_for_each_file(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json", "b\u202e.json", body=TWO)
    pipeline.upload("bad.json", body=BAD)
    pipeline.invoke(notification("notes.txt"))
    pipeline.write(
        "START RequestId: x",
        json.dumps({"type": "platform.report", "record": {"status": "success"}}),
        json.dumps({"type": "platform.report", "record": {"status": "timeout"}}),
        json.dumps({"level": "ERROR", "errorType": "Runtime.ImportModuleError", "message": "Unable"}),
        json.dumps({"_aws": {}, "service": "function", "FilesProcessed": [1.0]}),
    )
    answer = run("logs", "--once")
    lines = [re.sub(r"^\S+Z  ", "", line) for line in answer.text.splitlines()]
    version = pipeline.s3.head_object(Bucket="raw", Key="a.json")["VersionId"]
    assert re.fullmatch(rf"processed  a\.json  version {version}  2 records  {len(TWO)} bytes  \d+ ms", lines[0])
    assert lines[1].startswith('processed  "b\\u202e.json"')
    assert re.fullmatch(
        r"rejected   bad\.json  version \S+  \d+ ms  missing_field record=0 field=patient_name", lines[2]
    )
    assert lines[3:] == ["skipped    notes.txt", "timeout", "error      Runtime.ImportModuleError"]
    assert run("logs", "--once", "--since", "2100-01-01").text == ""


def test_logs_follow_until_told_to_stop_and_show_nothing_twice(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.upload("0.json")
    rounds = iter(range(1, 4))

    def upload_meanwhile(seconds: float) -> None:
        number = next(rounds, None)
        if number is None:
            raise terminal.Interrupted
        pipeline.upload(f"{number}.json")

    monkeypatch.setattr("commands.operate.verbs.pause", upload_meanwhile)
    answer = run("logs")
    assert answer.code == 130
    assert [line.split()[2] for line in answer.text.splitlines()] == ["0.json", "1.json", "2.json", "3.json"]


def test_a_log_without_page_tokens_is_read_to_its_end(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [1, 1, 2, 2, 2, 3, 4, 4, 4, 4, 5]
    events: list[Any] = [{"timestamp": stamp, "message": json.dumps({"n": n})} for n, stamp in enumerate(stamps)]
    monkeypatch.setattr(log, "LOG_PAGE", 5)

    def page(startTime: int, **_: Any) -> Any:
        return {"events": [one for one in events if one["timestamp"] >= startTime][:5]}

    monkeypatch.setattr(pipeline.client("logs"), "filter_log_events", page)
    lines = log.log_lines(pipeline.deployed, 0)
    assert [line["n"] for _, line in lines] == list(range(len(stamps)))


# --- errors -----------------------------------------------------------------------------------------------------------


VERBS = [["audit"], ["failures"], ["redrive"], ["reprocess", "--prefix", ""], ["status"], ["logs", "--once"]]


@pytest.mark.parametrize(
    ("service", "call", "verb", "needs"),
    [
        ("s3", "ListObjectVersions", "audit", "s3:ListBucketVersions"),
        ("s3", "ListObjectsV2", "audit", "s3:ListBucket"),
        ("s3", "HeadObject", "audit", r"s3:GetObject \(and s3:ListBucket\)"),
        ("s3", "ListObjectsV2", "reprocess", "s3:ListBucket"),
        ("sqs", "ReceiveMessage", "failures", r"sqs:ReceiveMessage \(and kms:Decrypt\)"),
        ("logs", "FilterLogEvents", "logs", "logs:FilterLogEvents"),
        ("lambda", "GetAlias", "status", "lambda:GetAlias"),
    ],
)
def test_missing_permission_is_one_clear_line(
    pipeline: Pipeline, run: Callable[..., Run], service: str, call: str, verb: str, needs: str
) -> None:
    pipeline.put("a.json")
    refuse(pipeline.client(service), service, call, "AccessDenied")
    (arguments,) = [arguments for arguments in VERBS if arguments[0] == verb]
    answer = run(*arguments)
    assert (answer.code, answer.text) == (1, "")
    assert re.search(
        rf"^error: AWS refuses {call}\. These credentials need the permission {needs}\.$", answer.errors, re.M
    )


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: str(verb[0]))
def test_no_credentials_is_one_clear_line(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    pipeline.sign_in()
    answer = run(*verb)
    assert (answer.code, answer.text) == (1, "")
    assert answer.errors.splitlines()[-1] == (
        "error: there are no AWS credentials. Sign in, for example with aws login, or set AWS_PROFILE, then run this "
        "again."
    )


def test_a_key_that_may_not_be_used_is_one_clear_line(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    refuse(pipeline.client("sqs"), "sqs", "ReceiveMessage", "KMS.AccessDeniedException", 400)
    assert run("failures").errors == (
        "error: AWS refuses ReceiveMessage. These credentials need kms:Decrypt (and kms:GenerateDataKey) on its key.\n"
    )


def test_throttling_is_waited_for_and_in_the_end_one_clear_line(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.put("a.json")
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    refuse(pipeline.client("s3"), "s3", "ListObjectVersions", "SlowDown", 503)
    answer = run("audit")
    assert (answer.code, len(waits)) == (1, 7)
    assert answer.errors.splitlines()[-1] == (
        "error: AWS keeps throttling ListObjectVersions. Wait a little, or lower --rate, then run this again."
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "ExpiredToken",
            "the AWS credentials in the environment have expired. Get new ones or unset them, then run this again.",
        ),
        (
            "NoSuchBucket",
            "ListObjectVersions finds nothing (NoSuchBucket). If test was destroyed, deploy it again: "
            "./deploy.sh deploy dev",
        ),
        ("Strange", "ListObjectVersions failed (Strange). Try again; if it stays, AWS says: no"),
    ],
)
def test_other_refusals(pipeline: Pipeline, run: Callable[..., Run], code: str, says: str) -> None:
    refuse(pipeline.client("s3"), "s3", "ListObjectVersions", code, 400)
    assert run("audit").errors == f"error: {says}\n"


def test_an_answer_that_breaks_off_is_not_blamed_on_the_credentials(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = inventory(pipeline.s3, [])
    client = pipeline.client("s3")
    get = client.get_object

    def cut(**request: Any) -> Any:
        answer = get(**request)
        return answer | {"Body": StreamingBody(io.BytesIO(answer["Body"].read()[:-1]), answer["ContentLength"])}

    monkeypatch.setattr(client, "get_object", cut)
    assert run("audit", "--inventory", address).errors.splitlines()[-1] == (
        "error: an answer of AWS broke off. Run this again."
    )


def test_a_value_that_aws_does_not_take_is_not_blamed_on_the_credentials(run: Callable[..., Run]) -> None:
    answer = run("audit", "--inventory", "s3://no bucket/raw/audit/2026-01-31T00-00Z/manifest.json")
    assert re.fullmatch(
        r'error: AWS does not accept that value: .*Invalid bucket name "no bucket".* Correct the options\.\n',
        answer.errors,
    )


def test_the_same_run_twice_at_once_is_refused(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    first = ledger.Ledger(ledger.ledger_path("audit", "raw", "", "", False))
    answer = run("audit")
    assert (answer.code, answer.errors) == (1, "error: the same command is running already. Wait for it, or stop it.\n")
    first.finish()
    assert run("audit").code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_not_taken_for_another_run(run: Callable[..., Run]) -> None:
    path = ledger.ledger_path("audit", "raw", "", "", False)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    assert run("audit").errors == (
        "error: database or disk is full. Check the disk and the permissions of this folder, then run this again.\n"
    )


def test_a_pipeline_of_an_older_deployment_is_told_so(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    del pipeline.outputs["function_alias"]
    answer = run("status")
    assert answer.code == 1
    assert answer.errors == (
        "error: test was deployed by an older version of this code: its state has no function_alias. "
        "Deploy it again: ./deploy.sh deploy dev\n"
    )


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["audit", "dev", "prod"], "prod"),
        (["audit", "--rate", "0"], "--rate"),
        (["audit", "--in-flight", "-1"], "--in-flight"),
        (["reprocess"], "--prefix"),
        (["redrive", "--rate", "fast"], "--rate"),
        (["redrive", "--wait", "nan"], "--wait"),
        (["logs", "--sinc", "1h"], "--sinc"),
        (["restore"], "--key"),
    ],
)
def test_bad_use_is_one_clear_line(
    run: Callable[..., Run], capsys: pytest.CaptureFixture[str], arguments: list[str], about: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        run(*arguments)
    assert refused.value.code == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert re.fullmatch(rf"error: .*{about}\b.*\. \./deploy\.sh {arguments[0]} --help shows what it takes\.\n", error)


# --- the runbook ------------------------------------------------------------------------------------------------------


def test_the_runbook_has_a_section_for_every_alarm() -> None:
    alarms = (ROOT / "modules/monitoring/alarms.tf").read_text()
    names = set(re.findall(r"^    ([a-z-]+) = \{$", alarms, re.M)) | {"nothing-processed"}
    assert names == set(re.findall(r"^### ([a-z]+-[a-z-]+)$", RUNBOOK, re.M))


def test_the_runbook_has_a_section_for_every_reason_and_for_no_other() -> None:
    source = Path(lambda_function.__file__).read_text()
    rejected, others = (set(re.findall(rf'\b{name}\("(\w+)"', source)) for name in ("Rejected", "Failure"))
    assert len(rejected) == 12
    part, rest = RUNBOOK.partition("## Rejected files")[2].split("\n## ", 2)[:2]
    assert set(re.findall(r"^### `(\w+)`$", part, re.M)) == rejected
    documented = set(re.findall(r"^### `(\w+)`$", rest, re.M))
    ours = {"timed_out", "EventAgeExceeded", "unknown"}  # what failures says by itself
    assert documented == others | ours
    for sections, block in ((part, r"^```text$"), (rest, r"^```bash$")):  # what check prints, what to type
        for section in re.split(r"^### ", sections, flags=re.M)[1:]:
            assert re.search(block, section, re.M), section
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("| reason | meaning |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == rejected


def test_the_runbooks_job_is_one_that_s3_takes() -> None:
    shape = make("s3control").meta.service_model.operation_model("CreateJob").input_shape
    validate_parameters(JOB, shape)
    assert JOB["Operation"]["LambdaInvoke"]["InvocationSchemaVersion"] == "2.0"


def test_the_runbooks_inventory_is_one_that_s3_takes_and_audit_reads() -> None:
    operation = make("s3").meta.service_model.operation_model("PutBucketInventoryConfiguration")
    validate_parameters(INVENTORY, operation.input_shape.members["InventoryConfiguration"])
    assert INVENTORY["IncludedObjectVersions"] == "All"
    assert INVENTORY["Destination"]["S3BucketDestination"]["Format"] == "CSV"
    assert INVENTORY["OptionalFields"] == ["ETag"]
