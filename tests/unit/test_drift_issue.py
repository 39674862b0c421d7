"""The issue about drift, against a server that keeps issues as GitHub's API does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.github import GitHub, Handler, serving

ROOT = Path(__file__).resolve().parents[2]
SUMMARY = "~ module.s3.aws_s3_bucket.raw"


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving() as server:
        yield server


def report(github: GitHub, state: str, summary: str = SUMMARY, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    settings = {"GITHUB_API_URL": github.url, "GITHUB_REPOSITORY": "acme/pipeline", "GITHUB_TOKEN": "token"}
    return subprocess.run(
        [sys.executable, "scripts/drift_issue.py", "dev", state],
        cwd=ROOT,
        env=kept | settings | {"NO_PROXY": "127.0.0.1"} | environment,
        input=summary,
        capture_output=True,
        text=True,
        check=False,
    )


def said(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def refusal(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 1
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    return str(line)


def test_drift_opens_one_issue_that_later_drift_updates(github: GitHub) -> None:
    assert said(report(github, "drifted")) == "opened issue 1\n"
    issue = github.issues[0]
    assert issue["title"] == "Drift in dev"
    assert f"```text\n{SUMMARY}\n```" in issue["body"]
    assert "./deploy.sh deploy dev" in issue["body"]
    assert said(report(github, "drifted", "~ something else")) == "updated issue 1\n"
    assert github.open() == [1]
    assert "~ something else" in issue["body"]
    assert SUMMARY not in issue["body"]


def test_the_issue_is_closed_with_a_word_when_the_drift_is_gone_and_another_one_opened_when_it_is_back(
    github: GitHub,
) -> None:
    report(github, "drifted")
    assert said(report(github, "clean")) == "closed issue 1\n"
    assert (github.issues[0]["state"], github.issues[0]["state_reason"]) == ("closed", "completed")
    ((number, comment),) = github.comments
    assert number == 1
    assert comment.startswith("No drift in dev any more.")
    assert said(report(github, "clean")) == "no issue is open\n"
    assert said(report(github, "drifted")) == "opened issue 2\n"
    assert github.open() == [2]


def test_the_issue_is_found_behind_more_than_a_page_of_others(github: GitHub) -> None:
    for number in range(230):
        github.add(f"Something about drift, {number}", "drift-dev")
    own = github.add("Drift in dev", "drift-dev")
    assert said(report(github, "drifted")) == "updated issue 231\n"
    assert SUMMARY in own["body"]
    assert github.pages_read == 3
    assert said(report(github, "clean")) == "closed issue 231\n"
    assert len(github.open()) == 230


def test_what_only_looks_like_the_issue_is_left_alone(github: GitHub) -> None:
    github.add("Drift in dev", "drift-dev", pull_request={"url": "..."})
    github.add("Drift in dev")  # anybody can open one by this name, but only who may sort issues can set a label
    github.add("Drift in dev", "drift-dev", state="closed")
    github.add("Drift in prod", "drift-prod")
    before = json.dumps(github.issues)
    assert said(report(github, "clean")) == "no issue is open\n"
    assert said(report(github, "drifted")) == "opened issue 5\n"
    assert json.dumps(github.issues[:4]) == before


def test_of_two_the_oldest_is_updated_and_both_are_closed(github: GitHub) -> None:
    github.add("Drift in dev", "drift-dev")
    github.add("Drift in dev", "drift-dev")
    assert said(report(github, "drifted")) == "updated issue 1\n"
    assert said(report(github, "clean")) == "closed issue 1, closed issue 2\n"
    assert github.open() == []


def test_the_run_is_linked(github: GitHub) -> None:
    report(github, "drifted", GITHUB_SERVER_URL="https://github.com", GITHUB_RUN_ID="42")
    assert "(https://github.com/acme/pipeline/actions/runs/42)" in github.issues[0]["body"]


def test_a_summary_cannot_break_out_of_its_block_or_be_too_long(github: GitHub) -> None:
    report(github, "drifted", "```\n@everybody\n" + "x" * 100_000)
    body = github.issues[0]["body"]
    assert "````text\n```\n@everybody\n" in body
    assert "x\n... shortened; the run has all of it.\n````\n" in body


def test_a_token_that_may_not_label_leaves_no_issue_open(github: GitHub) -> None:
    github.may_label = False
    assert refusal(report(github, "drifted")) == (
        "error: GITHUB_TOKEN may open issues but not label them. Give the job the permission issues: write."
    )
    assert github.open() == []


@pytest.mark.parametrize("state", ["drifted", "clean"])
def test_refusals_are_one_line(github: GitHub, state: str) -> None:
    listing = f"{github.url}/repos/acme/pipeline/issues?labels=drift-dev&state=open&direction=asc&per_page=100"
    github.accepted = "Bearer another"
    assert refusal(report(github, state)) == (
        f"error: GitHub answered 401 Unauthorized to GET {listing}. "
        "GITHUB_TOKEN is not valid. In a workflow pass it as github.token."
    )
    github.accepted = "Bearer token"
    github.enabled = False
    assert refusal(report(github, state)) == (
        f"error: GitHub answered 410 Gone to GET {listing}. "
        "Turn on issues in the repository's settings, or look for drift without --issue."
    )
    assert "404 Not Found" in refusal(report(github, state, GITHUB_REPOSITORY="acme/other"))


@pytest.mark.parametrize("name", ["GITHUB_REPOSITORY", "GITHUB_TOKEN"])
def test_a_missing_setting_is_one_line(github: GitHub, name: str) -> None:
    assert refusal(report(github, "drifted", **{name: ""})) == (
        f"error: {name} is not set. GitHub's runners set it; elsewhere set it, or leave out --issue."
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "not an address"])
def test_a_server_that_is_not_there_is_one_line(github: GitHub, url: str) -> None:
    line = refusal(report(github, "drifted", GITHUB_API_URL=url))
    assert line.startswith(f"error: no answer from GitHub to GET {url}/repos/acme/pipeline/issues?")
    assert line.endswith("Check GITHUB_API_URL, or try again later.")


@pytest.mark.parametrize(("length", "body"), [("6", b"<html>"), ("100", b"[")], ids=["not JSON", "cut off"])
def test_an_answer_that_makes_no_sense_is_one_line(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, length: str, body: bytes
) -> None:
    def answer(self: Handler) -> None:
        self.send_response(200)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)

    monkeypatch.setattr(Handler, "do_GET", answer)
    assert refusal(report(github, "clean")).startswith("error: no answer from GitHub to GET ")
