"""Versions in networks that the environment leaves: a deploy deletes them, a rollback refuses them."""

import threading
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from commands import versions
from commands.rollback import move
from commands.terminal import Refused
from commands.versions import Leaving

from . import PATIENCE_SECONDS

FUNCTION, OLD, NEW = "eyes-data-processor", "vpc-old", "vpc-new"


class Lambda:
    """A function whose versions 1 to 4 run outside, in the old network twice, and in the new one; the last is live.

    moto gives every function the same network.
    """

    exceptions = boto3.client("lambda", region_name="us-east-1").exceptions

    def __init__(self) -> None:
        self.live, self.refusal, self.asked = "4", "", threading.Event()
        self.networks = {"1": "", "2": OLD, "3": OLD, "4": NEW, "$LATEST": NEW}

    def get_function_configuration(self, FunctionName: str, Qualifier: str) -> dict[str, Any]:
        assert (FunctionName, Qualifier) == (FUNCTION, "live")
        self.asked.set()
        return self.version(self.live)

    def version(self, number: str) -> dict[str, Any]:
        config = {"VpcConfig": {"VpcId": self.networks[number]}} if self.networks[number] else {}
        return {"Version": number, "LastModified": "2026-01-31T12:00:00.000+0000"} | config

    def get_paginator(self, _: str) -> Any:
        pages = [{"Versions": [self.version(number)]} for number in self.networks]
        return SimpleNamespace(paginate=lambda **_: pages)

    def delete_function(self, FunctionName: str, Qualifier: str) -> None:
        assert FunctionName == FUNCTION
        if self.refusal:
            error = getattr(self.exceptions, self.refusal, ClientError)
            raise error({"Error": {"Code": self.refusal}}, "DeleteFunction")
        del self.networks[Qualifier]

    def get_alias(self, **_: str) -> dict[str, str]:
        return {"FunctionVersion": self.live, "RevisionId": "r"}

    def update_alias(self, FunctionVersion: str, **_: str) -> None:
        self.live = FunctionVersion


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> Lambda:
    monkeypatch.setattr(versions, "POLL_SECONDS", 0.001)
    return Lambda()


def account(functions: Lambda) -> Any:
    return SimpleNamespace(client=lambda _: functions)


def leaving() -> Leaving:
    return Leaving({OLD}, {(FUNCTION, "live")})


def change(kind: str, before: dict[str, str] | None, *actions: str) -> dict[str, Any]:
    return {"type": kind, "change": {"actions": list(actions), "before": before}}


def test_a_plan_shows_the_networks_to_be_deleted_and_the_aliases_in_them() -> None:
    changes = [
        change("aws_vpc", {"id": "vpc-1"}, "create", "delete"),
        change("aws_vpc", {"id": "vpc-2"}, "delete"),
        change("aws_vpc", {"id": "vpc-3"}, "update"),
        change("aws_vpc", None, "create"),
        change("aws_lambda_alias", {"function_name": FUNCTION, "name": "live"}, "update"),
        change("aws_lambda_alias", None, "create"),
    ]
    found = Leaving.in_plan({"resource_changes": changes})
    assert (found.networks, found.aliases) == ({"vpc-1", "vpc-2"}, {(FUNCTION, "live")})


def test_only_versions_in_a_network_to_be_deleted_are_deleted(
    functions: Lambda, capsys: pytest.CaptureFixture[str]
) -> None:
    with leaving().meanwhile(account(functions)):
        pass
    assert list(functions.networks) == ["1", "4", "$LATEST"]
    assert capsys.readouterr().err.splitlines() == [
        "Deleting vpc-old: AWS needs 20 to 45 minutes to remove the function's network interfaces. "
        "The function keeps working.",
        f"Deleted the versions of {FUNCTION} in the old network: 2, 3.",
    ]


def test_none_is_deleted_before_the_live_version_has_left(functions: Lambda) -> None:
    functions.live = "3"
    with leaving().meanwhile(account(functions)):
        assert functions.asked.wait(PATIENCE_SECONDS)
        assert len(functions.networks) == 5
    assert len(functions.networks) == 5


def test_nothing_is_asked_if_no_network_is_deleted(functions: Lambda) -> None:
    with Leaving(set(), {(FUNCTION, "live")}).meanwhile(account(functions)):
        pass
    assert not functions.asked.is_set()


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ("ResourceNotFoundException", []),
        (
            "AccessDeniedException",
            [
                f"warning: the versions of {FUNCTION} in the old network cannot be deleted: DeleteFunction "
                "AccessDeniedException. Delete them by hand, else AWS keeps the network: docs/security.md, "
                "The private network."
            ],
        ),
    ],
)
def test_undeletable_versions_are_reported_unless_the_function_is_gone(
    functions: Lambda, capsys: pytest.CaptureFixture[str], refusal: str, said: list[str]
) -> None:
    functions.refusal = refusal
    with leaving().meanwhile(account(functions)):
        pass
    assert capsys.readouterr().err.splitlines()[1:] == said


def pipeline(functions: Lambda) -> Any:
    return SimpleNamespace(name="dev", function=FUNCTION, alias="live", client=lambda _: functions)


def test_a_rollback_into_a_network_that_was_left_is_refused(functions: Lambda) -> None:
    with pytest.raises(Refused) as refused:
        move(pipeline(functions), "3")
    assert str(refused.value) == (
        "cannot roll back to version 3: it runs in the network vpc-old, which dev has left. Version 4 stays live. "
        "Available: 1 (2026-01-31 12:00), 4 (2026-01-31 12:00)."
    )
    assert functions.live == "4"


def test_a_rollback_skips_versions_in_a_network_that_was_left(functions: Lambda) -> None:
    move(pipeline(functions), None)
    assert functions.live == "1"
