"""The providers that the tests' Terraform commands attach to: one for each root module, endpoint and credentials."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from local_aws.provider import Provider

SHIM = Path(__file__).with_name("attached_terraform.py")
MOST_IDLE, IDLE_SECONDS = 3, 30.0  # what is kept for the next command: each takes up to 150 MB
# Memory may grow by 400 percent, up to a limit, before Go collects what is free: that is a fifth of all the work. With
# one processor, Go does not look for work on others, which is a twelfth of a plan; other processes use them anyway.
GO = {"GOGC": "400", "GOMEMLIMIT": "128MiB", "GOMAXPROCS": "1"}
# What the provider takes from its environment.
SETTINGS = re.compile("(AWS_|TF_AWS_|SSL_CERT_).*|.*_proxy", re.IGNORECASE)


Settings = tuple[str, dict[str, str]]  # what a provider is for: a root module, and variables of its environment


class Providers(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Lends each Terraform command a provider of its own while it runs, so that no two can disturb each other."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, executable: Path, types: set[str], log: Path) -> None:
        self._executable, self._types, self._log = executable, types, log
        self._idle: list[tuple[Settings, Provider, float]] = []  # since when; what was used last comes last
        self._lock = threading.Condition()  # told when one becomes idle
        self.folder = Path(tempfile.mkdtemp(prefix="providers-"))
        command = self.folder / "bin/terraform"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -IS {shlex.quote(str(SHIM))} "$@"\n')
        command.chmod(0o755)
        self.variables = {
            "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
            "TERRAFORM": shutil.which("terraform") or "terraform",
            "TERRAFORM_PROVIDERS": str(self.folder / "socket"),
        }
        log.write_text("")
        super().__init__(self.variables["TERRAFORM_PROVIDERS"], Lease)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    @contextlib.contextmanager
    def lent(self, root: str, environment: dict[str, str]) -> Iterator[Provider]:
        """Lend a provider to a command that works on a root module. Raises OSError when it cannot be started."""
        settings = root, {name: value for name, value in environment.items() if SETTINGS.fullmatch(name)}
        provider = self._take(settings) or self._start(settings)
        try:
            yield provider
        finally:
            now, surplus = time.monotonic(), list[Provider]()
            with self._lock:
                self._idle.append((settings, provider, now))
                while len(self._idle) > MOST_IDLE or self._idle[0][2] < now - IDLE_SECONDS:
                    surplus.append(self._idle.pop(0)[1])
                self._lock.notify_all()
            for each in surplus:
                each.stop()

    def _take(self, settings: Settings) -> Provider | None:
        with self._lock:
            for entry in reversed(self._idle):
                if entry[0] == settings:
                    self._idle.remove(entry)
                    if entry[1].process.poll() is None:
                        return entry[1]
                    entry[1].stop()
        return None

    def _start(self, settings: Settings) -> Provider:
        root, variables = settings
        others = {name: value for name, value in os.environ.items() if not SETTINGS.fullmatch(name)}
        environment = GO | others | variables
        return Provider.start(self._executable, self._types, root=Path(root), environment=environment, log=self._log)

    def stop(self) -> None:
        """End all of them."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for _, provider, _ in self._idle:
                provider.stop()
        shutil.rmtree(self.folder)


class Lease(socketserver.StreamRequestHandler):
    """The time for which one Terraform command has a provider: as long as it keeps the connection open."""

    server: Providers

    def handle(self) -> None:
        """Answer with the variable that attaches Terraform, and wait for its end."""
        request = json.loads(self.rfile.readline())
        with contextlib.suppress(ConnectionError):
            try:
                with self.server.lent(**request) as provider:
                    self._answer({"TF_REATTACH_PROVIDERS": provider.attach} | GO)
                    self.rfile.read()
            except OSError as error:
                self._answer({"error": str(error)})

    def _answer(self, answer: dict[str, str]) -> None:
        self.wfile.write(json.dumps(answer).encode() + b"\n")
