"""Every check of this project: ./tests/run.sh. Runs on a bare Python 3.12 and installs the rest.

Parts run side by side, as many as there are processors: while one waits, for the local AWS most of all, another works.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from parts import COMMANDS, DATA_DIR, LOGS, OTHERS, PARTS, ROOT, TERRAFORM, TESTS, Part

sys.path.insert(0, str(ROOT / "scripts"))

import python_env
from commands import terraform
from commands.terminal import (
    Interrupted,
    Refused,
    Stopped,
    count,
    on_signals,
    pause,
    say,
    stop_at_safe_place,
    stop_now,
    stopping,
)
from local_aws import provider
from local_aws.process import GIVE_MEMORY_BACK
from providers import Providers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FIRST = ("e2e", "unit")  # what takes longest starts first
# The end-to-end tests are one long chain, so all else takes the processors only while that waits. Linux may share them
# out among sessions first, and each part is one.
GIVE_WAY = "renice -n 10 $$ >/dev/null; { echo 10 >/proc/$$/autogroup; } 2>/dev/null || true"
POLL_SECONDS, SHOW_SECONDS, REPORT_SECONDS = 0.2, 1.0, 60.0
SLOWEST = 10


def usage() -> str:
    """Return the text of help."""
    return "\n".join(
        [
            "usage: ./tests/run.sh                         every part that is not marked with *",
            "       ./tests/run.sh quick                   most of static, terraform and unit, in a few minutes",
            "       ./tests/run.sh PART... [OPTION...]     parts by name; options are handed to pytest",
            "",
            *(f"  {name:<12}{part.summary}" for name, part in PARTS.items()),
            *(f"* {name:<12}{part.summary}" for name, part in OTHERS.items()),
        ]
    )


def parse(arguments: list[str]) -> dict[str, Part]:
    """Return the parts that the command line names, with the options that follow them. Raises Refused."""
    names = arguments[: next((at for at, word in enumerate(arguments) if word.startswith("-")), len(arguments))]
    options = arguments[len(names) :]
    known = PARTS | OTHERS
    if names == ["quick"]:
        parts = {name: replace(part, commands=part.quick) for name, part in PARTS.items() if part.quick}
    else:
        for name in names:
            if name not in known:
                what = "It is a choice of parts itself, so name it alone." if name == "quick" else ""
                raise Refused(f"unknown part: {name}. {what or f'Known: {" ".join([*known, "quick"])}'}")
        parts = {name: known[name] for name in names or PARTS}
    with_pytest = [name for name, part in known.items() if part.is_pytest]
    if options and not (names and set(names) <= set(with_pytest)):
        raise Refused(f"{options[0]} is handed to pytest, so name parts that run it before: {' '.join(with_pytest)}")
    return {name: part.with_options(options) for name, part in parts.items()}


@dataclass(frozen=True)
class Run:
    """A part that runs. log: what it prints; None when it prints to the terminal itself."""

    name: str
    process: subprocess.Popen[bytes]
    began: float
    log: Path | None

    @classmethod
    def start(cls, name: str, part: Part, log: Path | None) -> Run:
        """Start a part."""
        part.times.unlink(missing_ok=True)
        with log.open("wb") if log else contextlib.nullcontext() as output:
            process = subprocess.Popen(
                ["bash", "-euc", "\n".join([*([] if name == FIRST[0] else [GIVE_WAY]), *part.commands])],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,  # a Ctrl-C is passed on, once
            )
        return cls(name, process, time.monotonic(), log)

    @property
    def seconds(self) -> int:
        """How long it has been running."""
        return round(time.monotonic() - self.began)

    def progress(self) -> str:
        """Return its name, its time, and how far pytest is."""
        said = self.log.read_text(errors="replace")[-4000:] if self.log else ""
        percent = re.findall(r"\[ *(\d+%)\]", said)
        return f"{self.name} {self.seconds} s{f' {percent[-1]}' if percent else ''}"

    def show(self) -> bool:
        """Print how it ended, and its output unless it passed on a terminal."""
        passed = self.process.returncode == 0
        if self.log:
            said = self.log.read_text(errors="replace").rstrip()
            print(f"\n== {self.name}\n{said.rpartition(chr(10))[2] if passed and sys.stdout.isatty() else said}")
        print(f"== {self.name}: {'passed' if passed else 'failed'}, {self.seconds} s", flush=True)
        return passed


def run_all(parts: Mapping[str, Part]) -> list[str]:
    """Run parts side by side. Return those that failed. Raises Interrupted, once they have ended, on a signal."""
    waiting = sorted(parts, key=lambda name: name not in FIRST)
    running: list[Run] = []
    failed: list[str] = []
    status = Status()
    on_signals(stop_at_safe_place)
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                name = waiting.pop(0)
                running.append(Run.start(name, parts[name], LOGS / f"{name}.log" if len(parts) > 1 else None))
            pause(POLL_SECONDS)
            for run in [run for run in running if run.process.poll() is not None]:
                running.remove(run)
                status.clear()
                failed += [] if run.show() else [run.name]
            status.show([run for run in running if run.log], waiting)
    except Interrupted:
        status.clear()
        for run in running:
            os.killpg(run.process.pid, signal.SIGINT)
        for run in running:
            run.process.wait()
            run.show()
        raise
    return failed


class Status:
    """The running parts: a line at the bottom of a terminal, elsewhere a line a minute."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def show(self, running: list[Run], waiting: list[str]) -> None:
        """Show it, if there is something to show and it is time."""
        is_terminal = sys.stdout.isatty()
        if not running or time.monotonic() - self._shown < (SHOW_SECONDS if is_terminal else REPORT_SECONDS):
            return
        self._shown = time.monotonic()
        line = " · ".join([run.progress() for run in running] + ([f"next: {' '.join(waiting)}"] if waiting else []))
        print(f"\r\x1b[K{line}" if is_terminal else line, end="" if is_terminal else "\n", flush=True)

    def clear(self) -> None:
        """Make room for other output."""
        if sys.stdout.isatty():
            print("\r\x1b[K", end="")


