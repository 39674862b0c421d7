"""Cut retina-scan exports down to patient ids and names.

S3 notifies the function of uploads to the raw bucket and, with STALE_RESULTS=remove, of deletions. The function streams
the object's newest version, validates it, cuts it down and writes the result under the same key to the processed
bucket, in constant memory whatever the size. If the version breaks the input rules, a verdict that says why goes under
the same key to the rejected bucket instead. Results and verdicts are whole or absent, and in the end they come from the
newest version, even when events are repeated, reordered or processed concurrently.

Environment: PROCESSED_BUCKET and REJECTED_BUCKET, required; STALE_RESULTS, what happens to the result of an older
version when the newest one is rejected or deleted: keep, the default, or remove; POWERTOOLS_SERVICE_NAME,
POWERTOOLS_METRICS_NAMESPACE, POWERTOOLS_LOG_LEVEL.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import itertools
import os
import re
import time
import traceback
import zlib
from base64 import b64encode
from collections import defaultdict, deque
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote_plus

import boto3
import botocore.session
import msgspec
from aws_lambda_powertools import Logger, Metrics
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from msgspec import UNSET, Meta, UnsetType
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future
    from typing import Protocol

    from botocore.response import StreamingBody
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

    class Context(Protocol):
        """The part of Lambda's context that the handler uses."""

        def get_remaining_time_in_millis(self) -> int:
            """Return the milliseconds left before Lambda ends the invocation."""


# --- contract ---------------------------------------------------------------------------------------------------------

MAX_RECORD_BYTES = 16 * 1024 * 1024  # from one separator to the next, white space included
MAX_ROUNDS = 5  # times that one event is processed while newer versions keep arriving
MAX_RESUMES = 5  # times in a row that a download is resumed without receiving another byte
CONCURRENT_OBJECTS = 10  # per invocation; the largest batch that an event source mapping here may deliver
TIME_MARGIN_MS = 10_000  # with less time left, stop cleanly. A call to S3 that outlasts it is abandoned and retried
LISTED_VERDICTS = 100  # keys in a listing of verdicts; parsing more would cost more than ten HEAD requests
READ_BYTES = 256 * 1024  # one read
BATCH_BYTES = 256 * 1024  # decoded in one go; fits the processor's cache. Must be less than MAX_RECORD_BYTES
READS_AHEAD = 8  # reads that may wait for the parser
PART_BYTES = 8 * 1024 * 1024  # one part of a multipart upload, which has at most 10,000

PROCESSED_BUCKET = os.environ.get("PROCESSED_BUCKET", "")
if not PROCESSED_BUCKET:
    raise RuntimeError("PROCESSED_BUCKET is not set: it must name the bucket for the results")
REJECTED_BUCKET = os.environ.get("REJECTED_BUCKET", "")
if not REJECTED_BUCKET:
    raise RuntimeError("REJECTED_BUCKET is not set: it must name the bucket for the verdicts")
STALE_RESULTS = os.environ.get("STALE_RESULTS", "keep")
if STALE_RESULTS not in ("keep", "remove"):
    raise RuntimeError("STALE_RESULTS is unknown: it must be keep or remove")
SERVICE = os.environ.get("POWERTOOLS_SERVICE_NAME", "data-processor")

logger = Logger(service=SERVICE, use_rfc3339=True)  # Lambda logs lines in other time formats as INFO
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "RetinaScanPipeline"), service=SERVICE)
_session = botocore.session.get_session()
_session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)  # none is used
s3 = boto3.Session(botocore_session=_session).client(
    "s3",
    config=Config(
        connect_timeout=3,
        read_timeout=10,
        retries={"mode": "standard", "total_max_attempts": 4},
        max_pool_connections=2 * CONCURRENT_OBJECTS,  # two per object: one to read it, one to look for its verdict
        parameter_validation=False,  # all parameters are strings, and S3 validates them
        user_agent=f"retina-scan-pipeline Boto3/{boto3.__version__}",  # else botocore builds one twice per request
    ),
)


class Failure(Exception):  # noqa: N818 - not always an error of the function
    """Why an object was not processed. The message holds codes, positions and object names, never content."""


class Rejected(Failure):
    """A file breaks the input rules: a reason code and, where they apply, the record's index and the field.

    empty_file, gzip, not_an_array, trailing_data: the file as a whole.
    malformed, truncated, not_utf8, record_too_large, nested_too_deep, not_an_object: a record.
    missing_field, invalid_field: a field.
    """

    def __init__(self, reason: str, record: int | None = None, field: str | None = None) -> None:
        where = ("" if record is None else f" record={record}") + ("" if field is None else f" field={field}")
        super().__init__(reason + where)
        self.reason, self.record, self.field = reason, record, field


