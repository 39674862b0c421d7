"""./deploy.sh check FILE...: say before an upload whether the pipeline would accept a file, and if not, why and where.

The judge is the handler's own code. Nothing of a file's content is printed: it is patient data.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
import sys
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from commands import handler
from commands.terminal import count, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from typing import Any, BinaryIO

IGNORED = "its name does not end in .json, so the pipeline would leave it alone"
LOOKS_LIKE = {  # the first bytes of files that are not JSON arrays in UTF-8
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"[\x00": "UTF-16",
    b"\x00[": "UTF-16",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"{": "records without the brackets of an array",
    b"<": "HTML or XML",
}
REMEDIES = {
    FileNotFoundError: "does not exist. Check its name and folder.",
    NotADirectoryError: "does not exist. Check its name and folder.",
    IsADirectoryError: "is a folder. Name the files in it.",
    PermissionError: "cannot be read: permission denied. Use an account that may read it.",
}


class Place(NamedTuple):
    """A place in a file: bytes are counted from 0, lines and columns from 1."""

    byte: int
    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line} column {self.column} (byte {self.byte})"


class Verdict(NamedTuple):
    """The handler's answer about a file. reason: empty if it is accepted."""

    records: int
    reason: str = ""
    place: Place | None = None
    looks_like: str = ""

    def __str__(self) -> str:
        if not self.reason:
            return f"accepted, {count(self.records, 'record')}"
        if self.looks_like:
            return f"rejected, {self.reason}: it looks like {self.looks_like}"
        return f"rejected, {self.reason}" + (f", {self.place}" if self.place else "")


class Text:
    """Finds the line and column of a byte in a file that is read once, and keeps only what may still be needed.

    Lines end with a line feed, a carriage return, or both. Columns are characters, not counting a byte order mark;
    bytes that are not UTF-8 count as the replacement character that an editor shows in their place.
    """

    def __init__(self) -> None:
        self.size = 0  # bytes added
        self._kept: deque[bytes] = deque()
        self._counted, self._line, self._column = 0, 1, 1
        self._after_return = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, data: bytes) -> None:
        """Add the next bytes. The first ones hold the whole of a byte order mark, if there is one."""
        self._kept.append(data)
        self.size += len(data)

    def forget(self, before: int) -> None:
        """Keep nothing that is needed only for places before this byte."""
        while self._kept and self._counted + len(self._kept[0]) <= before:
            self._count(self._kept.popleft())

    def place(self, byte: int) -> Place:
        """Return the place of a byte that was not forgotten. Call it only once."""
        while self._kept and self._counted < byte:
            self._count(self._kept.popleft()[: byte - self._counted])
        return Place(byte, self._line, self._column + len(self._decoder.decode(b"", final=True)))

    def _count(self, data: bytes) -> None:
        first, self._counted = not self._counted, self._counted + len(data)
        if first:
            data = data.removeprefix(codecs.BOM_UTF8)
        if self._after_return:
            data = data.removeprefix(b"\n")  # the second half of a line end already counted
        self._line += data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
        if start := max(data.rfind(b"\n"), data.rfind(b"\r")) + 1:
            self._decoder.reset()
            self._column = 1
        self._column += len(self._decoder.decode(data[start:]))
        self._after_return = data.endswith(b"\r")


def check_files(options: argparse.Namespace) -> int:
    """Do the verb's work. Returns the exit code. Raises Refused."""
    return check(options.files)


def check(files: Sequence[str]) -> int:
    """Print a line for each file: accepted or rejected, why and where. Raises Refused.

    Returns 1 if any file would not be processed or cannot be read, else 0.
    """
    code, failed = handler.load("check"), False
    for name in files:
        shown = printable(name) or '""'
        try:
            with open(name, "rb") as file:  # noqa: PTH123 - Path treats an empty name as a folder
                verdict = judge(code, file)
                regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        except OSError as error:
            remedy = REMEDIES.get(
                type(error), f"cannot be read: {error.strerror or type(error).__name__}. Try again, or copy it again."
            )
            print(f"error: {shown} {remedy}", file=sys.stderr)
            failed = True
            continue
        except Exception as error:  # noqa: BLE001 - the message of a foreign exception may quote the file
            print(f"error: {shown} cannot be checked: {code._reason(error)}. Report it.", file=sys.stderr)
            failed = True
            continue
        ignored = regular and not name.endswith(".json")  # a pipe has no name to be uploaded under
        note = f", {'and' if verdict.reason else 'but'} {IGNORED}" if ignored else ""
        print(f"{shown}: {verdict}{note}")
        failed |= bool(verdict.reason) or ignored
    return int(failed)


