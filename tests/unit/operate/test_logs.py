"""logs: a line for each file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from commands import terminal
from commands.operate import log

from tests.unit.invocations import notification

from .pipeline import BAD, TWO, Pipeline, Run


def test_logs_prints_a_readable_line_per_file(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json", "b\u202e.json", body=TWO)
    pipeline.upload("bad.json", body=BAD)
    pipeline.invoke(notification("notes.txt"))
    pipeline.write(
        "START RequestId: x",
        json.dumps({"type": "platform.report", "record": {"status": "success"}}),
        json.dumps({"type": "platform.report", "record": {"status": "timeout"}}),
        json.dumps({"level": "ERROR", "errorType": "Runtime.ImportModuleError", "message": "Unable"}),
        json.dumps({"_aws": {}, "service": "function", "FilesProcessed": [1.0]}),
    )
    answer = run("logs", "--once")
    lines = [re.sub(r"^\S+Z  ", "", line) for line in answer.text.splitlines()]
    version = pipeline.s3.head_object(Bucket="raw", Key="a.json")["VersionId"]
    assert re.fullmatch(rf"processed  a\.json  version {version}  2 records  {len(TWO)} bytes  \d+ ms", lines[0])
    assert lines[1].startswith('processed  "b\\u202e.json"')
    assert re.fullmatch(
        r"rejected   bad\.json  version \S+  \d+ ms  missing_field record=0 field=patient_name", lines[2]
    )
    assert lines[3:] == ["skipped    notes.txt", "timeout", "error      Runtime.ImportModuleError"]
    assert run("logs", "--once", "--since", "2100-01-01").text == ""


def test_logs_follows_until_stopped_and_repeats_nothing(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.upload("0.json")
    rounds = iter(range(1, 4))

    def upload_meanwhile(seconds: float) -> None:
        number = next(rounds, None)
        if number is None:
            raise terminal.Interrupted
        pipeline.upload(f"{number}.json")

    monkeypatch.setattr("commands.operate.verbs.pause", upload_meanwhile)
    answer = run("logs")
    assert answer.code == 130
    assert [line.split()[2] for line in answer.text.splitlines()] == ["0.json", "1.json", "2.json", "3.json"]


def test_a_log_without_page_tokens_is_read_to_its_end(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [1, 1, 2, 2, 2, 3, 4, 4, 4, 4, 5]
    events: list[Any] = [{"timestamp": stamp, "message": json.dumps({"n": n})} for n, stamp in enumerate(stamps)]
    monkeypatch.setattr(log, "LOG_PAGE", 5)

    def page(startTime: int, **_: Any) -> Any:
        return {"events": [one for one in events if one["timestamp"] >= startTime][:5]}

    monkeypatch.setattr(pipeline.client("logs"), "filter_log_events", page)
    lines = log.log_lines(pipeline.deployed, 0)
    assert [line["n"] for _, line in lines] == list(range(len(stamps)))
