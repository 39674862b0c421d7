"""restore, audit --remove-orphans, and singulars and plurals in messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from commands import terminal
from commands.operate import verbs

from tests.unit.invocations import notification

from .pipeline import (
    AUDIT,
    BAD,
    ODD_KEYS,
    ONE,
    TWO,
    Pipeline,
    Run,
    refuse,
)

PART = 5 * 1024 * 1024  # the smallest part that S3 takes, but for the last one


def delete(pipeline: Pipeline, *keys: str, bucket: str = "raw") -> None:
    """Delete objects; their versions stay."""
    for key in keys:
        pipeline.s3.delete_object(Bucket=bucket, Key=key)


def content(pipeline: Pipeline, key: str, bucket: str = "raw") -> bytes | None:
    """Return the content of an object's newest version, None if it is deleted."""
    try:
        return bytes(pipeline.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except pipeline.s3.exceptions.NoSuchKey:
        return None


def versions(pipeline: Pipeline, bucket: str = "raw") -> list[tuple[str, str]]:
    """Return key and ID of each version in a bucket but delete markers."""
    pages = pipeline.s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    return sorted((one["Key"], one["VersionId"]) for page in pages for one in page.get("Versions", []))


# --- restore: a deleted upload ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_deleted_upload_is_restored_and_processed(pipeline: Pipeline, run: Callable[..., Run], key: str) -> None:
    pipeline.upload(key)
    pipeline.upload(key, body=TWO)
    before = versions(pipeline)
    delete(pipeline, key)
    delete(pipeline, key, bucket="processed")
    answer = run("restore", "--key", key)
    named = terminal.printable(key)
    assert (answer.code, answer.errors) == (0, "")
    assert answer.text == f"{named} is no longer deleted, and was sent through the pipeline.\n"
    assert (content(pipeline, key), versions(pipeline)) == (TWO, before)
    assert pipeline.work_off() == 1
    assert (run(*AUDIT).code, run(*AUDIT).summary["processed"]) == (0, 1)


def test_a_key_is_not_confused_with_others_that_begin_like_it(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    keys = ["a", "a.jso", "a.json", "a.json.bak", "a.json/b.json", "a.jsonl", "b.json"]
    for key in keys:
        pipeline.put(key)
        delete(pipeline, key)
    assert run("restore", "--key", "a.json").code == 0
    assert [key for key in keys if content(pipeline, key)] == ["a.json"]
    assert run("restore", "--key", "a.json.bak").code == 0
    assert [key for key in keys if content(pipeline, key)] == ["a.json", "a.json.bak"]


def test_an_unknown_key_is_not_confused_with_one_that_begins_like_it(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    pipeline.put("a.json.bak")
    delete(pipeline, "a.json.bak")
    assert refused(run("restore", "--key", "a.json")) == (
        "a.json is not deleted, or its versions are gone. To bring an older version back, add --version."
    )
    assert (content(pipeline, "a.json.bak"), pipeline.work_off()) == (None, 0)


def refused(answer: Run) -> str:
    """Return the reason of a refusal, which must be one line."""
    assert (answer.code, answer.text) == (1, "")
    (line,) = answer.errors.splitlines()
    assert line.startswith("error: ")
    return str(line.removeprefix("error: "))


def test_an_upload_deleted_repeatedly_is_restored(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    pipeline.put("a.json", TWO)
    delete(pipeline, *["a.json"] * 5)
    in_pages_of(pipeline, 2)
    assert run("restore", "--key", "a.json").code == 0
    assert content(pipeline, "a.json") == TWO
    assert pipeline.work_off() == 1  # one event, not one for each delete marker


def in_pages_of(pipeline: Pipeline, number: int) -> None:
    """Let S3 list so many versions at a time."""

    def ask_for_few(params: Any, **_: Any) -> None:
        params["MaxKeys"] = number

    pipeline.client("s3").meta.events.register("provide-client-params.s3.ListObjectVersions", ask_for_few)


def test_delete_markers_below_the_newest_version_stay(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    delete(pipeline, "a.json")
    pipeline.put("a.json", TWO)
    delete(pipeline, "a.json")
    assert run("restore", "--key", "a.json").code == 0
    listing = pipeline.s3.list_object_versions(Bucket="raw")
    assert (content(pipeline, "a.json"), len(listing["DeleteMarkers"]), len(listing["Versions"])) == (TWO, 1, 2)


def test_an_upload_with_several_pages_of_versions_is_restored(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    def cut_pages(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return params | {"MaxKeys": 4}  # in place of 1,000

    pipeline.client("s3").meta.events.register("provide-client-params.s3.ListObjectVersions", cut_pages)
    for body in [ONE] * 9 + [TWO]:
        pipeline.put("a.json", body)
    pipeline.put("b.json")
    delete(pipeline, *["a.json"] * 9, "b.json")
    assert run("restore", "--key", "a.json").code == 0
    assert (content(pipeline, "a.json"), content(pipeline, "b.json")) == (TWO, None)
    assert len(versions(pipeline)) == 11


def test_an_upload_that_is_not_deleted_or_has_no_versions_is_refused(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    pipeline.put("there.json")
    expired = pipeline.put("expired.json")
    delete(pipeline, "expired.json")
    pipeline.s3.delete_object(Bucket="raw", Key="expired.json", VersionId=expired)
    pipeline.put("expired.json.bak")
    for key in ("there.json", "expired.json", "never.json"):
        assert refused(run("restore", "--key", key)) == (
            f"{key} is not deleted, or its versions are gone. To bring an older version back, add --version."
        )
    listing = pipeline.s3.list_object_versions(Bucket="raw")
    assert [marker["Key"] for marker in listing["DeleteMarkers"]] == ["expired.json"]
    assert (content(pipeline, "there.json"), pipeline.work_off()) == (ONE, 0)


def test_the_permission_to_delete_a_delete_marker_is_named(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    delete(pipeline, "a.json")
    refuse(pipeline.client("s3"), "s3", "DeleteObject", "AccessDenied")
    assert refused(run("restore", "--key", "a.json")) == (
        "AWS refuses DeleteObject. These credentials need the permission s3:DeleteObject (and s3:DeleteObjectVersion)."
    )
    assert pipeline.work_off() == 0


# --- restore: an older version ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_older_version_becomes_the_newest_one(pipeline: Pipeline, run: Callable[..., Run], key: str) -> None:
    old = pipeline.put(key, ONE)
    pipeline.put(key, TWO)
    before = versions(pipeline)
    answer = run("restore", "--key", key, "--version", old)
    assert (answer.code, answer.errors) == (0, "")
    assert answer.text == (f"{terminal.printable(key)} has the content of version {old} again, as a new upload.\n")
    assert content(pipeline, key) == ONE
    assert len(versions(pipeline)) == 3
    assert set(before) < set(versions(pipeline))
    assert pipeline.work_off() == 0  # S3 sends a notification of its own


def test_an_older_version_of_a_deleted_upload_is_restored(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    old = pipeline.put("a.json", ONE)
    pipeline.put("a.json", TWO)
    delete(pipeline, "a.json")
    assert run("restore", "--key", "a.json", "--version", old).code == 0
    assert content(pipeline, "a.json") == ONE


@pytest.mark.parametrize("parts", [1, 3])
def test_a_copy_keeps_content_type_and_metadata_however_large(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    body = ONE + b" " * (2 * PART + 1000)
    kept = {"ContentType": "application/fhir+json", "Metadata": {"scanner": "7", "note": "O'Brien, 50 %"}}
    old = pipeline.s3.put_object(Bucket="raw", Key="O'Brien.json", Body=body, **kept)["VersionId"]
    pipeline.put("O'Brien.json", TWO)
    if parts > 1:
        monkeypatch.setattr(verbs, "COPY_BYTES", PART)
        monkeypatch.setattr(verbs, "COPY_PART_BYTES", PART)
    calls: list[str] = []
    pipeline.client("s3").meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    assert run("restore", "--key", "O'Brien.json", "--version", old).code == 0
    copied = pipeline.s3.get_object(Bucket="raw", Key="O'Brien.json")
    assert copied["Body"].read() == body
    assert {name: copied[name] for name in kept} == kept
    assert (calls.count("UploadPartCopy"), calls.count("CopyObject")) == ((3, 0) if parts > 1 else (0, 1))


def test_a_version_that_cannot_be_copied_is_reported_in_one_line(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    other = pipeline.put("b.json")
    marker = pipeline.s3.delete_object(Bucket="raw", Key="a.json")["VersionId"]
    for version in (other, marker, "soon"):
        assert refused(run("restore", "--key", "a.json", "--version", version)) == (
            f"a.json has no version {version} that can be copied. aws s3api list-object-versions lists them."
        )
    assert (content(pipeline, "a.json"), len(versions(pipeline))) == (None, 2)


def test_an_invalid_version_id_is_reported_in_one_line(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    refuse(pipeline.client("s3"), "s3", "HeadObject", "InvalidArgument", 400)
    assert refused(run("restore", "--key", "a.json", "--version", "x")).startswith("a.json has no version x that can ")


@pytest.mark.parametrize(
    ("call", "needs"),
    [
        ("HeadObject", "s3:GetObject (and s3:ListBucket)"),
        ("CopyObject", "s3:GetObjectVersion and s3:PutObject (and kms:GenerateDataKey)"),
    ],
)
def test_the_permission_to_copy_a_version_is_named(
    pipeline: Pipeline, run: Callable[..., Run], call: str, needs: str
) -> None:
    version = pipeline.put("a.json")
    refuse(pipeline.client("s3"), "s3", call, "AccessDenied")
    assert refused(run("restore", "--key", "a.json", "--version", version)) == (
        f"AWS refuses {call}. These credentials need the permission {needs}."
    )


# --- audit --remove-orphans -------------------------------------------------------------------------------------------


def test_only_results_without_a_source_are_deleted(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("good.json", "stale.json", "tampered.json", *ODD_KEYS)
    pipeline.put("stale.json", TWO)
    pipeline.put("missing.json")
    pipeline.upload("tampered.json", body=BAD)
    pipeline.s3.put_object(Bucket="processed", Key="tampered.json", Body=b"[]")
    delete(pipeline, *ODD_KEYS)
    before = versions(pipeline, "processed")
    assert run(*AUDIT).summary["orphaned"] == len(ODD_KEYS)
    assert content(pipeline, ODD_KEYS[0], "processed")  # as nothing was said of deleting
    answer = run(*AUDIT, "--remove-orphans")
    assert answer.code == 1  # for the faults, which it leaves as they are
    assert answer.errors.endswith(f"\nDeleted {len(ODD_KEYS)} orphaned results.\n")
    left = {key for key, _ in before if content(pipeline, key, "processed")}
    assert left == {"good.json", "stale.json", "tampered.json"}
    assert versions(pipeline, "processed") == before  # so that they can be brought back
    assert pipeline.work_off() == 0
    answer = run(*AUDIT)
    assert answer.states == {"missing.json": "missing", "stale.json": "stale", "tampered.json": "tampered"}


def test_removing_orphans_keeps_to_the_prefix(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("a/1.json", "b/1.json")
    delete(pipeline, "a/1.json", "b/1.json")
    answer = run("audit", "--remove-orphans", "--prefix", "a/")
    assert (answer.code, answer.errors.splitlines()[-1]) == (0, "Deleted 1 orphaned result.")
    assert content(pipeline, "a/1.json", "processed") is None
    assert content(pipeline, "b/1.json", "processed")


def test_a_result_is_kept_if_its_source_is_uploaded_before_the_deletion(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.upload("a.json", "b.json")
    delete(pipeline, "a.json", "b.json")
    remove_orphans = verbs.remove_orphans

    def upload_first(*arguments: Any) -> int:
        pipeline.upload("a.json", body=TWO)
        return remove_orphans(*arguments)

    monkeypatch.setattr(verbs, "remove_orphans", upload_first)
    assert run("audit", "--remove-orphans").errors.endswith("Deleted 1 orphaned result.\n")
    assert (bool(content(pipeline, "a.json", "processed")), pipeline.work_off()) == (True, 0)
    assert run(*AUDIT).summary == run(*AUDIT).summary | {"processed": 1, "orphaned": 0, "missing": 0}


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_source_uploaded_while_its_result_is_deleted_is_sent_again(
    pipeline: Pipeline, run: Callable[..., Run], key: str
) -> None:
    pipeline.upload(key)
    delete(pipeline, key)

    def upload_meanwhile(**_: Any) -> None:  # it is processed already when the request to delete reaches S3
        pipeline.upload(key, body=TWO)

    pipeline.client("s3").meta.events.register("before-call.s3.DeleteObject", upload_meanwhile)
    assert run("audit", "--remove-orphans").code == 0
    assert run(*AUDIT).states == {key: "missing"}
    assert pipeline.work_off() == 1
    answer = run(*AUDIT)
    assert (answer.code, answer.summary["processed"]) == (0, 1)


def test_removing_orphans_can_be_resumed(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{n}.json" for n in range(5)]
    pipeline.upload(*keys)
    delete(pipeline, *keys)
    deleted: list[str] = []

    def stop_after_two(params: Any, **_: Any) -> None:
        deleted.append(params["Key"])
        if len(deleted) == 2:
            terminal.stopping.set()

    pipeline.client("s3").meta.events.register("provide-client-params.s3.DeleteObject", stop_after_two)
    answer = run("audit", "--remove-orphans")
    assert (answer.code, deleted) == (130, keys[:2])
    assert [bool(content(pipeline, key, "processed")) for key in keys] == [False] * 2 + [True] * 3
    answer = run("audit", "--remove-orphans", "--resume")
    assert (answer.code, answer.errors.splitlines()[-1]) == (0, "Deleted 3 orphaned results.")
    assert deleted == keys


# --- one and many -----------------------------------------------------------------------------------------------------


def fail(pipeline: Pipeline, *keys: str, attempts: int) -> None:
    """Put an event about each object into the dead-letter queue."""
    for key in keys:
        record = {"requestPayload": notification(key), "requestContext": {"approximateInvokeCount": attempts}}
        pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody=json.dumps(record))


def stop_after(monkeypatch: pytest.MonkeyPatch, module: str, steps: int) -> None:
    """Interrupt the run at one of the safe places of a module."""
    left = iter(range(steps - 1))

    def pause(seconds: float) -> None:
        if next(left, None) is None:
            terminal.stopping.set()
        terminal.pause(seconds)

    monkeypatch.setattr(f"{module}.pause", pause)


@pytest.mark.slow
@pytest.mark.usefixtures("function")
@pytest.mark.parametrize("number", [1, 2])
def test_messages_use_singular_and_plural(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def n(noun: str) -> str:
        return f"1 {noun}" if number == 1 else f"2 {noun}s"

    keys = [f"{i}.json" for i in range(number)]
    for key in keys:
        pipeline.put(key, TWO if number == 2 else ONE)
    audit = ("audit", "--in-flight", "0")
    to_resume = "To resume, run the same command with --resume."

    with monkeypatch.context() as patch:
        stop_after(patch, "commands.operate.audit", number)
        assert run(*audit).errors == f"Stopped after {n('object')}. {to_resume}\n"
    assert run(*audit, "--resume").errors == (
        f"Resuming after {n('object')}.\n"
        f"To send {n('object')} through the pipeline again, run the same command with --repair.\n"
    )
    assert run(*audit, "--repair").errors == (
        f"Sent {n('object')} through the pipeline again. Then check: ./deploy.sh audit test\n"
    )
    assert run(*audit).errors.splitlines()[0] == (
        f"{n('event')} in the ingestion queue may be about objects listed above."
    )
    assert run("failures").errors == (
        f"No failed events.\n{n('event')} in the ingestion queue may have failed and be waiting for another attempt.\n"
    )
    assert f"\nwaiting           {n('event')} in the queue\n" in run("status").text
    pipeline.work_off()
    assert f"\nin the last hour  {n('file')} in, {number} out, 0 rejected, 0 failed, 0 gone\n" in run("status").text
    assert f"  {n('record')}  " in run("logs", "--once").text

    with monkeypatch.context() as patch:
        stop_after(patch, "commands.operate.verbs", 1)
        answer = run("reprocess", "--prefix", "")
    assert answer.errors == f"Stopped after sending {n('object')}. {to_resume}\n"
    assert run("reprocess", "--prefix", "", "--resume").errors == (
        f"Resuming after {n('object')}, at {keys[-1]}.\nSent {n('object')} through the pipeline.\n"
    )
    pipeline.work_off()

    delete(pipeline, *keys)
    assert run("audit", "--remove-orphans").errors.splitlines()[-1] == f"Deleted {n('orphaned result')}."

    for key in keys:
        pipeline.upload(key, body=BAD)
        pipeline.s3.put_object(Bucket="processed", Key=key, Body=b"[]")
    assert run(*audit).errors == (
        f"To be deleted by hand, as docs/restoring.md says: {n('result')} of rejected files.\n"
    )
    pipeline.sqs.purge_queue(QueueUrl=pipeline.dead_letter)
    pipeline.logs.delete_log_group(logGroupName="group")
    pipeline.logs.create_log_group(logGroupName="group")

    fail(pipeline, *keys, attempts=number)
    answer = run("failures")
    assert answer.errors == (
        f"{n('rejected file')}, to be fixed and uploaded again.\n"
        f"{n('failed event')}. To send them through the pipeline again: ./deploy.sh redrive test\n"
    )
    failed = [line for line in answer.text.splitlines() if "  failed  " in line]
    assert len(failed) == number
    assert all(line.endswith(f"  unknown  {n('attempt')}") for line in failed)
    assert f"\nfailed events     {number} in the dead-letter queue" in run("status").text
    held = pipeline.sqs.receive_message(QueueUrl=pipeline.dead_letter, MaxNumberOfMessages=10, VisibilityTimeout=3600)[
        "Messages"
    ]
    assert run("failures").errors == (
        f"{n('rejected file')}, to be fixed and uploaded again.\n"
        f"Not shown: about {n('failed event')}, held by another command, or by one that was killed. "
        "Try again later.\n"
    )
    for message in held:
        pipeline.sqs.change_message_visibility(
            QueueUrl=pipeline.dead_letter, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    for _ in keys:
        pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody="not json")
    odd = f"Left in the dead-letter queue, not an S3 event: {n('message')}.\n"
    assert run("redrive", "--dry-run").errors == f"{odd}Would send back {n('event')}.\n"
    with monkeypatch.context() as patch:
        patch.setattr(verbs, "remove", lambda *arguments: len(arguments[2]))
        answer = run("redrive", "--wait", "0")
    assert answer.errors == (
        f"{odd}Sent back, but not deleted from the dead-letter queue: {n('message')}. "
        "Processing an event twice is harmless.\n"
        f"Sent back {n('event')}.\n"
    )
    answer = run("redrive", "--wait", "0.1")
    assert answer.errors == f"{odd}Sent back {n('event')}. Failed again or not done yet: {n('object')}.\n"
