"""A Lambda execution environment: the packages, unpacked, run by AWS's own runtime client for Python.

The client asks the Runtime API, which is served here on 127.0.0.1, for events, and posts what the function answers. It
finds what it finds in Lambda: the environment variables that Lambda sets, the code, the layer and the SDK of the
runtime, with nothing else that is installed; standard output and the telemetry descriptor go to files.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import hcl2

from . import PATIENCE_SECONDS
from .proxy import serving

ROOT = Path(__file__).resolve().parents[2]
API = "/2018-06-01/runtime"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:data-processor:live"
CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
SDK = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")
FRAME_HEAD = 16  # bytes before the message: type, length of the message, and time, by four, four and eight bytes


@functools.cache
def block(module: str, kind: str, *labels: str) -> Any:
    """Return a block of a module's main.tf. Raises LookupError."""
    for found in hcl2.loads((ROOT / f"modules/{module}/main.tf").read_text())[kind]:
        with contextlib.suppress(KeyError):
            return functools.reduce(lambda inner, label: inner[f'"{label}"'], labels, found)
    raise LookupError(labels)


def settings() -> dict[str, str]:
    """Return what Terraform sets for the function as a literal: handler, runtime, log_format, application_log_level."""
    function = block("lambda", "resource", "aws_lambda_function", "this")
    found = function | function["logging_config"][0]
    return {name: value.strip('"') for name, value in found.items() if isinstance(value, str)}


def link(folder: Path, names: tuple[str, ...]) -> None:
    """Make a folder with some of the packages that are installed here, and no others."""
    folder.mkdir()
    for name in names:
        for top in {path.parts[0] for path in distribution(name).files or [] if path.parts[0] != ".."}:
            installed = Path(str(distribution(name).locate_file(top)))
            if not (folder / top).exists() and top != "__pycache__":
                (folder / top).symlink_to(installed)


@dataclass(frozen=True)
class Frame:
    """A record of the telemetry descriptor. kind: type of the frame, without the mark that all have."""

    kind: int
    message: Any


@dataclass(frozen=True)
class Answer:
    """The outcome of an invocation, or of a start that failed.

    to: the end of the address that it was posted to, `response`, `error` or `init/error`. lines: of standard output;
    frames: of the telemetry descriptor.
    """

    to: str
    headers: Message
    body: Any
    lines: list[Any]
    frames: list[Frame]

    @property
    def metrics(self) -> list[Any]:
        """The lines from which CloudWatch takes metrics."""
        return [line for line in self.lines if "_aws" in line]

    @property
    def logged(self) -> list[Any]:
        """The other lines."""
        return [line for line in self.lines if "_aws" not in line]

    @property
    def everything(self) -> str:
        """All of it as text."""
        frames = [frame.message for frame in self.frames]
        return json.dumps([self.body, self.lines, frames, self.headers.items()])


class Runtime:
    """A process that runs the function, started by the first invocation."""

    def __init__(self, folder: Path, path: list[Path], variables: dict[str, str]) -> None:
        self._events: queue.Queue[tuple[dict[str, str], bytes] | None] = queue.Queue()
        self._posted: queue.Queue[tuple[str, Message, bytes]] = queue.Queue()
        self._folder, self._path, self._variables = folder, path, variables
        self._read = {"out": 0, "telemetry": 0}  # bytes of each file
        self.process: subprocess.Popen[bytes] | None = None
        self._end = contextlib.ExitStack()
        api: Any = type("ThisApi", (Api,), {"events": self._events, "posted": self._posted})
        self._port = self._end.enter_context(serving(api))

    def start(self) -> None:
        with contextlib.ExitStack() as files:
            out, telemetry = (files.enter_context((self._folder / name).open("ab")) for name in self._read)
            descriptor = telemetry.fileno()
            variables = {
                "_HANDLER": settings()["handler"],
                "_LAMBDA_TELEMETRY_LOG_FD": str(descriptor),
                "_X_AMZN_TRACE_ID": "",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EXECUTION_ENV": f"AWS_Lambda_{settings()['runtime']}",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "AWS_LAMBDA_FUNCTION_NAME": "data-processor",
                "AWS_LAMBDA_FUNCTION_VERSION": "7",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "AWS_LAMBDA_LOG_FORMAT": settings()["log_format"],
                "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/data-processor",
                "AWS_LAMBDA_LOG_LEVEL": settings()["application_log_level"],
                "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/29/[7]0123456789abcdef",
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._port}",
                "AWS_REGION": "us-east-1",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_SESSION_TOKEN": "test",
                "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
                "HOME": str(self._folder),  # Lambda has none; without, the SDK would find this machine's settings
                "LAMBDA_TASK_ROOT": str(self._path[0]),
                "LANG": "en_US.UTF-8",
                "PATH": os.environ["PATH"],
                "PYTHONPATH": ":".join(map(str, self._path)),
                "TZ": ":UTC",
                **self._variables,
            }
            # -S: nothing that is installed here. -P: nor what lies in the folder that it is started in. -B: as Lambda's
            # file system cannot be written to, bytecode that is not in the packages is not kept.
            self.process = subprocess.Popen(
                [sys.executable, "-S", "-P", "-B", "-m", "awslambdaric", settings()["handler"]],
                cwd=self._path[0],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[descriptor],
            )

    def send(self, event: Any, milliseconds: int = 300_000) -> None:
        """Hand over an event, with that much time left until the deadline."""
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + milliseconds),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
        }
        if not self.process:
            self.start()
        self._events.put((headers, json.dumps(event).encode()))

    def answer(self) -> Answer:
        """Wait for what the process posts; return it with what was printed meanwhile, which comes before."""
        try:
            to, headers, body = self._posted.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise AssertionError(f"the function does not answer: {(self._folder / 'out').read_text()}") from None
        return Answer(to, headers, json.loads(body), *self.printed())

    def invoke(self, event: Any, milliseconds: int = 300_000) -> Answer:
        self.send(event, milliseconds)
        return self.answer()

    def kill(self) -> None:
        """End the process as Lambda does at the deadline, in the middle of an event: it runs no more of its code."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def close(self) -> None:
        if self.process:
            self.kill()
        self._events.put(None)
        self._end.close()

    def printed(self) -> tuple[list[Any], list[Frame]]:
        """Return lines and frames since the last time. All of both are JSON."""
        lines = [json.loads(line) for line in self._new("out").decode().splitlines()]
        frames, data = [], self._new("telemetry")
        while data:
            assert data[:2] == b"\xa5\x5a"
            end = FRAME_HEAD + int.from_bytes(data[4:8])
            frames.append(Frame(int.from_bytes(data[2:4]), json.loads(data[FRAME_HEAD:end])))
            data = data[end:]
        return lines, frames

    def _new(self, name: str) -> bytes:
        data = (self._folder / name).read_bytes()[self._read[name] :]
        self._read[name] += len(data)
        return data


class Api(BaseHTTPRequestHandler):
    """Lambda's Runtime API."""

    protocol_version = "HTTP/1.1"
    events: queue.Queue[tuple[dict[str, str], bytes] | None]
    posted: queue.Queue[tuple[str, Message, bytes]]

    def do_GET(self) -> None:
        assert self.path == f"{API}/invocation/next"
        event = self.events.get()
        if event is None:
            self.events.put(None)  # for others that wait
            self.close_connection = True
            return
        headers, body = event
        self._answer(200, headers, body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(202, {}, b'{"status":"OK"}')
        to = self.path.removeprefix(f"{API}/")
        self.posted.put((to if to.startswith("init/") else to.rpartition("/")[2], self.headers, body))

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # it was killed
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
