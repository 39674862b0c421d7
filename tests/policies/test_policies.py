"""Every request of the tables, put to the policies as Terraform renders them."""

from __future__ import annotations

import re

import pytest
from judge import Row, World, rows
from rendered import render_or_exit


@pytest.fixture(scope="module")
def world() -> World:
    return World(render_or_exit())


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.place} {row.who}: {row.why}")
def test_the_policies_allow_and_refuse_what_the_tables_say(world: World, row: Row) -> None:
    wrong = [str(request) for request in row.requests(world) if request.verdict(world.policies) != request.is_allowed]
    assert not wrong, "not so:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("admin | s3:GetObject | {raw}/a.json | | http", "not who | actions"),
        ("admin | s3:GetObject | | | http | why", "not who | actions"),
        ("admin | s3:GetObject | {raw}/a.json | | https | why", "unknown: https"),
        ("admin | s3:GetObject | {raw}/a.json | | ssl=1.3 | why", "unknown: ssl"),
        ("admin@pord | s3:GetObject | {raw}/a.json | | | why", "unknown: pord"),
        ("admim | s3:GetObject | {raw}/a.json | | | why", "nobody is called admim"),
    ],
)
def test_a_line_that_asks_nothing_or_means_nothing_is_refused(world: World, line: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"buckets:7: {fault}")):
        [row.requests(world) for row in Row.parse("buckets:7", line)]


def test_the_tables_ask_every_policy_that_is_rendered(world: World) -> None:
    asked = {name for row in rows() for request in row.requests(world) for name in request.decided_by}
    assert world.rendered.policies.keys() - asked == set()
