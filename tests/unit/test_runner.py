"""./tests/run.sh: its command line, its report, and that an interrupted run leaves nothing."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import runner
from commands.terminal import Refused
from parts import OTHERS, PARTS, Part

ROOT = Path(__file__).resolve().parents[2]


def commands(*arguments: str) -> dict[str, list[str]]:
    return {name: part.commands for name, part in runner.parse([*arguments]).items()}


def test_unmarked_parts_run_by_default() -> None:
    assert list(commands()) == ["static", "terraform", "unit", "scan", "e2e"]
    marked = [line.split()[1] for line in runner.usage().splitlines() if line.startswith("* ")]
    assert marked == [*OTHERS]


def test_parts_can_be_chosen_by_name() -> None:
    assert list(commands("scan", "bench")) == ["scan", "bench"]
    assert list(commands("quick")) == ["static", "terraform", "unit"]


def test_options_go_to_pytest_and_lift_the_coverage_threshold() -> None:
    assert "--cov-fail-under=98" in commands("unit")["unit"][0]
    (command,) = commands("unit", "-k", "one or two", "-x")["unit"]
    assert command.endswith(" -k 'one or two' -x")
    assert "--cov" not in command


@pytest.mark.parametrize("part", PARTS.values(), ids=[*PARTS])
def test_the_quick_loop_runs_nothing_that_its_part_does_not(part: Part) -> None:
    for command in part.quick:
        assert any(command.split(" -filter=")[0].split(" -m ")[0] in whole for whole in part.commands)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["static", "tests"], "unknown part: tests. Known: static terraform unit scan e2e controls policies"),
        (["quick", "unit"], "unknown part: quick. It is a choice of parts itself, so name it alone."),
        (["-x"], "-x is handed to pytest, so name parts that run it before: unit e2e chaos scale"),
        (["static", "unit", "-x"], "-x is handed to pytest, so name parts that run it before: unit e2e chaos scale"),
        (["quick", "-x"], "-x is handed to pytest, so name parts that run it before: unit e2e chaos scale"),
    ],
)
def test_invalid_command_lines_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(Refused) as refused:
        runner.parse(arguments)
    assert str(refused.value).startswith(message)


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runner, "LOGS", tmp_path)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(runner, "on_signals", lambda _: {})  # pytest handles them
    return tmp_path


def test_a_part_ends_at_its_first_failing_command(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {
        "good": Part("good", "", ["echo first", "echo second"]),
        "bad": Part("bad", "", ["echo begun", "false", "echo never"]),
    }
    assert runner.run_all(parts) == ["bad"]
    printed = capsys.readouterr().out
    assert "\n== good\nfirst\nsecond\n== good: passed, " in printed
    assert "\n== bad\nbegun\n== bad: failed, " in printed
    assert "never" not in printed


def test_one_part_prints_to_the_terminal_itself(logs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert runner.run_all({"good": Part("good", "", ["echo said"])}) == []
    assert capfd.readouterr().out.startswith("said\n== good: passed, ")


def test_the_slowest_tests_of_all_parts_are_named(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parts.LOGS", logs)
    for part, seconds in (("unit", (0.5, 12.0)), ("e2e", (70.25,))):
        cases = [f'<testcase classname="tests.{part}.test_it" name="t{at}" time="{at}"/>' for at in seconds]
        (logs / f"{part}.xml").write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    assert runner.slowest(PARTS) == [
        (70.25, "tests/e2e/test_it.py::t70.25"),
        (12.0, "tests/unit/test_it.py::t12.0"),
        (0.5, "tests/unit/test_it.py::t0.5"),
    ]


INTERRUPTED = """
import os, sys
from pathlib import Path
sys.path[:0] = ["tests/runner", "scripts"]
import runner
from commands.terminal import Interrupted
os.environ["PATH"] = f"{sys.argv[1]}:{os.environ['PATH']}"
part = "trap 'echo told; exit 1' INT; setsid sleep 300 & echo $! > {0}/orphan; echo > {0}/ready; wait"
try:
    runner.run_all({"one": runner.Part("one", "", [part.format(sys.argv[1])])})
except Interrupted:
    runner.end_leftovers(Path(sys.argv[1]))
    os._exit(130)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="leftovers are found on Linux alone")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_its_parts_and_leaves_no_process(tmp_path: Path, number: int) -> None:
    os.mkfifo(tmp_path / "ready")
    program = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    run = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    (tmp_path / "ready").read_text()  # until a part has started its process
    run.send_signal(number)
    output, _ = run.communicate()
    assert run.returncode == 130
    assert "told\n== " in output
    orphan = int((tmp_path / "orphan").read_text())
    with contextlib.suppress(ProcessLookupError):  # else it has been killed, and may be about to end
        ended, _, _ = select.select([os.pidfd_open(orphan)], [], [], 60)
        assert ended
