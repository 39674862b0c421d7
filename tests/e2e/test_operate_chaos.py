"""Everything goes wrong at once, and nothing is lost. CHAOS says how many files are uploaded to each environment.

Files are uploaded, overwritten and deleted, some of them bad, while notifications come late, out of order and twice,
calls to S3 fail, function processes are killed, and new versions of the function are deployed. Afterwards the commands
of an operator have to agree with what this test knows by itself, and to bring everything in order.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import BOTH, ROOT, Pipeline, terraform, variables, wait_for
from local_aws import LocalAws
from test_operate import answer

UPLOADS = int(os.environ.get("CHAOS", "300"))  # to each environment, at least
KEYS = max(UPLOADS // 10, 30)
UPLOADERS = 4
BACKLOG = 100  # events on the way: with more, uploads wait, or the end of them would be a long time coming
BAD, DELETED, KILLS = 0.05, 0.08, 0.02  # how many files are bad, or deleted, and how many processes killed, for each

pytestmark = pytest.mark.timeout(5400 if "CHAOS" in os.environ else 900)


@dataclass
class Upload:
    """A version of a raw object: its id, and what a result made from it holds. None if it is bad."""

    version: str
    records: list[dict[str, str]] | None


@dataclass
class Storm:
    """What was done to the raw objects of an environment: this test's own knowledge, apart from any listing or log."""

    pipeline: Pipeline
    uploads: dict[str, list[Upload]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    killed: int = 0

    def upload(self, key: str, good: bool) -> None:
        count = random.choice([1, 1, 1, 10, 3000])
        records = [{"patient_id": f"P-{n}", "patient_name": f"{random.random()}"} for n in range(count)]
        raw: list[dict[str, Any]] = [{**record, "diagnosis": "none", "scan": {"eye": "left"}} for record in records]
        if not good:
            del raw[-1]["patient_name"]
        version = self.pipeline.upload(key, json.dumps(raw).encode())
        self.uploads.setdefault(key, []).append(Upload(version, records if good else None))
        self.deleted.discard(key)

    def delete(self, key: str) -> None:
        self.pipeline.s3.delete_object(Bucket=self.pipeline.raw, Key=key)
        self.deleted.add(key)

    def act(self, keys: list[str]) -> None:
        """Do one thing to one of the keys. No other thread has the same keys, so their order is known."""
        if random.random() < KILLS:
            self.killed += kill(self.pipeline)
        key = random.choice(keys)
        if key in self.uploads and random.random() < DELETED:
            self.delete(key)
        else:
            self.upload(key, good=random.random() > BAD)

    def go_on(self, number: int, enough: threading.Event) -> None:
        """Do one thing after the other, until there are enough uploads and all else is done."""
        keys = [f"chaos/{n:04}.json" for n in range(KEYS) if n % UPLOADERS == number]
        while not enough.is_set() or self.count() < UPLOADS:
            self.act(keys)
            wait_for("fewer events to be on the way", lambda: look(self.pipeline.aws)["on_the_way"] < BACKLOG)
        # What comes late on the way to the last versions is not put right by another event.
        for some in itertools.batched(keys, 8):
            for key in 2 * some:
                self.upload(key, good=random.random() > 0.2)
            for key in some:
                if random.random() < DELETED:
                    self.delete(key)

    def count(self) -> int:
        return sum(len(uploads) for uploads in list(self.uploads.values()))

    def bad(self) -> set[str]:
        """Return the keys whose newest version is bad."""
        return {key for key, uploads in self.uploads.items() if uploads[-1].records is None} - self.deleted

    def expect(self) -> dict[str, str]:
        """Check every result; return what an audit has to say of each key that is not processed."""
        states = {}
        for key, uploads in self.uploads.items():
            result = self.pipeline.result(key)
            if result:
                made_from = {upload.version: upload.records for upload in uploads}
                assert result["records"] == made_from[result["metadata"]["source-version-id"]], key
            if key in self.deleted:
                if result:
                    states[key] = "orphaned"
            elif uploads[-1].records is None:
                states[key] = "rejected"
            else:
                assert result, key
                assert result["metadata"]["source-version-id"] == uploads[-1].version, key
        pages = self.pipeline.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.pipeline.processed, Prefix="chaos/"
        )
        strays = {item["Key"] for page in pages for item in page.get("Contents", [])} - set(self.uploads)
        assert strays == set()
        assert "Uploads" not in self.pipeline.s3.list_multipart_uploads(Bucket=self.pipeline.processed)
        return states


@pytest.fixture
def unruly(both: dict[str, Pipeline], aws: LocalAws) -> Iterator[LocalAws]:
    """Put the emulator that fails in the place of the orderly one, for as long as a test lasts."""
    assert both

    def restart(*program: str) -> None:
        aws.stop()
        command = [str(aws.python), "scripts/local_aws.py", "start", *program]
        environment = os.environ | {"LOCAL_AWS_PORT": str(aws.port)}
        run = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        assert run.stdout == "started\n"

    restart("--program", "tests/e2e/unruly_emulator.py")
    yield aws
    restart()


def look(aws: LocalAws) -> dict[str, Any]:
    """Return what the unruly emulator has done, and how many events are on the way."""
    environment = aws.environment()
    trust = ssl.create_default_context(cafile=environment["AWS_CA_BUNDLE"])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    with opener.open(f"{environment['AWS_ENDPOINT_URL']}/chaos") as response:
        return dict(json.load(response))


def await_calm(both: dict[str, Pipeline], aws: LocalAws) -> None:
    """Wait until no event is on the way to a function."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def calm() -> bool:
        if look(aws)["on_the_way"]:
            return False
        for pipeline in both.values():
            url = pipeline.outputs["ingestion_queue_url"]
            attributes = pipeline.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            if any(attributes[name] != "0" for name in names):
                return False
        return True

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
    faults = look(unruly)["done"] | {"killed": sum(storm.killed for storm in storms.values())}
    print("\n", faults)
    assert {"late", "throttled", "server_error", "cut_off", "unanswered", "notified_twice"} <= faults.keys()
    assert faults["killed"]

    # What failed again and again by bad luck, and bad versions that were replaced meanwhile, pass when they are sent
    # back.
    for name, storm in storms.items():
        print(name, storm.count(), "uploads", answer(storm.pipeline, "failures")[1][-1])
        answer(storm.pipeline, "redrive", "--rate", "1000")
    await_calm(both, unruly)
    for storm in storms.values():
        assert storm.bad()
        assert failed(storm) == storm.bad()
        assert audited(storm) == (0, storm.expect())
        for key in storm.bad():
            storm.upload(key, good=True)
    await_calm(both, unruly)
    for storm in storms.values():
        code, lines = answer(storm.pipeline, "redrive", "--rate", "1000")
        assert (code, {line["outcome"] for line in lines[:-1]}) == (0, {"processed"})
    await_calm(both, unruly)
    for storm in storms.values():
        assert failed(storm) == set()
        assert audited(storm) == (0, storm.expect())


def failed(storm: Storm) -> set[str]:
    """Return the keys in the dead-letter queue, as ./deploy.sh failures tells."""
    return {line["key"] for line in answer(storm.pipeline, "failures")[1][:-1]}


def audited(storm: Storm) -> tuple[int, dict[str, str]]:
    """Return exit code of ./deploy.sh audit, and the state of each key that is not processed."""
    code, lines = answer(storm.pipeline, "audit", "--deep", "--prefix", "chaos/", "--in-flight", "0")
    return code, {line["key"]: line["state"] for line in lines if "state" in line}
