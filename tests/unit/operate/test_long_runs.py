"""Long runs of the verbs as a person sees them: processes on a terminal, interrupted and resumed."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_api._internal.models import moto_api_backend
from moto.s3.models import S3Backend, s3_backends
from moto.server import ThreadedMotoServer

from . import queued, terminal
from .pipeline import PROGRAM, outputs

pytestmark = pytest.mark.slow

OBJECTS = 300
KEYS = [f"scans/{n:06}.json" for n in range(OBJECTS)]


class Server:
    """S3, SQS and CloudWatch Logs behind a port, and a pipeline on them that has processed every key."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint, self.folder = endpoint, folder
        s3, self.sqs = self.client("s3"), self.client("sqs")
        for bucket in ("raw", "processed", "rejected"):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        self.client("logs").create_log_group(logGroupName="group")
        self.ingestion, self.dead_letter = (
            self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("ingestion", "dead-letter")
        )
        store: Any = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for key in KEYS:
            source = store.put_object("raw", key, b"[]")
            result = store.put_object("processed", key, b"[]\n")
            lineage = {"source-version-id": source.version_id, "source-etag": source.etag.strip('"')}
            result.set_metadata(
                {f"x-amz-meta-{name}": value for name, value in {**lineage, "record-count": "0"}.items()}
            )
        self.store = store

    def client(self, service: str) -> Any:
        make: Any = boto3.client
        return make(service, endpoint_url=self.endpoint)

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """Return the command of a verb, and its environment."""
        settings = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "FOLDER": str(self.folder),
            "OUTPUTS": json.dumps(outputs(self.ingestion, self.dead_letter)),
        }
        return [sys.executable, "-c", PROGRAM, *arguments], os.environ | settings

    def run(self, *arguments: str, stop_at: int = 0) -> tuple[int, str, str]:
        """Run a verb, interrupted once its progress has reached a count. Return exit code, output and terminal."""
        return terminal.run(*self.command(*arguments), stop_at=stop_at)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    moto_api_backend.reset()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Server(f"http://{host}:{port}", tmp_path)
    server.stop()
    moto_api_backend.reset()


def test_an_audit_resumes_where_it_was_interrupted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: Counter[str] = Counter()
    head_object = S3Backend.head_object

    def count(self: Any, bucket_name: str, key_name: str, *arguments: Any, **options: Any) -> Any:
        looked_at[key_name] += bucket_name == "processed"
        return head_object(self, bucket_name, key_name, *arguments, **options)

    monkeypatch.setattr(S3Backend, "head_object", count)
    server.store.delete_object("processed", KEYS[7])  # found before the interruption
    server.store.delete_object("processed", KEYS[-7])  # found after it
    code, output, shown = server.run("audit", "--json", "--in-flight", "0", stop_at=60)
    assert (code, output) == (130, "")
    stopped = re.search(r"Stopped after ([\d,]+) objects\. To resume, run the same command with --resume\.", shown)
    assert stopped
    done = int(stopped[1].replace(",", ""))
    assert 60 <= done < OBJECTS
    before = looked_at.total()
    code, output, shown = server.run("audit", "--json", "--in-flight", "0", "--resume")
    assert f"Resuming after {stopped[1]} objects." in shown
    assert code == 1
    *found, last = map(json.loads, output.splitlines())
    assert [(line["key"], line["state"]) for line in found] == [(KEYS[7], "missing"), (KEYS[-7], "missing")]
    assert last["summary"]["processed"] == OBJECTS - 2
    assert looked_at.total() - before == OBJECTS - done + 2  # what is found is looked at again at the end
    # A run that is not resumed begins again.
    assert server.run("audit", "--json")[0] == 0
    assert looked_at.total() - before == OBJECTS - done + 2 + OBJECTS + 2


def test_reprocess_resumes_where_it_was_interrupted(server: Server) -> None:
    command = ("reprocess", "--prefix", "scans/", "--rate", "200")
    code, _, shown = server.run(*command, stop_at=60)
    assert code == 130
    assert "To resume, run the same command with --resume." in shown
    first = queued.keys(server.sqs, server.ingestion)
    assert 60 <= len(first) < OBJECTS
    code, _, shown = server.run(*command, "--resume")
    assert code == 0
    assert f"Sent {OBJECTS:,} objects through the pipeline." in shown
    assert first + queued.keys(server.sqs, server.ingestion) == KEYS


def test_redrive_resumes_where_it_was_interrupted(server: Server) -> None:
    failed = [{"Records": [{"s3": {"bucket": {"name": "raw"}, "object": {"key": key}}}]} for key in KEYS]
    for start in range(0, OBJECTS, 10):
        entries = [{"Id": str(n), "MessageBody": json.dumps(one)} for n, one in enumerate(failed[start : start + 10])]
        server.sqs.send_message_batch(QueueUrl=server.dead_letter, Entries=entries)
    command = ("redrive", "--wait", "0", "--rate", "200")
    code, _, shown = server.run(*command, stop_at=60)
    assert code == 130
    assert "Stopped. Events that were not sent back are still in the dead-letter queue." in shown
    first = queued.keys(server.sqs, server.ingestion)
    assert 0 < len(first) < OBJECTS
    code, output, _ = server.run(*command)
    assert code == 0
    assert len(output.splitlines()) == OBJECTS - len(first)
    assert sorted(first + queued.keys(server.sqs, server.ingestion)) == KEYS
    assert queued.keys(server.sqs, server.dead_letter) == []


@pytest.mark.parametrize(
    "verb", [["audit"], ["reprocess", "--prefix", ""], ["failures"]], ids=lambda verb: str(verb[0])
)
def test_progress_is_shown_on_a_terminal(server: Server, verb: list[str]) -> None:
    if verb == ["failures"]:
        server.sqs.send_message(QueueUrl=server.dead_letter, MessageBody="{}")
    assert terminal.progress(server.run(*verb)[2])


def test_closing_the_output_early_is_not_an_error(server: Server) -> None:
    process, screen = terminal.start(*server.command("audit", "--json", "--in-flight", "0"))
    assert process.stdout
    process.stdout.close()
    shown = ""
    try:
        while data := os.read(screen, 1024):
            shown += data.decode()
    except OSError:
        pass
    os.close(screen)
    assert process.wait() == 1  # 0 if it could have written
    assert "Traceback" not in shown
    assert "Exception" not in shown
    assert "error:" not in shown