class Record(msgspec.Struct, gc=False):
    """A retina scan. Other fields are ignored. If a field is repeated, all are validated and the last counts."""

    patient_id: Annotated[str, Meta(min_length=1)]
    patient_name: Annotated[str, Meta(min_length=1)]
    scan_date: datetime.date | UnsetType = UNSET
    retina_thickness_microns: Annotated[float, Meta(gt=0)] | UnsetType = UNSET
    optic_disc_cup_ratio: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    diagnosis: str | UnsetType = UNSET


class Patient(msgspec.Struct, gc=False):
    """The part of a record that a result keeps."""

    patient_id: str
    patient_name: str


Object = tuple[str, str]  # bucket and key


class Work(msgspec.Struct):
    """The processing of one object, with the fields of its log line.

    outcome: processed, rejected, gone, skipped or failed; reason: why, when rejected or failed.
    """

    bucket: str
    key: str
    version_id: str = ""
    etag: str = ""
    rounds: int = 0
    resumes: int = 0
    records: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    milliseconds: int = 0
    outcome: str = ""
    reason: str = ""

    def headers(self) -> dict[str, Any]:
        """Return the headers of a result or a verdict, which name the version that it is made from."""
        metadata = {"source-version-id": self.version_id, "source-etag": self.etag}
        return {"ContentType": "application/json", "Metadata": metadata}


# --- events -----------------------------------------------------------------------------------------------------------

_DECODING_ERRORS = (msgspec.DecodeError, UnicodeError, RecursionError)  # the last one if nested too deep


@logger.inject_lambda_context(log_event=False, clear_state=True)
def lambda_handler(event: Any, context: Context) -> dict[str, Any] | None:
    """Handle an S3 notification, a replay of one, an SQS batch of them, or tasks of S3 Batch Operations.

    For a batch, returns the messages that SQS is to deliver again; for tasks, the result of each. Otherwise raises
    Failure if any object failed, once all have been tried. A rejected file has its verdict, and is not retried.
    """
    remaining = context.get_remaining_time_in_millis
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_] as messages}:
            named = {message["messageId"]: _objects_or_none(objects, _body(message)) for message in messages}
            done = process(_all(named), remaining)
            failed = [message_id for message_id, some in named.items() if some is None or _failed(some, done)]
            return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
        case {"invocationSchemaVersion": "1.0" | "2.0" as schema, "invocationId": invocation, "tasks": [*tasks]}:
            named = {task["taskId"]: _objects_or_none(_task_objects, task) for task in tasks}
            done = process(_all(named), remaining)
            return {
                "invocationSchemaVersion": schema,
                "invocationId": invocation,
                "treatMissingKeysAs": "TemporaryFailure",
                "results": [_result(task_id, some, done) for task_id, some in named.items()],
            }
    some = _objects_or_none(objects, event)
    if some is None:
        raise Failure("unsupported_event")
    if failed := _failed(some, process(some, remaining)):
        why = [f"{work.reason} bucket={work.bucket} key={work.key} version={work.version_id}" for work in failed]
        raise Failure("; ".join(why))
    return None


def _body(message: dict[str, Any]) -> Any:
    """Return the event in a message, or None if it is not JSON."""
    try:
        return msgspec.json.decode(message["body"])
    except (*_DECODING_ERRORS, KeyError, TypeError):
        return None


def _objects_or_none(find: Callable[[Any], list[Object]], event: Any) -> list[Object] | None:
    """Return the objects that an event or a task names, or None for an unsupported one, which is logged and counted."""
    try:
        return find(event)
    except Failure as error:
        logger.error("failed", reason=str(error))
        metrics.add_metric("FilesFailed", "Count", 1)
        metrics.flush_metrics()
        return None


def objects(event: Any) -> list[Object]:
    """Return every object that an event names. Raises Failure if it is not an event of S3.

    It may be an S3 notification, S3's test event, or Lambda's record of a failed invocation, which holds its event.
    """
    while isinstance(event, dict) and "requestPayload" in event:
        event = event["requestPayload"]
    match event:
        case {"Event": "s3:TestEvent"}:
            return []
        case {"Records": [*records]}:
            return [_object(record) for record in records]
    raise Failure("unsupported_event")


def _object(record: Any) -> Object:
    match record:
        case {"s3": {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}}}:
            return bucket, _unquoted(key)
    raise Failure("unsupported_event")


def _task_objects(task: Any) -> list[Object]:
    match task:
        case {"s3Bucket": str(bucket), "s3Key": str(key)}:  # schema 2.0
            return [(bucket, _unquoted(key))]
        case {"s3BucketArn": str(arn), "s3Key": str(key)}:  # schema 1.0
            return [(arn.rpartition(":")[2], _unquoted(key))]
    raise Failure("unsupported_event")


