"""Verdicts: what the function writes about the files that it rejects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from commands.aws import THREADS
from commands.operate.objects import each, head, lineage, source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from commands.state import Pipeline


@dataclass(frozen=True)
class Verdict:
    """Why a version of a file is rejected. source: its version ID and ETag; at: when, in seconds since the epoch."""

    key: str
    source: tuple[str, str]
    reason: str
    at: float


def verdict_on(pipeline: Pipeline, key: str) -> Verdict | None:
    """Return the verdict on a key, None if there is none. It may be about an older version."""
    try:
        found = pipeline.s3.get_object(Bucket=pipeline.rejected, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise
    return Verdict(key, source(found), reason(found["Body"].read()), found["LastModified"].timestamp())


def reason(body: bytes) -> str:
    """Return the reason in a verdict, as the log has it: a code, and where it applies the record and the field."""
    try:
        verdict = json.loads(body)
        where = [f"{name}={verdict[name]}" for name in ("record", "field") if verdict[name] is not None]
        return " ".join([verdict["reason"], *where])
    except (ValueError, KeyError, TypeError):
        return "unknown"


def standing(pipeline: Pipeline) -> Iterator[Verdict]:
    """Yield the verdicts that stand, in order of their keys: those on the newest version of a file."""

    def of(key: str) -> Verdict | None:
        verdict, newest = verdict_on(pipeline, key), head(pipeline, pipeline.raw, key)
        if verdict and newest and verdict.source == lineage(newest):
            return verdict
        return None

    pages = pipeline.s3.get_paginator("list_objects_v2").paginate(Bucket=pipeline.rejected)
    keys = (item["Key"] for page in pages for item in page.get("Contents", []))
    yield from (verdict for _, verdict in each(of, keys, THREADS) if verdict)
