"""audit of an S3 inventory instead of listings."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import pytest
from botocore.response import StreamingBody
from commands import terminal
from commands.operate import audit, listing

from .pipeline import AUDIT, ODD_KEYS, TWO, Pipeline, Run, refuse
from .runbook import INVENTORY

MADE = 1_700_000_000


def inventory(s3: Any, rows: list[list[str]], prefix: str = "", **manifest: Any) -> str:
    """Write an inventory as S3 does, in two files; return its address."""
    s3.create_bucket(Bucket="reports")
    configuration = {
        **INVENTORY,
        "Id": "all",
        "Destination": {"S3BucketDestination": {"Bucket": "arn:aws:s3:::reports", "Format": "CSV"}},
        **({"Filter": {"Prefix": prefix}} if prefix else {}),
    }
    s3.put_bucket_inventory_configuration(Bucket="raw", Id="all", InventoryConfiguration=configuration)
    files = []
    for number, part in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows(part)
        body = gzip.compress(text.getvalue().encode())
        files.append({"key": f"data/{number}.csv.gz", "MD5checksum": hashlib.md5(body).hexdigest()})  # noqa: S324
        s3.put_object(Bucket="reports", Key=files[-1]["key"], Body=body)
    schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"
    made = {"creationTimestamp": str(MADE * 1000)}
    content = {"sourceBucket": "raw", "fileFormat": "CSV", "fileSchema": schema, "files": files} | made | manifest
    s3.put_object(Bucket="reports", Key="raw/all/2026-01-31T01-00Z/manifest.json", Body=json.dumps(content))
    return "s3://reports/raw/all/2026-01-31T01-00Z/manifest.json"


def test_audit_reads_an_inventory_instead_of_listings(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("deleted.json", "stale.json", "sourceless.json", *ODD_KEYS)
    pipeline.s3.delete_object(Bucket="raw", Key="sourceless.json")
    pipeline.put("notes.txt")
    pipeline.put("stale.json", TWO)
    listing = pipeline.s3.list_object_versions(Bucket="raw")
    rows = [
        ["raw", quote_plus(item["Key"]), item["VersionId"], str(item["IsLatest"]).lower(), gone, "1", etag]
        for kind, gone in (("Versions", "false"), ("DeleteMarkers", "true"))
        for item in listing[kind]
        for etag in [item.get("ETag", "").strip('"')]
    ]
    address = inventory(pipeline.s3, rows[::-1])
    # The inventory is a day old: what happened meanwhile is no fault.
    pipeline.s3.delete_object(Bucket="processed", Key="deleted.json")
    pipeline.upload(ODD_KEYS[0], body=TWO)
    pipeline.s3.delete_object(Bucket="raw", Key=ODD_KEYS[1])
    pipeline.s3.delete_object(Bucket="processed", Key=ODD_KEYS[1])
    answer = run(*AUDIT, "--inventory", address)
    assert answer.states == {
        "deleted.json": "missing", "notes.txt": "ignored", "sourceless.json": "orphaned", "stale.json": "stale",
    }  # fmt: skip
    assert answer.summary["processed"] == len(ODD_KEYS) - 1
    assert answer.lines[-1]["up_to"] == terminal.iso(MADE)


def rows_of(pipeline: Pipeline) -> list[list[str]]:
    """Return what an inventory made now would hold."""
    versions = pipeline.s3.list_object_versions(Bucket="raw")["Versions"]
    return [["raw", one["Key"], one["VersionId"], "true", "false", "1", one["ETag"].strip('"')] for one in versions]


def test_the_audit_of_an_inventory_covers_nothing_later(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a.json")
    address = inventory(pipeline.s3, rows_of(pipeline))
    pipeline.put("never.json")
    answer = run("audit", "--in-flight", "0", "--inventory", address)
    assert (answer.code, answer.errors.splitlines()) == (
        0,
        [
            f"The inventory was made at {terminal.iso(MADE)}. Later uploads are not looked at.",
            f"Every upload up to {terminal.iso(MADE)} is accounted for.",
        ],
    )


def test_an_inventory_that_does_not_cover_the_prefix_is_refused(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("scans/2026/a.json")
    address = inventory(pipeline.s3, rows_of(pipeline), prefix="scans/2026")
    for prefix in ("", "scans/", "other/"):
        answer = run("audit", "--inventory", address, "--prefix", prefix)
        assert (answer.code, answer.text) == (1, "")
        assert answer.errors == "error: the inventory covers scans/2026 only. Use --prefix scans/2026\n"
    assert run("audit", "--inventory", address, "--prefix", "scans/2026/").code == 0
    refuse(pipeline.client("s3"), "s3", "GetBucketInventoryConfiguration", "NoSuchConfiguration", 404)
    assert run("audit", "--inventory", address).errors == (
        "error: the inventory's configuration all was deleted, so its coverage is unknown. Take another inventory.\n"
    )


def test_a_resumed_audit_does_not_read_finished_inventory_files_again(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{n}.json" for n in range(10)]
    pipeline.upload(*keys)
    pipeline.put("never.json")
    address = inventory(pipeline.s3, rows_of(pipeline))
    fetch, fetched, steps = listing.fetch, list[str](), iter(range(6))

    def note_file(*arguments: Any) -> None:
        fetched.append(arguments[2]["key"])
        fetch(*arguments)

    def pause(seconds: float) -> None:
        if next(steps, None) is None:
            terminal.stopping.set()  # in the second file
        terminal.pause(seconds)

    monkeypatch.setattr(listing, "fetch", note_file)
    monkeypatch.setattr(audit, "pause", pause)
    assert run(*AUDIT, "--inventory", address).code == 130
    monkeypatch.setattr(audit, "pause", terminal.pause)
    fetched.clear()
    answer = run(*AUDIT, "--inventory", address, "--resume")
    assert (answer.states, answer.summary["processed"]) == ({"never.json": "missing"}, 10)
    assert fetched == ["data/1.csv.gz"]


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ({"sourceBucket": "other"}, "that inventory is of other. One of raw is needed."),
        ({"fileFormat": "ORC"}, "the inventory must be in CSV, of all versions."),
        ({"fileSchema": "Bucket, Key, Size"}, "the inventory must be in CSV, of all versions."),
    ],
)
def test_an_inventory_of_another_kind_is_refused(
    pipeline: Pipeline, run: Callable[..., Run], manifest: Any, says: str
) -> None:
    answer = run("audit", "--inventory", inventory(pipeline.s3, [], **manifest))
    assert (answer.code, answer.text) == (1, "")
    assert f"error: {says}" in answer.errors


def test_a_damaged_inventory_is_refused(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    address = inventory(pipeline.s3, [])
    pipeline.s3.put_object(Bucket="reports", Key="data/1.csv.gz", Body=b"?")
    assert "error: the inventory's file data/1.csv.gz is damaged." in run("audit", "--inventory", address).errors


def test_an_address_that_is_not_a_manifest_is_refused(run: Callable[..., Run]) -> None:
    answer = run("audit", "--inventory", "s3://reports/")
    assert answer.errors.splitlines()[-1].startswith("error: not a manifest of an inventory: s3://reports/. ")


def test_a_truncated_answer_is_not_blamed_on_the_credentials(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = inventory(pipeline.s3, [])
    client = pipeline.client("s3")
    get = client.get_object

    def cut(**request: Any) -> Any:
        answer = get(**request)
        return answer | {"Body": StreamingBody(io.BytesIO(answer["Body"].read()[:-1]), answer["ContentLength"])}

    monkeypatch.setattr(client, "get_object", cut)
    assert run("audit", "--inventory", address).errors.splitlines()[-1] == (
        "error: an answer of AWS broke off. Run this again."
    )


def test_an_invalid_value_is_not_blamed_on_the_credentials(run: Callable[..., Run]) -> None:
    answer = run("audit", "--inventory", "s3://no bucket/raw/audit/2026-01-31T00-00Z/manifest.json")
    assert re.fullmatch(
        r'error: AWS does not accept that value: .*Invalid bucket name "no bucket".* Correct the options\.\n',
        answer.errors,
    )
