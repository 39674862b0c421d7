"""Everything fails together, and nothing is lost. CHAOS says how many files are uploaded to each environment.

Files are uploaded, overwritten and deleted, some of them bad, while notifications come late, out of order and twice,
calls to S3 fail, function processes are killed, and new versions of the function are deployed. One environment keeps
the results of older versions when the newest one is bad or deleted, the other removes them. Afterwards the operator's
commands must agree with the test's own record, and put everything in order.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import random
import signal
import ssl
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

import pytest
from by_hand import BOTH, terraform, variables
from commands.settings import ROOT
from local_aws.process import EMULATOR, LocalAws
from pipeline import Pipeline
from verbs import answer
from waiting import wait_for

UPLOADS = int(os.environ.get("CHAOS", "300"))  # to each environment, at least
KEYS = max(UPLOADS // 10, 30)
UPLOADERS = 4
# Events on the way: with more, uploads wait, or the end of them would be a long time coming, and a deploy take minutes.
BACKLOG, BACKLOG_DURING_DEPLOY = 100, 20
ODD = ("", " a", "+a", "%25a", "é", "眼")  # what keys have in them
LARGE, LONG = 2200, "x" * 4000  # records, with names that begin like this, whose result is uploaded in parts
BAD, DELETED, KILLS = 0.05, 0.08, 0.02  # how many files are bad, or deleted, and how many processes killed, for each

pytestmark = [pytest.mark.timeout(5400)] if "CHAOS" in os.environ else []


@dataclass
class Upload:
    """A version of a raw object: its id, and the digest of the records made from it. Empty if it is bad."""

    version: str
    records: str


def digest(records: list[dict[str, str]]) -> str:
    return hashlib.sha256(json.dumps(records).encode()).hexdigest()


@dataclass
class Storm:
    """The test's own record of what was done to the raw objects of an environment, independent of listings and logs."""

    pipeline: Pipeline
    uploads: dict[str, list[Upload]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    killed: int = 0
    died: bool = False  # whether a process of the function was killed at work

    def upload(self, key: str, good: bool, large: bool = False) -> None:
        count, name = (LARGE, LONG) if large else (random.choice([1, 1, 1, 10, 3000]), "")
        records = [{"patient_id": f"P-{n}", "patient_name": f"{name}{random.random()}"} for n in range(count)]
        raw: list[dict[str, Any]] = [{**record, "diagnosis": "none", "scan": {"eye": "left"}} for record in records]
        if not good:
            del raw[-1]["patient_name"]
        version = self.pipeline.upload(key, json.dumps(raw).encode())
        self.uploads.setdefault(key, []).append(Upload(version, digest(records) if good else ""))
        self.deleted.discard(key)

    def delete(self, key: str) -> None:
        self.pipeline.s3.delete_object(Bucket=self.pipeline.raw, Key=key)
        self.deleted.add(key)

    def act(self, keys: list[str]) -> None:
        """Do one thing to one of the keys. No other thread has the same keys, so their order is known."""
        if random.random() < KILLS or not self.has_died():
            self.killed += kill(self.pipeline)
        key = random.choice(keys)
        if key in self.uploads and random.random() < DELETED:
            self.delete(key)
        else:
            self.upload(key, good=random.random() > BAD)

    def go_on(self, number: int, enough: threading.Event) -> None:
        """Do one thing after the other, until there are enough uploads and all else is done."""
        keys = [f"chaos/{n:04}{ODD[n % len(ODD)]}.json" for n in range(KEYS) if n % UPLOADERS == number]
        while not enough.is_set() or self.count() < UPLOADS:
            self.act(keys)
            wait_for("fewer events to be on the way", lambda: self.has_room(during_deploy=not enough.is_set()))
        # What comes late on the way to the last versions is not put right by another event.
        large, bad = keys[:2]  # how these two end is not left to chance
        for some in itertools.batched(keys, 8):
            for is_last, key in itertools.product((False, True), some):
                certain = {large: True, bad: False} if is_last else {}
                self.upload(key, certain.get(key, random.random() > 0.2), large=is_last and key == large)
            for key in some:
                if key != bad and random.random() < DELETED:
                    self.delete(key)

    def has_room(self, during_deploy: bool) -> bool:
        """Return whether few enough events are on the way; asked of the emulator twice a second for all threads."""
        on_the_way = look_twice_a_second(self.pipeline.aws, int(2 * time.monotonic()))["on_the_way"]
        return bool(on_the_way < (BACKLOG_DURING_DEPLOY if during_deploy else BACKLOG))

    def count(self) -> int:
        return sum(len(uploads) for uploads in list(self.uploads.values()))

    def has_died(self) -> bool:
        """Return whether a process of the function was killed at work; the emulator is asked until one was."""
        self.died = self.died or f"died {self.pipeline.function}" in look(self.pipeline.aws)["done"]
        return self.died

    def bad(self) -> set[str]:
        """Return the keys whose newest version is bad."""
        return {key for key, uploads in self.uploads.items() if not uploads[-1].records} - self.deleted

    def expect(self, unlucky: Collection[str] = ()) -> dict[str, str]:
        """Check every result; return the state of each key that an audit must report, apart from unlucky ones."""
        states = {}
        for key, uploads in self.uploads.items():
            result = self.pipeline.result(key)
            if result:
                made_from = {upload.version: upload.records for upload in uploads}
                assert digest(result["records"]) == made_from[result["metadata"]["source-version-id"]], key
            verdict = self.pipeline.verdict(key)
            judged = verdict and verdict["source_version_id"]
            is_stale = key in self.deleted or not uploads[-1].records
            if key in self.deleted:
                if result:
                    states[key] = "orphaned"
            elif not uploads[-1].records:
                states[key] = "rejected"
            if key in unlucky:
                continue
            if not is_stale:
                assert result, key
                assert result["metadata"]["source-version-id"] == uploads[-1].version, key
                assert judged is None, key
            elif self.pipeline.removes_results:
                assert result is None, key
                assert judged == (None if key in self.deleted else uploads[-1].version), key
            else:  # nobody tells the function of a deletion, but a verdict on an older version counts for nothing
                assert (judged == uploads[-1].version) == (key not in self.deleted), key
        pages = self.pipeline.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.pipeline.processed, Prefix="chaos/"
        )
        strays = {item["Key"] for page in pages for item in page.get("Contents", [])} - set(self.uploads)
        assert strays == set()
        return states

    def dead_letters(self) -> list[str]:
        """Return the key that each message of the dead-letter queue is about, and leave it there."""
        sqs, url, messages = self.pipeline.sqs, self.pipeline.queue, dict[str, dict[str, str]]()
        request = {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "VisibilityTimeout": 600}
        while some := sqs.receive_message(**request).get("Messages"):
            assert not messages.keys() & {message["MessageId"] for message in some}
            messages |= {message["MessageId"]: message for message in some}
        for message in messages.values():
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
        keys = []
        for message in messages.values():
            body = json.loads(message["Body"])
            while "requestPayload" in body:  # Lambda's record of a failure, in direct mode
                body = body["requestPayload"]
            (record,) = body["Records"]
            keys.append(unquote_plus(record["s3"]["object"]["key"]))
        return keys

    def largest(self) -> int:
        """Return the bytes of the largest result there ever was."""
        listing = self.pipeline.s3.get_paginator("list_object_versions")
        pages = listing.paginate(Bucket=self.pipeline.processed, Prefix="chaos/")
        return max(int(version["Size"]) for page in pages for version in page.get("Versions", []))

    def memory(self) -> set[int]:
        """Return the memory of the function's versions that have processed files, in MiB."""
        lines = (json.loads(line) for line in self.pipeline.log() if line.startswith("{"))
        return {int(line["function_memory_size"]) for line in lines if line.get("message") == "processed"}


