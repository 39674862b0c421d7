"""Cut retina-scan exports down to patient ids and names.

S3 tells that an object of the raw bucket changed. Its newest version is streamed, checked, cut down and written under
the same key to the processed bucket, in flat memory whatever its size. If it breaks the input rules, a verdict that
tells why is written under the same key to the rejected bucket instead. Result and verdict are whole or absent, and in
the end come from the newest version, however events are repeated, reordered or handled side by side.

Environment: PROCESSED_BUCKET and REJECTED_BUCKET, required; STALE_RESULTS, what becomes of the result of an older
version when the newest one is rejected or deleted: keep, the default, or remove; POWERTOOLS_SERVICE_NAME,
POWERTOOLS_METRICS_NAMESPACE, POWERTOOLS_LOG_LEVEL.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
import re
import threading
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
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future
    from typing import Protocol

    from botocore.response import StreamingBody
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

    class Context(Protocol):
        """What the handler asks its invocation."""

        def get_remaining_time_in_millis(self) -> int:
            """Return the milliseconds left before Lambda ends the invocation."""

# --- contract ---------------------------------------------------------------------------------------------------------

MAX_RECORD_BYTES = 16 * 1024 * 1024  # from one separator to the next, white space included
MAX_ROUNDS = 5  # times that one event starts over because a newer version has arrived meanwhile
MAX_RESUMES = 5  # times that a download is taken up again without getting any further
SIDE_BY_SIDE = 10  # objects of one invocation; the most that an event source mapping is set to hand over
TIME_MARGIN_MS = 10_000  # with less left, stop cleanly. Who waits for S3 by then is not waited for, and tried again
LISTED_VERDICTS = 100  # of which a listing tells; to parse more would cost more than to ask for each of ten
READ_BYTES = 256 * 1024  # one read
AT_ONCE_BYTES = 256 * 1024  # decoded at once if no record is larger; below MAX_RECORD_BYTES. Fits the processor's cache
READS_AHEAD = 8  # reads that may wait for the parser
PART_BYTES = 8 * 1024 * 1024  # one part of a multipart upload, of which S3 takes 10,000

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

logger = Logger(service=SERVICE, use_rfc3339=True)  # Lambda takes a line with any other time for INFO
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "RetinaScanPipeline"), service=SERVICE)
_session = botocore.session.get_session()
_session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)  # none is looked at
s3 = boto3.Session(botocore_session=_session).client(
    "s3",
    config=Config(
        connect_timeout=3,
        read_timeout=10,
        retries={"mode": "standard", "total_max_attempts": 4},
        max_pool_connections=2 * SIDE_BY_SIDE,  # for each object one, and one for what is asked aside
        parameter_validation=False,  # they are strings; S3 judges them
        user_agent=f"retina-scan-pipeline Boto3/{boto3.__version__}",  # else botocore builds one twice for each request
    ),
)
gc.freeze()  # what is loaded by now stays: nothing looks for garbage in it any more


class Failure(Exception):  # noqa: N818 - not always an error of ours
    """Why something was not processed. The message holds codes, positions and object names, never content."""


class Rejected(Failure):
    """A file breaks the input rules: a reason code, and where it applies the record's index in the file and the field.

    empty_file, gzip, not_an_array, trailing_data: the file as a whole.
    malformed, truncated, not_utf8, record_too_large, nested_too_deep, not_an_object: a record.
    missing_field, invalid_field: a field.
    """

    def __init__(self, reason: str, record: int | None = None, field: str | None = None) -> None:
        where = ("" if record is None else f" record={record}") + ("" if field is None else f" field={field}")
        super().__init__(reason + where)
        self.reason, self.record, self.field = reason, record, field


# --- types ------------------------------------------------------------------------------------------------------------


class Record(msgspec.Struct, gc=False):
    """A retina scan. Other fields pass unread. When a field is repeated, all are checked and the last counts."""

    patient_id: Annotated[str, Meta(min_length=1)]
    patient_name: Annotated[str, Meta(min_length=1)]
    scan_date: datetime.date | UnsetType = UNSET
    retina_thickness_microns: Annotated[float, Meta(gt=0)] | UnsetType = UNSET
    optic_disc_cup_ratio: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    diagnosis: str | UnsetType = UNSET


class Patient(msgspec.Struct, gc=False):
    """What is kept of a record."""

    patient_id: str
    patient_name: str


_encoder = msgspec.json.Encoder()
_FAULTS = (msgspec.DecodeError, UnicodeError, RecursionError)  # all that a decoder raises; the last for depth

# --- framing ----------------------------------------------------------------------------------------------------------

_OPEN, _COMMA, _CLOSE = b"[,]"
_BOM = b"\xef\xbb\xbf"
_WHITE = b" \t\r\n"
_PADDING = b" " * 6  # msgspec takes a lone surrogate for truncated unless six bytes follow it
_STRIDE = 81_001  # golden section of half of AT_ONCE_BYTES: its multiples spread evenly over that half
_NUMBER = b"+-.0123456789Ee"
_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\[")
_EMPTY = re.compile(rb"\[[ \t\r\n]*\]")
# Never matches in a string: the quote would end it, and what follows the end of a string is excluded.
_SEPARATOR = re.compile(rb',[ \t\r\n]*\{[ \t\r\n]*"[^ \t\r\n,:\]}"]')
_TRUNCATED = "Input data was truncated"
_TRAILING = "JSON is malformed: trailing characters (byte "
_EXPECTED = "JSON is malformed: expected ',' or ']' (byte "


class _Start(Exception):  # noqa: N818 - not an error
    """Makes a count begin."""


class _Decoders(threading.local):
    """Decoders of which something is left when they fail: the records before the fault, or where these end."""

    def __init__(self) -> None:
        self._kept: list[Record] = []
        self._count = 0
        self._data = bytearray()
        passing = self._pass()
        next(passing)
        self._start = passing.throw

        # Both are called for each record. A function of ours would take several times as long.
        class Kept(Record, gc=False):
            __post_init__ = self._kept.append  # type: ignore[misc]

        class Passed(msgspec.Struct, gc=False):
            __post_init__ = passing.send  # type: ignore[misc]

        self.one = msgspec.json.Decoder(Kept)
        self.many = msgspec.json.Decoder(list[Kept])
        self.passed = msgspec.json.Decoder(list[Passed])

    def decode(self, decoder: msgspec.json.Decoder[Any], data: memoryview) -> tuple[list[Record], Exception | None]:
        """Return the records that a decoder has decoded, and its error if it failed."""
        self._kept.clear()  # of what any other exception has left
        fault = None
        try:
            decoder.decode(data)
        except _FAULTS as error:
            fault = error.with_traceback(None)
        records = self._kept.copy()
        self._kept.clear()
        return records, fault

    def end(self, data: bytearray, count: int) -> int:
        """Return the index of what follows that many records of an array, its length if nothing does. Spoils the data.

        A decoder tells how far it is only when something is wrong. So when it has passed the last of the records, all
        is overwritten with what JSON never holds, and it fails at the very next byte.
        """
        self._count, self._data = count, data
        self._start(_Start)
        try:
            self.passed.decode(data)
        except _FAULTS as error:
            message = str(error)
            if message.startswith(_EXPECTED):
                return int(message[len(_EXPECTED) : -1])
        return len(data)

    def _pass(self) -> Generator[None, object, None]:
        """Count the records that it is sent, and overwrite the data after the last one."""
        while True:
            try:
                for _ in range(self._count):
                    yield
                self._data[:] = bytes(len(self._data))
                yield
            except _Start:
                pass


_decoders = _Decoders()


class Framer:
    """Turns the bytes of a JSON array, cut anywhere, into checked records, in linear time whatever they are.

    The window holds an array: its first byte is the opening bracket, or the comma after the last record taken out,
    overwritten with one. As much of it as may be decoded at once is cut off at a likely comma, by overwriting that with
    a closing bracket. If a whole array is decoded, in place, the comma did separate two records. If not, the records
    before the fault are good all the same: they are counted, and a second pass over as many tells where they end.
    A record that is larger than what is decoded at once is waited for, and decoded alone: the decoder's error tells the
    byte at which something follows it.
    """

    def __init__(self) -> None:
        self.records = 0  # taken out so far
        self._window = bytearray()
        self._wanted = 4  # bytes to wait for: to know a byte order mark; later, to hold a record
        self._large = 0  # bytes of the last record that was larger than what is decoded at once
        self._misses = 0  # batches that ended in the midst of a record
        self._opened = self._closed = self._last = False

    def feed(self, data: bytes, last: bool = False) -> None:
        """Add the next bytes, with `last` the end of the file. Before the next ones, all records are to be taken."""
        self._window += data
        self._last = last
        if last:
            self._window += _PADDING

    def take(self) -> list[Record]:
        """Take out whole records, as many as may be held at once; none when more bytes are needed. Raises Rejected."""
        window = self._window
        batch: list[Record] = []
        while not batch and not self._closed and (self._last or len(window) >= self._wanted):
            if not self._opened:
                self._open()
                continue
            batch, end = self._none() or (self._one() if self._wanted > AT_ONCE_BYTES else self._many())
            self.records += len(batch)
            del window[:end]
            if batch and not self._closed:
                window[0] = _OPEN
        if self._closed:
            if window.strip(_WHITE):
                raise Rejected("trailing_data")
            window.clear()
        return batch

    def _open(self) -> None:
        """Cut off what comes before the array, or wait for as much again. Raises Rejected."""
        window = self._window
        if start := _START.match(window):
            del window[: start.end() - 1]
            self._opened = True
            self._want(0)
        elif window.startswith(b"\x1f\x8b"):
            raise Rejected("gzip")
        elif window.removeprefix(_BOM).strip(_WHITE):
            raise Rejected("not_an_array")
        elif self._last:
            raise Rejected("empty_file")
        elif len(window) > MAX_RECORD_BYTES + 1:
            raise Rejected("record_too_large", 0)
        else:
            self._wanted = min(2 * len(window), MAX_RECORD_BYTES + 2)

    def _want(self, size: int) -> None:
        """Wait for twice that many bytes, so that decoding a record over and over while it arrives stays linear."""
        self._wanted = min(max(2 * size, AT_ONCE_BYTES), MAX_RECORD_BYTES + 2 + len(_PADDING))

    def _none(self) -> tuple[list[Record], int] | None:
        """Return where the array ends if it is empty."""
        empty = None if self.records else _EMPTY.match(self._window)
        if not empty:
            return None
        self._closed = True
        return [], empty.end()

    def _many(self) -> tuple[list[Record], int]:
        """Decode as much as is decoded at once. Returns records and where they end. Raises Rejected."""
        window = self._window
        limit = min(len(window), self._wanted)
        whole = self._last and limit == len(window)
        if not whole:  # after a miss look elsewhere, else all may miss where records recur in the rhythm of the reads
            limit -= self._misses * _STRIDE % (limit // 2 + 1)
        if comma := 0 if whole else _likely_separator(window, limit):
            limit = comma + 1
            window[comma] = _CLOSE
        batch, fault = _decoders.decode(_decoders.many, memoryview(window)[:limit])
        if comma:
            window[comma] = _COMMA
        if batch and not fault:
            self._closed = not comma
            return batch, comma or limit
        while batch:
            end = _decoders.end(window[:limit], len(batch))
            after = limit - len(window[end:limit].lstrip(_WHITE))
            if after < limit:
                self._misses += 1
                self._want(max(limit - after, self._large))  # that much is no whole record, and may be a large one
                return batch, self._cut_off(after, len(batch))
            batch.pop()  # for the time being: what follows is not there yet
        return self._one()

    def _one(self) -> tuple[list[Record], int]:
        """Decode a single record. Returns it and where it ends; nothing if it is not whole as yet. Raises Rejected."""
        window = self._window
        limit = size = min(len(window), self._wanted)
        whole = self._last and size == len(window)
        if not whole:
            limit = _before_number(window, size)
        batch, fault = _decoders.decode(_decoders.one, memoryview(window)[1:limit])
        message = str(fault)
        after = int(message[len(_TRAILING) : -1]) if message.startswith(_TRAILING) else 0
        if fault and not after and message != _TRUNCATED:
            raise _rejection(fault, self.records)
        if (after or size - len(_PADDING) * whole) > MAX_RECORD_BYTES + 1:
            raise Rejected("record_too_large", self.records)
        if after:
            if after > AT_ONCE_BYTES:
                self._large = after
            self._want(after)
            return batch, self._cut_off(after, 1)
        if whole:
            raise Rejected("truncated", self.records)
        self._want(size)
        return [], 0

    def _cut_off(self, after: int, count: int) -> int:
        """Return how much to cut off, given where something follows that many records. Raises Rejected."""
        if self._window[after] not in b",]":
            raise Rejected("malformed", self.records + count - 1)
        self._closed = self._window[after] == _CLOSE
        return after + self._closed


def _before_number(window: bytearray, limit: int) -> int:
    """Return the limit, or a lower one before what may be half a number: it is a number too, but a different one."""
    start = max(limit - 64, 0)
    others = window[start:limit].rstrip(_NUMBER)
    return start + len(others) if others else len(window[:limit].rstrip(_NUMBER))


def _likely_separator(window: bytearray, reach: int) -> int:
    """Index of a comma, near the last byte in reach, that most likely separates two records, 0 if there is none.

    Commas inside a record look alike, but there are more arrays open. So it is the last of those with the fewest.
    """
    commas: list[int] = []
    for tail in (2048, 65536):
        commas = [match.start() for match in _SEPARATOR.finditer(window, max(reach - tail, 1), reach)]
        if commas:
            break
    if not commas:
        return 0
    best = first = commas[0]
    marked = window[first:reach]
    for comma in commas:
        marked[comma - first] = 0  # a byte that JSON never holds
    without_escapes = marked.replace(b"\\\\", b"").replace(b'\\"', b"")
    without_strings = b"".join(without_escapes.split(b'"')[::2])
    depth = lowest = 0
    for comma, before in zip(commas[1:], without_strings.split(b"\x00")[1:], strict=False):
        depth += before.count(b"[") - before.count(b"]")
        if depth <= lowest:
            best, lowest = comma, depth
    return best


# --- validation -------------------------------------------------------------------------------------------------------

_FIELD = re.compile(r"(required) field `(\w+)`|`\$\.(\w+)`")


def _rejection(error: Exception, record: int) -> Rejected:
    """Return why a decoder failed on a record. Of its message only the name of a field of the schema is used."""
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


def cut_down(batch: list[Record]) -> bytes:
    """Return what is kept of records, as JSON: one to a line, with commas between the lines."""
    kept = [Patient(record.patient_id, record.patient_name) for record in batch]
    return _encoder.encode_lines(kept)[:-1].replace(b"\n", b",\n")  # a line break in a string is written as \n


# --- one object -------------------------------------------------------------------------------------------------------

Object = tuple[str, str]  # its bucket and key
NO_VERSION = ("", "")  # version and ETag of an object that does not exist
_threads = ThreadPoolExecutor(SIDE_BY_SIDE)  # one for each object; they keep their decoders
_aside = ThreadPoolExecutor(SIDE_BY_SIDE)  # for questions to S3 whose answers are not needed at once
_large = ThreadPoolExecutor(1)  # by which large objects are copied, in turn: two would take twice the memory


class Work(msgspec.Struct):
    """One object being processed, as the log tells of it.

    outcome: processed, rejected, gone, skipped or failed; reason: why, if rejected or failed.
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
        """Return what a result or a verdict is stored with: the version that it is made from."""
        metadata = {"source-version-id": self.version_id, "source-etag": self.etag}
        return {"ContentType": "application/json", "Metadata": metadata}


