"""Find patients in every version of uploads and results, reading records as the handler does.

The ids asked about stay in memory: no argument, message, report or file that a command leaves contains them.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import stat
import struct
import sys
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from commands.check import looks_like
from commands.operate.deep import begin_reading, function_code
from commands.operate.ledger import Ledger, ledger_path
from commands.operate.objects import each
from commands.operate.queues import Pace
from commands.operate.verbs import STOPS
from commands.terminal import Progress, Refused, count, iso, moment, out, pause, printable, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import BinaryIO

    from commands.state import Pipeline

SIDE_BY_SIDE = 16  # objects read at the same time
WHOLE_BYTES = 1024 * 1024  # objects up to this size are held whole, so that most are ruled out without being framed
MOST_IDS = 1000  # in one run
FEW_IDS = 16  # with more, framing is faster than searching for each
COMMIT_EVERY = 1000  # versions; the most that is repeated after a run was killed
COMPRESSED = ("a zip archive", "a 7-Zip archive", "a bzip2 file", "an xz file", "a Zstandard file")
GONE = ("NoSuchKey", "NoSuchVersion")
STATES = {
    "records": "hold records of these patients",
    "text": "rejected files, which hold an id somewhere in their text",
    "archived": "not searched: to be restored from the archive first",
    "unreadable": "not searched: compressed or damaged",
}
UNREAD = ("archived", "unreadable")


# --- ids --------------------------------------------------------------------------------------------------------------

_ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL)
_LONGEST_ESCAPE = 12
_SHORT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_WORD = rb"[A-Za-z0-9_]"
_patient_id = attrgetter("patient_id")


class Patients:
    """The ids asked about. A record belongs to a patient if the handler reads exactly this id in it."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = frozenset(ids)
        # The ids as they appear in a text without escapes. A rejected file may not be in UTF-8.
        forms = {form for one in self.ids for form in _forms(one)}
        self._escapes = re.compile(
            b"|".join(sorted({one for char in set("".join(self.ids)) for one in _escapes(char)}))
        )
        self._needles = sorted(forms)
        self._patterns = [(form, re.compile(_on_its_own(form), re.DOTALL)) for form in self._needles]
        self._longest = max(map(len, forms), default=0)

    def among(self, batch: list[Any]) -> int:
        """Return how many records of a batch are of these patients."""
        if self.ids.isdisjoint(map(_patient_id, batch)):  # nearly always so, and faster than counting
            return 0
        return sum(map(self.ids.__contains__, map(_patient_id, batch)))

    def ruled_out(self, data: bytes) -> bool:
        """Return whether a whole file is sure to hold none of the ids. If not, nothing is known yet.

        If none of its characters is escaped, an id appears as it is. Content that is not a JSON array may be anything.
        """
        return (
            len(self.ids) <= FEW_IDS
            and data[:16].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1] == b"["
            and b"\0" not in data
            and not (b"\\" in data and self._escapes.search(data))  # a single byte is found faster
            and not any(needle in data for needle in self._needles)
        )

    def in_text(self, pieces: Iterable[bytes]) -> bool:
        """Return whether an id appears in text of any kind, as it is or escaped, but not as part of a longer word."""
        as_it_is, unescaped = (_Search(self._patterns, self._longest) for _ in range(2))
        escapes = _Unescape()
        for piece in pieces:
            # For ASCII characters, UTF-16 is the same text with zero bytes in it.
            if as_it_is.feed(piece) or unescaped.feed(escapes.feed(piece.replace(b"\0", b""))):
                return True
        return as_it_is.feed(b"", last=True) or unescaped.feed(escapes.feed(b"", last=True), last=True)


def _forms(one: str) -> Iterator[bytes]:
    """Yield the bytes of an id in the encodings that exports come in."""
    yield one.encode()
    if not one.isascii():
        yield one.encode("utf-16-le")
        yield one.encode("utf-16-be")
        with contextlib.suppress(UnicodeEncodeError):
            yield one.encode("latin-1")


