"""Audit, reprocess and redrive of very many objects on the local AWS: memory stays flat. SCALE says how many objects.

It takes a quarter of an hour for 100,000 of them: SCALE=100000 pytest tests/unit/test_operate_scale.py -s
"""

from __future__ import annotations

import json
import os
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
from local_aws import LocalAws

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = int(os.environ.get("SCALE", "0"))
MAY_GROW_KIB = 8 * 1024  # for ten times the objects; the SDK's and SQLite's buffers fill up

# Linux's own account of the most memory that a process has had; getrusage's includes that of the process it came from.
MEASURED = """
import atexit, operate, re, sys
from pathlib import Path
peak = lambda: re.search("VmHWM.*", Path("/proc/self/status").read_text())[0]
atexit.register(lambda: print(peak(), file=sys.stderr))
sys.exit(operate.main())
"""

pytestmark = [pytest.mark.skipif(not OBJECTS, reason="takes long; SCALE=100000 asks for it"), pytest.mark.timeout(7200)]


class Scale:
    """A tenth of the objects under small/, the others under large/, all processed; and runs that are measured."""

    def __init__(self, aws: LocalAws) -> None:
        self.environment = aws.full_environment()
        self.s3, self.sqs, logs = (self.client(service) for service in ("s3", "sqs", "logs"))
        for bucket in ("raw", "processed"):
            self.s3.create_bucket(Bucket=bucket)
            self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        logs.create_log_group(logGroupName="group")
        self.queues = [self.sqs.create_queue(QueueName=f"queue-{n}")["QueueUrl"] for n in range(4)]
        keys = [f"{'large' if n % 10 else 'small'}/{n:09}.json" for n in range(OBJECTS)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(self.process, keys))

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

    def run(self, *arguments: str, ingestion: int, dead_letter: int = 3) -> tuple[int, int, str]:
        """Run a verb. Return exit code, peak memory in KiB, and standard error."""
        outputs = {
            "raw_data_bucket_name": "raw",
            "processed_data_bucket_name": "processed",
            "lambda_function_name": "function",
            "function_alias": "live",
            "log_group_name": "group",
            "ingestion_queue_url": self.queues[ingestion],
            "dead_letter_queue_url": self.queues[dead_letter],
            "alarm_topic_arn": "topic",
            "dashboard_name": "pipeline",
        }
        began = time.monotonic()
        process = subprocess.run(
            [sys.executable, "-c", MEASURED, *arguments],
            cwd=ROOT / "scripts",
            env=self.environment | {"PIPELINE": json.dumps(outputs)},
            capture_output=True,
            text=True,
            check=False,
        )
        *errors, peak = process.stderr.splitlines()
        kib = int(peak.split()[1])
        seconds = time.monotonic() - began
        print(f"\n{' '.join(arguments):60} {seconds:6.0f} s {kib / 1024:6.1f} MiB  {' '.join(errors)}")
        return process.returncode, kib, "\n".join(errors)


@pytest.fixture(scope="module")
def scale() -> Iterator[Scale]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        aws = LocalAws(port=int(probe.getsockname()[1]))
    assert aws.python.exists(), "the local AWS is missing: ./deploy.sh local installs it"
    port = {"LOCAL_AWS_PORT": str(aws.port)}
    subprocess.run([aws.python, "scripts/local_aws.py", "start"], cwd=ROOT, env=os.environ | port, check=True)
    try:
        yield Scale(aws)
    finally:
        aws.stop()
        shutil.rmtree(aws.folder, ignore_errors=True)


def test_audit_in_flat_memory(scale: Scale) -> None:
    code, small, _ = scale.run("audit", "--prefix", "small/", ingestion=0)
    assert code == 0
    code, large, errors = scale.run("audit", ingestion=0)
    assert (code, errors) == (0, "Every upload is accounted for.")
    assert large < small + MAY_GROW_KIB


def test_reprocess_and_redrive_in_flat_memory(scale: Scale) -> None:
    fast = ("--rate", "1000000")
    code, small, errors = scale.run("reprocess", "--prefix", "small/", *fast, ingestion=0)
    assert (code, errors) == (0, f"{OBJECTS // 10:,} objects were sent through the pipeline.")
    code, large, errors = scale.run("reprocess", "--prefix", "", *fast, ingestion=1)
    assert (code, errors) == (0, f"{OBJECTS:,} objects were sent through the pipeline.")
    assert large < small + MAY_GROW_KIB
    # What reprocess has sent stands for events that failed.
    code, small, errors = scale.run("redrive", "--wait", "0", *fast, ingestion=2, dead_letter=0)
    assert (code, errors) == (0, f"{OBJECTS // 10:,} events were sent back.")
    code, large, errors = scale.run("redrive", "--wait", "0", *fast, ingestion=2, dead_letter=1)
    assert (code, errors) == (0, f"{OBJECTS:,} events were sent back.")
    assert large < small + MAY_GROW_KIB
    assert waiting(scale, 0) == waiting(scale, 1) == 0
    assert waiting(scale, 2) == OBJECTS + OBJECTS // 10


def waiting(scale: Scale, queue: int) -> int:
    name = "ApproximateNumberOfMessages"
    attributes = scale.sqs.get_queue_attributes(QueueUrl=scale.queues[queue], AttributeNames=[name])["Attributes"]
    return int(attributes[name])
