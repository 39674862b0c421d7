"""The issue about drift, against a server that keeps issues as GitHub's API does."""

import json
import os
from collections.abc import Iterator

import pytest
from commands import drift_issue
from commands.terminal import Refused

from tests.unit.github import GitHub, Handler, serving

SUMMARY = "~ module.s3.aws_s3_bucket.raw"


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    for name in list(os.environ):
        if name.startswith("GITHUB_"):
            monkeypatch.delenv(name)
    with serving() as server:
        settings = {"API_URL": server.url, "REPOSITORY": "acme/pipeline", "TOKEN": "token"}
        for name, value in settings.items():
            monkeypatch.setenv(f"GITHUB_{name}", value)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def keep(summary: str = SUMMARY) -> str:
    return drift_issue.keep("dev", summary)


def refusal(summary: str = SUMMARY) -> str:
    with pytest.raises(Refused) as refused:
        keep(summary)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_drift_opens_one_issue_that_later_drift_updates(github: GitHub) -> None:
    assert keep() == "opened issue 1"
    issue = github.issues[0]
    assert issue["title"] == "Drift in dev"
    assert f"```text\n{SUMMARY}\n```" in issue["body"]
    assert "./deploy.sh deploy dev" in issue["body"]
    assert keep("~ something else") == "updated issue 1"
    assert github.open() == [1]
    assert "~ something else" in issue["body"]
    assert SUMMARY not in issue["body"]


def test_the_issue_is_closed_when_the_drift_is_gone_and_new_drift_opens_another(
    github: GitHub,
) -> None:
    keep()
    assert keep("") == "closed issue 1"
    assert (github.issues[0]["state"], github.issues[0]["state_reason"]) == ("closed", "completed")
    ((number, comment),) = github.comments
    assert number == 1
    assert comment == "dev matches the code again."
    assert keep("") == "no issue is open"
    assert keep() == "opened issue 2"
    assert github.open() == [2]


def test_the_issue_is_found_behind_more_than_a_page_of_others(github: GitHub) -> None:
    for number in range(230):
        github.add(f"Something about drift, {number}", "drift-dev")
    own = github.add("Drift in dev", "drift-dev")
    assert keep() == "updated issue 231"
    assert SUMMARY in own["body"]
    assert github.pages_read == 3
    assert keep("") == "closed issue 231"
    assert len(github.open()) == 230


def test_lookalikes_of_the_issue_are_left_alone(github: GitHub) -> None:
    github.add("Drift in dev", "drift-dev", pull_request={"url": "..."})
    github.add("Drift in dev")  # anybody can open one by this name, but only who may sort issues can set a label
    github.add("Drift in dev", "drift-dev", state="closed")
    github.add("Drift in prod", "drift-prod")
    before = json.dumps(github.issues)
    assert keep("") == "no issue is open"
    assert keep() == "opened issue 5"
    assert json.dumps(github.issues[:4]) == before


def test_the_older_of_two_issues_is_updated_and_both_are_closed(github: GitHub) -> None:
    github.add("Drift in dev", "drift-dev")
    github.add("Drift in dev", "drift-dev")
    assert keep() == "updated issue 1"
    assert keep("") == "closed issue 1, closed issue 2"
    assert github.open() == []


def test_the_run_is_linked(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_RUN_ID", "42")
    keep()
    assert "(https://github.com/acme/pipeline/actions/runs/42)" in github.issues[0]["body"]


def test_a_summary_cannot_break_out_of_its_block_or_be_too_long(github: GitHub) -> None:
    keep("```\n@everybody\n" + "x" * 100_000)
    body = github.issues[0]["body"]
    assert "````text\n```\n@everybody\n" in body
    assert "x\n... shortened; the run has all of it.\n````\n" in body


def test_a_token_that_may_not_label_leaves_no_issue_open(github: GitHub) -> None:
    github.may_label = False
    assert refusal() == ("GITHUB_TOKEN may open issues but not label them. Give the job the permission issues: write.")
    assert github.open() == []


@pytest.mark.parametrize("summary", [SUMMARY, ""], ids=["drifted", "clean"])
def test_refusals_say_what_to_do(github: GitHub, monkeypatch: pytest.MonkeyPatch, summary: str) -> None:
    listing = f"{github.url}/repos/acme/pipeline/issues?labels=drift-dev&state=open&direction=asc&per_page=100"
    github.accepted = "Bearer another"
    assert refusal(summary) == (
        f"GitHub answered 401 Unauthorized to GET {listing}. "
        "GITHUB_TOKEN is not valid. In a workflow pass it as github.token."
    )
    github.accepted = "Bearer token"
    github.enabled = False
    assert refusal(summary) == (
        f"GitHub answered 410 Gone to GET {listing}. "
        "Turn on issues in the repository's settings, or look for drift without --issue."
    )
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/other")
    assert refusal(summary) == (
        f"GitHub answered 404 Not Found to GET {listing.replace('pipeline', 'other')}. "
        "Check GITHUB_REPOSITORY, and give the job the permission issues: write."
    )


@pytest.mark.parametrize("name", ["GITHUB_REPOSITORY", "GITHUB_TOKEN"])
def test_a_missing_setting(github: GitHub, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert refusal() == f"{name} is not set. GitHub's runners set it; elsewhere set it, or leave out --issue."


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "not an address"])
def test_an_unreachable_server(github: GitHub, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GITHUB_API_URL", url)
    line = refusal()
    assert line.startswith(f"no answer from GitHub to GET {url}/repos/acme/pipeline/issues?")
    assert line.endswith("Check GITHUB_API_URL, or try again later.")


@pytest.mark.parametrize(("length", "body"), [("6", b"<html>"), ("100", b"[")], ids=["not JSON", "cut off"])
def test_a_malformed_answer(github: GitHub, monkeypatch: pytest.MonkeyPatch, length: str, body: bytes) -> None:
    def answer(self: Handler) -> None:
        self.send_response(200)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)

    monkeypatch.setattr(Handler, "do_GET", answer)
    assert refusal("").startswith("no answer from GitHub to GET ")