def process_object(
    work: Work, remaining: Callable[[], int], verdicts: Future[dict[str, Any]] | None = None
) -> tuple[str, str]:
    """Bring the result and the verdict of a key up to its newest raw version.

    The last step asks whether the version just handled is still the newest. Whoever writes last, asks last: so no order
    of events, repeated or handled side by side, leaves behind what comes from an older one.
    `remaining` tells how many milliseconds are left; `verdicts` may answer the first question for verdicts.
    Returns processed, rejected or gone, and why it is rejected.
    Raises Failure, ClientError, BotoCoreError.
    """
    if work.bucket in (PROCESSED_BUCKET, REJECTED_BUCKET):
        raise Failure("not_the_raw_bucket")
    while work.rounds < MAX_ROUNDS:
        work.rounds += 1
        _check_time(remaining)
        if work.rounds > 1 or not verdicts:
            verdicts = _aside.submit(_verdicts, [work.key])  # while the file is read
        try:
            outcome, rejected = _process_newest(work, remaining)
        except ClientError as error:
            if _code(error) == "NoSuchVersion":  # it was deleted while it was read
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
    """Publish the result of the newest raw version, if it has one. Returns processed, rejected and why, or gone."""
    work.version_id, work.etag = NO_VERSION
    work.records = work.bytes_in = work.bytes_out = 0
    try:
        # Not every boto3 that Lambda may bring asks for the checksum, and checks it, by itself.
        raw = s3.get_object(Bucket=work.bucket, Key=work.key, ChecksumMode="ENABLED")
    except ClientError as error:
        if _code(error) == "NoSuchKey":
            return "gone", None
        raise
    work.version_id, work.etag = _lineage(raw)
    try:
        download = Download(work, raw["Body"], raw["ContentLength"])
        if raw["ContentLength"] > READ_BYTES:
            _copy_in_turn(work, download, remaining)
        else:
            _copy(work, download.pieces(), remaining)
    except Rejected as rejected:
        return "rejected", rejected.with_traceback(None)
    return "processed", None


