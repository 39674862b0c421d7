"""Compare raw with processed: the outcome of every upload."""

from __future__ import annotations

import re
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from commands.aws import THREADS
from commands.operate.deep import OF_REJECTED, differs, function_code
from commands.operate.ledger import Ledger
from commands.operate.listing import Row
from commands.operate.log import note_failures
from commands.operate.objects import each, head, lineage, source
from commands.operate.verdicts import verdict_on
from commands.state import Pipeline
from commands.terminal import Progress, iso, out, pause, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


DEEP_THREADS = 4  # contents compared side by side; each takes up to two parts of 8 MiB
COMMIT_EVERY = 1000  # objects; the most that is repeated after a run was killed
SHOWN = 20  # findings per state that people are shown
STATES = {
    "processed": "made from the newest version",
    "stale": "made from an older version",
    "missing": "no result",
    "tampered": "not what the function wrote",
    "archived": "cannot be read before it is restored",
    "rejected": "breaks the input rules",
    "in_flight": "uploaded a short time ago",
    "orphaned": "its source is gone",
    "ignored": "its key does not end in .json",
}
FAULTS = ("missing", "stale", "tampered", "archived")  # states that make an audit fail
REPAIRABLE = f"verdict in ('missing', 'stale', 'tampered') and why not like '{OF_REJECTED}%'"


class Finding(NamedTuple):
    """The outcome of a key. modified: when its newest raw version was written, in seconds since the epoch."""

    key: str
    state: str
    version_id: str = ""
    modified: float = 0
    reason: str = ""


def look(pipeline: Pipeline, row: Row, deep: bool = False) -> Finding | None:
    """Find the outcome of a key. None if it is nowhere.

    The listing may be out of date, so no fault is reported before the newest version was requested. The result is
    requested first: if it does not match the version found then, it is behind a very recent upload at most.
    """
    if not row.key.endswith(".json") and (row.version_id or head(pipeline, pipeline.raw, row.key)):
        return Finding(row.key, "ignored")
    result = head(pipeline, pipeline.processed, row.key)
    newest_version, modified, archived = (row.version_id, row.etag), 0.0, False
    made_from, rejected = source(result), None
    if not result or made_from != newest_version:
        newest = head(pipeline, pipeline.raw, row.key) if row.key.endswith(".json") else None
        if not newest:
            return Finding(row.key, "orphaned") if result else None
        newest_version, modified, archived = lineage(newest), newest["LastModified"].timestamp(), is_archived(newest)
        verdict = verdict_on(pipeline, row.key) if made_from != newest_version else None
        rejected = verdict.reason if verdict and verdict.source == newest_version else None
    state, reason = "processed", rejected or ""
    if not result:
        state = "missing"
    elif None in made_from or (made_from[0] == newest_version[0] and made_from[1] != newest_version[1]):
        state, reason = "tampered", of_rejected(pipeline, rejected) if rejected else "lineage"
    elif made_from != newest_version:
        state = "stale"
    elif not is_plausible(result):
        state, reason = "tampered", "size"
    elif deep:
        try:
            reason = differs(pipeline, row.key, *newest_version)
        except ClientError as error:
            match error.response["Error"]["Code"]:
                case "NoSuchKey" | "NoSuchVersion":  # it was deleted meanwhile
                    return look(pipeline, Row(row.key), deep)
                case "InvalidObjectState":
                    archived = True
                case _:
                    raise
        state = "tampered" if reason else state
    # Where results are kept, that of an older version stays beside the verdict on the newest one.
    if rejected and (state == "missing" or (state == "stale" and pipeline.stale_results == "keep")):
        state = "rejected"
    elif archived and state != "tampered":
        state = "archived"
    return Finding(row.key, state, newest_version[0], modified, reason)


def of_rejected(pipeline: Pipeline, reason: str) -> str:
    """Return the reason for a result that a rejected file must not have. If results are removed, a repair does it."""
    return OF_REJECTED + reason if pipeline.stale_results == "keep" else reason


def is_archived(newest: Any) -> bool:
    """Return whether an object cannot be read until somebody restores it, given its headers."""
    archived = newest.get("StorageClass") in ("GLACIER", "DEEP_ARCHIVE") or "ArchiveStatus" in newest
    return archived and 'ongoing-request="false"' not in newest.get("Restore", "")


SHORTEST = len('{"patient_id":"1","patient_name":"1"},\n')
SINGLE_BYTES = 8 * 1024 * 1024  # results that are larger are uploaded in parts, before the records are counted


def is_plausible(result: Any) -> bool:
    """Whether a result is at least as large as its number of records requires."""
    size, records = result["ContentLength"], result["Metadata"].get("record-count")
    if records is None:
        return bool(size >= SINGLE_BYTES)
    return bool(re.fullmatch("[0-9]+", records)) and size >= int(records) * SHORTEST + 3


def looked_at(pipeline: Pipeline, rows: Iterable[Row], deep: bool = False) -> Iterator[tuple[Row, Finding | None]]:
    """Yield the rows in order, each with its finding."""
    if deep:
        function_code(pipeline)  # once, before there are threads
    pipeline.client("s3")  # likewise
    return each(lambda row: look(pipeline, row, deep), rows, DEEP_THREADS if deep else THREADS)


