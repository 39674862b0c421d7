"""Say in short what a saved plan will do: terraform show -json PLAN | plan_summary.py ENV [--refuse-data-loss].

ENV may be bootstrap. Exits with 3 when asked to refuse data loss and the plan deletes or replaces a bucket or a key, or
one of the roles that GitHub takes on. Where GitHub offers a step summary, it goes there as well.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

WORDS = {"create": "add", "update": "change", "delete": "destroy", "replace": "replace", "forget": "forget"}
DATA = dict.fromkeys(("aws_s3_bucket", "aws_kms_key"), "DATA")  # what nobody can bring back
ACCESS = dict.fromkeys(("aws_iam_role", "aws_iam_openid_connect_provider"), "ACCESS")  # of GitHub, in bootstrap
DATA_LOSS = 3


def action(change: dict[str, Any]) -> str:
    """Return what happens to a resource: create, update, delete, replace, forget, or nothing."""
    actions = [name for name in change["change"]["actions"] if name not in ("no-op", "read")]
    return "replace" if len(actions) == 2 else (actions or [""])[0]


def summary(plan: dict[str, Any], environment: str) -> tuple[list[str], list[str]]:
    """Return a line per resource that the plan touches, and a line per precious one that it deletes."""
    precious = DATA | (ACCESS if environment == "bootstrap" else {})
    touched = [(action(change), change) for change in plan.get("resource_changes", [])]
    touched = [(done, change) for done, change in touched if done]
    lost = [
        f"DELETES {precious[change['type']]}: {change['address']}"
        for done, change in touched
        if done in ("delete", "replace") and change["type"] in precious
    ]
    lines = [f"{WORDS[done]:8} {change['address']}" for done, change in touched]
    outputs = [name for name, change in plan.get("output_changes", {}).items() if change["actions"] != ["no-op"]]
    return lines + [f"output   {name}" for name in outputs], lost


def warnings(plan: dict[str, Any]) -> list[str]:
    """Return what the failed checks say, which the plan shows without their text."""
    failed = [
        check for check in plan.get("checks", []) if check["address"]["kind"] == "check" and check["status"] == "fail"
    ]
    problems = [problem for check in failed for found in check["instances"] for problem in found.get("problems", [])]
    return [f"WARNING: {problem['message']}" for problem in problems]


def main() -> None:
    """Print the summary of the plan on standard input."""
    parser = argparse.ArgumentParser(description="Say in short what a saved plan will do.")
    parser.add_argument("environment")
    parser.add_argument("--refuse-data-loss", action="store_true")
    options = parser.parse_args()
    plan = json.load(sys.stdin)
    lines, lost = summary(plan, options.environment)
    if options.refuse_data_loss:
        for line in lost:
            print(line, file=sys.stderr)
        sys.exit(DATA_LOSS if lost else 0)
    counts = {word: sum(line.startswith(word) for line in lines) for word in [*WORDS.values(), "output"]}
    total = ", ".join(f"{number} to {word}" for word, number in counts.items() if number and word != "output")
    text = [*lines, f"Plan for {options.environment}: {total or ('outputs only' if lines else 'no changes')}."]
    text += warnings(plan) + lost
    print("\n".join(text))
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a") as file:
            file.write("\n".join([f"### Plan for {options.environment}", "", "```text", *text, "```", ""]))


if __name__ == "__main__":
    main()
