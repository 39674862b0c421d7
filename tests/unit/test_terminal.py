"""How a person stops a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A signal at each place in turn at which Python can handle one while a run pauses: before each line that it executes.
SIGNALS_EVERYWHERE = """
import signal, sys
from commands import terminal

class Here(Exception):
    pass

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


def test_a_pause_ends_wherever_a_signal_comes() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SIGNALS_EVERYWHERE],
        env={"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stderr == ""
    assert int(run.stdout) > 1
