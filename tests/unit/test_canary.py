"""Patient data never leaves by any way but the processed object."""

from __future__ import annotations

import io
import json
import traceback
from pathlib import Path
from typing import Any

import pytest

import lambda_function
from lambda_function import Failure, lambda_handler

from .canaries import BAD, GOOD, RECORD, hidden
from .invocations import Context, batch, failed, notification, processed, verdict


def everything(error: BaseException) -> str:
    """All that an exception can carry out: chain, attributes, traceback, and the variables of the handler's frames."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    text = ""
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        waiting += [one.__cause__, one.__context__]
        text += repr(one) + str(one) + repr(vars(one)) + repr(one.args)
        text += "".join(traceback.format_exception(one))
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if Path(frame.f_code.co_filename) != Path(__file__):
                text += repr(frame.f_locals)
    return text


@pytest.fixture
def debug() -> Any:
    """The logger at its most talkative."""
    lambda_function.logger.setLevel("DEBUG")
    yield
    lambda_function.logger.setLevel("INFO")


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_leaks_no_content(
    s3: Any, context: Context, log: io.StringIO, capsys: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "too large":
        for limit in ("MAX_RECORD_BYTES", "BATCH_BYTES"):
            monkeypatch.setattr(lambda_function, limit, 600)
    s3.put_object(Bucket="raw", Key="scan.json", Body=BAD[name])
    assert lambda_handler(notification("scan.json"), context) is None
    hidden(json.dumps(s3.head_object(Bucket="rejected", Key="scan.json"), default=str))
    hidden(json.dumps(verdict(s3, "scan.json")))
    assert failed(lambda_handler(batch(notification("scan.json")), context)) == []
    hidden(log.getvalue())
    printed = capsys.readouterr()
    hidden(printed.out + printed.err)
    assert processed(s3, "scan.json") is None


@pytest.mark.usefixtures("debug")
def test_a_good_file_leaks_no_content(s3: Any, context: Context, log: io.StringIO, capsys: Any) -> None:
    s3.put_object(Bucket="raw", Key="scan.json", Body=GOOD)
    assert lambda_handler(notification("scan.json"), context) is None
    assert processed(s3, "scan.json")[0] == {name: RECORD[name] for name in ("patient_id", "patient_name")}
    hidden(log.getvalue())
    printed = capsys.readouterr()
    hidden(printed.out + printed.err)
    hidden(json.dumps(s3.head_object(Bucket="processed", Key="scan.json"), default=str))


@pytest.mark.parametrize("broken", ["cut_down", "_likely_separator", "_rejection"])
def test_a_handler_bug_leaks_no_content(
    s3: Any, context: Context, log: io.StringIO, capsys: Any, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def wrong(data: Any, *_: Any) -> Any:
        raise ValueError(f"cannot do it: {GOOD!r}")

    monkeypatch.setattr(lambda_function, broken, wrong)
    for name in ("READ_BYTES", "BATCH_BYTES"):
        monkeypatch.setattr(lambda_function, name, 200)
    s3.put_object(Bucket="raw", Key="scan.json", Body=json.dumps([RECORD] * 20).encode()[:-1] + b",7]")
    with pytest.raises(Failure, match="ValueError in wrong line") as caught:
        lambda_handler(notification("scan.json"), context)
    hidden(everything(caught.value))
    hidden(log.getvalue())
    printed = capsys.readouterr()
    hidden(printed.out + printed.err)


def test_a_message_that_is_not_an_event_leaks_no_content(context: Context, log: io.StringIO, capsys: Any) -> None:
    for body in (GOOD.decode(), GOOD.decode()[:-5], json.dumps({"Records": [RECORD]}), "Xylophonia"):
        assert failed(lambda_handler(batch(body), context)) == ["m0"]
    with pytest.raises(Failure) as caught:
        lambda_handler({"Records": [{"Xylophonia": 1}]}, context)
    hidden(str(caught.value) + "".join(traceback.format_exception(caught.value)).replace('{"Xylophonia": 1}', ""))
    hidden(log.getvalue())
    counted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.keys() for line in counted] == [{"_aws", "service", "FilesFailed"}] * 5
    hidden(json.dumps(counted))
