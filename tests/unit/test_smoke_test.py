"""The file that a deploy sends through the pipeline: waited for, sent again, and removed whatever happens."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import smoke_test

PIPELINE = {"raw_data_bucket_name": "raw", "processed_data_bucket_name": "processed", "log_group_name": "/aws/lambda/f"}


@pytest.fixture(autouse=True)
def called_by_a_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE", json.dumps(PIPELINE))
    monkeypatch.setattr(sys, "argv", ["smoke_test.py", "prod"])


@pytest.fixture
def pipeline(s3: Any) -> Iterator[Callable[[int, list[dict[str, Any]]], None]]:
    """Return what lets a pipeline answer, once it has seen so many uploads, with these records."""
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
    pipeline(1, smoke_test.EXPECTED)
    smoke_test.main()
    assert capsys.readouterr().out.startswith("The smoke test passed: a file went through in ")


def test_an_upload_before_the_notification_is_in_effect_is_sent_again(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("smoke_test.AGAIN_SECONDS", 0.2)
    pipeline(3, smoke_test.EXPECTED)
    smoke_test.main()
    assert capsys.readouterr().out.count("uploading it again") >= 2


@pytest.mark.parametrize(("records", "what"), [(None, "nothing"), ([{"patient_id": "SMOKE-1"}], "something else")])
def test_a_failure_says_where_to_look_and_how_to_go_back(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, records: Any, what: str
) -> None:
    if records:
        pipeline(1, records)
    else:
        monkeypatch.setattr("smoke_test.WAIT_SECONDS", 0.3)
        monkeypatch.setattr("smoke_test.AGAIN_SECONDS", 0.2)
    with pytest.raises(SystemExit) as ended:
        smoke_test.main()
    start, _, rest = str(ended.value).partition("smoke-test/")
    assert (start, rest.partition(".json")[2]) == (
        f"error: the smoke test failed: {what} came of raw/",
        ". Look at the log group /aws/lambda/f; ./deploy.sh rollback prod returns to the version before.",
    )


def test_who_interrupts_it_finds_nothing_left(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("smoke_test.await_result", interrupt)
    with pytest.raises(SystemExit) as ended:
        smoke_test.main()
    assert ended.value.code == 130