def _head(bucket: str, key: str) -> Any:
    """Return what S3 tells of an object, None if there is none."""
    try:
        return s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if _code(error) == "404":  # an answer to HEAD has only a number
            return None
        raise


def _verdicts(keys: list[str]) -> dict[str, Any]:
    """Return what S3 tells of the verdicts on keys, by key. Verdicts are rare: a listing rules most of them out."""
    if len(keys) == 1:
        return {keys[0]: _head(REJECTED_BUCKET, keys[0])}
    listing = s3.list_objects_v2(
        Bucket=REJECTED_BUCKET,
        Prefix=os.path.commonprefix(keys),  # noqa: RUF071 - keys are no paths
        StartAfter=min(keys)[:-1],
        MaxKeys=LISTED_VERDICTS,
    )
    listed = [item["Key"] for item in listing.get("Contents", [])]
    likely = [key for key in keys if key in listed or (listing["IsTruncated"] and key > listed[-1])]
    return dict(zip(likely, _aside.map(partial(_head, REJECTED_BUCKET), likely), strict=True))


def _lineage(answer: Any) -> tuple[str, str]:
    """Return the version and the ETag in an answer of S3, if there is one."""
    return (answer.get("VersionId", "null"), answer["ETag"].strip('"')) if answer else NO_VERSION


