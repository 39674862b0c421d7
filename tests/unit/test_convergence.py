"""Convergence: whatever runs when, and whatever dies when, result and verdict come from the newest version.

The handler's own code runs against a simulated S3. Each invocation is a greenlet, which stops before every request to
S3; Hypothesis chooses which one continues, dies, or is started next.
"""

from __future__ import annotations

import functools
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from greenlet import greenlet
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import lambda_function
from lambda_function import Work, process_object

from .invocations import processed, verdict

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """The process of an invocation has ended: no request of it reaches S3 any more."""


@dataclass
class Key:
    """What there is of one key: raw versions, oldest first, by number; result; what the verdict is about; open uploads.

    A raw version of None is a delete marker.
    """

    raw: list[tuple[int, bytes | None]] = field(default_factory=list)
    processed: bytes | None = None
    rejected: int | None = None
    uploads: dict[str, list[bytes]] = field(default_factory=dict)
    begun: int = 0
    written: int = 0

    def write(self, content: bytes | None) -> None:
        """Add a raw version."""
        self.raw.append((self.written, content))
        self.written += 1

    def newest(self) -> tuple[int, bytes | None]:
        return self.raw[-1] if self.raw else (-1, None)


def error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, operation)


INVALID = b'[{"patient_id":"0","patient_name":"x"},{}]'
STEPS = {  # of the handler: what each asks of S3
    "asking for the newest version last": "head raw",
    "looking for a verdict": "head rejected",
    "listing the verdicts of a batch": "list rejected",
    "writing a verdict": "put rejected",
    "removing a verdict": "delete rejected",
    "looking for a result": "list processed",
    "removing a result": "delete processed",
}


