"""Output for a person at the terminal, and how they stop a run."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Refused(Exception):  # noqa: N818 - an answer to a person
    """Why a command cannot do its work: cause and remedy, one line."""


class Stopped(BaseException):
    """A signal told the run to end. Like KeyboardInterrupt, no handler of ordinary errors should catch it.

    remedy: what to do now.
    """

    def __init__(self, number: int, remedy: str = "Run the same command again.") -> None:
        super().__init__(number)
        self.number, self.remedy = number, remedy


class Interrupted(Exception):  # noqa: N818
    """A run stopped at a safe place, by a signal. All work so far is kept."""


FOLLOW_SECONDS, LINE = 1.0, 80  # how often the last line of a log is shown, and how many characters
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """Set when a run is to stop at the next safe place. number: the signal that told it to.

    A signal handler sets it, so unlike threading.Event it takes no lock: the handler would wait forever for a lock that
    its own thread holds.
    """

    def __init__(self) -> None:
        self.number: int = signal.SIGINT
        self._is_set = False
        self._reading, self._writing = os.pipe()

    def set(self) -> None:
        """Tell the run to stop."""
        self._is_set = True
        os.write(self._writing, b"!")

    def clear(self) -> None:
        """Reset it for another run."""
        if self._is_set:
            os.read(self._reading, 1024)
            self._is_set = False

    def wait(self, seconds: float) -> bool:
        """Wait that long or until it is set; return whether it is."""
        select.select([self._reading], [], [], seconds)
        return self._is_set


stopping = Stopping()


def on_signals(handler: Any) -> dict[int, Any]:
    """Set the handler of the signals that end a run, except a hang-up that nohup ignores; return the previous ones."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return {number: signal.signal(number, handler) for number in SIGNALS if not (ignored and number == signal.SIGHUP)}


def stop_now(number: int, _: object) -> None:
    """Handle a signal by raising Stopped, and ignore those that follow: the run is ending already."""
    on_signals(signal.SIG_IGN)
    raise Stopped(number)


def stop_at_safe_place(number: int, _: object) -> None:
    """Handle a signal by setting `stopping`; a second Ctrl-C ends the run immediately."""
    stopping.number = number
    stopping.set()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pause(seconds: float) -> None:
    """Wait. Raises Interrupted when the run was told to stop."""
    if stopping.wait(max(seconds, 0)):
        raise Interrupted


def wait_for[T](check: Callable[[], T | None], seconds: float, poll_seconds: float) -> T | None:
    """Return the first truthy result of a check, or None when there is none in time. Raises Interrupted."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > deadline:
            return None
        pause(poll_seconds)
    return found


@contextmanager
def step(name: str, log: Path | None = None) -> Iterator[None]:
    """Announce a part of the work. With a log for its output, show only its duration or, if it fails, the log's end."""
    began = time.monotonic()
    if not log:
        print(f"\n== {name}", flush=True)
        yield
        return
    print(f"{name:34}", end="", flush=True)
    try:
        with following(name, log):
            yield
    except Exception:
        print("failed\n", flush=True)
        say("\n".join(log.read_text(errors="replace").splitlines()[-40:]))
        say(f"The end of the output is above, all of it in {log}.")
        raise
    print(f"{time.monotonic() - began:4.0f} s", flush=True)


@contextmanager
def following(name: str, log: Path) -> Iterator[None]:
    """While the block runs, show the last line of a log next to the name of its step, if this is a terminal."""
    if not sys.stdout.isatty():
        yield
        return
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(FOLLOW_SECONDS):
            line = log.read_text(errors="replace").rstrip().rpartition("\n")[2]
            print(f"\r\x1b[K{name:34}{printable(line)[-LINE:]}", end="", flush=True)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        print(f"\r\x1b[K{name:34}", end="", flush=True)


def confirm(question: str, name: str) -> None:
    """Ask for a name. Raises Refused when another one is typed."""
    print(f"{question} Type {name} to continue: ", end="", flush=True)
    if sys.stdin.readline().strip() != name:
        raise Refused("the name does not match; nothing was changed.")


class Progress:
    """A line that shows the progress of a run, if standard error is a terminal."""

    def __init__(self, what: str) -> None:
        self._what, self._began, self._shown = what, time.monotonic(), 0.0
        self._on = sys.stderr.isatty()

    def show(self, done: int, at: str = "") -> None:
        """Show the number done and the current key, at most five times a second."""
        now = time.monotonic()
        if self._on and now - self._shown > 0.2:
            self._shown = now
            rate = done / max(now - self._began, 0.001)
            sys.stderr.write(f"\r\x1b[K{self._what}: {done:,}, {rate:,.0f}/s  {printable(at)[-60:]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for other output."""
        if self._on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def say(text: str) -> None:
    """Print to standard error, for people; programs read standard output only."""
    print(text, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return a text that is safe on a terminal: control characters, in a key for example, become escapes."""
    return text if text.isprintable() else json.dumps(text)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an s in the plural: 1 event, 2,000 events."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def iso(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as UTC text."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def out(**line: Any) -> None:
    """Write a line of JSON."""
    print(json.dumps(line))


def moment(text: str) -> float:
    """Return a point in time, in seconds since the epoch. Raises Refused for any other text."""
    if match := re.fullmatch(r"([0-9]+)([smhd])", text):
        return time.time() - int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"not a time: {text}. Say how long ago, as in 10m, 12h or 7d, or when: 2026-01-31.") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
