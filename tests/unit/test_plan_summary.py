"""What a plan's summary says, and which plans it refuses."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import plan_summary
import pytest


def change(address: str, *actions: str) -> dict[str, Any]:
    return {"address": address, "type": address.split(".")[-2], "change": {"actions": list(actions)}}


def summarise(
    monkeypatch: pytest.MonkeyPatch, *changes: dict[str, Any], options: tuple[str, ...] = ("dev",), **outputs: Any
) -> None:
    plan = {"resource_changes": changes, "output_changes": outputs}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(plan)))
    monkeypatch.setattr(sys, "argv", ["plan_summary.py", *options])
    plan_summary.main()


BUCKET, KEY, ROLE = "module.m.aws_s3_bucket.this", "aws_kms_key.this", 'aws_iam_role.github["dev-apply"]'
PROVIDER = "aws_iam_openid_connect_provider.github"


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the run's summary on GitHub."""
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    return page


def test_a_line_per_change_and_their_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], page: Path
) -> None:
    summarise(
        monkeypatch,
        change("aws_sqs_queue.a", "create"),
        change("aws_sqs_queue.b", "create"),
        change("aws_sqs_queue.c", "update"),
        change("aws_sqs_queue.d", "no-op"),
        change("aws_iam_policy_document.e", "read"),
        change("aws_sqs_queue.f", "forget"),
        change(BUCKET, "delete", "create"),
        change(KEY, "create", "delete"),
        pipelines={"actions": ["update"]},
        region={"actions": ["no-op"]},
    )
    text = capsys.readouterr().out
    assert text.splitlines() == [
        "add      aws_sqs_queue.a",
        "add      aws_sqs_queue.b",
        "change   aws_sqs_queue.c",
        "forget   aws_sqs_queue.f",
        f"replace  {BUCKET}",
        f"replace  {KEY}",
        "output   pipelines",
        "Plan for dev: 2 to add, 1 to change, 2 to replace, 1 to forget.",
        f"DELETES DATA: {BUCKET}",
        f"DELETES DATA: {KEY}",
    ]
    assert page.read_text() == f"### Plan for dev\n\n```text\n{text}```\n"


def test_nothing_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    summarise(monkeypatch, change(BUCKET, "no-op"))
    summarise(monkeypatch, pipelines={"actions": ["create"]})
    assert capsys.readouterr().out == ("Plan for dev: no changes.\noutput   pipelines\nPlan for dev: outputs only.\n")


@pytest.mark.parametrize("actions", [["delete"], ["delete", "create"], ["create", "delete"]])
@pytest.mark.parametrize(
    ("target", "address", "said"),
    [
        ("dev", BUCKET, "DELETES DATA"),
        ("dev", KEY, "DELETES DATA"),
        ("bootstrap", BUCKET, "DELETES DATA"),
        ("bootstrap", ROLE, "DELETES ACCESS"),
        ("bootstrap", PROVIDER, "DELETES ACCESS"),
    ],
)
def test_what_must_stay_is_not_deleted_unasked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: Path,
    actions: list[str],
    target: str,
    address: str,
    said: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        summarise(monkeypatch, change(address, *actions), options=(target, "--refuse-data-loss"))
    assert ended.value.code == plan_summary.DATA_LOSS
    assert capsys.readouterr() == ("", f"{said}: {address}\n")
    assert not page.exists()


@pytest.mark.parametrize(
    ("target", "address", "action"),
    [("dev", ROLE, "delete"), ("dev", "aws_sqs_queue.a", "delete"), ("dev", BUCKET, "update"), ("dev", KEY, "forget")],
)
def test_everything_else_may_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str, address: str, action: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        summarise(monkeypatch, change(address, action), options=(target, "--refuse-data-loss"))
    assert ended.value.code == 0
    assert capsys.readouterr() == ("", "")
