"""A pipeline in this process, and the command line that operates it."""

from __future__ import annotations

import base64
import io
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import __main__, environment, state, terminal
from commands.operate import deep, ledger, queues

import lambda_function

from .pipeline import FILE, Client, Pipeline, Run, make


@pytest.fixture
def pipeline(s3: Any, log: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(ledger, "FOLDER", tmp_path / "runs")
    monkeypatch.setattr(queues, "WAIT_SECONDS", 0)  # there is only one server here
    # Metrics go to standard output, as do the commands' answers.
    monkeypatch.setattr(lambda_function, "_count", lambda *_: None)
    deep.function_code.cache_clear()
    pipeline = Pipeline(s3, log)
    client = Client(s3)
    client.put_object = pipeline.refuse_results
    monkeypatch.setattr(lambda_function, "s3", client)  # which --deep replaces
    return pipeline


@pytest.fixture
def function(pipeline: Pipeline) -> str:
    """A function with an alias; return the code's hash."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = make("iam").create_role(RoleName="function", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    functions = make("lambda")
    zip_file = base64.b64decode("UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==")
    made = functions.create_function(
        FunctionName="function",
        Role=role,
        Handler="x.y",
        Runtime="python3.12",
        Code={"ZipFile": zip_file},
        Publish=True,
    )
    functions.create_alias(FunctionName="function", Name="live", FunctionVersion=made["Version"])
    return str(made["CodeSha256"])


@pytest.fixture
def signals() -> Iterator[None]:
    """Undo what a command does to signals."""
    handlers = {number: signal.getsignal(number) for number in terminal.SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    terminal.stopping.clear()


@pytest.fixture
def run(
    pipeline: Pipeline, signals: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """Run the command line, which finds the pipeline under any environment's name."""

    opened: list[ledger.Ledger] = []
    make_ledger = ledger.Ledger.__init__

    def note(self: ledger.Ledger, *arguments: Any) -> None:
        make_ledger(self, *arguments)
        opened.append(self)

    def run(*arguments: str) -> Run:
        while opened:
            opened.pop().db.close()  # as does the end of a process that was interrupted
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(ledger.Ledger, "__init__", note)
            return Run(__main__.main(list(arguments)), capsys.readouterr())

    monkeypatch.setattr(environment, "holding", lambda _: environment.Environment(FILE, {}))
    monkeypatch.setattr(state, "find_pipeline", lambda *_: pipeline.deployed)
    return run


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., str]:
    """Write ids into a file; return its name."""

    def write(*ids: str) -> str:
        path = tmp_path / "ids.txt"
        path.write_text("".join(f"{one}\n" for one in ids))
        return str(path)

    return write