@pytest.fixture
def unruly(both: dict[str, Pipeline], aws: LocalAws) -> Iterator[LocalAws]:
    """Replace the emulator by one that fails, for as long as a test lasts."""
    # What is in work when the emulator stops is not seen again before the visibility timeout, of half an hour.
    wait_for("the queues to be empty", lambda: are_empty(both))
    for program in (ROOT / "tests/e2e/unruly_emulator.py", EMULATOR):
        aws.stop()
        assert aws.start(program)
        if program != EMULATOR:
            yield aws


def look(aws: LocalAws) -> dict[str, Any]:
    """Return what the unruly emulator has done, and how many events are on the way."""
    environment = aws.environment()
    trust = ssl.create_default_context(cafile=environment["AWS_CA_BUNDLE"])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    with opener.open(f"{environment['AWS_ENDPOINT_URL']}/chaos") as response:
        return dict(json.load(response))


@functools.lru_cache(maxsize=1)
def look_twice_a_second(aws: LocalAws, half_seconds: int) -> dict[str, Any]:
    return look(aws)


def are_empty(both: dict[str, Pipeline]) -> bool:
    """Return whether no event waits for a function, or is in work, in a queue."""
    return not any(pipeline.depth() for pipeline in both.values())


def await_calm(both: dict[str, Pipeline], aws: LocalAws) -> None:
    """Wait until no event is on the way to a function."""

    def calm() -> bool:
        return not look(aws)["on_the_way"] and are_empty(both)

    wait_for("all events to be through", calm, seconds=max(UPLOADS, 600))  # some thousand may be on the way