def judge(code: Any, file: BinaryIO) -> Verdict:
    """Read a file once, as the handler reads an object, and return what the handler says. Raises OSError."""
    text, head = Text(), b""

    def pieces() -> Iterator[bytes]:
        nonlocal head
        while data := file.read(code.READ_BYTES):
            head = head or data[:16]
            text.forget(framer.offset)
            text.add(data)
            yield data

    framer = code.Framer(pieces())
    try:
        for _ in framer.batches():
            pass
    except code.Rejected as error:
        reason = str(error)
    else:
        return Verdict(framer.records)
    at = fault(framer, reason)
    place = None if at is None else text.place(min(framer.offset + at, text.size))
    return Verdict(framer.records, reason, place, looks_like(head, reason))


def looks_like(head: bytes, reason: str) -> str:
    """Return what a file looks like from its first bytes, if it is not a JSON array in UTF-8."""
    if reason.partition(" ")[0] not in ("not_an_array", "malformed"):
        return ""
    head = head.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
    return next((what for start, what in LOOKS_LIKE.items() if head.startswith(start)), "")


def fault(framer: Any, reason: str) -> int | None:
    """Return where in its window the framer has found the fault, None if that is no help.

    For text that is not JSON or not UTF-8, and for trailing data, it is exact. Otherwise it is where the record begins.
    """
    window, decoders = framer._window, framer._decoders
    kind, record = reason.partition(" ")[0], re.search(r" record=(\d+)", reason)
    exact = None
    if kind in ("empty_file", "gzip"):
        return None
    if not framer.offset and not window.startswith(b"["):
        start = len(codecs.BOM_UTF8) * window.startswith(codecs.BOM_UTF8)
    elif not record:
        start = 0  # of what follows the array
    else:  # The window begins with an array. Usually the record is its first element, else those before are valid.
        before = int(record[1]) - framer.records
        start = 1 + (decoders.end_of(before, window[:]) if before else 0)
        if kind == "malformed":
            exact = not_json(decoders, window, start)
        elif kind == "not_utf8":
            exact = not_utf8(decoders, window, start)
    if exact is None:
        exact = first(window, start)
    return start if kind == "record_too_large" and exact == len(window) else exact


def first(window: bytearray, start: int) -> int:
    """Return where something other than white space begins."""
    return len(window) - len(window[start:].lstrip(b" \t\r\n"))


def not_json(decoders: Any, window: bytearray, start: int) -> int | None:
    """Return where a record is not JSON, from the decoder's error; for an escape in a string, where it begins."""
    _, error = decoders.decode(decoders.one, memoryview(window)[start:])
    told = re.fullmatch(r"JSON is malformed: (.+) \(byte (\d+)\)", str(error))
    if not told:
        return None
    what, at = told[1], start + int(told[2])
    if what == "trailing characters":
        return at - 1  # for these, the decoder reports the byte after
    if "escape" in what or "surrogate" in what:
        return window.rfind(b"\\u" if "unicode" in what else b"\\", start, at)
    return at


def not_utf8(decoders: Any, window: bytearray, start: int) -> int | None:
    """Return the first byte that is not UTF-8 in a string that the decoder reads; other strings may have more of them.

    The decoder does not report it. But it checks a string once it has found its end, which is the end of the shortest
    prefix of the record that it refuses for this reason.
    """
    view = memoryview(window)
    low, high = start, len(window)
    while low < high:
        middle = (low + high) // 2
        _, error = decoders.decode(decoders.one, view[start:middle])
        low, high = (low, middle) if isinstance(error, UnicodeDecodeError) else (middle + 1, high)
    end = opening = low - 1  # the closing quote
    while (opening := window.rfind(b'"', start, opening)) > 0:
        backslashes = 0
        while window[opening - backslashes - 1] == ord("\\"):
            backslashes += 1
        if backslashes % 2 == 0:
            break
    try:
        window[opening + 1 : end].decode()
    except UnicodeDecodeError as error:
        return opening + 1 + error.start
    return None