def _escapes(char: str) -> Iterator[bytes]:
    """Yield patterns of JSON's escapes for a character, or for its surrogates."""
    if short := {escaped.decode(): letter for letter, escaped in _SHORT.items()}.get(char):
        yield rb"\\" + short
    if char in '"\\/':
        yield rb"\\" + re.escape(char.encode())
    for (unit,) in struct.iter_unpack(">H", char.encode("utf-16-be")):
        yield rb"\\u" + re.sub("[a-f]", lambda digit: f"[{digit[0]}{digit[0].upper()}]", f"{unit:04x}").encode()


def _on_its_own(form: bytes) -> bytes:
    """Return a pattern of a form that is not part of a longer word. It begins with the form, which is found fast."""
    text = re.escape(form)
    before = rb"(?<!" + _WORD + text + rb")" if re.match(_WORD, form) else b""
    after = rb"(?!" + _WORD + rb")" if re.match(_WORD, form[-1:]) else b""
    return text + before + after


class _Search:
    """Looks for patterns in a text that arrives in pieces."""

    def __init__(self, patterns: list[tuple[bytes, re.Pattern[bytes]]], longest: int) -> None:
        self._patterns, self._overlap = patterns, longest + 2  # with the characters before and after
        self._window, self._at_start = b"", True

    def feed(self, data: bytes, *, last: bool = False) -> bool:
        """Add the next bytes. Returns whether a pattern is found and the bytes before and after it are known."""
        window = self._window + data
        for form, pattern in self._patterns:
            if form not in window:
                continue
            for match in pattern.finditer(window):
                if (match.start() or self._at_start) and (match.end() < len(window) or last):
                    return True
        self._at_start &= len(window) <= self._overlap
        self._window = window[-self._overlap :]
        return False


class _Unescape:
    """Replaces JSON's escapes in a text that arrives in pieces; if it is not JSON, whatever looks like an escape."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """Add the next bytes. Returns the text as far as it is known."""
        window = self._rest + data
        limit = len(window) if last else max(len(window) - _LONGEST_ESCAPE, 0)
        parts, at = [], 0
        for match in _ESCAPE.finditer(window):
            if match.start() >= limit:
                break
            parts += [window[at : match.start()], _unescaped(match[0])]
            at = match.end()
        limit = max(limit, at)
        parts.append(window[at:limit])
        self._rest = window[limit:]
        return b"".join(parts)


def _unescaped(escape: bytes) -> bytes:
    if escape[1:2] != b"u" or len(escape) < 6:
        return _SHORT.get(escape[1:], escape[1:])
    units = b"".join(bytes.fromhex(unit.decode()) for unit in escape.split(b"\\u")[1:])
    return units.decode("utf-16-be", "replace").encode()


def ask_for(path: str) -> tuple[Patients, str]:
    """Read ids, one a line, from a file or, if none is named, from standard input. Raises Refused.

    Returns them and what identifies the file to a later run, which is empty if it is no file and never made from ids.
    """
    try:
        if path:
            with open(path, "rb") as file:  # noqa: PTH123 - Path treats an empty name as a folder
                data, source = _read(file)
        else:
            if sys.stdin.isatty():
                say("Type the patient ids, one a line, then Ctrl-D.")
            data, source = _read(sys.stdin.buffer)
    except OSError as error:  # without the name: somebody may have typed an id in its place
        raise Refused(f"the file of --patients cannot be read: {error.strerror}. Check its name.") from None
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise Refused("the patient ids are not UTF-8. Save the file as UTF-8, one id a line.") from None
    ids = {line.removesuffix("\r") for line in lines} - {""}
    if not ids:
        raise Refused("there are no patient ids to look for. Write them one a line into a file: --patients FILE.")
    if len(ids) > MOST_IDS:
        raise Refused(f"there are {count(len(ids), 'patient id')}; one run takes {MOST_IDS:,}. Split the file.")
    if any(one != one.strip() for one in ids):
        say("A line begins or ends with white space. It belongs to the id, as ids are compared character by character.")
    return Patients(ids), source


def _read(file: BinaryIO) -> tuple[bytes, str]:
    data = file.read()
    try:
        status = os.fstat(file.fileno())
    except OSError:  # in a test, for example
        return data, ""
    regular = stat.S_ISREG(status.st_mode)
    return data, f"{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}" if regular else ""


def same_question(ledger: Ledger, resume: bool, **question: Any) -> None:
    """Note the question or, with `resume`, compare it. Raises Refused when it differs from that of the stopped run.

    For ids, only the file's place on the disk and last change are compared, so what is kept reveals nothing about them.
    """
    for name, value in question.items():
        before = ledger.get(f"asked {name}")
        if resume and before is not None and (before != value or (name == "patients" and not value)):
            raise Refused(
                "the stopped run was asked about other patients, or the file with their ids has changed since, or it "
                "was empty. Run the command without --resume."
                if name == "patients"
                else f"the stopped run had another {name}. Run the command without --resume."
            )
        ledger.put(**{f"asked {name}": value})
    ledger.db.commit()


# --- one version ------------------------------------------------------------------------------------------------------


class Version(NamedTuple):
    """A version of an object. modified: when it was written, in seconds since the epoch; newest: nothing came after."""

    bucket: str
    key: str
    version_id: str
    etag: str
    modified: float
    newest: bool


class Held(NamedTuple):
    """What a version holds of the patients: how many of its records are theirs, or why that is not known."""

    version: Version
    state: str
    matched: int = 0
    records: int = 0
    reason: str = ""


def pieces_of(pipeline: Pipeline, version: Version) -> tuple[dict[str, Any], Generator[bytes]]:
    """Return S3's response for a version and its pieces, as `begin_reading` does."""
    got, _, pieces = begin_reading(pipeline, version.bucket, version.key, version.version_id, version.etag)
    return got, pieces


