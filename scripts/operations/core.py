"""The pipeline, the person at the terminal, and what a run knows."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import signal
import sqlite3
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
THREADS = 32  # objects looked at side by side


class Problem(Exception):  # noqa: N818 - an answer to a person
    """Why a command cannot do its work: cause and remedy, one line."""


class Interrupted(Exception):  # noqa: N818
    """Somebody asked to stop. What was done so far is kept."""


@dataclass(frozen=True)
class Pipeline:
    """One deployed environment: the names of its parts, and clients to reach them."""

    raw: str
    processed: str
    function: str
    alias: str
    log_group: str
    ingestion: str
    dead_letter: str
    topic: str
    name: str

    @classmethod
    def from_outputs(cls, outputs: dict[str, Any]) -> Pipeline:
        """Take the names from Terraform's outputs. Raises Problem if one is missing."""
        names = {
            "raw": "raw_data_bucket_name",
            "processed": "processed_data_bucket_name",
            "function": "lambda_function_name",
            "alias": "function_alias",
            "log_group": "log_group_name",
            "ingestion": "ingestion_queue_url",
            "dead_letter": "dead_letter_queue_url",
            "topic": "alarm_topic_arn",
            "name": "dashboard_name",
        }
        if missing := [name for name in names.values() if name not in outputs]:
            raise Problem(f"what is deployed is too old for this command: it has no {missing[0]}. Deploy it again.")
        return cls(**{part: outputs[name] for part, name in names.items()})

    @property
    def s3(self) -> Any:
        """Client of S3."""
        return client("s3")

    @property
    def sqs(self) -> Any:
        """Client of SQS."""
        return client("sqs")

    @property
    def logs(self) -> Any:
        """Client of CloudWatch Logs."""
        return client("logs")


@functools.cache
def client(service: str) -> Any:
    """Return the client of an AWS service, the same one each time. The SDK retries throttled and broken calls."""
    make: Any = boto3.client
    retries: Any = {"mode": "standard", "total_max_attempts": 8}
    return make(service, config=Config(retries=retries, max_pool_connections=THREADS, connect_timeout=5))


stopping = threading.Event()  # set by Ctrl-C


def on_signal(*_: object) -> None:
    """Ask the run to stop at the next safe place; a second Ctrl-C ends it at once."""
    stopping.set()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pause(seconds: float) -> None:
    """Wait. Raises Interrupted when asked to stop."""
    if stopping.wait(max(seconds, 0)):
        raise Interrupted


class Progress:
    """A line on the terminal that tells how far a run is. Nothing where standard error is not a terminal."""

    def __init__(self, what: str) -> None:
        self._what, self._began, self._shown = what, time.monotonic(), 0.0
        self._on = sys.stderr.isatty()

    def show(self, done: int, at: str = "") -> None:
        """Tell the number done, and the key where the run is, at most five times a second."""
        now = time.monotonic()
        if self._on and now - self._shown > 0.2:
            self._shown = now
            rate = done / max(now - self._began, 0.001)
            sys.stderr.write(f"\r\x1b[K{done:,} {self._what}, {rate:,.0f}/s  {printable(at)[-60:]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for other output."""
        if self._on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def say(text: str) -> None:
    """Tell the person at the terminal; programs read standard output only."""
    print(text, file=sys.stderr)


def printable(text: str) -> str:
    """Return a text that is safe on a terminal: control characters of a key, say, as escapes."""
    return text if text.isprintable() else json.dumps(text)


def iso(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as UTC text."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def out(**line: Any) -> None:
    """Write a line of JSON."""
    print(json.dumps(line))


def moment(text: str) -> float:
    """Return a point in time, in seconds since the epoch. Raises Problem if the text is none."""
    if match := re.fullmatch(r"([0-9]+)([smhd])", text):
        return time.time() - int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise Problem(f"not a time: {text}. Say how long ago, as in 10m, 12h or 7d, or when: 2026-01-31.") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


class Ledger:
    """What a run knows, on disk. With a path it outlives the run, so that a later one can go on."""

    def __init__(self, path: Path | None = None, resume: bool = False) -> None:
        self._path = path
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(path or "", timeout=0)  # without a path, a file that SQLite deletes
        try:
            self.db.executescript("pragma locking_mode = exclusive; begin exclusive; commit;")  # until it is closed
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise Problem("the same command is running already. Wait for it, or stop it.") from None
        if not resume:
            for (table,) in self.db.execute("select name from sqlite_master where type = 'table'").fetchall():
                self.db.execute(f"drop table {table}")
        self.db.executescript(
            """
            pragma synchronous = off;
            create table if not exists progress (name text primary key, value);
            create table if not exists found (
                key text primary key, state, version, modified real, reason, -- as observed
                verdict, why -- state and reason once the log and the clock were asked
            );
            create table if not exists failure (key, version, outcome, reason, times, primary key (key, version));
            create table if not exists message (id text primary key, handle);
            create table if not exists event (id, key, version, reason, tries, at real);
            create index if not exists event_key on event (key);
            create table if not exists sent (key text primary key, outcome default '', reason default '');
            """
        )

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value that was kept."""
        row = self.db.execute("select value from progress where name = ?", [name]).fetchone()
        return row[0] if row else default

    def put(self, **values: Any) -> None:
        """Keep values."""
        self.db.executemany("insert or replace into progress values (?, ?)", values.items())

    def one(self, query: str) -> Any:
        """Return the only value that a query gives."""
        return self.db.execute(query).fetchone()[0]

    def keys(self, query: str, after: str = "") -> Iterator[str]:
        """Yield the keys of a query that ends in a condition, in order, while what it asks of may change."""
        while page := self.db.execute(f"{query} and key > ? order by key limit 1000", [after]).fetchall():
            yield from (key for (key,) in page)
            after = page[-1][0]

    def finish(self) -> None:
        """Forget everything: the run is complete."""
        self.db.close()
        if self._path:
            self._path.unlink()


def ledger_path(verb: str, *what: object) -> Path:
    """Return where a run is kept, by what it is about."""
    name = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    return ROOT / ".local" / "operate" / f"{verb}-{name}.db"
