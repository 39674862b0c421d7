"""A command as a person sees it: on a terminal, and interrupted."""

import os
import pty
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO

from commands.settings import ROOT

SCRIPTS = ROOT / "scripts"


def start(
    command: Sequence[str], environment: Mapping[str, str], output: IO[str] | int = subprocess.PIPE
) -> tuple[subprocess.Popen[str], int]:
    """Start a command in scripts/ with a terminal for its standard error; return it and the terminal's other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=SCRIPTS,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    return process, ours


def run(command: Sequence[str], environment: Mapping[str, str], stop_at: int = 0) -> tuple[int, str, str]:
    """Run a command, with Ctrl-C once its progress has reached a count. Return exit code, output and terminal."""
    shown = ""
    with tempfile.TemporaryFile("w+") as output:
        process, terminal = start(command, environment, output)
        try:
            while data := os.read(terminal, 1024):
                shown += data.decode()
                if stop_at and any(int(count.replace(",", "")) >= stop_at for count in progress(shown)[-1:]):
                    process.send_signal(signal.SIGINT)
                    stop_at = 0
        except OSError:  # the process has closed its end
            pass
        os.close(terminal)
        process.wait()
        output.seek(0)
        return process.returncode, output.read(), shown


def progress(shown: str) -> list[str]:
    """Return the counts that a progress line has shown."""
    return re.findall(r"\r\x1b\[K[a-z ]+: ([\d,]+), [\d,]+/s  ", shown)