def look(pipeline: Pipeline, patients: Patients, version: Version) -> Held | None:
    """Search a version for records of patients. None if it has none, or is gone. Raises Refused, ClientError."""
    code = function_code(pipeline)

    def again() -> Iterator[bytes]:
        return iter([data]) if whole else pieces_of(pipeline, version)[1]

    try:
        got, pieces = pieces_of(pipeline, version)
        data, whole = b"", got["ContentLength"] <= WHOLE_BYTES
        if whole:
            data = b"".join(pieces)
            if patients.ruled_out(data):
                return None
        try:
            matched, records = count_records(code, patients, iter([data]) if whole else pieces)
        except code.Rejected as error:
            if error.reason == "gzip" or looks_like(next(again(), b""), error.reason) in COMPRESSED:
                return Held(version, "unreadable", reason="compressed")
            return Held(version, "text", reason=error.reason) if patients.in_text(again()) else None
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return None
        if error.response["Error"]["Code"] == "InvalidObjectState":
            return Held(version, "archived")
        raise
    except code.Failure as error:
        return Held(version, "unreadable", reason=str(error))
    except (HTTPError, OSError) as error:
        raise Refused(
            f"{printable(version.key)} could not be read to its end ({type(error).__name__}). Try again."
        ) from None
    return Held(version, "records", matched, records) if matched else None


def count_records(code: Any, patients: Patients, pieces: Iterator[bytes]) -> tuple[int, int]:
    """Return how many records of a file are of these patients, and how many it has. Raises Rejected."""
    framer = code.Framer(pieces)
    matched = sum(map(patients.among, framer.batches()))
    return matched, framer.records


# --- all of them ------------------------------------------------------------------------------------------------------


def versions(pipeline: Pipeline, prefix: str, after: str = "") -> Iterator[Version]:
    """Yield all versions of uploads and results, in order of their keys, starting after the key `after`."""

    def of(bucket: str) -> Iterator[Version]:
        pages = pipeline.s3.get_paginator("list_object_versions").paginate(
            Bucket=bucket, Prefix=prefix, **({"KeyMarker": after} if after else {})
        )
        for page in pages:
            for one in page.get("Versions", []):
                if one["Key"] > after:
                    yield Version(
                        bucket,
                        one["Key"],
                        one["VersionId"],
                        one["ETag"].strip('"'),
                        one["LastModified"].timestamp(),
                        one["IsLatest"],
                    )

    return heapq.merge(of(pipeline.raw), of(pipeline.processed), key=attrgetter("key"))


