"""Objects, one or many of them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from commands.state import Pipeline


def head(pipeline: Pipeline, bucket: str, key: str) -> Any:
    """Return S3's headers of an object, None if there is none. Raises ClientError."""
    try:
        return pipeline.s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":
            return None
        raise


def lineage(answer: Any) -> tuple[str, str]:
    """Return the version ID and the ETag from S3's headers of an object."""
    return answer.get("VersionId", "null"), answer["ETag"].strip('"')


def source(answer: Any) -> tuple[Any, Any]:
    """Return the version ID and ETag of the source of a result or a verdict, None where its metadata has none."""
    metadata = answer["Metadata"] if answer else {}
    return metadata.get("source-version-id"), metadata.get("source-etag")


def result_of(pipeline: Pipeline, key: str, versions: Container[str]) -> Any:
    """Return S3's response for a result, with its Body, or None unless it is made from one of the versions.

    Raises ClientError.
    """
    try:
        found = pipeline.s3.get_object(Bucket=pipeline.processed, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise
    if source(found)[0] in versions:
        return found
    found["Body"].close()
    return None


def each[T, R](work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[tuple[T, R]]:
    """Yield items in order, each with the result of `work`; threads work a bounded number of items ahead."""
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
