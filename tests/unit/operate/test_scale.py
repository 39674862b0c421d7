"""Audit, reprocess and redrive of very many objects on the local AWS: memory stays flat, and Ctrl-C loses no work.

SCALE says how many objects. 100,000 take hours, nearly all of them the emulator's: ./tests/run.sh scale.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from local_aws.process import LocalAws

from . import queued, terminal
from .pipeline import PROGRAM, outputs

OBJECTS = int(os.environ.get("SCALE", "0"))
MAY_GROW_KIB = 8 * 1024  # for ten times the objects; the SDK's and SQLite's buffers fill up

# Linux's own account of the most memory that a process has had; getrusage's includes that of the process it came from.
MEASURED = f"""
import atexit, re, sys
from pathlib import Path
peak = lambda: re.search("VmHWM.*", Path("/proc/self/status").read_text())[0]
atexit.register(lambda: print(peak(), file=sys.stderr))
{PROGRAM}"""

pytestmark = [
    pytest.mark.skipif(not OBJECTS, reason="takes long; SCALE=100000 asks for it"),
    pytest.mark.timeout(14400),
]


class Scale:
    """A tenth of the objects under small/, the others under large/, all processed; and runs that are measured."""

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        self.environment, self.folder = aws.full_environment(), folder
        self.s3, self.sqs, logs = (self.client(service) for service in ("s3", "sqs", "logs"))
        for bucket in ("raw", "processed", "rejected"):
            self.s3.create_bucket(Bucket=bucket)
            self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        logs.create_log_group(logGroupName="group")
        self.queues = [self.sqs.create_queue(QueueName=f"queue-{n}")["QueueUrl"] for n in range(6)]
        self.keys = sorted(f"{'large' if n % 10 else 'small'}/{n:09}.json" for n in range(OBJECTS))
        self.small = [key for key in self.keys if key.startswith("small/")]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(self.process, self.keys))

    def client(self, service: str) -> Any:
        make: Any = boto3.client
        named = {name: self.environment[f"AWS_{name.upper()}"] for name in ("endpoint_url", "region")}
        return make(
            service,
            endpoint_url=named["endpoint_url"],
            region_name=named["region"],
            verify=self.environment["AWS_CA_BUNDLE"],
            config=Config(max_pool_connections=16),
        )

    def process(self, key: str) -> None:
        raw = self.s3.put_object(Bucket="raw", Key=key, Body=b"[]")
        lineage = {"source-version-id": raw["VersionId"], "source-etag": raw["ETag"].strip('"'), "record-count": "0"}
        self.s3.put_object(Bucket="processed", Key=key, Body=b"[]\n", Metadata=lineage)

    def take_out(self, queue: int) -> list[str]:
        """Take all messages out of a queue; return the key that each is about, sorted."""
        return sorted(queued.keys(self.sqs, self.queues[queue]))

    def run(self, *arguments: str, ingestion: int = 4, dead_letter: int = 5, stop_at: int = 0) -> tuple[int, int, str]:
        """Run a verb, interrupted once its progress has reached a count. Return exit code, peak KiB and errors."""
        began = time.monotonic()
        command = [sys.executable, "-c", MEASURED, *arguments]
        settings = {
            "FOLDER": str(self.folder),
            "OUTPUTS": json.dumps(outputs(self.queues[ingestion], self.queues[dead_letter])),
        }
        code, _, shown = terminal.run(command, self.environment | settings, stop_at=stop_at)
        counts = terminal.progress(shown)
        assert counts, shown
        *said, peak = shown.rpartition("\x1b[K")[2].split("\r\n")[:-1]
        kib, seconds = int(peak.split()[1]), time.monotonic() - began
        print(f"\n{' '.join(arguments):40} {counts[-1]:>8} {seconds:6.0f} s {kib / 1024:6.1f} MiB  {' '.join(said)}")
        return code, kib, "\n".join(said)


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scale]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        aws = LocalAws(port=int(probe.getsockname()[1]))
    assert aws.python.exists(), "the local AWS is missing: ./deploy.sh local installs it"
    program = f"from local_aws.process import LocalAws; LocalAws({aws.port}).start()"  # of a process that may end first
    subprocess.run([sys.executable, "-c", program], cwd=terminal.SCRIPTS, check=True)
    try:
        yield Scale(aws, tmp_path_factory.mktemp("runs"))
    finally:
        aws.stop()
        shutil.rmtree(aws.folder, ignore_errors=True)


FAST = ("--rate", "1000000")


def test_audit(scale: Scale) -> None:
    code, small, _ = scale.run("audit", "--prefix", "small/")
    assert code == 0
    code, part, said = scale.run("audit", stop_at=OBJECTS // 2)
    assert code == 130
    stopped = re.match(r"Stopped after ([\d,]+) objects\.", said)
    assert stopped
    assert OBJECTS // 2 <= int(stopped[1].replace(",", "")) < OBJECTS
    code, rest, said = scale.run("audit", "--resume")
    assert (code, said) == (0, "Every upload is accounted for.")
    assert max(part, rest) < small + MAY_GROW_KIB


def test_reprocess_and_redrive(scale: Scale) -> None:
    code, small, said = scale.run("reprocess", "--prefix", "small/", *FAST, ingestion=0)
    assert (code, said) == (0, f"Sent {len(scale.small):,} objects through the pipeline.")
    code, part, _ = scale.run("reprocess", "--prefix", "", *FAST, ingestion=1, stop_at=OBJECTS // 2)
    assert code == 130
    assert OBJECTS // 2 <= waiting(scale, 1) < OBJECTS
    code, rest, said = scale.run("reprocess", "--prefix", "", *FAST, "--resume", ingestion=1)
    assert (code, said) == (0, f"Sent {OBJECTS:,} objects through the pipeline.")
    assert waiting(scale, 1) == OBJECTS  # none of them twice
    assert max(part, rest) < small + MAY_GROW_KIB
    # What reprocess has sent stands for events that failed. Nobody processes it, nor logs anything: redrive asks the
    # buckets at the end.
    wait = ("--wait", "1")
    code, small, said = scale.run("redrive", *wait, *FAST, ingestion=2, dead_letter=0)
    assert (code, said) == (0, f"Sent back {len(scale.small):,} events.")
    code, part, said = scale.run("redrive", *wait, *FAST, ingestion=3, dead_letter=1, stop_at=OBJECTS // 2)
    assert code == 130
    done = waiting(scale, 3)
    assert f"Sent back {done:,} events." in said
    assert 0 < done < OBJECTS
    code, rest, said = scale.run("redrive", *FAST, ingestion=3, dead_letter=1)  # waits for five minutes
    assert (code, said) == (0, f"Sent back {OBJECTS - done:,} events.")
    assert max(part, rest) < small + MAY_GROW_KIB
    assert [scale.take_out(queue) for queue in range(4)] == [[], [], scale.small, scale.keys]


def test_audit_with_findings_and_repair(scale: Scale) -> None:
    """Runs last because it deletes every second result."""
    missing = scale.keys[::2]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: scale.s3.delete_object(Bucket="processed", Key=key), missing))
    repair = ("audit", "--in-flight", "0", "--repair", *FAST)
    code, small, _ = scale.run(*repair, "--prefix", "small/", ingestion=0)
    assert code == 1
    assert scale.take_out(0) == [key for key in missing if key in set(scale.small)]
    # The count of its progress goes up to all objects, to all findings, and then to what is sent.
    code, part, said = scale.run(*repair, stop_at=OBJECTS // 2)
    assert code == 130
    code, rest, said = scale.run(*repair, "--resume")
    assert code == 1
    assert f"Sent {len(missing):,} objects through the pipeline again." in said
    assert scale.take_out(4) == missing
    assert max(part, rest) < small + MAY_GROW_KIB


def waiting(scale: Scale, queue: int) -> int:
    name = "ApproximateNumberOfMessages"
    attributes = scale.sqs.get_queue_attributes(QueueUrl=scale.queues[queue], AttributeNames=[name])["Attributes"]
    return int(attributes[name])