def search(pipeline: Pipeline, ledger: Ledger, patients: Patients, prefix: str, rate: float, since: float = 0) -> None:
    """Search all versions that were written since a time, and note which hold something. Resumes a stopped run.

    rate: versions per second. Raises Interrupted, Refused, ClientError; what was noted stays noted.
    """
    function_code(pipeline)  # once, before there are threads
    pace, progress, after = Pace(rate), Progress("versions searched"), ledger.get("after", "")
    done, at = ledger.get("done", 0), after

    def paced() -> Iterator[Version]:
        for version in versions(pipeline, prefix, after):
            if version.modified >= since:
                pace.keep(1)
                yield version

    try:
        for version, held in each(lambda one: look(pipeline, patients, one), paced(), SIDE_BY_SIDE):
            if version.key != at:  # all versions of the previous key are done
                ledger.put(after=at, done=done)
                at = version.key
            done += 1
            if held:
                note(ledger, held)
            if done % COMMIT_EVERY == 0:
                ledger.db.commit()
            progress.show(done, version.key)
            pause(0)
        ledger.put(after=at, done=done)
    finally:
        ledger.db.commit()
        progress.clear()


def note(ledger: Ledger, held: Held) -> None:
    """Note what a version holds."""
    version = held.version
    ledger.db.execute(
        "insert or replace into held values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [*version, held.state, held.matched, held.records, held.reason],
    )


def noted(ledger: Ledger, condition: str = "true", values: Iterable[Any] = ()) -> Iterator[Held]:
    """Yield what was noted, in order of keys and times."""
    query = f"select * from held where {condition} order by key, bucket, newest, modified, rowid desc"  # noqa: S608 - a constant
    for *version, state, matched, records, reason in ledger.db.execute(query, list(values)):
        yield Held(Version(*version), state, matched, records, reason)


def find(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Show where patients are. Returns 1 when some of the versions could not be searched, else 0. Raises Refused."""
    patients, source = ask_for(options.patients)
    ledger = Ledger(ledger_path("find", pipeline.raw, options.prefix, options.since), options.resume)
    same_question(ledger, options.resume, patients=source)
    since = ledger.get("since") or moment(options.since or "1970-01-01")
    ledger.put(since=since)
    run(ledger, lambda: search(pipeline, ledger, patients, options.prefix, options.rate, since))
    unread = show(pipeline, ledger, as_json=options.json)
    ledger.finish()
    return int(unread > 0)


def run(ledger: Ledger, work: Callable[[], None]) -> None:
    """Do work that can be resumed, and say so when it is stopped. Raises what the work raises."""
    if done := ledger.get("done", 0):
        say(f"Resuming after {count(done, 'version')}.")
    try:
        work()
    except STOPS:
        if done := ledger.get("done", 0):
            say(f"Stopped after {count(done, 'version')}. To resume, run the same command with --resume.")
        raise


def role(pipeline: Pipeline, bucket: str) -> str:
    """Return what a bucket is for."""
    return {pipeline.raw: "raw", pipeline.processed: "processed", pipeline.rejected: "rejected"}[bucket]


def show(pipeline: Pipeline, ledger: Ledger, *, as_json: bool) -> int:
    """Show every version that was noted, then how many there are of each state. Returns how many were not searched."""
    counts, records = dict.fromkeys(STATES, 0), 0
    for held in noted(ledger):
        version = held.version
        counts[held.state] += 1
        records += held.matched
        where = role(pipeline, version.bucket)
        if as_json:
            out(
                key=version.key,
                bucket=where,
                version_id=version.version_id,
                written=iso(version.modified),
                newest=bool(version.newest),
                state=held.state,
                records=held.matched if held.state == "records" else None,
                of=held.records if held.state == "records" else None,
                reason=held.reason,
            )
            continue
        what = f"{held.matched:,} of {count(held.records, 'record')}" if held.state == "records" else held.state
        print(
            f"{where:9}  {printable(version.key)}  version {version.version_id}  {iso(version.modified)}  "
            f"{'newest' if version.newest else 'older'}  {what}" + (f"  {held.reason}" if held.reason else "")
        )
    unread = sum(counts[state] for state in UNREAD)
    searched = ledger.get("done", 0)
    if as_json:
        out(summary=counts | {"matched_records": records, "searched": searched}, ok=not unread)
        return unread
    for state, meaning in STATES.items():
        print(f"{state:10} {counts[state]:>12,}  {meaning}")
    say(f"Searched {count(searched, 'version')} of uploads and results.")
    if unread:
        say(f"Not searched: {count(unread, 'version')}, which may hold records of these patients as well.")
    return unread