def _source(verdict: Any) -> tuple[str, str]:
    """Return version and ETag of what a verdict is about, if there is one, by what S3 tells of it."""
    metadata = verdict["Metadata"] if verdict else {}
    return metadata.get("source-version-id", ""), metadata.get("source-etag", "")


def _write_verdict(work: Work, rejected: Rejected) -> None:
    """Write down why a version is rejected. It holds no content of the file."""
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
    """Write an object. Object lock demands a checksum, which not every boto3 that Lambda may bring sends by itself."""
    s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumCRC32=_checksum(body), **headers)


def _checksum(body: bytes) -> str:
    """Return the checksum of what is sent, by which S3 refuses it if it is damaged on the way."""
    return b64encode(zlib.crc32(body).to_bytes(4)).decode()


def _has_result(key: str) -> bool:
    """Return whether there is a result: a listing tells, without permission to read it. Its own key comes first."""
    listing = s3.list_objects_v2(Bucket=PROCESSED_BUCKET, Prefix=key, MaxKeys=1)
    return [item["Key"] for item in listing.get("Contents", [])] == [key]


def _copy_in_turn(work: Work, download: Download, remaining: Callable[[], int]) -> None:
    """Copy a large object, when all before it are copied. Raises Failure when there is no time left for that."""
    copy = _large.submit(lambda: _copy(work, download.pieces_ahead(remaining), remaining))
    try:
        copy.result(_seconds(remaining))
    except TimeoutError:
        if copy.cancel():
            raise Failure("out_of_time") from None
        copy.result()  # it has begun, and stops by itself


