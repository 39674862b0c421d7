"""GitHub's API, as far as the commands use it.

GITHUB_API_URL is its address, GITHUB_TOKEN the identity of the caller. GitHub's runners set both.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from commands.terminal import Refused, say

TIMEOUT_SECONDS = 30.0
REMEDIES = {
    401: "GITHUB_TOKEN is not valid. In a workflow pass it as github.token.",
    403: "Give the job the permission issues: write.",
    404: "Check GITHUB_REPOSITORY, and give the job the permission issues: write.",
    410: "Turn on issues in the repository's settings, or look for drift without --issue.",
}
# From this day on, the tokens of new and renamed repositories also name the owner and the repository by number.
NUMBERED_SINCE = "2026-07-15"


class NoAnswer(Exception):  # noqa: N818
    """GitHub refused, or could not be reached. The message says what was asked and why it failed, without a remedy."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Repository:
    """One repository on GitHub."""

    def __init__(self, api_url: str, name: str, token: str = "") -> None:
        self._url = f"{api_url}/repos/{name}"
        self._headers = {
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "User-Agent": "ikerian-data-pipeline",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def request(self, method: str, path: str, content: object = None) -> Any:
        """Return the answer. Raises NoAnswer."""
        return self._request(method, self._url + path, content)[0]

    def open_issues(self, label: str, title: str) -> list[dict[str, Any]]:
        """Return the open issues with this label and title, the oldest first. Raises NoAnswer."""
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
            error.close()  # the exception is also the response
            raise NoAnswer(f"GitHub answered {error.code} {error.reason} to {method} {url}", error.code) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", None) or error
            raise NoAnswer(f"no answer from GitHub to {method} {url}: {cause}") from None


def remedy(error: NoAnswer) -> str:
    """Return what to do when GitHub does not let a job update its issue."""
    if not error.status:
        return "Check GITHUB_API_URL, or try again later."
    return REMEDIES.get(error.status, "Run it again later; https://www.githubstatus.com reports outages.")


def check_subjects(settings: dict[str, Any], retry: str) -> None:
    """Refuse roles that GitHub's tokens could not assume, because the tokens name the repository differently.

    settings: github in env/bootstrap.tfvars. If GitHub does not say how old the repository is, say what to check.
    Raises Refused with the setting that is missing.
    """
    name = settings.get("repository")
    if settings.get("subject_prefixes") or not name:
        return
    api_url = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    try:
        found = Repository(api_url, name, os.environ.get("GITHUB_TOKEN", "")).request("GET", "")
        made, setting = str(found["created_at"])[:10], _prefixes(name, found["owner"]["id"], found["id"])
    except (NoAnswer, KeyError, TypeError):
        say(
            f"GitHub does not say when {name} was created. If it was created or renamed since {NUMBERED_SINCE}, add "
            f"this to github in env/bootstrap.tfvars: {_prefixes(name, 'OWNER_ID', 'REPOSITORY_ID')}"
        )
        return
    if made >= NUMBERED_SINCE:
        raise Refused(
            f"{name} was created on {made}, and the tokens of repositories of that age name it by number. Add "
            f"{setting} to github in env/bootstrap.tfvars, then run {retry}"
        )
    say(f"If {name} was renamed since {NUMBERED_SINCE}, add this to github in env/bootstrap.tfvars: {setting}")


def _prefixes(name: str, owner: object, repository: object) -> str:
    before, _, after = name.partition("/")
    return f'subject_prefixes = ["repo:{before}@{owner}/{after}@{repository}"]'
