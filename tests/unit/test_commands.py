"""Bad use of the commands is answered in one line with cause and remedy, before anything happens."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.controls.break_controls import BREAKS

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "cmp", "cp", "dirname", "env", "mkdir", "sed", "uname")


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A PATH with little more than bash on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    return folder


def add(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def add_python(folder: Path) -> None:
    add(folder, "python3.12", f'exec {os.path.realpath(sys.executable)} "$@"')


def run(*command: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment, **({"PATH": str(path)} if path else {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(*command: str, path: Path | None = None, **environment: str) -> str:
    """Return the one line that a command refuses with."""
    result = run(*command, path=path, **environment)
    assert result.returncode == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize("command", ["./deploy.sh", "./tests/run.sh"])
def test_wrong_python(bin_folder: Path, command: str) -> None:
    add(bin_folder, "python3", '[ "$1" = --version ] && echo "Python 3.11.7" || exit 1')
    assert refusal(command, path=bin_folder) == (
        "error: Python 3.12 is needed, found Python 3.11.7. "
        "Get it from https://www.python.org/downloads/ or your package manager."
    )


def test_no_python(bin_folder: Path) -> None:
    assert refusal("./deploy.sh", path=bin_folder).startswith("error: Python 3.12 is needed, found no Python. Get it ")


@pytest.mark.parametrize("command", [["./deploy.sh", "plan"], ["./deploy.sh", "local"], ["./tests/run.sh"]])
def test_no_terraform(bin_folder: Path, command: list[str]) -> None:
    add_python(bin_folder)
    assert refusal(*command, path=bin_folder) == (
        "error: Terraform is missing. Get 1.11 or newer from https://developer.hashicorp.com/terraform/install"
    )


@pytest.mark.parametrize("version", ["0.15.5", "1.5.7", "1.10.5"])
def test_old_terraform(bin_folder: Path, version: str) -> None:
    add_python(bin_folder)
    add(bin_folder, "terraform", f"echo Terraform v{version}")
    assert refusal("./deploy.sh", "plan", path=bin_folder) == (
        f"error: Terraform 1.11 is needed, found {version}. "
        "Get it from https://developer.hashicorp.com/terraform/install"
    )


@pytest.mark.parametrize("word", ["deplyo", "staging"])
def test_unknown_verb(word: str) -> None:
    assert refusal("./deploy.sh", word) == (
        f"error: unknown verb or environment: {word}. './deploy.sh help' lists them."
    )


@pytest.mark.parametrize("verb", ["deploy", "plan", "destroy"])
def test_unknown_environment(verb: str) -> None:
    assert refusal("./deploy.sh", verb, "staging") == (
        "error: unknown environment: staging. "
        "A new one needs env/staging.tfvars and env/staging-backend.hcl; see those of prod."
    )


@pytest.mark.parametrize(
    ("arguments", "verb", "odd"),
    [
        (["plan", "dev", "prod"], "plan", "prod"),
        (["prod", "dev"], "deploy", "dev"),
        (["build", "dev"], "build", "dev"),
        (["local", "prod"], "local", "prod"),
        (["local", "--keep", "dev"], "local --keep", "dev"),
        (["destroy", "dev", "--yes", "prod"], "destroy", "prod"),
        (["deploy", "dev", "--allow-data-loss", "prod"], "deploy", "prod"),
        (["rollback", "dev", "7", "8"], "rollback", "8"),
    ],
)
def test_too_many_arguments(arguments: list[str], verb: str, odd: str) -> None:
    assert refusal("./deploy.sh", *arguments) == (
        f"error: ./deploy.sh {verb} does not take '{odd}'. './deploy.sh help' shows what it takes."
    )


@pytest.mark.parametrize("arguments", [[], ["dev"], ["dev", "ID", "prod"], ["dev", "ID", "--bootstrap", "prod"]])
def test_unlock_takes_what_the_refused_deploy_has_named(arguments: list[str]) -> None:
    assert refusal("./deploy.sh", "unlock", *arguments) == (
        "error: unlock takes an environment and the lock's ID, as the refused deploy has named them."
    )


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_that_is_none(port: str) -> None:
    assert refusal("./deploy.sh", "local", LOCAL_AWS_PORT=port) == (
        f"error: LOCAL_AWS_PORT is not a port number: {port}. Use one from 1 to 65535, or leave it unset."
    )


def test_unknown_part_of_the_tests() -> None:
    assert refusal("./tests/run.sh", "everything") == (
        "error: unknown part: everything. There is: static terraform unit scan e2e controls mutants chaos scale bench"
    )


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_names_every_verb(word: str) -> None:
    result = run("./deploy.sh", word)
    assert result.returncode == 0
    verbs = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert verbs == [
        *("local", "build", "bootstrap", "plan", "apply", "deploy", "rollback", "drift"),
        *("status", "logs", "audit", "failures", "redrive", "reprocess", "destroy", "unlock", "help"),
    ]


def test_the_documented_costs_are_the_computed_ones() -> None:
    tables = run(sys.executable, "scripts/cost.py").stdout
    assert tables.count("|---|---|") == 2
    assert tables in (ROOT / "docs/security.md").read_text()


def test_every_control_that_is_taken_away_is_still_there() -> None:
    assert [entry.control for entry in BREAKS if entry.old not in (ROOT / entry.path).read_text()] == []
    assert len({entry.control for entry in BREAKS}) == len(BREAKS)


def test_the_summary_of_a_plan_tells_what_failed_checks_say() -> None:
    def check(kind: str, status: str, message: str) -> dict[str, object]:
        problems = [{"message": message}] if status == "fail" else []
        instances = [{"status": status, "problems": problems}]
        return {"address": {"kind": kind}, "status": status, "instances": instances}

    checks = [
        check("check", "fail", "Nobody is told. Set alarm_emails."),
        check("check", "pass", ""),
        check("var", "fail", "No."),
    ]
    plan = json.dumps({"resource_changes": [], "checks": checks})
    summary = [sys.executable, "scripts/plan_summary.py", "prod"]
    result = subprocess.run(summary, cwd=ROOT, input=plan, capture_output=True, text=True, check=True)
    assert result.stdout == "Plan for prod: no changes.\nWARNING: Nobody is told. Set alarm_emails.\n"