def _copy(work: Work, pieces: Generator[bytes], remaining: Callable[[], int]) -> None:
    """Process one version, which comes in pieces, the last one empty: all of it is published, or nothing."""
    with contextlib.closing(pieces):
        framer, upload = Framer(), Upload(work)
        try:
            for data in pieces:
                work.bytes_in += len(data)
                framer.feed(data, last=not data)
                while batch := framer.take():
                    upload.add(batch)
                _check_time(remaining)
            upload.finish()
        except BaseException:
            upload.abort()
            raise


class Download:
    """One version of a raw object. The SDK does not resume a body that breaks: this does, at the same byte."""

    def __init__(self, work: Work, body: StreamingBody, size: int) -> None:
        self._work, self._body, self._size = work, body, size
        self._done = 0  # bytes read so far
        self._resumed_midway = False
        self._in_vain = 0  # resumptions since the last byte
        self._given_up = False

    def pieces(self) -> Generator[bytes]:
        """Read all of it, and last an empty piece. Raises Failure and what the SDK raises."""
        try:
            data = b"unread"
            while data:
                data = self._read()
                yield data
        finally:
            self._body.close()

    def pieces_ahead(self, remaining: Callable[[], int]) -> Generator[bytes]:
        """Read the same by a thread, a few pieces ahead, so that network and parser work at the same time."""
        thread = ThreadPoolExecutor(1, "download")
        reads = deque(thread.submit(self._read) for _ in range(READS_AHEAD))
        data = b"unread"
        try:
            while data:
                first = reads.popleft()
                if not first.done() and wait([first], _seconds(remaining)).not_done:
                    raise Failure("out_of_time")
                data = first.result()
                reads.append(thread.submit(self._read))
                yield data
        finally:
            self._given_up = True
            for waiting in reads:
                waiting.cancel()
            thread.submit(lambda: self._body.close())  # by the thread, which may be in the middle of a read
            thread.shutdown(wait=False)

    def _read(self) -> bytes:
        """Return the next bytes, none at the end. Raises Failure and what the SDK raises."""
        while True:
            try:
                data = self._body.read(READ_BYTES)
            except FlexibleChecksumError:  # comes with the last, empty read
                if self._resumed_midway:
                    return b""  # a checksum of the whole object says nothing of its rest
                raise Failure("checksum_mismatch") from None
            except (BotoCoreError, HTTPError, OSError):
                if self._done == self._size:
                    return b""  # it broke after the last byte
                if self._given_up or self._in_vain == MAX_RESUMES:
                    raise
                self._resume()
            else:
                self._done += len(data)
                self._in_vain = 0
                return data

    def _resume(self) -> None:
        work = self._work
        self._resumed_midway = self._done > 0
        self._in_vain += 1
        work.resumes += 1
        self._body.close()
        rest = s3.get_object(
            Bucket=work.bucket,
            Key=work.key,
            VersionId=work.version_id,
            IfMatch=f'"{work.etag}"',
            Range=f"bytes={self._done}-",
        )
        self._body = rest["Body"]
        if not rest.get("ContentRange", "").startswith(f"bytes {self._done}-"):
            raise Failure("range_ignored") from None


