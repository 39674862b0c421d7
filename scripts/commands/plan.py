"""Summarise a saved plan, and check that it was made for the current target."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands.versions import Leaving

WORDS = {"create": "add", "update": "change", "delete": "destroy", "replace": "replace", "forget": "forget"}
DATA = dict.fromkeys(("aws_s3_bucket", "aws_kms_key"), "DATA")  # which nobody can bring back
ACCESS = dict.fromkeys(("aws_iam_role", "aws_iam_openid_connect_provider"), "ACCESS")  # of GitHub, in bootstrap
JOINS_NETWORK = "function_is_in_its_network"  # the check in modules/lambda/main.tf


@dataclass(frozen=True)
class Summary:
    """A plan in short. changes: a line for each resource and output; lost: one for each precious one that is deleted.

    leaving: what must happen during the apply before a network can be deleted. first: modules that must exist before
    the rest can be planned. again: whether the plan has such modules alone.
    """

    target: str
    changes: list[str]
    lost: list[str]
    warnings: list[str]
    leaving: Leaving = field(default_factory=lambda: Leaving(set(), set()))
    first: list[str] = field(default_factory=list)
    again: bool = False

    def text(self) -> str:
        """Return all of it, as shown to people."""
        counts = {word: sum(line.startswith(word) for line in self.changes) for word in WORDS.values()}
        total = ", ".join(f"{number} to {word}" for word, number in counts.items() if number)
        total = total or ("outputs only" if self.changes else "no changes")
        return "\n".join([*self.changes, f"Plan for {self.target}: {total}.", *self.warnings, *self.lost])

    def show(self) -> None:
        """Print it, and where GitHub offers a summary of the step, put it there as well."""
        print(self.text(), flush=True)
        if page := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(page).open("a") as file:
                file.write(f"### Plan for {self.target}\n\n```text\n{self.text()}\n```\n")


def summary(plan: dict[str, Any], target: str) -> Summary:
    """Return a plan in short. target: an environment, or bootstrap, in which GitHub's access is precious as well."""
    precious = DATA | (ACCESS if target == "bootstrap" else {})
    touched = [(action(change), change) for change in plan.get("resource_changes", [])]
    lines = [f"{WORDS[done]:8} {change['address']}" for done, change in touched if done]
    outputs = [
        f"output   {name}" for name, change in plan.get("output_changes", {}).items() if change["actions"] != ["no-op"]
    ]
    lost = [
        f"DELETES {precious[change['type']]}: {change['address']}"
        for done, change in touched
        if done in ("delete", "replace") and change["type"] in precious
    ]
    outside = [check for check in failed_checks(plan) if check["address"].get("name") == JOINS_NETWORK]
    first = [
        instance["address"]["module"].removesuffix(".lambda") + ".network"
        for check in outside
        for instance in check["instances"]
        if instance["status"] == "fail"
    ]
    again = plan.get("complete") is False
    return Summary(target, lines + outputs, lost, warnings(plan), Leaving.in_plan(plan), first, again)


def action(change: dict[str, Any]) -> str:
    """Return what happens to a resource: create, update, delete, replace, forget, or nothing."""
    actions = [name for name in change["change"]["actions"] if name not in ("no-op", "read")]
    return "replace" if len(actions) == 2 else (actions or [""])[0]


def failed_checks(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the check blocks whose assertions do not hold."""
    checks = plan.get("checks", [])
    return [check for check in checks if check["address"]["kind"] == "check" and check["status"] == "fail"]


def warnings(plan: dict[str, Any]) -> list[str]:
    """Return the messages of the failed checks, which the plan's output leaves out."""
    instances = [instance for check in failed_checks(plan) for instance in check["instances"]]
    problems = [problem for instance in instances for problem in instance.get("problems", [])]
    return [f"WARNING: {problem['message']}" for problem in problems]


def other_variables(plan: dict[str, Any], resolved: dict[str, Any]) -> list[str]:
    """Return the names of the variables whose values in a plan differ from those that the commands resolved."""
    planned = {name: variable.get("value") for name, variable in plan.get("variables", {}).items()}
    return sorted(
        name
        for name, value in resolved.items()
        if not _agrees(value, planned.get(name)) or _has_more_objects(planned.get(name), value)
    )


def _has_more_objects(planned: Any, resolved: Any) -> bool:
    """Whether a map of objects, such as environments, has other entries than the one that was resolved."""
    is_map = isinstance(planned, dict) and all(isinstance(each, dict) for each in planned.values())
    return is_map and isinstance(resolved, dict) and planned.keys() != resolved.keys()


def _agrees(resolved: Any, planned: Any) -> bool:
    """Whether a planned value is the resolved one, once Terraform has converted scalars and added objects' defaults."""
    if isinstance(resolved, dict) and isinstance(planned, dict):
        return all(_agrees(value, planned.get(name)) for name, value in resolved.items())
    if isinstance(resolved, list) and isinstance(planned, list):  # which may have become a set
        return all(any(_agrees(one, other) for other in planned) for one in resolved) and len(planned) <= len(resolved)
    if resolved is None or (isinstance(resolved, str) and resolved.startswith(("${", "<<"))):
        return True  # a default, or an expression, whose value only Terraform knows
    return _scalar(resolved) == _scalar(planned)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
