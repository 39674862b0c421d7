"""audit: the outcome of every upload, and audit --repair, which sends again what has no result."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from commands import terminal
from commands.operate import audit, deep, listing, queues

import lambda_function
from tests.unit.invocations import notification

from .pipeline import AUDIT, BAD, ODD_KEYS, ONE, TWO, Pipeline, Run, a_line, make, refuse, stop_sending_after


def test_audit_of_a_sound_pipeline_finds_nothing(pipeline: Pipeline, run: Callable[..., Run]) -> None:
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


def test_an_orphan_alone_does_not_fail_the_audit(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json")
    pipeline.s3.delete_object(Bucket="raw", Key="a.json")
    answer = run(*AUDIT)
    assert (answer.code, answer.states) == (0, {"a.json": "orphaned"})


@pytest.mark.parametrize("records", [1, 250_000], ids=["one part", "several parts"])
def test_deep_audit_finds_a_result_replaced_with_intact_metadata(
    pipeline: Pipeline, run: Callable[..., Run], records: int
) -> None:
    content = b'{"patient_id":"1","patient_name":"Ann Example"}'
    pipeline.upload("a.json", "b.json", body=b"[" + b",".join([content] * records) + b"]")
    result = pipeline.s3.get_object(Bucket="processed", Key="a.json")["Body"].read()
    pipeline.overwrite("a.json", result.replace(b"Ann", b"Eve", 1))
    assert run(*AUDIT).code == 0  # which is why there is --deep
    answer = run(*AUDIT, "--deep")
    assert (answer.code, answer.states, answer.reasons) == (1, {"a.json": "tampered"}, {"a.json": "content"})


def test_the_function_code_is_set_up_once_before_threads_use_it(
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


def test_deep_audit_finds_a_result_of_a_file_that_should_be_rejected(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    version = pipeline.put("a.json", BAD)
    etag = pipeline.s3.head_object(Bucket="raw", Key="a.json")["ETag"].strip('"')
    metadata = {"source-version-id": version, "source-etag": etag, "record-count": "1"}
    pipeline.s3.put_object(Bucket="processed", Key="a.json", Body=b"[\n%40s\n]\n" % b"", Metadata=metadata)
    answer = run(*AUDIT, "--deep")
    assert answer.reasons == {"a.json": "rejected, delete the result: missing_field record=0 field=patient_name"}


def test_objects_that_vanish_during_comparison_are_checked_again(
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


def test_a_tampered_result_of_a_rejected_file_must_be_deleted_by_hand(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    pipeline.upload("a.json")
    pipeline.upload("a.json", body=BAD)
    pipeline.s3.put_object(Bucket="processed", Key="a.json", Body=b"[]")
    answer = run(*AUDIT, "--repair")
    assert (answer.code, answer.states) == (1, {"a.json": "tampered"})
    reason = "missing_field record=0 field=patient_name"
    assert answer.reasons == {"a.json": f"rejected, delete the result: {reason}"}
    assert answer.errors == ("To be deleted by hand, as docs/restoring.md says: 1 result of rejected files.\n")
    assert pipeline.work_off() == 0  # it would be rejected once more
    pipeline.s3.delete_object(Bucket="processed", Key="a.json")
    answer = run(*AUDIT)
    assert (answer.code, answer.states, answer.reasons) == (0, {"a.json": "rejected"}, {"a.json": reason})


def test_an_earlier_failure_does_not_hide_a_rejection(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json", body=b"\x1f\x8b")
    line = a_line("a.json", "failed") | {"level": "ERROR", "version_id": "", "reason": "GetObject SlowDown"}
    pipeline.write(json.dumps(line))
    pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody=json.dumps(notification("a.json")))
    answer = run(*AUDIT)
    assert (answer.code, answer.states, answer.reasons) == (0, {"a.json": "rejected"}, {"a.json": "gzip"})
    told = [(one["state"], one["reason"]) for one in run("failures", "--json").lines[:-1]]
    assert told == [("failed", "GetObject SlowDown"), ("rejected", "gzip")]


def test_rejected_files_are_recognized_without_the_log(pipeline: Pipeline, run: Callable[..., Run]) -> None:
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
    pipeline.upload("fixed.json", "deleted.json", "again.json", body=BAD)
    pipeline.put("fixed.json")
    pipeline.s3.delete_object(Bucket="raw", Key="deleted.json")
    pipeline.put("again.json", b"[]x")
    assert run("failures", "--json").lines == [{"summary": {"rejected": 0, "messages": 0, "hidden": 0, "waiting": 0}}]
    assert run(*AUDIT).states == {"fixed.json": "missing", "again.json": "missing"}


@pytest.mark.parametrize("then", ["rejected", "deleted"])
def test_a_leftover_result_is_found_and_repaired_where_results_are_removed(
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


def test_an_archived_upload_is_reported_and_not_sent(pipeline: Pipeline, run: Callable[..., Run]) -> None:
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


def test_ignored_keys_are_counted(pipeline: Pipeline, run: Callable[..., Run], function: str) -> None:
    pipeline.upload("a.json")
    for key in ("scan.JSON", "scan.json.gz", "scan"):
        pipeline.put(key)
    answer = run(*AUDIT)
    assert (answer.code, answer.summary["ignored"]) == (0, 3)
    assert function
    assert "\nignored           3 uploads, whose keys do not end in .json\n" in run("status").text


def test_rejected_files_are_not_reported_as_missing(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("old.json", "fixed.json")
    pipeline.upload("bad.json", "old.json", "fixed.json", body=BAD)  # a result of old.json's first version stays
    pipeline.upload("gzip.json", "later.json", body=b"\x1f\x8b")
    pipeline.put("later.json")  # its first version was rejected; nobody has looked at this one yet
    pipeline.upload("fixed.json")
    answer = run("audit", "--json")
    assert answer.states == {
        "bad.json": "rejected", "gzip.json": "rejected", "later.json": "in_flight", "old.json": "rejected",
    }  # fmt: skip
    assert answer.reasons["bad.json"] == "missing_field record=0 field=patient_name"
    assert answer.reasons["gzip.json"] == "gzip"
    assert answer.code == 0
    assert run(*AUDIT).states["later.json"] == "missing"


def test_a_file_that_failed_for_another_reason_is_missing_with_the_reason(
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
    """Let something happen once, after an audit has looked at every object."""
    settle = audit.settle

    def do_and_settle(*arguments: Any) -> Any:
        monkeypatch.setattr("commands.operate.verbs.settle", settle)
        do()
        return settle(*arguments)

    monkeypatch.setattr("commands.operate.verbs.settle", do_and_settle)


def let_time_pass(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    later = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: later)


def test_faults_fixed_before_a_long_audit_ends_are_not_reported(
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


def test_a_resumed_audit_judges_anew(
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


def test_uploads_that_wait_in_the_queue_stay_in_flight(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    metric = {
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": "ingestion"}],
        "Value": 600,
    }
    make("cloudwatch").put_metric_data(Namespace="AWS/SQS", MetricData=[metric])
    assert run(*AUDIT).states == {"a.json": "in_flight"}


def test_an_upload_between_listing_and_check_is_no_fault(pipeline: Pipeline) -> None:
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


def test_repair_resends_missing_stale_and_tampered_objects(pipeline: Pipeline, run: Callable[..., Run]) -> None:
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


def test_a_repair_resumes_where_it_was_interrupted(
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


def test_an_empty_bucket_passes_and_is_reported(run: Callable[..., Run]) -> None:
    answer = run("audit")
    assert answer.code == 0
    assert answer.errors == "Nothing in s3://raw/: nothing to compare.\n"


def test_the_report_for_people_is_a_table_with_the_next_step(pipeline: Pipeline, run: Callable[..., Run]) -> None:
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