def _seconds(remaining: Callable[[], int]) -> float:
    """Return how long there is still something to be waited for."""
    return max(remaining() - TIME_MARGIN_MS, 0) / 1000


def _check_time(remaining: Callable[[], int]) -> None:
    if remaining() < TIME_MARGIN_MS:
        raise Failure("out_of_time")


class Upload:
    """A processed object in the making. It shows when `finish` returns, whole, and never before."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._buffer = bytearray()
        self._upload_id = ""
        self._parts: list[CompletedPartTypeDef] = []

    def add(self, batch: list[Record]) -> None:
        """Add what is kept of records. Sends a part whenever there is enough for one."""
        self._write(b",\n" if self._work.records else b"[\n")
        self._write(cut_down(batch))
        self._work.records += len(batch)
        if len(self._buffer) >= PART_BYTES:
            self._send_part()

    def finish(self) -> None:
        """Publish, in one request if no part was sent as yet."""
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
            headers = self._work.headers()
            headers["Metadata"]["record-count"] = str(work.records)  # for a multipart upload it is known too late
            _put(PROCESSED_BUCKET, work.key, bytes(self._buffer), headers)

    def abort(self) -> None:
        """Drop the parts. What cannot be dropped now, the bucket's lifecycle rule removes."""
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
            # S3 takes checksums of parts at the end only of an upload that was begun with them.
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


