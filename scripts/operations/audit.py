"""Compare raw with processed: what became of every upload."""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import heapq
import itertools
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from operations.core import (
    ROOT,
    THREADS,
    Ledger,
    Pipeline,
    Problem,
    Progress,
    client,
    iso,
    out,
    pause,
    printable,
)
from operations.log import note_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


DEEP_THREADS = 4  # contents compared side by side; each takes up to two parts of 8 MiB
COMMIT_EVERY = 1000  # objects; what a killed run repeats at most
SHOWN = 20  # findings of each state that a person is shown
STATES = {
    "processed": "made from the newest version",
    "stale": "made from an older version",
    "missing": "no result",
    "tampered": "not what the function wrote",
    "rejected": "breaks the input rules",
    "in_flight": "uploaded a short time ago",
    "orphaned": "its source is gone",
}
FAULTS = ("missing", "stale", "tampered")  # what an audit fails for
OF_REJECTED = "rejected, delete the result: "  # begins the reason of a fault that no repair removes
REPAIRABLE = f"verdict in {FAULTS} and why not like '{OF_REJECTED}%'"


class Row(NamedTuple):
    """A key of the raw bucket, the processed bucket or both, with the newest raw version if there is one."""

    key: str
    version_id: str = ""
    etag: str = ""


class Finding(NamedTuple):
    """What became of a key. modified: when its newest raw version was written, in seconds since the epoch."""

    key: str
    state: str
    version_id: str = ""
    modified: float = 0
    reason: str = ""


def listed(pipeline: Pipeline, prefix: str, after: str) -> Iterator[Row]:
    """Merge the listings of both buckets, which S3 gives in key order, from the key after `after` on."""

    def raw() -> Iterator[Row]:
        pages = pipeline.s3.get_paginator("list_object_versions").paginate(
            Bucket=pipeline.raw, Prefix=prefix, **({"KeyMarker": after} if after else {})
        )
        for page in pages:  # a key that was deleted has a delete marker for its newest version, and so no row
            for version in page.get("Versions", []):
                if version["IsLatest"] and version["Key"].endswith(".json"):
                    yield Row(version["Key"], version["VersionId"], version["ETag"].strip('"'))

    def processed() -> Iterator[Row]:
        pages = pipeline.s3.get_paginator("list_objects_v2").paginate(
            Bucket=pipeline.processed, Prefix=prefix, **({"StartAfter": after} if after else {})
        )
        for page in pages:
            for item in page.get("Contents", []):
                yield Row(item["Key"])

    for key, rows in itertools.groupby(heapq.merge(raw(), processed(), key=attrgetter("key")), attrgetter("key")):
        if key > after:
            yield next(rows)  # heapq.merge is stable: the raw one, if there is one