def kill(pipeline: Pipeline) -> bool:
    """Kill a process of the function, whatever it does; return whether there was one."""
    marks = (f".local/{pipeline.aws.port}/", f"-{pipeline.function}-")
    listing = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True).stdout
    processes = [int(line.split()[0]) for line in listing.splitlines() if all(m in line for m in marks)]
    if processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(random.choice(processes), signal.SIGKILL)
    return bool(processes)


def deploy_twice(aws: LocalAws) -> None:
    """Deploy a new version of each function, and then the one before."""
    larger = {name: {**settings, "memory_mb": 1536} for name, settings in BOTH.items()}
    for environments in (larger, BOTH):
        terraform(aws, "apply", "-input=false", "-auto-approve", variables(aws, environments))


def test_nothing_is_lost_whatever_goes_wrong(both: dict[str, Pipeline], unruly: LocalAws) -> None:
    storms = {name: Storm(pipeline) for name, pipeline in both.items()}
    enough = threading.Event()
    with ThreadPoolExecutor(2 * UPLOADERS) as pool:
        uploaders = [
            pool.submit(storm.go_on, number, enough) for storm in storms.values() for number in range(UPLOADERS)
        ]
        try:
            deploy_twice(unruly)
        finally:
            enough.set()
        for uploader in uploaders:
            uploader.result()
    await_calm(both, unruly)
    faults = look(unruly)["done"]
    print("\n", faults)
    assert {"late", "throttled", "server_error", "cut_off", "unanswered", "notified_twice"} <= faults.keys()
    for storm in storms.values():
        assert storm.killed
        assert storm.has_died()
        assert {1024, 1536} <= storm.memory()  # before or after the deploy, and in between
        assert storm.largest() > 8 * 1024 * 1024  # in parts

    # What failed again and again by bad luck, and bad versions that were replaced meanwhile, pass when they are sent
    # back. Until then they, and nothing else, may be open.
    for name, storm in storms.items():
        letters = storm.dead_letters()
        print(name, storm.count(), "uploads", len(letters), "failed events of", len(set(letters)), "objects")
        states, expected = audited(storm)[1], storm.expect(unlucky=letters)
        differ = {key for key in states.keys() | expected.keys() if states.get(key) != expected.get(key)}
        assert differ <= set(letters)
        assert {states.get(key) for key in differ} <= {"missing", "stale"}
        assert failed(storm) == Counter(letters)
        assert rejected(storm) ^ storm.bad() <= set(letters)
        answer(storm.pipeline, "redrive", "--rate", "1000", "--wait", "0")  # what fails again, it would wait for
    await_calm(both, unruly)
    for storm in storms.values():
        assert storm.bad()
        assert storm.dead_letters() == []
        assert failed(storm) == {}
        assert rejected(storm) == storm.bad()
        assert audited(storm) == (0, storm.expect())
        for key in storm.bad():
            storm.upload(key, good=True)
    await_calm(both, unruly)
    for storm in storms.values():
        assert storm.dead_letters() == []
        assert (failed(storm), rejected(storm)) == ({}, set())
        assert audited(storm) == (0, storm.expect())


def failed(storm: Storm) -> Counter[str]:
    """Return how many failed events there are about each key, according to ./deploy.sh failures."""
    lines = answer(storm.pipeline, "failures")[1][:-1]
    return Counter({line["key"]: line["messages"] for line in lines if line["state"] == "failed"})


def rejected(storm: Storm) -> set[str]:
    """Return the rejected keys, according to ./deploy.sh failures."""
    return {line["key"] for line in answer(storm.pipeline, "failures")[1][:-1] if line["state"] == "rejected"}


def audited(storm: Storm) -> tuple[int, dict[str, str]]:
    """Return exit code of ./deploy.sh audit, and the state of each key that is not processed."""
    code, lines = answer(storm.pipeline, "audit", "--deep", "--prefix", "chaos/", "--in-flight", "0")
    return code, {line["key"]: line["state"] for line in lines if "state" in line}
