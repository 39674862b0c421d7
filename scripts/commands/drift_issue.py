"""Keep one GitHub issue for an environment's drift: open it, update it, close it when the drift is gone.

GITHUB_REPOSITORY and GITHUB_API_URL, which GitHub's runners set, say where it goes; GITHUB_TOKEN must be allowed to
write issues. The issue is found by title and label, not by author: only those who may triage issues can set a label.
"""

from __future__ import annotations

import os
import re

from commands.github import REMEDIES, NoAnswer, Repository, remedy
from commands.terminal import Refused

LONGEST_SUMMARY = 60_000  # characters; GitHub takes 65,536 in an issue


def keep(environment: str, summary: str) -> str:
    """Make the issue match what was found; return what was done. summary: the drift, empty if there is none.

    Raises Refused when GitHub does not allow it or does not answer.
    """
    repository = Repository(
        _setting("GITHUB_API_URL", "https://api.github.com"), _setting("GITHUB_REPOSITORY"), _setting("GITHUB_TOKEN")
    )
    try:
        return drifted(repository, environment, summary) if summary else clean(repository, environment)
    except NoAnswer as error:
        raise Refused(f"{error}. {remedy(error)}") from None


def drifted(repository: Repository, environment: str, summary: str) -> str:
    """Open the issue, or update the one that is open; return what was done."""
    label, title, body = f"drift-{environment}", f"Drift in {environment}", text(environment, summary)
    for issue in repository.open_issues(label, title):
        repository.request("PATCH", f"/issues/{issue['number']}", {"body": body})
        return f"updated issue {issue['number']}"
    issue = repository.request("POST", "/issues", {"title": title, "body": body, "labels": [label]})
    if label not in [given["name"] for given in issue["labels"]]:
        # Without it the issue would not be found again, and there would be another one tomorrow.
        repository.request("PATCH", f"/issues/{issue['number']}", {"state": "closed", "state_reason": "not_planned"})
        raise Refused(f"GITHUB_TOKEN may open issues but not label them. {REMEDIES[403]}")
    return f"opened issue {issue['number']}"


def clean(repository: Repository, environment: str) -> str:
    """Close the issue if it is open; return what was done."""
    closed = []
    for issue in repository.open_issues(f"drift-{environment}", f"Drift in {environment}"):
        path = f"/issues/{issue['number']}"
        repository.request("POST", f"{path}/comments", {"body": f"{environment} matches the code again.{run_link()}"})
        repository.request("PATCH", path, {"state": "closed", "state_reason": "completed"})
        closed.append(f"closed issue {issue['number']}")
    return ", ".join(closed) or "no issue is open"


def text(environment: str, summary: str) -> str:
    """Return the issue's text: the summary as it was printed, and what to do."""
    if len(summary) > LONGEST_SUMMARY:
        summary = summary[:LONGEST_SUMMARY] + "\n... shortened; the run has all of it."
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", summary)), default=0))
    return (
        f"{environment} has drifted from the code on the main branch.{run_link()}\n\n"
        f"{fence}text\n{summary.strip()}\n{fence}\n\n"
        f"To undo the change, run `./deploy.sh deploy {environment}`. To keep it, put it into the code. "
        "After a rollback, revert the commit that was rolled back, or the next deploy brings it back. "
        "Every check updates this issue, and closes it when the drift is gone."
    )


def run_link() -> str:
    """Return a link to the workflow run, as a sentence; empty outside of one."""
    server, name, run = (os.environ.get(f"GITHUB_{part}") for part in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return f" Seen by [this run]({server}/{name}/actions/runs/{run})." if server and run else ""


def _setting(name: str, default: str = "") -> str:
    """Return an environment variable. Raises Refused when it is not set and has no default."""
    value = os.environ.get(name) or default
    if not value:
        raise Refused(f"{name} is not set. GitHub's runners set it; elsewhere set it, or leave out --issue.")
    return value
