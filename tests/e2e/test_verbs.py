"""The verbs that operate a pipeline, in both modes."""

import json
import re
from typing import Any

import pytest
from callers import user
from local_aws.process import LocalAws
from pipeline import RECORDS, TWO_RECORDS, Pipeline, inbox, without
from verbs import answer, audit, run, run_on
from waiting import wait_for

BAD = b'[{"patient_id": "P-1"}]'


def test_audit_finds_and_repairs_every_fault(pipeline: Pipeline) -> None:
    s3 = pipeline.s3
    keys = [f"operate/{name}.json" for name in ("good", "deleted", "replaced", "sourceless", "a b+c%25é")]
    for key, version in [(key, pipeline.upload(key, RECORDS)) for key in keys]:
        pipeline.await_result(key, version)
    assert audit(pipeline, "--deep") == (0, {})

    s3.delete_object(Bucket=pipeline.processed, Key="operate/deleted.json")
    s3.put_object(Bucket=pipeline.processed, Key="operate/replaced.json", Body=b"[]")
    s3.delete_object(Bucket=pipeline.raw, Key="operate/sourceless.json")
    faults = {"operate/deleted.json": "missing", "operate/replaced.json": "tampered"}
    orphan = {}
    if pipeline.removes_results:
        wait_for("the result without a source to go", lambda: not pipeline.result("operate/sourceless.json"))
    else:
        orphan = {"operate/sourceless.json": "orphaned"}
    faults |= orphan
    assert audit(pipeline) == (1, faults)
    assert audit(pipeline, "--repair") == (1, faults)
    wait_for("the repaired results", lambda: audit(pipeline) == (0, orphan))


def rejected(pipeline: Pipeline, key: str) -> dict[str, Any] | None:
    """Return what failures says of a rejected file, None if it says nothing."""
    lines = answer(pipeline, "failures")[1][:-1]
    return next((line for line in lines if (line["key"], line["state"]) == (key, "rejected")), None)


def test_a_rejected_file_is_reported_within_seconds_and_passes_once_fixed(pipeline: Pipeline) -> None:
    key, (_, before) = "operate/rejected.json", audit(pipeline)
    with inbox(pipeline, pipeline.outputs["rejection_topic_arn"]) as messages:
        version = pipeline.upload(key, BAD)
        seen = wait_for("the rejected file among the failures", lambda: rejected(pipeline, key))
        (told,) = wait_for("the message about it", messages)
        assert [record["s3"]["object"]["key"] for record in told["Records"]] == [key]
        assert (seen["version_id"], seen["reason"]) == (version, "missing_field record=0 field=patient_name")
        assert audit(pipeline, "--repair") == (0, before | {key: "rejected"})
        assert messages() == []
    attempts = [line for line in pipeline.log() if version in line and '"message":"rejected"' in line]
    assert len(attempts) == 1
    assert pipeline.depth("ingestion_queue_url") == pipeline.depth("dead_letter_queue_url") == 0
    # The log is gone, as after its retention.
    group = {"logGroupName": pipeline.outputs["log_group_name"]}
    for stream in pipeline.logs.describe_log_streams(**group)["logStreams"]:
        pipeline.logs.delete_log_stream(**group, logStreamName=stream["logStreamName"])
    assert pipeline.log() == []
    assert audit(pipeline) == (0, before | {key: "rejected"})
    pipeline.await_result(key, pipeline.upload(key, TWO_RECORDS))
    wait_for("the verdict to go", lambda: rejected(pipeline, key) is None)
    assert audit(pipeline) == (0, before)


@pytest.mark.usefixtures("quick_redelivery")
def test_a_failed_file_is_reported_and_passes_once_its_cause_is_removed(pipeline: Pipeline) -> None:
    _, before = audit(pipeline)

    def failed() -> list[dict[str, Any]]:
        return [line for line in answer(pipeline, "failures")[1][:-1] if line["state"] == "failed"]

    with without(pipeline, "s3:PutObject"):
        pipeline.upload("operate/failed.json", TWO_RECORDS)
        wait_for("its reason in the log", lambda: [event for event in failed() if event["reason"] != "unknown"])
        (failure,) = failed()
        assert failure["key"] == "operate/failed.json"
        assert failure["reason"] == "PutObject AccessDenied"
        assert [line["key"] for line in failed()] == [failure["key"]]  # looking takes nothing out
        assert audit(pipeline) == (1, before | {"operate/failed.json": "missing"})
        code, (again, _) = answer(pipeline, "redrive", "--key", "operate/failed.json", "--wait", "1")
        assert (code, again["outcome"]) in ((1, "failed"), (1, "unfinished"))
        wait_for("the failed event to come back", failed)
    code, (through, _) = answer(pipeline, "redrive")
    assert (code, through) == (0, {"key": "operate/failed.json", "outcome": "processed", "reason": ""})
    code, (nothing,) = answer(pipeline, "failures")
    assert (code, nothing["summary"]["messages"]) == (0, 0)
    assert audit(pipeline, "--deep") == (0, before)