class Invocation:
    """The handler at work, one request to S3 at a time. It is also the S3 client that the handler sees.

    late: whether side requests are made when the answer is needed, or else immediately. in_batch: whether it has more
    objects to process. without: a step left out.
    """

    def __init__(self, key: Key, late: bool = False, in_batch: bool = False, without: str = "") -> None:
        self._key, self._late, self._in_batch, self._without = key, late, in_batch, STEPS.get(without)
        self._killed = False
        self.outcome = ""
        self._greenlet = greenlet(self._run)
        self._go_on()

    def _run(self) -> None:
        try:
            keys = ["scan.json", "other.json"]
            verdicts: Any = self.submit(lambda_function._verdicts, keys) if self._in_batch else None
            process_object(Work("raw", "scan.json"), lambda: 300_000, verdicts)
            self.outcome = "done"
        except Killed:
            self.outcome = "killed"
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

    def _request(self, what: str) -> bool:
        """Wait for the request's turn; return whether it is one that is left out."""
        if not self._killed:
            self._greenlet.parent.switch()
        if self._killed:
            raise Killed
        return what == self._without

    def submit(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        if self._late:
            return SimpleNamespace(result=functools.cache(lambda: ask(*arguments)))
        answer = ask(*arguments)
        return SimpleNamespace(result=lambda: answer)

    def map(self, ask: Callable[..., Any], arguments: Iterable[Any]) -> Any:
        return map(ask, arguments)

    def get_object(self, **_: Any) -> dict[str, Any]:
        self._request("get raw")
        self._got, body = self._key.newest()
        if body is None:
            self._got = -1
            raise error("NoSuchKey", "GetObject")
        found = {"VersionId": str(self._got), "ETag": f'"{self._got}"', "ContentLength": len(body)}
        return {**found, "Body": io.BytesIO(body)}

    def head_object(self, Bucket: str, **_: Any) -> dict[str, Any]:
        left_out = self._request(f"head {Bucket}")
        if Bucket == "rejected":
            if left_out or self._key.rejected is None:
                raise error("404", "HeadObject")
            return {"Metadata": {"source-version-id": str(self._key.rejected), "source-etag": str(self._key.rejected)}}
        number, body = self._key.newest()
        if left_out:
            number, body = self._got, b"" if self._got >= 0 else None
        if body is None:
            raise error("404", "HeadObject")
        return {"VersionId": str(number), "ETag": f'"{number}"'}

    def list_objects_v2(self, Bucket: str, **_: Any) -> dict[str, Any]:
        if self._request(f"list {Bucket}") or getattr(self._key, Bucket) is None:
            return {"IsTruncated": False}
        return {"Contents": [{"Key": "scan.json"}], "IsTruncated": False}

    def put_object(self, Bucket: str, Body: bytes, Metadata: dict[str, str], **_: Any) -> None:
        if self._request(f"put {Bucket}"):
            return
        if Bucket == "rejected":
            self._key.rejected = int(Metadata["source-version-id"])
        else:
            self._key.processed = bytes(Body)

    def delete_object(self, Bucket: str, **_: Any) -> None:
        if not self._request(f"delete {Bucket}"):
            setattr(self._key, Bucket, None)

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        self._request("create")
        upload_id = str(self._key.begun)
        self._key.begun += 1
        self._key.uploads[upload_id] = []
        return {"UploadId": upload_id}

    def upload_part(self, UploadId: str, Body: bytes, **_: Any) -> dict[str, str]:
        self._request("part")
        self._key.uploads[UploadId].append(bytes(Body))
        return {"ETag": "part"}

    def complete_multipart_upload(self, UploadId: str, **_: Any) -> None:
        self._request("complete")
        self._key.processed = b"".join(self._key.uploads.pop(UploadId))

    def abort_multipart_upload(self, UploadId: str, **_: Any) -> None:
        self._request("abort")
        del self._key.uploads[UploadId]


current = SimpleNamespace()


class CurrentClient:
    def __getattr__(self, name: str) -> Any:
        return getattr(current.client, name)


def version(number: int, records: int) -> bytes:
    return json.dumps([{"patient_id": str(number), "patient_name": "x"}] * records).encode()


def settle(choices: list[int], without: str = "") -> tuple[Key, list[Any]]:
    """Run a schedule to its end: every event is delivered until it is handled, perhaps more than once.

    A version may be invalid, and the object may be deleted. Where results are removed S3 sends an event of that, too,
    and a version may be deleted for good: then an older one is the newest again.
    Returns what there is in the end, and the records of every valid version there ever was.
    """
    key, valid = Key(), list[Any]()
    removes = lambda_function.STALE_RESULTS == "remove"
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
                what = ("valid", "valid", "valid", "invalid", "delete", "purge")[choice // 7 % (5 + removes)]
                if what == "purge":
                    del key.raw[-1:]
                elif what == "valid":
                    content = version(key.written, choice % 7 + 1)
                    valid.append(json.loads(content))
                    key.write(content)
                else:
                    key.write(INVALID if what == "invalid" else None)
                events += removes or what != "delete"
            case ["start"]:
                late, in_batch = bool(choice // 7 % 2), (False, True, bool(choice // 14 % 2))[sum(choices) % 3]
                running.append(Invocation(key, late, in_batch, without))
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
    return key, valid


def check(key: Key, valid: list[Any]) -> None:
    """Result and verdict are what the newest version makes them, and whole."""
    number, newest = key.newest()
    result = json.loads(key.processed or b"null")
    if newest not in (INVALID, None):
        assert (result, key.rejected) == (json.loads(newest or b""), None)
    elif lambda_function.STALE_RESULTS == "remove":
        assert (result, key.rejected) == (None, number if newest else None)
    else:
        assert result in (None, *valid)
        assert key.rejected == number if newest else key.rejected != number


def read(download: Any) -> Iterator[bytes]:
    while data := download._body.read(64):
        yield data


@pytest.fixture(params=["keep", "remove"])
def simulated(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(lambda_function, "STALE_RESULTS", request.param)
    monkeypatch.setattr(lambda_function, "s3", CurrentClient())
    monkeypatch.setattr(lambda_function, "_request_threads", CurrentClient())
    monkeypatch.setattr(lambda_function.Download, "pieces", read)
    monkeypatch.setattr(lambda_function, "PART_BYTES", 100)  # so that some uploads are multipart, some are not


SCHEDULES = st.lists(st.integers(0, 2**32), max_size=60)


@pytest.mark.usefixtures("simulated")
@settings(max_examples=2500)
@given(SCHEDULES)
def test_newest_version_wins_whatever_runs_dies_or_is_repeated(choices: list[int]) -> None:
    check(*settle(choices))


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize("step", STEPS)
def test_the_newest_version_does_not_always_win_if_a_step_is_left_out(step: str) -> None:
    if "result" in step and lambda_function.STALE_RESULTS == "keep":
        pytest.skip("results are kept")

    @settings(max_examples=2500, report_multiple_bugs=False, phases=[Phase.generate])
    @given(SCHEDULES)
    def without_it(choices: list[int]) -> None:
        check(*settle(choices, without=step))

    with pytest.raises(AssertionError):
        without_it()


@pytest.mark.usefixtures("simulated")
def test_newest_version_wins_when_events_arrive_reversed() -> None:
    key = Key()
    key.write(version(0, 1))
    slow = Invocation(key)
    slow.step()  # has looked for a verdict
    slow.step()  # has read version 0
    key.write(version(1, 1))
    quick = Invocation(key)
    while not quick.outcome:
        quick.step()
    assert json.loads(key.processed or b"")[0]["patient_id"] == "1"
    slow.step()  # writes version 0
    assert json.loads(key.processed or b"")[0]["patient_id"] == "0"
    while not slow.outcome:
        slow.step()
    assert (slow.outcome, quick.outcome) == ("done", "done")
    assert json.loads(key.processed or b"")[0]["patient_id"] == "1"


@pytest.mark.usefixtures("simulated")
def test_an_interrupted_upload_publishes_nothing() -> None:
    key = Key()
    key.write(version(0, 50))
    invocation = Invocation(key)
    while not key.uploads.get("0"):
        invocation.step()
    invocation.step(kill=True)
    assert invocation.outcome == "killed"
    assert key.processed is None


@pytest.mark.parametrize("stale_results", ["keep", "remove"])
@pytest.mark.parametrize("last", ["valid", "invalid", "deleted"])
def test_newest_version_wins_with_real_threads(
    s3: Any, monkeypatch: pytest.MonkeyPatch, stale_results: str, last: str
) -> None:
    """Concurrent uploads and invocations, each upload followed by its own event and by a repeated one."""
    monkeypatch.setattr(lambda_function, "STALE_RESULTS", stale_results)
    errors: list[Exception] = []

    def invoke() -> None:
        while True:
            try:
                process_object(Work("raw", "scan.json"), lambda: 300_000)
            except lambda_function.Failure:
                continue  # delivered again
            except ClientError as error:
                errors.append(error)
            return

    invocations = [threading.Thread(target=invoke) for _ in range(12)]
    for number, (first, second) in enumerate(zip(invocations[::2], invocations[1::2], strict=True)):
        what = last if number == 5 else ("valid", "invalid", "deleted")[number % 3]
        if what == "deleted":
            s3.delete_object(Bucket="raw", Key="scan.json")
        else:
            body = version(number, 1 + number % 3) if what == "valid" else INVALID
            s3.put_object(Bucket="raw", Key="scan.json", Body=body)
        first.start()
        second.start()
    for invocation in invocations:
        invocation.join()
    assert not errors
    result, verdict_on_it = processed(s3, "scan.json"), verdict(s3, "scan.json")
    if last == "valid":
        assert {record["patient_id"] for record in result} == {"5"}
        newest = s3.head_object(Bucket="raw", Key="scan.json")["VersionId"]
        assert s3.head_object(Bucket="processed", Key="scan.json")["Metadata"]["source-version-id"] == newest
    elif stale_results == "remove":
        assert result is None
    assert bool(verdict_on_it) == (last == "invalid")
    if verdict_on_it:
        assert verdict_on_it["source_version_id"] == s3.head_object(Bucket="raw", Key="scan.json")["VersionId"]
