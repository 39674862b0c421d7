"""Wrong use of the commands is refused in one line with cause and remedy, before anything happens."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import commands.__main__
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
    """Return the one line of a command's refusal."""
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


@pytest.mark.parametrize("command", [["./deploy.sh", "plan", "dev"], ["./deploy.sh", "local"], ["./tests/run.sh"]])
def test_no_terraform(bin_folder: Path, command: list[str]) -> None:
    add_python(bin_folder)
    assert refusal(*command, path=bin_folder) == (
        "error: Terraform is missing. Get 1.11 or newer from https://developer.hashicorp.com/terraform/install"
    )


@pytest.mark.parametrize("verb", ["deploy", "plan", "destroy"])
def test_unknown_environment(verb: str) -> None:
    message = refusal("./deploy.sh", verb, "staging")
    assert message.startswith("error: unknown environment: staging. env/ has ")
    assert message.endswith(
        "A new one needs env/staging.tfvars and env/staging-backend.hcl; use those of prod as a template."
    )


@pytest.mark.parametrize(
    ("arguments", "verb", "problem"),
    [
        (["plan", "dev", "prod"], "plan", "unexpected argument: prod"),
        (["prod", "dev"], "deploy", "unexpected argument: dev"),
        (["build", "dev"], "build", "unexpected argument: dev"),
        (["local", "prod"], "local", "unexpected argument: prod"),
        (["local", "--keep", "dev"], "local", "unexpected argument: dev"),
        (["local", "--keep", "--stop"], "local", "argument --stop: not allowed with argument --keep"),
        (["destroy", "dev", "--yes", "prod"], "destroy", "unexpected argument: prod"),
        (["deploy", "dev", "--allow-data-loss", "prod"], "deploy", "unexpected argument: prod"),
        (["deploy", "dev", "--yes"], "deploy", "unexpected argument: --yes"),
        (["rollback", "dev", "7", "8"], "rollback", "unexpected argument: 8"),
        (["audit", "dev", "--rat", "7"], "audit", "unexpected argument: --rat"),
        (["audit", "dev", "--rate", "0"], "audit", "argument --rate: 0 is not a number above 0"),
        (["reprocess", "dev"], "reprocess", "the following arguments are required: --prefix"),
        (["audit", "--in-flight", "-1"], "audit", "argument --in-flight: -1 is not 0 or a number above it"),
        (["deplyo"], "", "unknown verb or environment: deplyo"),
        (["staging"], "", "unknown verb or environment: staging"),
        (["--frob"], "", "unexpected argument: --frob"),
        (["--allow-data-loss", "prod"], "", "the verb or the environment comes first"),
        (["restore", "dev", "--key", ""], "restore", "argument --key: it is empty"),
        (["restore", "dev", "--key", "a", "--version", ""], "restore", "argument --version: it is empty"),
        (["erase", "dev", "--patients", ""], "erase", "argument --patients: it is empty"),
        (["erase", "dev"], "erase", "one of the arguments --key --patients is required"),
        (
            ["erase", "dev", "--key", "a", "--patients", "b"],
            "erase",
            "argument --patients: not allowed with argument --key",
        ),
        (
            ["find", "dev", "A-1"],
            "find",
            "unexpected argument. Patient ids come from a file, so that no history keeps them",
        ),
        (["check"], "check", "the following arguments are required: FILE"),
        (["unlock"], "unlock", "the following arguments are required: ENV, ID"),
        (["unlock", "dev"], "unlock", "the following arguments are required: ID"),
        (["unlock", "dev", "ID", "prod"], "unlock", "unexpected argument: prod"),
    ],
)
def test_a_wrong_command_line_is_refused_with_exit_code_2(
    arguments: list[str], verb: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        commands.__main__.run(arguments)
    assert refused.value.code == 2
    prog = f"./deploy.sh {verb}".strip()
    assert capsys.readouterr() == ("", f"error: {prog}: {problem}. {prog} --help shows what it takes.\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"verb": "deploy", "name": "dev", "allow_data_loss": False}),
        (["prod"], {"verb": "deploy", "name": "prod"}),
        (["prod", "--allow-data-loss"], {"verb": "deploy", "name": "prod", "allow_data_loss": True}),
        (["destroy", "--yes", "prod"], {"verb": "destroy", "name": "prod", "yes": True}),
        (["rollback", "prod", "7"], {"verb": "rollback", "name": "prod", "version": "7"}),
        (["unlock", "dev", "ID", "--bootstrap"], {"verb": "unlock", "name": "dev", "id": "ID", "bootstrap": True}),
        (["redrive", "--key", "a", "--key", "b"], {"verb": "redrive", "name": "dev", "key": ["a", "b"]}),
    ],
)
def test_a_right_command_line(
    arguments: list[str], expected: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.environment.names", lambda: ["dev", "prod"])
    options = vars(commands.__main__.parse(arguments))
    assert {name: options[name] for name in expected} == expected


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_an_invalid_port_is_refused(port: str) -> None:
    assert refusal("./deploy.sh", "local", LOCAL_AWS_PORT=port) == (
        f"error: LOCAL_AWS_PORT is not a port number: {port}. Use one from 1 to 65535, or leave it unset."
    )


def test_unknown_part_of_the_tests() -> None:
    assert refusal("./tests/run.sh", "everything") == (
        "error: unknown part: everything. "
        "Known: static terraform unit scan e2e controls policies mutants newest chaos scale bench quick"
    )


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_names_every_verb(word: str) -> None:
    result = run("./deploy.sh", word)
    assert result.returncode == 0
    verbs = re.findall(r"^    (\w+)", result.stdout, re.MULTILINE)
    assert verbs == [
        *("local", "check", "build", "bootstrap", "plan", "apply", "deploy", "rollback", "drift", "verify"),
        *("status", "logs", "audit", "failures", "redrive", "reprocess", "restore", "find", "erase", "destroy"),
        *("unlock", "help"),
    ]


@pytest.mark.parametrize("verb", commands.__main__.parser().verbs)
def test_every_verb_has_help_and_code(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = commands.__main__.parser().verbs[verb]
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--help"])
    assert ended.value.code == 0
    usage = capsys.readouterr().out.splitlines()[0]
    assert usage.startswith(f"usage: ./deploy.sh {verb}")
    assert ("ENV" in usage) == any(argument.dest == "name" for argument in parser._actions)
    module, _, function = parser.get_default("work").partition(":")
    assert verb == "help" or callable(getattr(importlib.import_module(f"commands.{module}"), function))


def test_the_commands_work_from_any_folder(tmp_path: Path) -> None:
    result = subprocess.run([ROOT / "deploy.sh", "help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_documented_costs_are_the_computed_ones() -> None:
    tables = run(sys.executable, "scripts/planning/cost.py").stdout
    assert tables.count("|---|---|") == 2
    assert tables in (ROOT / "docs/security.md").read_text()


def test_every_control_to_be_broken_still_exists() -> None:
    assert [entry.control for entry in BREAKS if entry.old not in (ROOT / entry.path).read_text()] == []
    assert len({entry.control for entry in BREAKS}) == len(BREAKS)