# --- one event --------------------------------------------------------------------------------------------------------


def objects(event: Any) -> list[Object]:
    """Return every object that an event names. Raises Failure if it is not an event of S3.

    It may be an S3 notification, S3's test event, or the record of a failed invocation, which holds its event.
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
            return bucket, _decoded(key)
    raise Failure("unsupported_event")


def _task_objects(task: Any) -> list[Object]:
    match task:
        case {"s3Bucket": str(bucket), "s3Key": str(key)}:  # schema 2.0
            return [(bucket, _decoded(key))]
        case {"s3BucketArn": str(arn), "s3Key": str(key)}:  # schema 1.0
            return [(arn.rpartition(":")[2], _decoded(key))]
    raise Failure("unsupported_event")


def _decoded(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:  # a key that does not exist would look gone
        raise Failure("unsupported_event") from None


def process(named: Iterable[Object], remaining: Callable[[], int]) -> dict[Object, Work]:
    """Process objects side by side, as nearly all of their time is waiting for S3; log and count them.

    Takes the objects, each once or more often, and `remaining`, which tells how many milliseconds are left.
    Returns the work that was done on each, with its outcome.
    """
    some = dict.fromkeys(named)
    keys = [key for _, key in some if _is_scan(key)]
    verdicts = _aside.submit(_verdicts, keys) if keys else None
    running = {_threads.submit(_process, Work(*one), remaining, verdicts): one for one in some}
    done = {}
    while running:
        # Who waits for S3 when time runs out is not waited for. All others stop by themselves.
        ended = wait(running, max(remaining() - TIME_MARGIN_MS // 2, 0) / 1000, FIRST_COMPLETED).done
        for future in [future for future in running if future in ended or not ended]:
            one = running.pop(future)
            future.cancel()
            work = done[one] = future.result() if ended else Work(*one, outcome="failed", reason="out_of_time")
            _log(work)
    _count(done.values())
    return done


def _is_scan(key: str) -> bool:
    return key.endswith(".json")  # as folder markers do not


def _process(work: Work, remaining: Callable[[], int], verdicts: Future[dict[str, Any]] | None) -> Work:
    """Process one object; return the work, with its outcome."""
    if not _is_scan(work.key):
        work.outcome = "skipped"
        return work
    started = time.monotonic()
    try:
        work.outcome, work.reason = process_object(work, remaining, verdicts)
    except Exception as error:  # noqa: BLE001 - none may escape: it would fail the whole batch, and may hold content
        work.outcome, work.reason = "failed", _reason(error)
    work.milliseconds = round((time.monotonic() - started) * 1000)
    return work


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _reason(error: Exception) -> str:
    """Say what went wrong, in words of ours: the message of another's exception may quote the file."""
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
    told = msgspec.structs.asdict(work)
    log(told.pop("outcome"), **told)


