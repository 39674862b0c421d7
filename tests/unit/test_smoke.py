"""The file that a deploy sends through the pipeline: waited for, sent again, and removed whatever happens."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from commands import smoke
from commands.aws import Account
from commands.state import Pipeline
from commands.terminal import Refused, Stopped

PARTS = dict.fromkeys(
    ("rejected", "stale_results", "function", "alias", "log_group", "ingestion", "dead_letter", "topic", "dashboard"),
    "",
)


def run() -> None:
    account = Account(boto3.Session(region_name="us-east-1"))
    smoke.test(Pipeline("prod", "prod", "raw", "processed", **PARTS, force_destroy=False, account=account))


@pytest.fixture
def pipeline(s3: Any) -> Iterator[Callable[[int, list[dict[str, Any]]], None]]:
    """Return a function that lets the pipeline answer with records after so many uploads."""
    threads, stopped = [], threading.Event()

    def answer(after: int, records: list[dict[str, Any]]) -> None:
        while len(versions := s3.list_object_versions(Bucket="raw").get("Versions", [])) < after:
            if stopped.wait(0.01):
                return
        newest = next(version for version in versions if version["IsLatest"])
        metadata = {"source-version-id": newest["VersionId"]}
        s3.put_object(Bucket="processed", Key=newest["Key"], Body=json.dumps(records).encode(), Metadata=metadata)

    def start(after: int, records: list[dict[str, Any]]) -> None:
        threads.append(threading.Thread(target=answer, args=(after, records)))
        threads[-1].start()

    yield start
    stopped.set()
    for thread in threads:
        thread.join()
    for bucket in ("raw", "processed"):
        assert "Versions" not in s3.list_object_versions(Bucket=bucket)


def test_a_file_that_goes_through(pipeline: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline(1, smoke.EXPECTED)
    run()
    assert capsys.readouterr().out.startswith("The smoke test passed: a file went through in ")


def test_an_upload_before_the_notification_is_in_effect_is_sent_again(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("commands.smoke.AGAIN_SECONDS", 0.2)
    pipeline(3, smoke.EXPECTED)
    run()
    assert capsys.readouterr().out.count("uploading it again") >= 2


@pytest.mark.parametrize(
    ("records", "what"), [(None, "gave no result"), ([{"patient_id": "SMOKE-1"}], "gave the wrong result")]
)
def test_a_failure_says_where_to_look_and_how_to_roll_back(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, records: Any, what: str
) -> None:
    if records:
        pipeline(1, records)
    else:
        monkeypatch.setattr("commands.smoke.WAIT_SECONDS", 0.3)
        monkeypatch.setattr("commands.smoke.AGAIN_SECONDS", 0.2)
    with pytest.raises(Refused) as refused:
        run()
    start, _, rest = str(refused.value).partition("smoke-test/")
    assert (start, rest.partition(".json")[2]) == (
        "the smoke test failed: raw/",
        f" {what}. Look at ./deploy.sh logs prod --once; ./deploy.sh rollback prod returns to the previous version.",
    )


def test_an_interrupted_smoke_test_leaves_nothing(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise Stopped(15)

    monkeypatch.setattr("commands.smoke.await_result", interrupt)
    with pytest.raises(Stopped):
        run()
