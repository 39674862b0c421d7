"""Convergence: whatever runs when, and whatever dies when, the processed object comes from the newest version.

The handler's own code runs against a simulated S3. Each invocation is a greenlet, which stops before every request to
S3; which one goes on, dies, or is started next is what Hypothesis chooses.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from greenlet import greenlet
from hypothesis import given, settings
from hypothesis import strategies as st

import lambda_function
from lambda_function import Work, process_object

from .conftest import processed

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """The process of an invocation has ended: no request of it reaches S3 any more."""


@dataclass
class Bucket:
    """Two buckets with one key: the versions of the raw object, the content of the processed one, the open uploads.

    A raw version of None is a delete marker.
    """

    raw: list[bytes | None] = field(default_factory=list)
    processed: bytes | None = None
    uploads: dict[str, list[bytes]] = field(default_factory=dict)
    begun: int = 0


GONE = ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
INVALID = b'[{"patient_id":"0","patient_name":"x"},{}]'


class Invocation:
    """The handler at work, one request to S3 at a time. It is also the S3 client that the handler sees."""

    def __init__(self, bucket: Bucket, verify: bool) -> None:
        self._bucket, self._verify = bucket, verify
        self._killed = False
        self.outcome = ""
        self._greenlet = greenlet(self._run)
        self._go_on()

    def _run(self) -> None:
        try:
            process_object(Work("raw", "scan.json"), lambda: 300_000)
            self.outcome = "done"
        except Killed:
            self.outcome = "killed"
        except ClientError:
            self.outcome = "gone"
        except lambda_function.Rejected:
            self.outcome = "rejected"
        except lambda_function.Failure:
            self.outcome = "failed"
        finally:
            self.outcome = self.outcome or "broken"

    def _go_on(self) -> None:
        current.client = self
        self._greenlet.switch()

    def step(self, kill: bool = False) -> None:
        """Let the next request through, or end the process at this point, and wait for the one after it."""
        assert not self.outcome, f"nothing follows: {self.outcome}"
        self._killed = self._killed or kill
        self._go_on()

    def _request(self) -> None:
        if not self._killed:
            self._greenlet.parent.switch()
        if self._killed:
            raise Killed

    def get_object(self, **_: Any) -> dict[str, Any]:
        self._request()
        self._got = len(self._bucket.raw) - 1
        body = self._bucket.raw[self._got]
        if body is None:
            raise GONE
        found = {"VersionId": str(self._got), "ETag": f'"{self._got}"', "ContentLength": len(body)}
        return {**found, "Body": io.BytesIO(body)}

    def head_object(self, **_: Any) -> dict[str, Any]:
        self._request()
        newest = len(self._bucket.raw) - 1 if self._verify else self._got
        if self._bucket.raw[newest] is None:
            raise GONE
        return {"VersionId": str(newest), "ETag": f'"{newest}"'}

    def put_object(self, Body: bytes, **_: Any) -> None:
        self._request()
        self._bucket.processed = bytes(Body)

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        self._request()
        upload_id = str(self._bucket.begun)
        self._bucket.begun += 1
        self._bucket.uploads[upload_id] = []
        return {"UploadId": upload_id}

    def upload_part(self, UploadId: str, Body: bytes, **_: Any) -> dict[str, str]:
        self._request()
        self._bucket.uploads[UploadId].append(bytes(Body))
        return {"ETag": "part"}

    def complete_multipart_upload(self, UploadId: str, **_: Any) -> None:
        self._request()
        self._bucket.processed = b"".join(self._bucket.uploads.pop(UploadId))

    def abort_multipart_upload(self, UploadId: str, **_: Any) -> None:
        self._request()
        del self._bucket.uploads[UploadId]


current = SimpleNamespace()


class CurrentClient:
    def __getattr__(self, name: str) -> Any:
        return getattr(current.client, name)


def version(number: int, records: int) -> bytes:
    return json.dumps([{"patient_id": str(number), "patient_name": "x"}] * records).encode()


def settle(choices: list[int], verify: bool = True) -> Bucket:
    """Run a schedule to its end: every event is delivered until it is handled, perhaps more than once.

    A version may be invalid, and the object may be deleted, of which S3 sends no event.
    """
    bucket = Bucket()
    events = 0  # queued
    running: list[Invocation] = []
    uploads, kills, repeats = 4, 3, 2
    chosen = iter(choices)
    steps = 0
    while uploads or events or running:
        steps += 1
        assert steps < 1000, "it does not settle"
        actions = ["upload"] * bool(uploads) + ["start"] * bool(events and len(running) < 4)
        actions += [f"step {n}" for n in reversed(range(len(running)))] * 2
        actions += ["repeat"] * bool(events and repeats)
        actions += [f"kill {n}" for n in range(len(running) if kills else 0)]
        choice = next(chosen, 0)  # left to itself, what began first ends last
        match actions[choice % len(actions)].split():
            case ["upload"]:
                uploads -= 1
                valid = version(len(bucket.raw), choice % 7 + 1)
                bucket.raw.append((valid, valid, valid, INVALID, None)[choice // 7 % 5])
                events += bucket.raw[-1] is not None
            case ["start"]:
                running.append(Invocation(bucket, verify))
                events -= 1
            case ["repeat"]:
                events, repeats = events + 1, repeats - 1
            case [action, n]:
                invocation = running[int(n)]
                invocation.step(kill=action == "kill")
                kills -= action == "kill"
                if invocation.outcome:
                    running.remove(invocation)
                    events += invocation.outcome in ("killed", "failed")  # delivered again
    return bucket


def check(bucket: Bucket) -> None:
    """The result comes from the newest version, or if that has none from an older one, and is whole."""
    result = json.loads(bucket.processed or b"null")
    valid = [None if content in (INVALID, None) else json.loads(content or b"") for content in bucket.raw]
    assert result == valid[-1] if valid[-1] else result in (None, *valid)


def read(work: Work, body: io.BytesIO, *_: Any) -> Iterator[bytes]:
    while data := body.read(64):
        yield data
    yield b""


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_function, "s3", CurrentClient())
    monkeypatch.setattr(lambda_function, "_read_ahead", read)
    monkeypatch.setattr(lambda_function, "PART_BYTES", 100)  # so that some uploads are multipart, some are not


SCHEDULES = st.lists(st.integers(0, 2**32), max_size=60)


@pytest.mark.usefixtures("simulated")
@settings(max_examples=2500)
@given(SCHEDULES)
def test_newest_version_wins_in_the_end_whatever_runs_dies_or_is_repeated_when(choices: list[int]) -> None:
    check(settle(choices))


@pytest.mark.usefixtures("simulated")
def test_the_model_finds_the_race_that_the_last_step_closes() -> None:
    @settings(max_examples=2500, report_multiple_bugs=False)
    @given(SCHEDULES)
    def without_the_last_step(choices: list[int]) -> None:
        check(settle(choices, verify=False))

    with pytest.raises(AssertionError):
        without_the_last_step()


@pytest.mark.usefixtures("simulated")
def test_newest_version_wins_when_events_arrive_reversed() -> None:
    bucket = Bucket(raw=[version(0, 1)])
    slow = Invocation(bucket, verify=True)
    slow.step()  # has read version 0
    bucket.raw.append(version(1, 1))
    quick = Invocation(bucket, verify=True)
    while not quick.outcome:
        quick.step()
    check(bucket)
    slow.step()  # writes version 0
    assert json.loads(bucket.processed or b"")[0]["patient_id"] == "0"
    while not slow.outcome:
        slow.step()
    assert (slow.outcome, quick.outcome) == ("done", "done")
    check(bucket)


@pytest.mark.usefixtures("simulated")
def test_an_upload_that_is_cut_off_shows_nothing() -> None:
    bucket = Bucket(raw=[version(0, 50)])
    invocation = Invocation(bucket, verify=True)
    while not bucket.uploads.get("0"):
        invocation.step()
    invocation.step(kill=True)
    assert invocation.outcome == "killed"
    assert bucket.processed is None


@pytest.mark.parametrize("seed", range(4))
def test_newest_version_wins_with_real_threads(s3: Any, seed: int) -> None:
    """Uploads and invocations, all at once, each upload followed by its own event and by a repeated one."""
    errors: list[Exception] = []

    def invoke() -> None:
        while True:
            try:
                return process_object(Work("raw", "scan.json"), lambda: 300_000)
            except lambda_function.Failure:
                continue  # delivered again
            except ClientError as error:
                errors.append(error)
                return None

    invocations = [threading.Thread(target=invoke) for _ in range(12)]
    for number, (first, second) in enumerate(zip(invocations[::2], invocations[1::2], strict=True)):
        s3.put_object(Bucket="raw", Key="scan.json", Body=version(number, 1 + (seed + number) % 3))
        first.start()
        second.start()
    for invocation in invocations:
        invocation.join()
    assert not errors
    assert {record["patient_id"] for record in processed(s3, "scan.json")} == {"5"}
    newest = s3.head_object(Bucket="raw", Key="scan.json")["VersionId"]
    assert s3.head_object(Bucket="processed", Key="scan.json")["Metadata"]["source-version-id"] == newest