def _unquoted(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:  # with replacement characters, the key would look deleted
        raise Failure("unsupported_event") from None


def _all(named: dict[str, list[Object] | None]) -> list[Object]:
    return [one for some in named.values() for one in some or []]


def _failed(some: list[Object], done: dict[Object, Work]) -> list[Work]:
    return [done[one] for one in dict.fromkeys(some) if done[one].outcome == "failed"]


def _result(task_id: str, some: list[Object] | None, done: dict[Object, Work]) -> dict[str, str]:
    """Return the result of a task of S3 Batch Operations, which names one object."""
    if some is None:
        return {"taskId": task_id, "resultCode": "PermanentFailure", "resultString": "unsupported_event"}
    work = done[some[0]]
    # A rejected file is rejected however often it is retried; other failures may be transient.
    code = {"rejected": "PermanentFailure", "failed": "TemporaryFailure"}.get(work.outcome, "Succeeded")
    return {"taskId": task_id, "resultCode": code, "resultString": work.reason or work.outcome}


# --- objects of one invocation ----------------------------------------------------------------------------------------

_object_threads = ThreadPoolExecutor(CONCURRENT_OBJECTS)
_request_threads = ThreadPoolExecutor(CONCURRENT_OBJECTS)  # for requests to S3 in parallel with the reading
_large_object_thread = ThreadPoolExecutor(1)  # one large object at a time: two would take twice the memory


def process(named: Iterable[Object], remaining: Callable[[], int]) -> dict[Object, Work]:
    """Process objects concurrently, because nearly all of their time is spent waiting for S3; log and count them.

    named: objects, duplicates allowed; remaining: returns the milliseconds that are left.
    Returns the work done on each object, with its outcome.
    """
    unique = dict.fromkeys(named)
    keys = [key for _, key in unique if _is_scan(key)]
    verdicts = _request_threads.submit(_verdicts, keys) if keys else None
    running = {_object_threads.submit(_process, Work(*one), remaining, verdicts): one for one in unique}
    done = {}
    while running:
        # Objects still waiting for S3 when time runs out are abandoned. All others stop by themselves.
        ended = wait(running, max(remaining() - TIME_MARGIN_MS // 2, 0) / 1000, FIRST_COMPLETED).done
        for future in [future for future in running if future in ended or not ended]:
            one = running.pop(future)
            future.cancel()
            work = done[one] = future.result() if ended else Work(*one, outcome="failed", reason="out_of_time")
            _log(work)
    _count(done.values())
    return done


def _is_scan(key: str) -> bool:
    return key.endswith(".json")  # unlike folder markers, for example


def _process(work: Work, remaining: Callable[[], int], verdicts: Future[dict[str, Any]] | None) -> Work:
    """Process one object; return the work, with its outcome."""
    if not _is_scan(work.key):
        work.outcome = "skipped"
        return work
    started = time.monotonic()
    try:
        work.outcome, work.reason = process_object(work, remaining, verdicts)
    except Exception as error:  # noqa: BLE001 - one that escapes would fail the whole batch, and might quote the file
        work.outcome, work.reason = "failed", _reason(error)
    work.milliseconds = round((time.monotonic() - started) * 1000)
    return work


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _reason(error: Exception) -> str:
    """Return what went wrong without the messages of foreign exceptions, which may quote the file."""
    if isinstance(error, Failure):
        return str(error)
    if isinstance(error, ClientError):
        return f"{error.operation_name} {_code(error)}"
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"{type(error).__name__} in {frame.f_code.co_name} line {line}"


def _log(work: Work) -> None:
    if work.outcome == "skipped":
        logger.info("skipped", bucket=work.bucket, key=work.key)
        return
    log = {"failed": logger.error, "rejected": logger.warning}.get(work.outcome, logger.info)
    fields = msgspec.structs.asdict(work)
    log(fields.pop("outcome"), **fields)


def _count(done: Iterable[Work]) -> None:
    """Emit the objects' metrics by service, and those of rejected objects also by service and reason code."""
    by_reason = defaultdict(list)
    for work in done:
        if work.outcome != "skipped":
            by_reason[work.reason.partition(" ")[0] if work.outcome == "rejected" else ""].append(work)
    for reason, works in by_reason.items():
        for work in works:
            metrics.add_metric(f"Files{work.outcome.capitalize()}", "Count", 1)
            if work.outcome == "processed":
                metrics.add_metric("RecordsProcessed", "Count", work.records)
                metrics.add_metric("BytesRead", "Bytes", work.bytes_in)
                metrics.add_metric("ProcessingTime", "Milliseconds", work.milliseconds)
            if work.rounds > 1:
                metrics.add_metric("Reprocessed", "Count", work.rounds - 1)
        if reason:
            metrics.add_dimensions(service=SERVICE, reason=reason)
        metrics.flush_metrics()


# --- one object -------------------------------------------------------------------------------------------------------

NO_VERSION = ("", "")  # version and ETag of an object that does not exist


def process_object(
    work: Work, remaining: Callable[[], int], verdicts: Future[dict[str, Any]] | None = None
) -> tuple[str, str]:
    """Bring the result and the verdict of a key up to its newest raw version.

    The last step checks that the version just processed is still the newest one, and starts over if it is not. Whoever
    writes last also checks last: no order of events, repeated or concurrent, leaves an older version's result behind.
    remaining: returns the milliseconds that are left; verdicts: existing verdicts, if already requested.
    Returns processed, rejected or gone, and why if rejected. Raises Failure, ClientError, BotoCoreError.
    """
    if work.bucket in (PROCESSED_BUCKET, REJECTED_BUCKET):
        raise Failure("not_the_raw_bucket")
    while work.rounds < MAX_ROUNDS:
        work.rounds += 1
        _check_time(remaining)
        if work.rounds > 1 or not verdicts:
            verdicts = _request_threads.submit(_verdicts, [work.key])  # while the file is read
        try:
            outcome, rejected = _process_newest(work, remaining)
        except ClientError as error:
            if _code(error) == "NoSuchVersion":  # deleted while it was read
                continue
            raise
        verdict = verdicts.result().get(work.key)
        if rejected:
            if _source(verdict) != (work.version_id, work.etag):
                _write_verdict(work, rejected)
        elif verdict:
            s3.delete_object(Bucket=REJECTED_BUCKET, Key=work.key)
        if outcome != "processed" and STALE_RESULTS == "remove" and _has_result(work.key):
            s3.delete_object(Bucket=PROCESSED_BUCKET, Key=work.key)
        if _lineage(_head(work.bucket, work.key)) == (work.version_id, work.etag):
            return outcome, str(rejected or "")
    raise Failure("still_changing")


def _process_newest(work: Work, remaining: Callable[[], int]) -> tuple[str, Rejected | None]:
    """Publish the result of the newest raw version, if it has one. Returns processed, gone, or rejected and why."""
    work.version_id, work.etag = NO_VERSION
    work.records = work.bytes_in = work.bytes_out = 0
    try:
        # ChecksumMode, because not every boto3 that Lambda may provide verifies checksums by default.
        raw = s3.get_object(Bucket=work.bucket, Key=work.key, ChecksumMode="ENABLED")
    except ClientError as error:
        if _code(error) == "NoSuchKey":
            return "gone", None
        raise
    work.version_id, work.etag = _lineage(raw)
    download = Download(work, raw["Body"], raw["ContentLength"], remaining)
    try:
        if raw["ContentLength"] > READ_BYTES:
            _copy_in_turn(work, download, remaining)
        else:
            _copy(work, download.pieces())
    except Rejected as rejected:
        return "rejected", rejected.with_traceback(None)
    return "processed", None


def _copy_in_turn(work: Work, download: Download, remaining: Callable[[], int]) -> None:
    """Copy a large object once those before it are copied. Raises Failure when time runs out before its turn."""
    copy = _large_object_thread.submit(lambda: _copy(work, download.pieces_ahead()))
    try:
        copy.result(_seconds(remaining))
    except TimeoutError:
        if copy.cancel():
            raise Failure("out_of_time") from None
        copy.result()  # already running; it stops by itself


def _copy(work: Work, pieces: Generator[bytes]) -> None:
    """Copy one version, cut down, to the processed bucket: all of it or nothing."""
    upload = Upload(work)
    with contextlib.closing(pieces):
        try:
            for batch in Framer(pieces).batches():
                upload.add(batch)
            upload.finish()
        except BaseException:
            upload.abort()
            raise


def _verdicts(keys: list[str]) -> dict[str, Any]:
    """Return S3's headers of the verdicts on keys, by key. Verdicts are rare: one listing rules out most keys."""
    if len(keys) == 1:
        return {keys[0]: _head(REJECTED_BUCKET, keys[0])}
    listing = s3.list_objects_v2(
        Bucket=REJECTED_BUCKET,
        Prefix=os.path.commonprefix(keys),  # noqa: RUF071 - keys are not paths
        StartAfter=min(keys)[:-1],
        MaxKeys=LISTED_VERDICTS,
    )
    listed = [item["Key"] for item in listing.get("Contents", [])]
    likely = [key for key in keys if key in listed or (listing["IsTruncated"] and key > listed[-1])]
    return dict(zip(likely, _request_threads.map(partial(_head, REJECTED_BUCKET), likely), strict=True))


def _head(bucket: str, key: str) -> Any:
    """Return the headers of an object, or None if it does not exist."""
    try:
        return s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if _code(error) == "404":  # a response to HEAD has no body, and so no error code
            return None
        raise


def _has_result(key: str) -> bool:
    """Return whether a result exists. A listing needs no permission to read it, and the key itself sorts first."""
    listing = s3.list_objects_v2(Bucket=PROCESSED_BUCKET, Prefix=key, MaxKeys=1)
    return [item["Key"] for item in listing.get("Contents", [])] == [key]


def _lineage(response: Any) -> tuple[str, str]:
    """Return the version and the ETag in a response from S3, if there is one."""
    return (response.get("VersionId", "null"), response["ETag"].strip('"')) if response else NO_VERSION


def _source(verdict: Any) -> tuple[str, str]:
    """Return the version ID and the ETag of the rejected version from its verdict's headers, if there is one."""
    metadata = verdict["Metadata"] if verdict else {}
    return metadata.get("source-version-id", ""), metadata.get("source-etag", "")


def _seconds(remaining: Callable[[], int]) -> float:
    """Return how long it still makes sense to wait."""
    return max(remaining() - TIME_MARGIN_MS, 0) / 1000


def _check_time(remaining: Callable[[], int]) -> None:
    if remaining() < TIME_MARGIN_MS:
        raise Failure("out_of_time")


# --- reading ----------------------------------------------------------------------------------------------------------


class Download:
    """The bytes of one raw version. Resumes where the connection broke, which the SDK does not do for a body."""

    def __init__(self, work: Work, body: StreamingBody, size: int, remaining: Callable[[], int]) -> None:
        self._work, self._body, self._size, self._remaining = work, body, size, remaining
        self._position = 0
        self._resumed_midway = False
        self._futile_resumes = 0  # since the last byte
        self._abandoned = False

    def pieces(self) -> Generator[bytes]:
        """Yield all of it. Raises Failure and whatever the SDK raises."""
        try:
            while data := self._read():
                yield self._counted(data)
        finally:
            self._body.close()

    def pieces_ahead(self) -> Generator[bytes]:
        """Yield the same, read ahead by a thread, so that network and parser work at the same time."""
        thread = ThreadPoolExecutor(1, "download")
        reads = deque(thread.submit(self._read) for _ in range(READS_AHEAD))
        try:
            while True:
                first = reads.popleft()
                if not first.done() and wait([first], _seconds(self._remaining)).not_done:
                    raise Failure("out_of_time")
                if not (data := first.result()):
                    return
                reads.append(thread.submit(self._read))
                yield self._counted(data)
        finally:
            self._abandoned = True
            for read in reads:
                read.cancel()
            thread.submit(lambda: self._body.close())  # in the thread, which may be in the middle of a read
            thread.shutdown(wait=False)

    def _counted(self, data: bytes) -> bytes:
        """Count bytes that are about to be framed. Raises Failure when there is no time left for them."""
        _check_time(self._remaining)
        self._work.bytes_in += len(data)
        return data

    def _read(self) -> bytes:
        """Return the next bytes, none at the end. Raises Failure and whatever the SDK raises."""
        while True:
            try:
                data = self._body.read(READ_BYTES)
            except FlexibleChecksumError:  # raised by the last, empty read
                if self._resumed_midway:
                    return b""  # the checksum of the whole object says nothing about the rest of it
                raise Failure("checksum_mismatch") from None
            except (BotoCoreError, HTTPError, OSError):
                if self._position == self._size:
                    return b""  # the connection broke after the last byte
                if self._abandoned or self._futile_resumes == MAX_RESUMES:
                    raise
                self._resume()
            else:
                self._position += len(data)
                self._futile_resumes = 0
                return data

    def _resume(self) -> None:
        work = self._work
        self._resumed_midway = self._position > 0
        self._futile_resumes += 1
        work.resumes += 1
        self._body.close()
        rest = s3.get_object(
            Bucket=work.bucket,
            Key=work.key,
            VersionId=work.version_id,
            IfMatch=f'"{work.etag}"',
            Range=f"bytes={self._position}-",
        )
        self._body = rest["Body"]
        if not rest.get("ContentRange", "").startswith(f"bytes {self._position}-"):
            raise Failure("range_ignored") from None


# --- framing ----------------------------------------------------------------------------------------------------------

_OPEN, _COMMA, _CLOSE = b"[,]"
_BOM = b"\xef\xbb\xbf"
_WHITE = b" \t\r\n"
_PADDING = b" " * 6  # msgspec reports a lone surrogate as truncated data unless six bytes follow it
_STRIDE = 81_001  # golden section of half of BATCH_BYTES: its multiples spread evenly over that half
_NUMBER = b"+-.0123456789Ee"
_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\[")
_EMPTY = re.compile(rb"\[[ \t\r\n]*\]")
# Never matches within a string: the quote would end it, and nothing that may follow a string matches the last class.
_SEPARATOR = re.compile(rb',[ \t\r\n]*\{[ \t\r\n]*"[^ \t\r\n,:\]}"]')
_TRUNCATED = "Input data was truncated"
_TRAILING = "JSON is malformed: trailing characters (byte "
_EXPECTED = "JSON is malformed: expected ',' or ']' (byte "


class Framer:
    """Frames and validates the records of a JSON array that arrives in pieces, cut anywhere, in linear time.

    The window holds the part of the file that is not framed yet, as an array: its first byte is the opening bracket,
    or the comma after the last record framed, overwritten with a bracket.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.records = 0  # framed so far
        self.offset = 0  # of the window within the file
        self.closed = False  # whether the window begins after the end of the array
        self._pieces = pieces
        self._window = bytearray()
        self._complete = False  # whether the window reaches the end of the file
        self._wanted = BATCH_BYTES  # size of a window that most likely holds the next record
        self._large = 0  # size of the last record that was larger than a batch
        self._misses = 0  # batches whose cut was not between two records
        self._decoders = _decoders()

    def batches(self) -> Iterator[list[Record]]:
        """Yield the records in batches, none of them empty. Raises Rejected, and whatever reading a piece raises."""
        self._open()
        while not self.closed:
            batch, end = (self._wanted <= BATCH_BYTES and self._decode_batch()) or self._decode_one()
            self.records += len(batch)
            self._drop(end)
            if not self.closed:
                self._window[0] = _OPEN
            if batch:
                yield batch
        while not self._window.strip(_WHITE):
            self._drop(len(self._window))
            if not self._fill(1):
                _idle_decoders.append(self._decoders)
                return
        raise Rejected("trailing_data")

    def _fill(self, size: int) -> int:
        """Read until the window has that size or the file ends. Returns how much of that size it has."""
        while len(self._window) < size and not self._complete:
            piece = next(self._pieces, b"")
            self._complete = not piece
            self._window += piece or _PADDING
        return min(len(self._window), size)

    def _drop(self, size: int) -> None:
        del self._window[:size]
        self.offset += size

    def _open(self) -> None:
        """Drop what precedes the array. Raises Rejected."""
        window = self._window
        self._fill(4)  # enough to know a byte order mark
        while not (start := _START.match(window)):
            if window.startswith(b"\x1f\x8b"):
                raise Rejected("gzip")
            if window.removeprefix(_BOM).strip(_WHITE):
                raise Rejected("not_an_array")
            if self._complete:
                raise Rejected("empty_file")
            if len(window) > MAX_RECORD_BYTES + 1:
                raise Rejected("record_too_large", 0)
            self._fill(min(2 * len(window), MAX_RECORD_BYTES + 2))
        self._drop(start.end() - 1)

    def _decode_batch(self) -> tuple[list[Record], int] | None:
        """Decode many records in one go. Returns them and where they end, or None if no record fits. Raises Rejected.

        Where does the last whole record in the window end? To know that, one has to parse everything before it, and
        that is the decoder's work. So guess first: cut the window at a comma that looks like a separator, by
        overwriting it with a closing bracket. If what precedes is decoded as an array, the guess was right. It is
        wrong if a record does not end in the window, or holds an array of objects that look like records: the cut is
        then inside that record. But the decoder has kept the records before it, and a second pass finds their end.
        """
        window, limit = self._window, self._fill(BATCH_BYTES)
        is_rest = self._complete and limit == len(window)
        if not is_rest:  # shift the cut after a miss: regularly spaced records could make every cut miss
            limit -= self._misses * _STRIDE % (limit // 2 + 1)
        if separator := 0 if is_rest else _likely_separator(window, limit):
            limit = separator + 1
            window[separator] = _CLOSE
        batch, error = self._decoders.decode(self._decoders.many, memoryview(window)[:limit])
        if separator:
            window[separator] = _COMMA
        if batch and not error:
            self.closed = not separator
            return batch, separator or limit
        while batch:
            end = self._decoders.end_of(len(batch), window[:limit])
            following = limit - len(window[end:limit].lstrip(_WHITE))
            if following < limit:
                self._misses += 1
                # The rest of this window is not a whole record, and may be the beginning of a large one.
                self._want_twice(max(limit - following, self._large))
                return batch, self._end(following, len(batch))
            batch.pop()  # decode it again later, when what follows it has arrived
        return None

    def _decode_one(self) -> tuple[list[Record], int]:
        """Decode one record that is larger than a batch, or may be. Returns it and where it ends. Raises Rejected.

        The decoder's error gives the position at which something follows the record.
        """
        window = self._window
        while True:
            size = self._fill(self._wanted)
            if not self.records and (empty := _EMPTY.match(window)):
                self.closed = True
                return [], empty.end()
            is_rest = self._complete and size == len(window)
            limit = size if is_rest else _before_number(window, size)
            batch, error = self._decoders.decode(self._decoders.one, memoryview(window)[1:limit])
            message = str(error)
            following = int(message[len(_TRAILING) : -1]) if message.startswith(_TRAILING) else 0
            if error and not following and message != _TRUNCATED:
                raise _rejection(error, self.records)
            if (following or size - len(_PADDING) * is_rest) > MAX_RECORD_BYTES + 1:
                raise Rejected("record_too_large", self.records)
            if following:
                if following > BATCH_BYTES:
                    self._large = following
                self._want_twice(following)
                return batch, self._end(following, 1)
            if is_rest:
                raise Rejected("truncated", self.records)
            self._want_twice(size)

    def _want_twice(self, size: int) -> None:
        """Ask for twice that size next, so that decoding a record repeatedly while it arrives takes linear time."""
        self._wanted = min(max(2 * size, BATCH_BYTES), MAX_RECORD_BYTES + 2 + len(_PADDING))

    def _end(self, following: int, count: int) -> int:
        """Return where `count` records end, given the position of what follows them. Raises Rejected."""
        if self._window[following] not in b",]":
            raise Rejected("malformed", self.records + count - 1)
        self.closed = self._window[following] == _CLOSE
        return following + self.closed


def _before_number(window: bytearray, limit: int) -> int:
    """Return the limit, lowered to exclude a number at the end: truncated, it would decode with another value."""
    start = max(limit - 64, 0)
    others = window[start:limit].rstrip(_NUMBER)
    return start + len(others) if others else len(window[:limit].rstrip(_NUMBER))


def _likely_separator(window: bytearray, limit: int) -> int:
    """Return the position of a comma near the limit that most likely separates two records, 0 if there is none.

    Commas between the objects of an array inside a record look the same, but with more arrays open. So this is the last
    of the commas with the fewest open arrays.
    """
    commas: list[int] = []
    for tail in (2048, 65536):
        commas = [match.start() for match in _SEPARATOR.finditer(window, max(limit - tail, 1), limit)]
        if commas:
            break
    if not commas:
        return 0
    marked = window[commas[0] : limit]
    for comma in commas:
        marked[comma - commas[0]] = 0  # a byte that JSON never holds
    without_escapes = marked.replace(b"\\\\", b"").replace(b'\\"', b"")
    without_strings = b"".join(without_escapes.split(b'"')[::2])
    between = without_strings.split(b"\x00")[1 : len(commas)]
    depths = [0, *itertools.accumulate(part.count(b"[") - part.count(b"]") for part in between)]
    return commas[-1 - depths[::-1].index(min(depths))]


# --- validation -------------------------------------------------------------------------------------------------------

_FIELD = re.compile(r"(required) field `(\w+)`|`\$\.(\w+)`")


class _Decoders:
    """Decoders for one file at a time. When they fail, they still give the records before the fault, or their end."""

    def __init__(self) -> None:
        self._kept: list[Record] = []
        self._count = 0
        self._data = bytearray()
        counter = self._overwrite_after_last()
        next(counter)

        # msgspec calls __post_init__ for every record; a Python function would take several times as long.
        class Kept(Record, gc=False):
            __post_init__ = self._kept.append  # type: ignore[misc]

        class Passed(msgspec.Struct, gc=False):
            __post_init__ = counter.send  # type: ignore[misc]

        self.one = msgspec.json.Decoder(Kept)
        self.many = msgspec.json.Decoder(list[Kept])
        self.passed = msgspec.json.Decoder(list[Passed])

    def decode(self, decoder: msgspec.json.Decoder[Any], data: memoryview) -> tuple[list[Record], Exception | None]:
        """Return the records that were decoded, and the error if the decoder failed after them."""
        error = None
        try:
            decoder.decode(data)
        except _DECODING_ERRORS as raised:
            error = raised.with_traceback(None)
        records = self._kept.copy()
        self._kept.clear()
        return records, error

    def end_of(self, count: int, data: bytearray) -> int:
        """Return the offset at which the first `count` records end, at most the end of the data. Destroys the data.

        A decoder reports a position only when it fails. So once it has passed the last of these records, everything is
        overwritten with a byte that JSON never holds, and the decoder fails at the very next position.
        """
        self._count, self._data = count, data
        try:
            self.passed.decode(data)
        except _DECODING_ERRORS as error:
            message = str(error)
            if message.startswith(_EXPECTED):
                return int(message[len(_EXPECTED) : -1])
        return len(data)

    def _overwrite_after_last(self) -> Generator[None, object, None]:
        """Count the records that are sent in, and overwrite the data after the last one."""
        yield
        while True:
            for _ in range(self._count - 1):
                yield
            self._data[:] = bytes(len(self._data))
            yield


_idle_decoders: list[_Decoders] = []  # kept from files that were framed to the end; nothing of a file is left in them


def _decoders() -> _Decoders:
    """Return idle decoders, because building new ones takes half a millisecond, a tenth of a small file's time."""
    try:
        return _idle_decoders.pop()
    except IndexError:
        return _Decoders()


def _rejection(error: Exception, record: int) -> Rejected:
    """Return why a decoder failed on a record. Its message is used only for the name of a field of the schema."""
    if isinstance(error, RecursionError):
        return Rejected("nested_too_deep", record)
    if isinstance(error, UnicodeDecodeError):
        return Rejected("not_utf8", record)
    if not isinstance(error, msgspec.ValidationError):
        return Rejected("malformed", record)
    field = _FIELD.search(str(error))
    if not field:
        return Rejected("not_an_object", record)
    return Rejected("missing_field", record, field[2]) if field[1] else Rejected("invalid_field", record, field[3])


# --- writing ----------------------------------------------------------------------------------------------------------

_encoder = msgspec.json.Encoder()


def cut_down(batch: list[Record]) -> bytes:
    """Return what a result keeps of records, as JSON: one to a line, with commas between the lines."""
    kept = [Patient(record.patient_id, record.patient_name) for record in batch]
    return _encoder.encode_lines(kept)[:-1].replace(b"\n", b",\n")  # a line break in a string is written as \n


class Upload:
    """A result being written. It becomes visible as a whole when `finish` returns, and never before."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._buffer = bytearray()
        self._upload_id = ""
        self._parts: list[CompletedPartTypeDef] = []

    def add(self, batch: list[Record]) -> None:
        """Add a batch of records. Sends a part whenever there is enough for one."""
        self._write(b",\n" if self._work.records else b"[\n")
        self._write(cut_down(batch))
        self._work.records += len(batch)
        if len(self._buffer) >= PART_BYTES:
            self._send_part()

    def finish(self) -> None:
        """Publish the result, in one request if no part has been sent yet."""
        work = self._work
        self._write(b"\n]\n" if work.records else b"[]\n")
        if self._upload_id:
            self._send_part()
            s3.complete_multipart_upload(
                Bucket=PROCESSED_BUCKET,
                Key=work.key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": self._parts},
            )
        else:
            headers = work.headers()
            headers["Metadata"]["record-count"] = str(work.records)  # multipart uploads get their metadata first
            _put(PROCESSED_BUCKET, work.key, bytes(self._buffer), headers)

    def abort(self) -> None:
        """Remove the parts. If that fails, the bucket's lifecycle rule removes them."""
        if self._upload_id:
            try:
                s3.abort_multipart_upload(Bucket=PROCESSED_BUCKET, Key=self._work.key, UploadId=self._upload_id)
            except (BotoCoreError, ClientError) as error:
                logger.warning("abort failed", key=self._work.key, upload_id=self._upload_id, reason=_reason(error))

    def _write(self, data: bytes) -> None:
        self._buffer += data
        self._work.bytes_out += len(data)

    def _send_part(self) -> None:
        key, number = self._work.key, len(self._parts) + 1
        if not self._upload_id:
            # S3 accepts the checksums of parts at completion only if the upload was created with an algorithm.
            created = s3.create_multipart_upload(
                Bucket=PROCESSED_BUCKET, Key=key, ChecksumAlgorithm="CRC32", **self._work.headers()
            )
            self._upload_id = created["UploadId"]
        body = bytes(self._buffer)
        checksum = _checksum(body)
        part = s3.upload_part(
            Bucket=PROCESSED_BUCKET,
            Key=key,
            UploadId=self._upload_id,
            PartNumber=number,
            Body=body,
            ChecksumCRC32=checksum,
        )
        self._parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": checksum})
        self._buffer.clear()


def _write_verdict(work: Work, rejected: Rejected) -> None:
    """Write why a version is rejected, without any content of the file."""
    verdict = {
        "reason": rejected.reason,
        "record": rejected.record,
        "field": rejected.field,
        "source_version_id": work.version_id,
        "source_etag": work.etag,
        "rejected_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    body = msgspec.json.encode(verdict) + b"\n"
    _put(REJECTED_BUCKET, work.key, body, work.headers())


def _put(bucket: str, key: str, body: bytes, headers: dict[str, Any]) -> None:
    """Write an object with the checksum that object lock requires; not every boto3 in Lambda sends one by default."""
    s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumCRC32=_checksum(body), **headers)


def _checksum(body: bytes) -> str:
    """Return the checksum that makes S3 refuse a body that was damaged in transit."""
    return b64encode(zlib.crc32(body).to_bytes(4)).decode()


gc.freeze()  # exempt everything loaded so far from garbage collection
