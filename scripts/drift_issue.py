"""Keep one GitHub issue for an environment's drift: open it, update it, close it when the drift is gone.

Where it goes is in GITHUB_REPOSITORY and GITHUB_API_URL, which GitHub's runners set; GITHUB_TOKEN must be allowed to
write issues. The issue is known by title and label, not by author: only who may sort issues can set a label.
"""

import argparse
import http.client
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 30.0
LONGEST_SUMMARY = 60_000  # characters; GitHub takes 65,536 in an issue
REMEDIES = {
    401: "GITHUB_TOKEN is not valid. In a workflow pass it as github.token.",
    403: "Give the job the permission issues: write.",
    404: "Check GITHUB_REPOSITORY, and give the job the permission issues: write.",
    410: "Turn on issues in the repository's settings, or look for drift without --issue.",
}


class Repository:
    """The issues of one GitHub repository."""

    def __init__(self, api_url: str, name: str, token: str) -> None:
        self._url = f"{api_url}/repos/{name}"
        self._headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "User-Agent": "drift-issue",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    def request(self, method: str, path: str, content: object = None) -> Any:
        """Return the answer. Raises SystemExit with cause and remedy when GitHub refuses, or cannot be reached."""
        return self._request(method, self._url + path, content)[0]

    def open_issues(self, label: str, title: str) -> list[dict[str, Any]]:
        """Return the open issues with this label and title, the oldest first. Raises SystemExit as request does."""
        query = urllib.parse.urlencode({"labels": label, "state": "open", "direction": "asc", "per_page": 100})
        url: str | None = f"{self._url}/issues?{query}"
        found: list[dict[str, Any]] = []
        while url:
            page, url = self._request("GET", url)
            # GitHub lists pull requests among the issues.
            found += [issue for issue in page if issue["title"] == title and "pull_request" not in issue]
        return found

    def _request(self, method: str, url: str, content: object = None) -> tuple[Any, str | None]:
        """Return the answer, and the address of its next page when there is one."""
        body = None if content is None else json.dumps(content).encode()
        try:
            # The address is the runner's own setting.
            request = urllib.request.Request(url, body, self._headers, method=method)  # noqa: S310
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
                following = re.search(r'<([^>]+)>; rel="next"', response.headers.get("Link", ""))
                return json.load(response), following[1] if following else None
        except urllib.error.HTTPError as error:
            remedy = REMEDIES.get(error.code, "Run it again later; https://www.githubstatus.com tells of outages.")
            sys.exit(f"error: GitHub answered {error.code} {error.reason} to {method} {url}. {remedy}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", None) or error
            sys.exit(
                f"error: no answer from GitHub to {method} {url}: {cause}. Check GITHUB_API_URL, or try again later."
            )


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
        sys.exit(f"error: GITHUB_TOKEN may open issues but not label them. {REMEDIES[403]}")
    return f"opened issue {issue['number']}"


def clean(repository: Repository, environment: str) -> str:
    """Close the issue if it is open; return what was done."""
    closed = []
    for issue in repository.open_issues(f"drift-{environment}", f"Drift in {environment}"):
        path = f"/issues/{issue['number']}"
        repository.request("POST", f"{path}/comments", {"body": f"No drift in {environment} any more.{run_link()}"})
        repository.request("PATCH", path, {"state": "closed", "state_reason": "completed"})
        closed.append(f"closed issue {issue['number']}")
    return ", ".join(closed) or "no issue is open"


def text(environment: str, summary: str) -> str:
    """Return the issue's text: the summary as it was printed, and what to do."""
    if len(summary) > LONGEST_SUMMARY:
        summary = summary[:LONGEST_SUMMARY] + "\n... shortened; the run has all of it."
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", summary)), default=0))
    return (
        f"What runs in {environment} differs from the code on the main branch.{run_link()}\n\n"
        f"{fence}text\n{summary.strip()}\n{fence}\n\n"
        f"To undo the change, run `./deploy.sh deploy {environment}`. To keep it, put it into the code. "
        "After a rollback, revert the commit that was rolled back: a deploy would bring it again. "
        "This issue is updated by every check, and closed when there is no drift any more."
    )


def run_link() -> str:
    """Return a link to the workflow run, as a sentence; empty outside of one."""
    server, name, run = (os.environ.get(f"GITHUB_{part}") for part in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return f" Seen by [this run]({server}/{name}/actions/runs/{run})." if server and run else ""


def setting(name: str, default: str = "") -> str:
    """Return an environment variable. Raises SystemExit when it is not set and has no default."""
    value = os.environ.get(name) or default
    if not value:
        sys.exit(f"error: {name} is not set. GitHub's runners set it; elsewhere set it, or leave out --issue.")
    return value


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description="Keep one GitHub issue for an environment's drift.")
    parser.add_argument("environment")
    parser.add_argument("state", choices=["drifted", "clean"], help="drifted takes the summary on standard input")
    arguments = parser.parse_args()
    repository = Repository(
        setting("GITHUB_API_URL", "https://api.github.com"), setting("GITHUB_REPOSITORY"), setting("GITHUB_TOKEN")
    )
    if arguments.state == "drifted":
        print(drifted(repository, arguments.environment, sys.stdin.read()))
    else:
        print(clean(repository, arguments.environment))


if __name__ == "__main__":
    main()
