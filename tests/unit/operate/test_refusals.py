"""Verbs that AWS refuses, that cannot run, or that are used wrongly say so in one line, with the remedy."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands.operate import ledger

from .pipeline import Pipeline, Run, refuse

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
def test_a_missing_permission_is_reported_in_one_line(
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
def test_missing_credentials_are_reported_in_one_line(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    pipeline.sign_in()
    answer = run(*verb)
    assert (answer.code, answer.text) == (1, "")
    assert answer.errors.splitlines()[-1].startswith("error: there are no AWS credentials. ")


def test_a_denied_kms_key_is_reported_in_one_line(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    refuse(pipeline.client("sqs"), "sqs", "ReceiveMessage", "KMS.AccessDeniedException", 400)
    assert run("failures").errors == (
        "error: AWS refuses ReceiveMessage. These credentials need kms:Decrypt (and kms:GenerateDataKey) on its key.\n"
    )


def test_throttled_calls_are_retried_and_then_reported_in_one_line(
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
        ("ExpiredToken", r"the AWS credentials in the environment have expired\. .*"),
        (
            "NoSuchBucket",
            r"ListObjectVersions finds nothing \(NoSuchBucket\)\. If test was destroyed, deploy it again: "
            r"\./deploy\.sh deploy dev",
        ),
        ("Strange", r"ListObjectVersions failed \(Strange\)\. Try again; if it stays, AWS says: no"),
    ],
)
def test_other_errors_of_aws_are_reported_in_one_line(
    pipeline: Pipeline, run: Callable[..., Run], code: str, says: str
) -> None:
    refuse(pipeline.client("s3"), "s3", "ListObjectVersions", code, 400)
    assert re.fullmatch(rf"error: {says}\n", run("audit").errors)


def test_a_second_concurrent_run_is_refused(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    first = ledger.Ledger(ledger.ledger_path("audit", "raw", "", "", False))
    answer = run("audit")
    assert (answer.code, answer.errors) == (1, "error: the same command is running already. Wait for it, or stop it.\n")
    first.finish()
    assert run("audit").code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_not_reported_as_another_run(run: Callable[..., Run]) -> None:
    path = ledger.ledger_path("audit", "raw", "", "", False)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    assert run("audit").errors == (
        "error: database or disk is full. Check the disk and the permissions of this folder, then run this again.\n"
    )


def test_a_pipeline_of_an_older_deployment_is_reported(pipeline: Pipeline, run: Callable[..., Run]) -> None:
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
def test_wrong_options_are_reported_in_one_line(
    run: Callable[..., Run], capsys: pytest.CaptureFixture[str], arguments: list[str], about: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        run(*arguments)
    assert refused.value.code == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert re.fullmatch(rf"error: .*{about}\b.*\. \./deploy\.sh {arguments[0]} --help shows what it takes\.\n", error)
