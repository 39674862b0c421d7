"""The lookup of a repository on GitHub before roles are made for it, and the modules that help and refusals load."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands.github import check_subjects
from commands.terminal import Refused

from tests.unit.github import GitHub, serving

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"repository": "acme/pipeline"}
RETRY = "./deploy.sh bootstrap dev"
UNKNOWN = (
    "GitHub does not say when acme/pipeline was created. If it was created or renamed since 2026-07-15, add this to "
    'github in env/bootstrap.tfvars: subject_prefixes = ["repo:acme@OWNER_ID/pipeline@REPOSITORY_ID"]\n'
)


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    with serving() as server:
        monkeypatch.setenv("GITHUB_API_URL", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("GITHUB_TOKEN", raising=False)
        yield server


def note(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the note about a repository that is not refused."""
    check_subjects(SETTINGS, RETRY)
    output, errors = capsys.readouterr()
    assert output == ""
    return errors


@pytest.mark.parametrize("token", ["", "token"])
@pytest.mark.parametrize("created", ["2026-07-15T00:00:00Z", "2027-01-01T12:00:00Z"])
def test_a_new_repository_needs_prefixes(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, created: str, token: str
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", token)
    github.public = not token  # a token shows hidden ones as well
    github.repository["created_at"] = created
    with pytest.raises(Refused) as refused:
        check_subjects(SETTINGS, RETRY)
    assert str(refused.value) == (
        f"acme/pipeline was created on {created[:10]}, and the tokens of repositories of that age name it by number. "
        'Add subject_prefixes = ["repo:acme@42/pipeline@7"] to github in env/bootstrap.tfvars, then run '
        "./deploy.sh bootstrap dev"
    )


def test_an_older_repository_may_have_been_renamed(github: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    github.repository["created_at"] = "2026-07-14T23:59:59Z"
    assert note(capsys) == (
        "If acme/pipeline was renamed since 2026-07-15, add this to github in env/bootstrap.tfvars: "
        'subject_prefixes = ["repo:acme@42/pipeline@7"]\n'
    )


def test_a_repository_hidden_by_github(github: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    github.public = False
    assert note(capsys) == UNKNOWN
    github.public, github.repository = True, {}
    assert note(capsys) == UNKNOWN


def test_an_invalid_token(github: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "another")
    assert note(capsys) == UNKNOWN


def test_github_cannot_be_reached(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")
    assert note(capsys) == UNKNOWN


@pytest.mark.parametrize("settings", [{**SETTINGS, "subject_prefixes": ["repo:acme@42/pipeline@7"]}, {}])
def test_settings_with_prefixes_or_without_a_repository_are_not_looked_up(
    github: GitHub, capsys: pytest.CaptureFixture[str], settings: dict[str, object]
) -> None:
    check_subjects(settings, RETRY)
    assert github.requests == 0
    assert capsys.readouterr() == ("", "")


def test_help_prints_the_usage() -> None:
    run = subprocess.run([ROOT / "deploy.sh", "help"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "usage: ./deploy.sh [VERB] [ENV] [OPTION...]" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [
        (["help"], "0 []"),
        (["deploy", "--help"], "0 []"),
        (["deplyo"], "2 []"),
        (["plan", "--odd"], "2 []"),
        (["plan", "nowhere"], "1 ['hcl2']"),  # it may be an entry of a file in env/, which is said then
    ],
)
def test_help_and_refusals_load_no_slow_modules(arguments: list[str], ends: str) -> None:
    program = (
        "import sys; from commands.__main__ import main\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as ended: code = ended.code\n"
        "print(code, sorted({'boto3', 'botocore', 'hcl2', 'msgspec'} & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == ends
