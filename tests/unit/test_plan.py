"""A plan: its summary, what it may not delete without consent, and the variables that it was made with."""

from pathlib import Path
from typing import Any

import pytest
from commands.plan import JOINS_NETWORK, Summary, other_variables, summary


def change(address: str, *actions: str) -> dict[str, Any]:
    return {"address": address, "type": address.split(".")[-2], "change": {"actions": list(actions)}}


def summarise(*changes: dict[str, Any], target: str = "dev", **outputs: Any) -> Summary:
    return summary({"resource_changes": changes, "output_changes": outputs}, target)


BUCKET, KEY, ROLE = "module.m.aws_s3_bucket.this", "aws_kms_key.this", 'aws_iam_role.github["dev-apply"]'
PROVIDER = "aws_iam_openid_connect_provider.github"


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the run's summary on GitHub."""
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    return page


def test_the_summary_lists_and_counts_the_changes(capsys: pytest.CaptureFixture[str], page: Path) -> None:
    summarise(
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
    ).show()
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


def test_a_plan_without_changes() -> None:
    nothing, outputs = summarise(change(BUCKET, "no-op")), summarise(pipelines={"actions": ["create"]})
    assert (nothing.text(), nothing.changes) == ("Plan for dev: no changes.", [])
    assert (outputs.text(), outputs.changes) == (
        "output   pipelines\nPlan for dev: outputs only.",
        ["output   pipelines"],
    )


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
def test_protected_resources_are_not_deleted_without_consent(
    actions: list[str], target: str, address: str, said: str
) -> None:
    assert summarise(change(address, *actions), target=target).lost == [f"{said}: {address}"]


@pytest.mark.parametrize(
    ("target", "address", "action"),
    [("dev", ROLE, "delete"), ("dev", "aws_sqs_queue.a", "delete"), ("dev", BUCKET, "update"), ("dev", KEY, "forget")],
)
def test_other_resources_may_be_deleted(target: str, address: str, action: str) -> None:
    assert summarise(change(address, action), target=target).lost == []


def test_the_summary_shows_the_messages_of_failed_checks() -> None:
    def check(kind: str, status: str, message: str) -> dict[str, object]:
        problems = [{"message": message}] if status == "fail" else []
        instances = [{"status": status, "problems": problems}]
        return {"address": {"kind": kind}, "status": status, "instances": instances}

    checks = [
        check("check", "fail", "Nobody is told. Set alarm_emails."),
        check("check", "pass", ""),
        check("var", "fail", "No."),
    ]
    text = summary({"resource_changes": [], "checks": checks}, "prod").text()
    assert text == "Plan for prod: no changes.\nWARNING: Nobody is told. Set alarm_emails."


def test_a_new_network_is_planned_before_the_function_that_joins_it() -> None:
    def instance(name: str, status: str) -> dict[str, Any]:
        return {"address": {"module": f'module.pipeline["{name}"].module.lambda'}, "status": status, "problems": []}

    address = {"kind": "check", "name": JOINS_NETWORK, "module": "module.pipeline.module.lambda"}
    instances = [instance("dev", "fail"), instance("prod", "pass"), instance("test", "fail")]
    planned = {"checks": [{"address": address, "status": "fail", "instances": instances}], "complete": True}
    found = summary(planned, "dev")
    assert found.first == ['module.pipeline["dev"].module.network', 'module.pipeline["test"].module.network']
    assert not found.again


@pytest.mark.parametrize(("complete", "again"), [(False, True), (True, False)])
def test_a_partial_plan_is_followed_by_another(complete: bool, again: bool) -> None:
    assert summary({"complete": complete}, "dev").again == again


PLANNED = {
    "region": {"value": "us-east-1"},
    "environments": {
        "value": {"dev": {"account_id": "123456789012", "memory_mb": 1024, "alarm_emails": ["a@b.c"], "timeout": None}}
    },
    "disposable": {"value": ["dev", "test"]},
    "saved_queries": {"value": False},
}


@pytest.mark.parametrize(
    ("resolved", "other"),
    [
        ({"region": "us-east-1"}, []),
        ({"region": "eu-central-1"}, ["region"]),
        ({"environments": {"dev": {}}}, []),
        ({"environments": {"dev": {"account_id": 123456789012, "memory_mb": 1024.0, "timeout": None}}}, []),
        ({"environments": {"dev": {"memory_mb": 512}}}, ["environments"]),
        ({"environments": {"dev": {"alarm_emails": []}}}, ["environments"]),
        ({"environments": {"dev": {"alarm_emails": ["a@b.c", "d@e.f"]}}}, ["environments"]),
        ({"environments": {"dev": {}, "prod": {}}}, ["environments"]),
        ({"environments": {}}, ["environments"]),
        ({"disposable": ["test", "dev", "test"]}, []),
        ({"disposable": ["test"]}, ["disposable"]),
        ({"saved_queries": False}, []),
        ({"saved_queries": True}, ["saved_queries"]),
        ({"region": "${lower("}, []),
        ({"project_name": "p", "region": "x"}, ["project_name", "region"]),
    ],
)
def test_a_plan_is_compared_with_the_variables_that_were_resolved(resolved: dict[str, Any], other: list[str]) -> None:
    assert other_variables({"variables": PLANNED}, resolved) == other