def examine(pipeline: Pipeline, ledger: Ledger, rows: Iterable[Row], deep: bool = False) -> None:
    """Look at every row and note what is found. Raises Interrupted, ClientError; what was noted stays noted."""
    progress = Progress("objects")
    done, good, after = ledger.get("done", 0), ledger.get("processed", 0), ledger.get("after", "")
    try:
        for row, found in looked_at(pipeline, rows, deep):
            done, after = done + 1, row.key
            if found and found.state == "processed":
                good += 1
            elif found:
                note(ledger, found)
            if done % COMMIT_EVERY == 0:
                ledger.put(done=done, processed=good, after=after)
                ledger.db.commit()
            progress.show(done, row.key)
            pause(0)
    finally:
        ledger.put(done=done, processed=good, after=after)
        ledger.db.commit()
        progress.clear()


def note(ledger: Ledger, found: Finding) -> None:
    """Note what was observed about a key."""
    ledger.db.execute("insert or replace into found values (?, ?, ?, ?, ?, null, null)", found)


def settle(pipeline: Pipeline, ledger: Ledger, in_flight: float, deep: bool = False) -> Counter[str]:
    """Check all findings again, because they may be out of date, and consult the log and the clock about them.

    in_flight: how long an upload may be under way, in seconds; the age of the backlog is added.
    Returns how many keys got each verdict. Raises Interrupted, ClientError; the next run settles from the start.
    """
    db, horizon = ledger.db, time.time() - in_flight - backlog(pipeline)
    look_again(pipeline, ledger, deep)
    db.execute("update found set verdict = state, why = reason")
    if oldest := ledger.one(f"select min(modified) from found where state in {FAULTS}"):  # noqa: S608
        db.execute("delete from failure")
        note_failures(pipeline, ledger, oldest - 60, "found")
        # A failure before the version was known has no version ID, and says less than one that has it.
        for version in ("''", "found.version"):
            db.execute(
                f"""update found set why = failure.reason from failure
                    where failure.key = found.key and failure.version = {version} and state in ('missing', 'stale')"""  # noqa: S608
            )
        db.execute(
            "update found set verdict = 'in_flight' where verdict in ('missing', 'stale') and modified > ?", [horizon]
        )
    db.commit()
    counts = Counter({"processed": ledger.get("processed", 0)})
    counts.update(dict(db.execute("select verdict, count(*) from found group by verdict")))
    return counts


def look_again(pipeline: Pipeline, ledger: Ledger, deep: bool) -> None:
    """Look once more at every key that was found, and forget those that are processed or gone by now."""
    progress = Progress("findings looked at again")
    rows = (Row(key) for key in ledger.keys("select key from found where true"))
    try:
        for done, (row, found) in enumerate(looked_at(pipeline, rows, deep), 1):
            if found and found.state != "processed":
                note(ledger, found)
            else:
                ledger.db.execute("delete from found where key = ?", [row.key])
                ledger.put(processed=ledger.get("processed", 0) + bool(found))
            progress.show(done, row.key)
            pause(0)
    finally:
        ledger.db.commit()
        progress.clear()


def backlog(pipeline: Pipeline) -> float:
    """Return the age in seconds of the oldest event that waits for the function, as far as CloudWatch knows."""
    metrics = {
        "queue": ("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", pipeline.ingestion.rpartition("/")[2], 1.0),
        "lambda": ("AWS/Lambda", "AsyncEventAge", "FunctionName", pipeline.function, 1000.0),
    }
    queries = []
    for name, (namespace, metric, dimension, value, _) in metrics.items():
        named = {"Namespace": namespace, "MetricName": metric, "Dimensions": [{"Name": dimension, "Value": value}]}
        queries.append({"Id": name, "MetricStat": {"Metric": named, "Period": 60, "Stat": "Maximum"}})
    now = datetime.now(UTC)
    answer = pipeline.client("cloudwatch").get_metric_data(
        MetricDataQueries=queries, StartTime=now - timedelta(minutes=15), EndTime=now + timedelta(minutes=1)
    )
    ages = [max(result["Values"], default=0) / metrics[result["Id"]][4] for result in answer["MetricDataResults"]]
    return float(max(ages, default=0))


def report(ledger: Ledger, counts: Counter[str], up_to: str, as_json: bool) -> None:
    """Write every finding, then the number of keys in each state. People are shown only the first of each state."""
    shown: Counter[str] = Counter()
    query = "select key, verdict, version, modified, why from found order by key"
    for key, state, version, modified, reason in ledger.db.execute(query):
        shown[state] += 1
        if as_json:
            out(key=key, state=state, version_id=version, uploaded=iso(modified) if modified else None, reason=reason)
        elif shown[state] <= SHOWN:
            uploaded = f"  uploaded {iso(modified)}" if modified else ""
            print(f"{state:10}  {printable(key)}{uploaded}" + (f"  {reason}" if reason else ""))
    if as_json:
        made = {"up_to": up_to} if up_to else {}
        out(summary={state: counts[state] for state in STATES}, ok=not any(counts[state] for state in FAULTS), **made)
        return
    for state, count in shown.items():
        if count > SHOWN:
            print(f"{state:10}  and {count - SHOWN:,} more; --json lists them all")
    for state, meaning in STATES.items():
        print(f"{state:10} {counts[state]:>12,}  {meaning}")