def _count(done: Iterable[Work]) -> None:
    """Write the metrics of objects: by service, and of rejected ones by service and reason code as well."""
    by_reason = defaultdict(list)
    for work in done:
        if work.outcome != "skipped":
            by_reason[work.reason.partition(" ")[0] if work.outcome == "rejected" else ""].append(work)
    for reason, some in by_reason.items():
        for work in some:
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


# --- handler ----------------------------------------------------------------------------------------------------------


@logger.inject_lambda_context(log_event=False, clear_state=True)
def lambda_handler(event: Any, context: Context) -> dict[str, Any] | None:
    """Handle an S3 notification, a replay of one, an SQS batch of them, or tasks of S3 Batch Operations.

    For a batch, returns the messages that are to be delivered again; for tasks, the result of each. Else raises Failure
    if any object failed, when all have been tried. What is rejected has its verdict, and is not tried again.
    """
    remaining = context.get_remaining_time_in_millis
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_] as messages}:
            named = {message["messageId"]: _named(objects, _body(message)) for message in messages}
            done = process(_all(named), remaining)
            failed = [message_id for message_id, some in named.items() if some is None or _failed(some, done)]
            return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
        case {"invocationSchemaVersion": "1.0" | "2.0" as schema, "invocationId": invocation, "tasks": [*tasks]}:
            named = {task["taskId"]: _named(_task_objects, task) for task in tasks}
            done = process(_all(named), remaining)
            return {
                "invocationSchemaVersion": schema,
                "invocationId": invocation,
                "treatMissingKeysAs": "TemporaryFailure",
                "results": [_result(task_id, some, done) for task_id, some in named.items()],
            }
    some = _named(objects, event)
    if some is None:
        raise Failure("unsupported_event")
    if failed := _failed(some, process(some, remaining)):
        why = [f"{work.reason} bucket={work.bucket} key={work.key} version={work.version_id}" for work in failed]
        raise Failure("; ".join(why))
    return None


def _body(message: dict[str, Any]) -> Any:
    """Return the event in a message, None if it is not JSON."""
    try:
        return msgspec.json.decode(message["body"])
    except (*_FAULTS, KeyError, TypeError):
        return None


def _named(find: Callable[[Any], list[Object]], event: Any) -> list[Object] | None:
    """Return the objects that are found in an event or a task, None if it is not one; that is logged and counted."""
    try:
        return find(event)
    except Failure as error:
        logger.error("failed", reason=str(error))
        metrics.add_metric("FilesFailed", "Count", 1)
        metrics.flush_metrics()
        return None


def _all(named: dict[str, list[Object] | None]) -> list[Object]:
    return [one for some in named.values() for one in some or []]


def _failed(some: list[Object], done: dict[Object, Work]) -> list[Work]:
    return [done[one] for one in dict.fromkeys(some) if done[one].outcome == "failed"]


def _result(task_id: str, some: list[Object] | None, done: dict[Object, Work]) -> dict[str, str]:
    """Return the result of a task of S3 Batch Operations, which names one object."""
    if some is None:
        return {"taskId": task_id, "resultCode": "PermanentFailure", "resultString": "unsupported_event"}
    work = done[some[0]]
    # A rejected file is rejected whenever it is tried; the other failures may pass.
    code = {"rejected": "PermanentFailure", "failed": "TemporaryFailure"}.get(work.outcome, "Succeeded")
    return {"taskId": task_id, "resultCode": code, "resultString": work.reason or work.outcome}
