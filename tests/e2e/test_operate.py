"""The verbs that operate a pipeline, in both modes, and the commands of the runbook."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import RECORDS, ROOT, Pipeline, inbox, user, wait_for, without
from local_aws.process import LocalAws

BAD = b'[{"patient_id": "P-1"}]'
MENDED = b'[{"patient_id": "P-1", "patient_name": "Name"}, {"patient_id": "P-2", "patient_name": "Name"}]'


def run(pipeline: Pipeline, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb on a pipeline, as ./deploy.sh does."""
    return subprocess.run(
        [".venv/commands/bin/python", "tests/e2e/on_pipeline.py", json.dumps(pipeline.outputs), *arguments],
        cwd=ROOT,
        env=pipeline.aws.full_environment() | {"PYTHONPATH": "scripts"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def answer(pipeline: Pipeline, verb: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Run a verb with --json; return its exit code and what it says."""
    done = run(pipeline, verb, "--json", *options)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert done.stdout, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def audit(pipeline: Pipeline, *options: str) -> tuple[int, dict[str, str]]:
    """Audit the keys of these tests; return the exit code and the state of each key that is not processed."""
    code, lines = answer(pipeline, "audit", "--prefix", "operate/", "--in-flight", "0", *options)
    return code, {line["key"]: line["state"] for line in lines if "state" in line}


def test_nothing_is_lost_and_it_can_be_proved(pipeline: Pipeline) -> None:
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


def test_a_rejected_file_is_seen_within_seconds_and_comes_through_when_it_is_mended(pipeline: Pipeline) -> None:
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
    pipeline.await_result(key, pipeline.upload(key, MENDED))
    wait_for("the verdict to go", lambda: rejected(pipeline, key) is None)
    assert audit(pipeline) == (0, before)


@pytest.mark.usefixtures("quick_redelivery")
def test_a_failed_file_is_seen_and_comes_through_when_its_cause_is_removed(pipeline: Pipeline) -> None:
    _, before = audit(pipeline)

    def failed() -> list[dict[str, Any]]:
        return [line for line in answer(pipeline, "failures")[1][:-1] if line["state"] == "failed"]

    with without(pipeline, "s3:PutObject"):
        pipeline.upload("operate/failed.json", MENDED)
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


def test_status_and_logs_tell_what_has_happened(pipeline: Pipeline) -> None:
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


def test_a_user_without_permission_is_told_which_one(pipeline: Pipeline) -> None:
    with user(pipeline) as caller:
        for verb, options in VERBS.items():
            done = run(pipeline, verb, *options, **caller)
            assert (done.returncode, done.stdout) == (1, "")
            assert re.fullmatch(r"error: AWS refuses \w+\. These credentials need .*\n", done.stderr)


def test_where_there_is_no_pipeline_each_verb_says_why_in_one_line(both: dict[str, Pipeline], aws: LocalAws) -> None:
    with user(both["dev"]) as caller:
        for environment, variables, says in (
            ("staging", {}, r"unknown environment: staging\. env/ has dev, prod, and the entries in these\."),
            ("dev", {"TF_VAR_project_name": "elsewhere"}, r"TF_VAR_project_name is set, .*"),
            ("prod", {}, r"prod was never deployed .* \./deploy\.sh deploy prod"),  # here it is in the state of dev
            ("dev", caller, r"the state s3://\S+ cannot be read: GetObject AccessDenied\. These credentials need .*"),
        ):
            for verb, options in VERBS.items():
                done = subprocess.run(
                    ["./deploy.sh", verb, environment, *options],
                    cwd=ROOT,
                    env=aws.full_environment() | variables,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert (done.returncode, done.stdout) == (1, "")
                assert re.fullmatch(f"error: {says}\n", done.stderr)


RUNBOOK = (ROOT / "docs/operations.md").read_text()
COMMANDS = sorted(
    {line for block in re.findall(r"```bash\n(.*?)```", RUNBOOK, re.DOTALL) for line in block.splitlines() if line}
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_runbook_works(both: dict[str, Pipeline], aws: LocalAws, command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=aws.full_environment() | {"ENV": "dev"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def shell(pipeline: Pipeline, block: str, key: str, **variables: str) -> str:
    """Type a block of the runbook, about dev; return what it prints."""
    names = {"ENV": "dev", "RAW": pipeline.raw, "PROCESSED": pipeline.processed, "KEY": key}
    done = subprocess.run(
        ["bash", "-c", block],
        cwd=ROOT,
        env=pipeline.aws.full_environment() | names | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


GOOD = '{"patient_id":"P-1","patient_name":"Secret Name"}'
LOOKS = {  # a file that is rejected for the reason, and what check prints of it
    "empty_file": (b"", "empty_file"),
    "gzip": (b"\x1f\x8b\x08\x00", "gzip"),
    "not_an_array": (f"[{GOOD}]".encode("utf-16"), "not_an_array: it looks like UTF-16"),
    "trailing_data": (f"[{GOOD}]\n[{GOOD}]".encode(), "trailing_data, line 2 column 1 (byte 52)"),
    "truncated": (f"[{GOOD},".encode(), "truncated record=1, line 1 column 52 (byte 51)"),
    "malformed": (f"\ufeff[{GOOD},\r\n,{GOOD}]".encode(), "malformed record=1, line 2 column 1 (byte 56)"),
    "not_utf8": (b'[{"patient_id":"1","patient_name":"J\xf6rg"}]', "not_utf8 record=0, line 1 column 37 (byte 36)"),
    "not_an_object": (b'["Secret"]', "not_an_object record=0, line 1 column 2 (byte 1)"),
    "missing_field": (
        f'[{GOOD},\n{{"patient_id":"1"}}]'.encode(),
        "missing_field record=1 field=patient_name, line 2 column 1 (byte 52)",
    ),
    "invalid_field": (
        f'[{GOOD[:-1]},"scan_date":7}}]'.encode(),
        "invalid_field record=0 field=scan_date, line 1 column 2 (byte 1)",
    ),
    "record_too_large": (
        b'[{"image":"%b"}]' % (b"Secret" * 3_000_000),
        "record_too_large record=0, line 1 column 2 (byte 1)",
    ),
    "nested_too_deep": (b'[{"n":' + b"[" * 100_000, "nested_too_deep record=0, line 1 column 2 (byte 1)"),
}
REJECTED = RUNBOOK.partition("## Rejected files\n")[2].partition("\n### ")[0]
CHECK, REMOVE, SHOW = re.findall(r"```sh\n(.*?)```", REJECTED, re.DOTALL)


@pytest.mark.parametrize("reason", LOOKS)
def test_the_runbook_shows_how_to_look_at_a_rejected_file(
    both: dict[str, Pipeline], tmp_path: Path, reason: str
) -> None:
    content, prints = LOOKS[reason]
    key = "operate/a patient's look.txt"  # which starts nothing
    version = both["dev"].upload(key, content)
    both["dev"].upload(key, b"[]")
    shown = shell(both["dev"], CHECK + REMOVE, key, VERSION=version, TMPDIR=str(tmp_path))
    (line,) = re.findall(rf"^{re.escape(str(tmp_path))}/\S+/scan\.json: rejected, (.+)$", shown, re.MULTILINE)
    assert line == prints
    assert "Secret" not in shown
    assert not list(tmp_path.iterdir())


def test_the_runbook_shows_what_is_at_the_place(both: dict[str, Pipeline], tmp_path: Path) -> None:
    content, prints = LOOKS["malformed"]
    version = both["dev"].upload("operate/a look.txt", content)
    byte = prints.rpartition("byte ")[2].strip(")")
    shown = shell(both["dev"], CHECK + SHOW, "operate/a look.txt", VERSION=version, BYTE=byte, TMPDIR=str(tmp_path))
    assert shown.endswith(f",{GOOD}]")


DELETED = re.findall(r"```sh\n(.*?)```", RUNBOOK.partition("## Deleted and overwritten data")[2], re.DOTALL)


def test_the_runbook_deletes_orphans_and_brings_back_what_was_deleted_or_overwritten(both: dict[str, Pipeline]) -> None:
    pipeline = both["dev"]
    delete_result, delete_orphans, undelete, bring_back = DELETED
    one, two, kept = "operate/O'Orphan 1.json", "operate/orphan+2.json", "operate/O'Kept.json"
    versions = {key: pipeline.upload(key, RECORDS) for key in (one, two, kept)}
    for key, version in versions.items():
        pipeline.await_result(key, version)
        if key != kept:
            pipeline.s3.delete_object(Bucket=pipeline.raw, Key=key)
    assert {key for key, state in audit(pipeline)[1].items() if state == "orphaned"} >= {one, two}
    shell(pipeline, delete_result, one)
    assert (pipeline.result(one), bool(pipeline.result(two))) == (None, True)
    shell(pipeline, delete_orphans, "")
    assert "orphaned" not in audit(pipeline)[1].values()
    assert pipeline.result(kept)
    shown = shell(pipeline, undelete, one)
    assert pipeline.s3.head_object(Bucket=pipeline.raw, Key=one)["VersionId"] == versions[one], shown
    pipeline.await_result(one, versions[one])
    pipeline.await_result(kept, pipeline.upload(kept, MENDED))
    shown = shell(pipeline, bring_back, kept, VERSION=versions[kept])
    assert versions[kept] in shown
    newest = pipeline.s3.head_object(Bucket=pipeline.raw, Key=kept)["VersionId"]
    assert newest not in versions.values()
    assert pipeline.await_result(kept, newest) == [{"patient_id": "P-1", "patient_name": "Name"}]
