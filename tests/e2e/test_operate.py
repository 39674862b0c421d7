"""The verbs that operate a pipeline, in both modes, and the commands of the runbook."""

import contextlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import RECORDS, ROOT, Pipeline, wait_for
from local_aws import LocalAws

BAD = b'[{"patient_id": "P-1"}]'
MENDED = b'[{"patient_id": "P-1", "patient_name": "Name"}, {"patient_id": "P-2", "patient_name": "Name"}]'


def run(pipeline: Pipeline, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb on a pipeline, as ./deploy.sh does."""
    return subprocess.run(
        [".venv/bin/python", "scripts/operate.py", *arguments],
        cwd=ROOT,
        env=pipeline.aws.full_environment() | {"PIPELINE": json.dumps(pipeline.outputs)} | environment,
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
    faults = {
        "operate/deleted.json": "missing",
        "operate/replaced.json": "tampered",
        "operate/sourceless.json": "orphaned",
    }
    assert audit(pipeline) == (1, faults)
    assert audit(pipeline, "--repair") == (1, faults)
    orphan = {"operate/sourceless.json": "orphaned"}
    wait_for("the repaired results", lambda: audit(pipeline) == (0, orphan))


@pytest.mark.usefixtures("quick_redelivery")
def test_a_bad_file_is_seen_and_comes_through_when_it_is_mended(pipeline: Pipeline) -> None:
    _, before = audit(pipeline)
    pipeline.upload("operate/bad.json", BAD)

    def failed() -> list[dict[str, Any]]:
        return answer(pipeline, "failures")[1][:-1]

    (failure,) = wait_for("the failed event", failed)
    assert failure["key"] == "operate/bad.json"
    assert failure["reason"] == "missing_field record=0 field=patient_name"
    assert [line["key"] for line in failed()] == [failure["key"]]  # looking takes nothing out
    assert audit(pipeline) == (0, before | {"operate/bad.json": "rejected"})
    code, (again, _) = answer(pipeline, "redrive", "--key", "operate/bad.json")
    assert (code, again["outcome"], again["reason"]) == (1, "rejected", failure["reason"])
    wait_for("the failed event to come back", failed)
    version = pipeline.upload("operate/bad.json", MENDED)
    pipeline.await_result("operate/bad.json", version)
    code, (through, _) = answer(pipeline, "redrive")
    assert (code, through) == (0, {"key": "operate/bad.json", "outcome": "processed", "reason": ""})
    code, (nothing,) = answer(pipeline, "failures")
    assert (code, nothing["summary"]["messages"]) == (0, 0)
    assert audit(pipeline, "--deep") == (0, before)


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
    assert re.search(r"^in the last hour  [\d,]+ files in, [\d,]+ out, ", screen, re.MULTILINE)
    log = run(pipeline, "logs", "--once")
    assert re.search(r"  processed  operate-last\.json  version \S+  1 records  ", log.stdout)


VERBS = {"audit": [], "failures": [], "redrive": [], "reprocess": ["--prefix", ""], "status": [], "logs": ["--once"]}


@contextlib.contextmanager
def onlooker(pipeline: Pipeline) -> Iterator[dict[str, str]]:
    """Give a user without permissions for as long as it lasts, as environment variables."""
    pipeline.iam.create_user(UserName="onlooker")
    key = pipeline.iam.create_access_key(UserName="onlooker")["AccessKey"]
    yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    pipeline.iam.delete_access_key(UserName="onlooker", AccessKeyId=key["AccessKeyId"])
    pipeline.iam.delete_user(UserName="onlooker")


def test_a_user_without_permission_is_told_which_one(pipeline: Pipeline) -> None:
    with onlooker(pipeline) as caller:
        for verb, options in VERBS.items():
            done = run(pipeline, verb, *options, **caller)
            assert (done.returncode, done.stdout) == (1, "")
            assert re.fullmatch(r"error: AWS refuses \w+\. These credentials need .*\n", done.stderr)


def test_where_there_is_no_pipeline_each_verb_says_why_in_one_line(both: dict[str, Pipeline], aws: LocalAws) -> None:
    with onlooker(both["dev"]) as caller:
        for environment, variables, says in (
            ("staging", {}, r"unknown environment: staging\. env/ knows dev, prod, and what is in these\."),
            ("dev", {"TF_VAR_project_name": "elsewhere"}, r"dev was never deployed .* \./deploy\.sh deploy dev"),
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
        shlex.split(command),
        cwd=ROOT,
        env=aws.full_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
