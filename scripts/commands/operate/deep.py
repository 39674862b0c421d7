"""Make results again with the function's own code, and compare them."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import HTTPError

from commands import handler
from commands.terminal import Refused, printable

if TYPE_CHECKING:
    from collections.abc import Generator

    from commands.state import Pipeline

OF_REJECTED = "rejected, delete the result: "  # prefix of the reason for a fault that no repair removes


class Digest:
    """Stands in for S3 in the function's code: reads pass through, and of writes only a digest is kept."""

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
def function_code(pipeline: Pipeline) -> Any:
    """Return the function's code, set up to write to a Digest. Raises Refused where its packages are missing."""
    code: Any = handler.load("this command")
    code.s3 = Digest(pipeline.client("s3"))
    return code


def begin_reading(
    pipeline: Pipeline, bucket: str, key: str, version_id: str, etag: str
) -> tuple[dict[str, Any], Any, Generator[bytes]]:
    """Begin to read a version, as the handler does, but without a deadline. Raises ClientError.

    Returns S3's response, the handler's Work and the pieces, which raise what the handler's Download raises.
    """
    code = function_code(pipeline)
    got = pipeline.s3.get_object(Bucket=bucket, Key=key, VersionId=version_id)
    work = code.Work(bucket, key, version_id, etag)
    return got, work, code.Download(work, got["Body"], got["ContentLength"], lambda: 3_600_000).pieces()


def differs(pipeline: Pipeline, key: str, version_id: str, etag: str) -> str:
    """Make a result again from its raw version with the function's own code. Returns how it differs, empty if not."""
    code = function_code(pipeline)
    _, work, pieces = begin_reading(pipeline, pipeline.raw, key, version_id, etag)
    try:
        code._copy(work, pieces)
    except code.Rejected as error:
        return OF_REJECTED + str(error)
    except (code.Failure, HTTPError, OSError) as error:
        raise Refused(f"{printable(key)} could not be read to its end ({type(error).__name__}). Try again.") from None
    found = hashlib.sha256()
    for data in pipeline.s3.get_object(Bucket=pipeline.processed, Key=key)["Body"].iter_chunks(256 * 1024):
        found.update(data)
    return "" if found.digest() == code.s3.of.pop(key).digest() else "content"
