"""The keys to audit, from listings of both buckets, or from an inventory of the raw one."""

from __future__ import annotations

import csv
import gzip
import hashlib
import heapq
import itertools
import json
import re
import tempfile
from dataclasses import dataclass
from operator import attrgetter
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from botocore.exceptions import ClientError

from commands.terminal import Refused, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from commands.operate.ledger import Ledger
    from commands.state import Pipeline


class Row(NamedTuple):
    """A key of the raw bucket, the processed bucket or both, with the newest raw version if there is one."""

    key: str
    version_id: str = ""
    etag: str = ""


def listed(pipeline: Pipeline, prefix: str, after: str) -> Iterator[Row]:
    """Merge the listings of both buckets, which S3 returns in key order, starting after the key `after`."""

    def raw() -> Iterator[Row]:
        pages = pipeline.s3.get_paginator("list_object_versions").paginate(
            Bucket=pipeline.raw, Prefix=prefix, **({"KeyMarker": after} if after else {})
        )
        for page in pages:  # a key that was deleted has a delete marker for its newest version, and so no row
            for version in page.get("Versions", []):
                if version["IsLatest"]:
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
        """Return the inventory that a manifest describes. Raises Refused if it lacks keys of a prefix."""
        match = re.fullmatch(r"s3://([^/]+)/((?:.+/)?([^/]+)/[^/]+/manifest\.json)", manifest)
        if not match:
            raise Refused(f"not a manifest of an inventory: {manifest}. It looks like s3://BUCKET/.../manifest.json.")
        bucket, key, name = match.groups()
        content = json.load(pipeline.s3.get_object(Bucket=bucket, Key=key)["Body"])
        columns = [column.strip() for column in content["fileSchema"].split(",")]
        if content["sourceBucket"] != pipeline.raw:
            raise Refused(f"that inventory is of {content['sourceBucket']}. One of {pipeline.raw} is needed.")
        if content["fileFormat"] != "CSV" or not {"Key", "VersionId", "IsLatest", "IsDeleteMarker"} <= set(columns):
            raise Refused("the inventory must be in CSV, of all versions. Change its configuration, wait for the next.")
        # The files of an inventory do not say what it leaves out.
        try:
            answer = pipeline.s3.get_bucket_inventory_configuration(Bucket=pipeline.raw, Id=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchConfiguration":
                raise
            raise Refused(
                f"the inventory's configuration {name} was deleted, so its coverage is unknown. Take another inventory."
            ) from None
        covered = answer["InventoryConfiguration"].get("Filter", {}).get("Prefix", "")
        if not prefix.startswith(covered):
            raise Refused(f"the inventory covers {printable(covered)} only. Use --prefix {printable(covered)}")
        return cls(bucket, columns, content["files"], int(content["creationTimestamp"]) / 1000)

    def rows(self, pipeline: Pipeline, ledger: Ledger, prefix: str) -> Iterator[Row]:
        """Yield its keys, also deleted ones, except those already done in the ledger. Raises Refused if damaged."""
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
                    if item["IsLatest"] == "true" and key.startswith(prefix):
                        row += 1
                        deleted = item["IsDeleteMarker"] == "true"
                        if row > done:
                            yield Row(key) if deleted else Row(key, item["VersionId"], item.get("ETag", ""))
            ledger.put(**{f"end of file {number}": row})


def fetch(pipeline: Pipeline, bucket: str, file: dict[str, Any], data: IO[bytes]) -> None:
    """Download a file of an inventory: looking at its objects takes longer than S3 keeps a connection open.

    Raises Refused if it is damaged.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    for chunk in pipeline.s3.get_object(Bucket=bucket, Key=file["key"])["Body"].iter_chunks(256 * 1024):
        data.write(chunk)
        md5.update(chunk)
    if md5.hexdigest() != file["MD5checksum"]:
        raise Refused(f"the inventory's file {file['key']} is damaged. Take another inventory.")
    data.seek(0)