@dataclass(frozen=True)
class Inventory:
    """An S3 Inventory of the raw bucket, with all versions, in CSV. made: when, in seconds since the epoch."""

    bucket: str
    columns: list[str]
    files: list[dict[str, Any]]
    made: float

    @classmethod
    def at(cls, pipeline: Pipeline, manifest: str, prefix: str) -> Inventory:
        """Return the inventory that a manifest describes. Raises Problem if it lacks keys of a prefix."""
        match = re.fullmatch(r"s3://([^/]+)/((?:.+/)?([^/]+)/[^/]+/manifest\.json)", manifest)
        if not match:
            raise Problem(f"not a manifest of an inventory: {manifest}. It looks like s3://BUCKET/.../manifest.json.")
        bucket, key, name = match.groups()
        content = json.load(pipeline.s3.get_object(Bucket=bucket, Key=key)["Body"])
        columns = [column.strip() for column in content["fileSchema"].split(",")]
        if content["sourceBucket"] != pipeline.raw:
            raise Problem(f"that inventory is of {content['sourceBucket']}. One of {pipeline.raw} is needed.")
        if content["fileFormat"] != "CSV" or not {"Key", "VersionId", "IsLatest", "IsDeleteMarker"} <= set(columns):
            raise Problem("the inventory must be in CSV, of all versions. Change its configuration, wait for the next.")
        # What an inventory leaves out is in no file of it.
        try:
            answer = pipeline.s3.get_bucket_inventory_configuration(Bucket=pipeline.raw, Id=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchConfiguration":
                raise
            raise Problem(f"the inventory's configuration {name} is gone, and with it what it covers.") from None
        covered = answer["InventoryConfiguration"].get("Filter", {}).get("Prefix", "")
        if not prefix.startswith(covered):
            raise Problem(f"the inventory covers {printable(covered)} only. Say so: --prefix {printable(covered)}")
        return cls(bucket, columns, content["files"], int(content["creationTimestamp"]) / 1000)

    def rows(self, pipeline: Pipeline, ledger: Ledger, prefix: str) -> Iterator[Row]:
        """Yield its keys, deleted ones as well, but those that the ledger has done. Raises Problem if it is damaged."""
        row, done = 0, ledger.get("done", 0)
        for number, file in enumerate(self.files):
            end = ledger.get(f"end of file {number}")
            if end is not None and end <= done:
                row = end
                continue
            with tempfile.TemporaryFile() as data, gzip.open(data, "rt", newline="") as lines:
                fetch(pipeline, self.bucket, file, data)
                for values in csv.reader(lines):
                    item = dict(zip(self.columns, values, strict=True))
                    key = unquote_plus(item["Key"])
                    if item["IsLatest"] == "true" and key.endswith(".json") and key.startswith(prefix):
                        row += 1
                        deleted = item["IsDeleteMarker"] == "true"
                        if row > done:
                            yield Row(key) if deleted else Row(key, item["VersionId"], item.get("ETag", ""))
            ledger.put(**{f"end of file {number}": row})


def fetch(pipeline: Pipeline, bucket: str, file: dict[str, Any], data: IO[bytes]) -> None:
    """Put a file of an inventory on disk: looking at its objects takes longer than S3 holds a connection.

    Raises Problem if it is damaged.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    for chunk in pipeline.s3.get_object(Bucket=bucket, Key=file["key"])["Body"].iter_chunks(256 * 1024):
        data.write(chunk)
        md5.update(chunk)
    if md5.hexdigest() != file["MD5checksum"]:
        raise Problem(f"the inventory's file {file['key']} is damaged. Take another inventory.")
    data.seek(0)


def head(pipeline: Pipeline, bucket: str, key: str) -> Any:
    """Return what S3 tells of an object, None if there is none. Raises ClientError."""
    try:
        return pipeline.s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":
            return None
        raise


def look(pipeline: Pipeline, row: Row, deep: bool = False) -> Finding | None:
    """Find out what became of a key. None if it is nowhere.

    What was listed may be old by now, so nothing is found fault with before the newest version was asked for. The
    result is asked for first: one that does not go with the version found then is behind a quite recent upload at most.
    """
    result = head(pipeline, pipeline.processed, row.key)
    newest_id, etag, modified = row.version_id, row.etag, 0.0
    metadata = result["Metadata"] if result else {}
    made_from = (metadata.get("source-version-id"), metadata.get("source-etag"))
    if not result or made_from != (newest_id, etag):
        newest = head(pipeline, pipeline.raw, row.key) if row.key.endswith(".json") else None
        if not newest:
            return Finding(row.key, "orphaned") if result else None
        newest_id, etag = newest.get("VersionId", "null"), newest["ETag"].strip('"')
        modified = newest["LastModified"].timestamp()
    if not result:
        return Finding(row.key, "missing", newest_id, modified)
    if None in made_from or (made_from[0] == newest_id and made_from[1] != etag):
        reason = "lineage"
    elif made_from[0] != newest_id:
        return Finding(row.key, "stale", newest_id, modified)
    elif not is_plausible(result):
        reason = "size"
    else:
        try:
            reason = differs(pipeline, row.key, newest_id, etag) if deep else ""
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchKey", "NoSuchVersion"):
                raise
            return look(pipeline, Row(row.key), deep)  # it was deleted meanwhile
        if not reason:
            return Finding(row.key, "processed", newest_id, modified)
    return Finding(row.key, "tampered", newest_id, modified, reason)


SHORTEST = len('{"patient_id":"1","patient_name":"1"},\n')
SINGLE_BYTES = 8 * 1024 * 1024  # results that are larger are uploaded in parts, before the records are counted


def is_plausible(result: Any) -> bool:
    """Whether a result is at least as large as its number of records wants it to be."""
    size, records = result["ContentLength"], result["Metadata"].get("record-count")
    if records is None:
        return bool(size >= SINGLE_BYTES)
    return bool(re.fullmatch("[0-9]+", records)) and size >= int(records) * SHORTEST + 3


class Digest:
    """Takes the place of S3 for the function's code: reads go through, of what it writes only a digest is kept."""

    def __init__(self, s3: Any) -> None:
        self.get_object = s3.get_object
        self.of: dict[str, Any] = {}

    def put_object(self, Key: str, Body: Any, **_: Any) -> None:  # noqa: N803
        """Take a whole object."""
        self.of[Key] = hashlib.sha256(Body)

    def create_multipart_upload(self, Key: str, **_: Any) -> dict[str, str]:  # noqa: N803
        """Begin an object of several parts."""
        self.of[Key] = hashlib.sha256()
        return {"UploadId": Key}

    def upload_part(self, Key: str, Body: Any, **_: Any) -> dict[str, str]:  # noqa: N803
        """Take a part."""
        self.of[Key].update(Body)
        return {"ETag": ""}

    def complete_multipart_upload(self, **_: Any) -> None:
        """End an object of several parts."""

    abort_multipart_upload = complete_multipart_upload


@functools.cache
def function_code(processed_bucket: str) -> Any:
    """Return the function's code, set up to write to a Digest. Raises Problem where its packages are missing."""
    os.environ["PROCESSED_BUCKET"] = processed_bucket
    sys.path.insert(0, str(ROOT))
    try:
        import lambda_function
    except ImportError as error:
        raise Problem(f"--deep runs the function's own code, which needs {error.name}. Install it.") from None
    lambda_function.s3 = Digest(client("s3"))  # type: ignore[assignment]
    return lambda_function


def differs(pipeline: Pipeline, key: str, version_id: str, etag: str) -> str:
    """Make a result again from its raw version, by the function's own code. Returns how it differs, empty if not."""
    code = function_code(pipeline.processed)
    raw = pipeline.s3.get_object(Bucket=pipeline.raw, Key=key, VersionId=version_id)
    work = code.Work(pipeline.raw, key, version_id, etag)
    try:
        code._copy(work, raw["Body"], raw["ContentLength"], lambda: 3_600_000)
    except code.Rejected as error:
        return OF_REJECTED + str(error)
    except (code.Failure, HTTPError, OSError) as error:
        raise Problem(f"{printable(key)} could not be read to its end ({type(error).__name__}). Try again.") from None
    found = hashlib.sha256()
    for data in pipeline.s3.get_object(Bucket=pipeline.processed, Key=key)["Body"].iter_chunks(256 * 1024):
        found.update(data)
    return "" if found.digest() == code.s3.of.pop(key).digest() else "content"


def each[T, R](work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[tuple[T, R]]:
    """Yield items with what work makes of them, in order, done in threads a bounded number ahead."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[T, Any]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) == 4 * threads:
                    item, future = waiting.popleft()
                    yield item, future.result()
            while waiting:
                item, future = waiting.popleft()
                yield item, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def looked_at(pipeline: Pipeline, rows: Iterable[Row], deep: bool = False) -> Iterator[tuple[Row, Finding | None]]:
    """Yield rows, in order, with what is found of each."""
    if deep:
        function_code(pipeline.processed)  # once, before there are threads
    client("s3")  # likewise
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
    """Note what was observed of a key."""
    ledger.db.execute("insert or replace into found values (?, ?, ?, ?, ?, null, null)", found)


def settle(pipeline: Pipeline, ledger: Ledger, in_flight: float, deep: bool = False) -> Counter[str]:
    """Look again at all that was found, which may be old by now, and ask the log and the clock for a verdict.

    in_flight: for how long an upload may be under way, in seconds; what waits in front of it comes on top.
    Returns how many keys got each verdict. Raises Interrupted, ClientError; the next run settles from the start.
    """
    db, horizon = ledger.db, time.time() - in_flight - backlog(pipeline)
    look_again(pipeline, ledger, deep)
    db.execute("update found set verdict = state, why = reason")
    if oldest := ledger.one(f"select min(modified) from found where state in {FAULTS}"):  # noqa: S608
        db.execute("delete from failure")
        note_failures(pipeline, ledger, oldest - 60, "found")
        # What failed on the way to a version has no version id, and says less than what failed with it.
        for version in ("''", "found.version"):
            db.execute(
                f"""update found set why = failure.reason, verdict = iif(outcome = 'rejected', outcome, verdict)
                    from failure where failure.key = found.key and failure.version = {version}
                    and state in ('missing', 'stale')"""  # noqa: S608
            )
        db.execute(
            """update found set why = ? || failure.reason from failure where failure.key = found.key
               and failure.version = found.version and outcome = 'rejected' and state = 'tampered'""",
            [OF_REJECTED],
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
    """Return how old the oldest event is that waits for the function, in seconds, as far as CloudWatch knows."""
    metrics = {
        "queue": ("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", pipeline.ingestion.rpartition("/")[2], 1.0),
        "lambda": ("AWS/Lambda", "AsyncEventAge", "FunctionName", pipeline.function, 1000.0),
    }
    queries = []
    for name, (namespace, metric, dimension, value, _) in metrics.items():
        named = {"Namespace": namespace, "MetricName": metric, "Dimensions": [{"Name": dimension, "Value": value}]}
        queries.append({"Id": name, "MetricStat": {"Metric": named, "Period": 60, "Stat": "Maximum"}})
    now = datetime.now(UTC)
    answer = client("cloudwatch").get_metric_data(
        MetricDataQueries=queries, StartTime=now - timedelta(minutes=15), EndTime=now + timedelta(minutes=1)
    )
    ages = [max(result["Values"], default=0) / metrics[result["Id"]][4] for result in answer["MetricDataResults"]]
    return float(max(ages, default=0))


def report(ledger: Ledger, counts: Counter[str], up_to: str, as_json: bool) -> None:
    """Write every finding, and then how many keys are in each state. People are shown the first of each state only."""
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