def test_verify_asks_about_every_claim_and_leaves_nothing(pipeline: Pipeline) -> None:
    with user(pipeline, "*") as administrator:  # as the local AWS holds its root user to no policy
        done = run(pipeline, "verify", "--json", **administrator)
    *rows, summary = [json.loads(line) for line in done.stdout.splitlines()]
    said = {row["row"]: row["answer"] for row in rows}
    assert said == {
        **dict.fromkeys(("result", "large-result", "overwrite", "rejected", "log", "network"), "yes"),
        **dict.fromkeys(("other-encryption", "unnamed-key", "other-key", "double-encryption"), "yes"),
        **dict.fromkeys(("callers-key", "plain-http", "alarm", "metrics", "traces", "key"), "not enforced here"),
        "plan": "no",  # as env/dev.tfvars does not describe this state, which holds two environments
    }, done.stdout + done.stderr
    assert done.returncode == 1
    assert summary["left"] == []
    for bucket in (pipeline.raw, pipeline.processed, pipeline.rejected):
        left = pipeline.s3.list_object_versions(Bucket=bucket, Prefix="smoke-test/verify-")
        assert left.get("Versions", []) + left.get("DeleteMarkers", []) == [], bucket


def test_reprocess_makes_results_again(pipeline: Pipeline) -> None:
    keys = [f"operate-again/{n}.json" for n in range(12)]
    for key, version in [(key, pipeline.upload(key, RECORDS)) for key in keys]:
        pipeline.await_result(key, version)
    for key in keys:
        pipeline.s3.delete_object(Bucket=pipeline.processed, Key=key)
    done = run(pipeline, "reprocess", "--prefix", "operate-again/", "--since", "1h")
    assert done.returncode == 0, done.stderr
    for key in keys:
        wait_for(f"the result of {key}", lambda key=key: pipeline.result(key))  # type: ignore[misc]


def test_status_and_logs_show_the_last_file(pipeline: Pipeline) -> None:
    pipeline.await_result("operate-last.json", pipeline.upload("operate-last.json", RECORDS))

    def last() -> str | None:
        screen = run(pipeline, "status")
        assert screen.returncode == 0, screen.stderr
        return screen.stdout if "last processed    operate-last.json, " in screen.stdout else None

    screen = wait_for("the last file in the status", last)
    assert re.search(rf"^function          {pipeline.function}, version \d+, code \S+", screen, re.MULTILINE)
    assert re.search(r"^in the last hour  [\d,]+ files? in, [\d,]+ out, ", screen, re.MULTILINE)
    log = run(pipeline, "logs", "--once")
    assert re.search(r"  processed  operate-last\.json  version \S+  1 record  ", log.stdout)


VERBS = {"audit": [], "failures": [], "redrive": [], "reprocess": ["--prefix", ""], "status": [], "logs": ["--once"]}


def test_a_missing_permission_is_named(pipeline: Pipeline) -> None:
    with user(pipeline) as caller:
        for verb, options in VERBS.items():
            done = run(pipeline, verb, *options, **caller)
            assert (done.returncode, done.stdout) == (1, "")
            assert re.fullmatch(r"error: AWS refuses \w+\. These credentials need .*\n", done.stderr)


def test_each_verb_reports_in_one_line_why_there_is_no_pipeline(both: dict[str, Pipeline], aws: LocalAws) -> None:
    with user(both["dev"]) as caller:
        for environment, variables, says in (
            ("staging", {}, r"unknown environment: staging\. env/ has dev, prod, .*"),
            ("dev", {"TF_VAR_project_name": "elsewhere"}, r"TF_VAR_project_name is set, .*"),
            ("prod", {}, r"prod was never deployed .* \./deploy\.sh deploy prod"),  # here it is in the state of dev
            ("dev", caller, r"the state s3://\S+ cannot be read: GetObject AccessDenied\. These credentials need .*"),
        ):
            for verb, options in VERBS.items():
                done = run_on(aws, verb, environment, *options, **variables)
                assert (done.returncode, done.stdout) == (1, "")
                assert re.fullmatch(f"error: {says}\n", done.stderr)