def slowest(parts: Mapping[str, Part]) -> list[tuple[float, str]]:
    """Return the tests that took longest, in seconds, longest first."""
    tests = [
        (float(case.attrib["time"]), f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}")
        for part in parts.values()
        if part.times.exists()
        for case in ElementTree.parse(part.times).iter("testcase")  # noqa: S314 - pytest has just written it
    ]
    return sorted(tests, reverse=True)[:SLOWEST]


def prepare(parts: Mapping[str, Part]) -> None:
    """Install what the parts need, and hide the caller's settings from them. Raises Refused."""
    # Whatever the caller's settings, tests must not find a real account, nor write into the summary of a run on GitHub.
    for name in [name for name in os.environ if name.startswith("AWS_") or name == "GITHUB_STEP_SUMMARY"]:
        del os.environ[name]
    os.environ |= dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else hundreds of processes would compile the same files
    terraform.check_version()
    variables = terraform.environment(os.environ)
    os.environ.clear()
    os.environ.update(variables | GIVE_MEMORY_BACK)
    needed = {environment for part in parts.values() for environment in part.environments}
    for folder, requirements in [TESTS, COMMANDS, *sorted(needed)]:
        python_env.make(ROOT / folder, ROOT / requirements)
    provider.install()
    os.environ["PATH"] = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    LOGS.mkdir(parents=True, exist_ok=True)
    must("./deploy.sh build")


def must(command: str) -> None:
    """Run a command of the preparation. Raises Refused when it fails."""
    run = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        say(run.stdout + run.stderr)
        raise Refused(f"the tests cannot be prepared; the message of {shlex.split(command)[0]} is above.")


@contextlib.contextmanager
def attached() -> Iterator[None]:
    """Let `terraform` attach to providers that run already."""
    if not provider.executable(DATA_DIR):
        must(TERRAFORM.init[0])
    executable = provider.executable(DATA_DIR)
    if not executable:
        raise Refused(f"{DATA_DIR} does not hold the provider that .terraform.lock.hcl names. Delete that folder.")
    types = provider.types_in(ROOT, ROOT / "bootstrap")
    providers = Providers(executable, types, LOGS / "providers.log")
    os.environ |= providers.variables
    try:
        for command in TERRAFORM.init:
            must(command)
        yield
    finally:
        providers.stop()
        end_leftovers(providers.folder)


def end_leftovers(folder: Path) -> None:
    """Kill the process groups of leftovers of the tests, recognized by a folder in their PATH, and report them.

    Linux only: elsewhere, leftovers of an interrupted run have to be found by hand.
    """
    for environment in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environment.parent.name)
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if bytes(folder) in environment.read_bytes() and pid != os.getpid():
                command = (environment.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                os.killpg(os.getpgid(pid), signal.SIGKILL)
                say(f"ended what was left running: {command[:150]}")


def main(arguments: list[str]) -> int:
    """Run what the command line names; return the exit code."""
    if arguments in (["help"], ["-h"], ["--help"]):
        print(usage())
        return 0
    began = time.monotonic()
    on_signals(stop_now)
    try:
        parts = parse(arguments)
        prepare(parts)
        with attached():
            failed = run_all(parts)
    except Refused as refused:
        say(f"error: {refused}")
        return 1
    except Stopped as stopped:
        return 128 + stopped.number
    except Interrupted:
        return 128 + stopping.number
    if slow := slowest(parts):
        print(f"\nThe {len(slow)} slowest tests:")
        print("\n".join(f"{seconds:7.1f} s  {name}" for seconds, name in slow))
    if failed:
        say(f"\nerror: failed: {' '.join(failed)}. Run one part again with ./tests/run.sh PART")
        return 1
    print(f"\n{'All ' if len(parts) > 1 else ''}{count(len(parts), 'part')} passed in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
