"""Output for a person at the terminal, and how they stop a run."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from commands import terminal

from . import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]

# A signal at each place in turn at which Python can handle one while a run pauses: before each line that it executes.
SIGNALS_EVERYWHERE = """
import signal, sys
from commands import terminal

def at(place):
    left = [place]
    def trace(frame, event, argument):
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return trace
    sys.settrace(trace)
    try:
        terminal.pause(0.01)
    except terminal.Interrupted:
        return True
    finally:
        sys.settrace(None)
    return False

places = 0
while True:
    terminal.stopping.clear()
    signal.signal(signal.SIGINT, terminal.stop_at_safe_place)
    if not at(places + 1):
        break
    places += 1
print(places)
"""


def test_a_pause_ends_wherever_a_signal_arrives() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SIGNALS_EVERYWHERE],
        env={"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert run.stderr == ""
    assert int(run.stdout) > 1


class Screen(io.StringIO):
    """A terminal that signals when a text has been shown."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self.awaited, self.shown = awaited, threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.awaited in text:
            self.shown.set()
        return super().write(text)


def test_a_step_shows_what_it_waits_for_until_it_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    log.write_text("first\nthe queue: Still creating...\n")
    monkeypatch.setattr(terminal, "FOLLOW_SECONDS", 0.001)
    monkeypatch.setattr(sys, "stdout", screen := Screen("the queue: Still creating..."))
    with terminal.step("Apply", log):
        assert screen.shown.wait(timeout=PATIENCE_SECONDS)
    assert screen.getvalue().rpartition("\r")[2] == f"\x1b[K{'Apply':34}   0 s\n"


def test_without_a_terminal_a_step_shows_how_long_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text("first\n")
    with terminal.step("Apply", tmp_path / "log"):
        pass
    assert capsys.readouterr().out == f"{'Apply':34}   0 s\n"
