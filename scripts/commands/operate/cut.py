"""Remove the records of patients from a file, and keep every other byte of it."""

from __future__ import annotations

import hashlib
import itertools
from contextlib import suppress
from types import GenericAlias
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError

from commands.operate.deep import function_code
from commands.operate.find import Version, pieces_of
from commands.terminal import pause

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from commands.operate.find import Patients
    from commands.state import Pipeline

PART_BYTES = 8 * 1024 * 1024
MOST_PARTS = 9000  # S3 accepts 10,000, and a part may be a little smaller than planned
KEPT_HEADERS = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType")
SOURCE = "erased-from"  # metadata of a rewritten file: the version that it replaces
CHANGED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409", "NoSuchKey", "404")


class Changed(Exception):  # noqa: N818 - not always an error of the command
    """Somebody else has written or deleted the object meanwhile."""


class Cut:
    """Removes the records of patients from a file that arrives in pieces.

    kept, removed: how many records so far. The digest covers the records that are kept, byte for byte.
    """

    def __init__(self, code: Any, patients: Patients) -> None:
        self.kept = self.removed = 0
        self._code, self._patients = code, patients
        self._digest = hashlib.sha256()
        self._split = code.msgspec.json.Decoder(GenericAlias(list, code.msgspec.Raw)).decode
        self._head = self._space = b""

    @property
    def proof(self) -> tuple[int, str]:
        """The number of records kept, and their digest: the same for two files with the same records."""
        return self.kept, self._digest.hexdigest()

    def pieces(self, source: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the file without the records, in pieces. Raises Rejected.

        The handler's framer gives a batch of records and the byte of the file up to which it has framed; the decoder
        separates the records of the batch.
        """
        start, pending = 0, bytearray()  # pending: read but not yet yielded; start: its offset in the file

        def read() -> Iterator[bytes]:
            for data in source:
                pending.extend(data)
                yield data

        framer = self._code.Framer(read())
        for batch in framer.batches():
            text = bytes(pending[: framer.offset - start])
            yield self._without(text, batch, closed=framer.closed)
            del pending[: len(text)]
            start += len(text)
        if not self.kept:
            yield self._head
        yield self._space + bytes(pending)

    def _without(self, text: bytes, batch: list[Any], *, closed: bool) -> bytes:
        """Return the text of a batch, which begins with the comma before it, without the records of the patients."""
        at, end = 0, len(text)
        if not (self.kept or self.removed):
            at = self._code._START.match(text).end()
            self._head = text[:at]
        if closed:
            end = len(text.rstrip(self._code._WHITE)) - 1
        inner = text[at:end].lstrip(self._code._WHITE).removeprefix(b",")
        raws = self._split(b"[" + inner + b"]")
        parts = []
        for raw, record in zip(raws, batch, strict=True):
            record_bytes = bytes(raw)
            start = text.index(b"{", at)  # before it there are white space and the comma
            space, at = self._space + text[at:start], start + len(record_bytes)
            self._space = b""
            if record.patient_id in self._patients.ids:
                self.removed += 1
                continue
            parts.append(space if self.kept else self._head + space.rpartition(b",")[2])
            parts.append(record_bytes)
            self.kept += 1
            self._digest.update(record_bytes + b"\0")  # which JSON never holds
        self._space = text[at:]
        return b"".join(parts)


def cut_of(pipeline: Pipeline, patients: Patients, version: Version) -> Cut:
    """Read a version to its end. Returns how much is removed from it and what is kept. Raises Rejected, ClientError."""
    cut = Cut(function_code(pipeline), patients)
    _, source = pieces_of(pipeline, version)
    for _ in cut.pieces(source):
        pass
    return cut


def rewrite(pipeline: Pipeline, patients: Patients, version: Version, newest: str) -> Cut:
    """Write a version without the records of patients over the newest one, which is given by its ETag.

    Returns what was kept. Raises Changed if another version is the newest one by now, Rejected, ClientError,
    Interrupted; then nothing was written.
    """
    got, source = pieces_of(pipeline, version)
    cut = Cut(function_code(pipeline), patients)
    parts = parts_of(cut.pieces(source), max(PART_BYTES, got["ContentLength"] // MOST_PARTS))
    first, second = next(parts), next(parts, b"")
    headers = {name: got[name] for name in KEPT_HEADERS if name in got}
    headers["Metadata"] = got["Metadata"] | {SOURCE: version.version_id}
    if headers["Metadata"].pop("record-count", None) and not second:  # of a result; like the handler, not in parts
        headers["Metadata"]["record-count"] = str(cut.kept)
    if got.get("TagCount"):
        tags = pipeline.s3.get_object_tagging(Bucket=version.bucket, Key=version.key, VersionId=version.version_id)
        headers["Tagging"] = urlencode({tag["Key"]: tag["Value"] for tag in tags["TagSet"]})
    place, only = {"Bucket": version.bucket, "Key": version.key}, {"IfMatch": f'"{newest}"'}
    pause(0)
    try:
        if second:
            in_parts(pipeline, place, only, itertools.chain([first, second], filter(None, parts)), headers)
        else:
            pipeline.s3.put_object(**place, **only, **headers, Body=first)
    except ClientError as error:
        if error.response["Error"]["Code"] in CHANGED:
            raise Changed from None
        raise
    return cut


def parts_of(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Join pieces into parts of at least that many bytes, except the last one."""
    part = bytearray()
    for piece in pieces:
        part += piece
        if len(part) >= size:
            yield bytes(part)
            part.clear()
    yield bytes(part)


def in_parts(
    pipeline: Pipeline, place: dict[str, Any], only: dict[str, str], parts: Iterable[bytes], headers: dict[str, Any]
) -> None:
    """Upload in parts. If anything goes wrong, nothing remains. Raises Interrupted, ClientError."""
    s3, sent = pipeline.s3, []
    place = place | {"UploadId": s3.create_multipart_upload(**place, **headers, ChecksumAlgorithm="CRC32")["UploadId"]}
    try:
        for number, body in enumerate(parts, 1):
            pause(0)
            part = s3.upload_part(**place, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32")
            sent.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
        s3.complete_multipart_upload(**place, **only, MultipartUpload={"Parts": sent})
    except BaseException:
        with suppress(BotoCoreError, ClientError):  # otherwise the bucket's lifecycle rule does this
            s3.abort_multipart_upload(**place)
        raise
