"""failures: rejected files and failed events, of whatever form the messages in the dead-letter queue are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from commands.operate import queues

from tests.unit.invocations import event, notification

from .pipeline import BAD, MODES, ODD_KEYS, Pipeline, Run, a_line, fail_in_direct_mode, refuse


@MODES
def test_failures_shows_time_object_reason_and_count_and_removes_nothing(
    pipeline: Pipeline, run: Callable[..., Run], fail: Callable[..., None]
) -> None:
    fail(pipeline, *ODD_KEYS, "twice.json", "twice.json")
    assert pipeline.dead() == len(ODD_KEYS) + 2
    for _ in range(2):  # looking at them does not hide them from the next look
        answer = run("failures", "--json")
        assert answer.code == 0
        assert answer.summary == {"rejected": 0, "messages": len(ODD_KEYS) + 2, "hidden": 0, "waiting": 0}
        shown = {line["key"]: line for line in answer.lines[:-1]}
        assert shown.keys() == {*ODD_KEYS, "twice.json"}
        assert {line["reason"] for line in shown.values()} == {"PutObject AccessDenied"}
        assert (shown["twice.json"]["messages"], shown["a b.json"]["messages"]) == (2, 1)
        assert shown["a b.json"]["tries"] == (3 if fail is fail_in_direct_mode else 2)
        newest = pipeline.s3.head_object(Bucket="raw", Key="twice.json")["VersionId"]
        assert shown["twice.json"]["version_id"] == newest
        assert shown["twice.json"]["first"] <= shown["twice.json"]["last"]
    answer = run("failures")
    assert answer.errors == (
        f"{len(ODD_KEYS) + 2} failed events. To send them through the pipeline again: ./deploy.sh redrive test\n"
    )
    text = answer.text.splitlines()
    assert len(text) == len(shown)
    assert re.search(r"\S+Z  failed    twice\.json  PutObject AccessDenied  2 events  \d attempts$", text[-1])


def test_failures_without_a_reason_from_the_function(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    sent = notification("slow.json")
    record = event("lambda_failure_record") | {"requestPayload": sent}
    timeout = {"errorMessage": "2026-01-01T00:00:00Z req Task timed out after 300.00 seconds"}
    crash = {"errorType": "Runtime.ExitError", "errorMessage": "RequestId: x Error: Runtime exited"}
    expired = {"requestId": "x", "condition": "EventAgeExceeded", "approximateInvokeCount": 7}
    unasked = {"version": "1.0", "requestContext": expired, "requestPayload": notification("expired.json")}
    bodies = [
        json.dumps(record | {"responsePayload": timeout}),
        json.dumps(record | {"responsePayload": crash, "requestPayload": notification("crash.json")}),
        json.dumps(unasked),
        json.dumps(notification("silent.json")),
        "not json",
        json.dumps({"requestPayload": {"Records": [7]}}),
    ]
    for body in bodies:
        pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody=body)
    answer = run("failures", "--json")
    assert answer.reasons == {
        "slow.json": "timed_out", "crash.json": "Runtime.ExitError", "expired.json": "EventAgeExceeded",
        "silent.json": "unknown", "": "unsupported_event",
    }  # fmt: skip
    tries = {line["key"]: line["tries"] for line in answer.lines[:-1]}
    assert tries == {"slow.json": 3, "crash.json": 3, "expired.json": 7, "silent.json": None, "": None}
    assert answer.summary["messages"] == 6


def test_only_the_failed_objects_of_an_event_are_shown(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    answer = {"errorMessage": "gzip bucket=raw key=b.json version=2; empty_file bucket=raw key=c.json version=3"}
    record = {"requestPayload": notification("a.json", "b.json", "c.json"), "responsePayload": answer}
    pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody=json.dumps(record))
    shown = run("failures", "--json")
    assert shown.reasons == {"b.json": "gzip", "c.json": "empty_file"}
    assert [line["version_id"] for line in shown.lines[:-1]] == ["2", "3"]


def test_no_failures(run: Callable[..., Run]) -> None:
    assert run("failures").errors == "No failed events.\n"
    assert run("failures", "--json").lines == [{"summary": {"rejected": 0, "messages": 0, "hidden": 0, "waiting": 0}}]
    answer = run("redrive")
    assert (answer.code, answer.errors) == (0, "Sent back 0 events.\n")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"reason":7,"record":null,"field":null}'])
def test_an_overwritten_verdict_still_counts(pipeline: Pipeline, run: Callable[..., Run], body: bytes) -> None:
    pipeline.upload("a.json", body=BAD)
    metadata = pipeline.s3.head_object(Bucket="rejected", Key="a.json")["Metadata"]
    pipeline.s3.put_object(Bucket="rejected", Key="a.json", Body=body, Metadata=metadata)
    assert run("failures", "--json").reasons == {"a.json": "unknown"}


def test_rejected_files_and_failed_events_are_listed_apart(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.upload("bad.json", body=BAD)
    fail_in_direct_mode(pipeline, "failed.json")
    answer = run("failures")
    failed, rejected = answer.text.splitlines()
    assert re.search(r"^\S+Z  failed    failed\.json  PutObject AccessDenied  ", failed)
    assert re.search(r"^\S+Z  rejected  bad\.json  missing_field record=0 field=patient_name$", rejected)
    assert answer.errors.splitlines() == [
        "1 rejected file, to be fixed and uploaded again.",
        "1 failed event. To send them through the pipeline again: ./deploy.sh redrive test",
    ]


NAMED = {"Records": [{"s3": {"bucket": {"name": "raw"}, "object": {"key": "a.json"}}}]}


ODD_MESSAGES = {  # and how many failed events of a.json are seen in them
    "a number for a key": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":7}}}]}', 0),
    "no key": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":null}}}]}', 0),
    "an empty key": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":""}}}]}', 0),
    "half a character": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":"\\ud800.json"}}}]}', 0),
    "a key that is not UTF-8": ('{"Records":[{"s3":{"bucket":{"name":"raw"},"object":{"key":"%ff.json"}}}]}', 0),
    "a list for a bucket": ('{"Records":[{"s3":{"bucket":{"name":[]},"object":{"key":"a.json"}}}]}', 0),
    "open brackets": ("[" * 100_000, 0),
    "open braces": ('{"a":' * 100_000, 0),
    "nested as deep as is read": ('{"Records":[{"s3":{"a":' + "[" * 980 + "]" * 980 + "}}]}", 0),
    "an SNS notification": (json.dumps(event("sns_notification")), 0),
    "an event of EventBridge": (json.dumps(event("eventbridge_object_created")), 0),
    "a test event": (json.dumps(event("s3_test_event")), 0),
    "no records": (json.dumps(event("s3_empty_records")), 0),
    "an object for records": ('{"Records":{}}', 0),
    "null for a record": ('{"Records":[null]}', 0),
    "text": ('"text"', 0),
    "null": ("null", 0),
    "an answer that is text": (json.dumps({"requestPayload": NAMED, "responsePayload": "text"}), 1),
    "a number for a context": (json.dumps({"requestPayload": NAMED, "requestContext": 7}), 1),
    "a huge number of tries": (
        json.dumps({"requestPayload": NAMED, "requestContext": {"approximateInvokeCount": 10**30}}), 1,
    ),
    "an object for a version": (json.dumps(NAMED).replace('"a.json"', '"a.json","versionId":{}'), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_MESSAGES)
def test_an_odd_message_is_recognized_as_an_event_or_not(name: str) -> None:
    body, seen = ODD_MESSAGES[name]
    assert [found.key for found in queues.failed_objects(body)[1]] == ["a.json"] * seen


def test_odd_messages_do_not_block_the_others(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    seen = sum(seen for _, seen in ODD_MESSAGES.values())
    for body, _ in ODD_MESSAGES.values():
        pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody=body)
    fail_in_direct_mode(pipeline, "good.json")
    answer = run("failures", "--json")
    assert {line["key"]: line["messages"] for line in answer.lines[:-1]} == {
        "": len(ODD_MESSAGES) - seen, "a.json": seen, "good.json": 1,
    }  # fmt: skip
    assert answer.reasons[""] == "unsupported_event"
    answer = run("redrive", "--wait", "0", "--json")
    assert [line["key"] for line in answer.lines[:-1]] == ["a.json", "good.json"]
    assert pipeline.dead() == len(ODD_MESSAGES) - seen


def test_a_log_line_with_a_lone_surrogate_does_no_harm(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    line = a_line("\ud800.json", "failed") | {"level": "ERROR", "version_id": ""}
    pipeline.write(json.dumps(line))
    assert run("failures", "--json").reasons.keys() == {"a.json"}
    assert run("logs", "--once").code == 0


def test_failed_events_held_by_another_command_are_reported(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b.json")
    (held,) = pipeline.sqs.receive_message(QueueUrl=pipeline.dead_letter, VisibilityTimeout=3600)["Messages"]
    hidden = "Not shown: about 1 failed event, held by another command, or by one that was killed. Try again later."
    answer = run("failures")
    assert len(answer.text.splitlines()) == 1
    assert hidden in answer.errors
    assert run("failures", "--json").summary == {"rejected": 0, "messages": 1, "hidden": 1, "waiting": 0}
    assert hidden in run("redrive", "--wait", "0").errors
    assert run("failures").errors.splitlines() == [hidden, WAITING]  # and not that there are none
    visible = {"ReceiptHandle": held["ReceiptHandle"], "VisibilityTimeout": 0}
    pipeline.sqs.change_message_visibility(QueueUrl=pipeline.dead_letter, **visible)
    assert run("failures", "--json").summary["messages"] == 1


WAITING = "1 event in the ingestion queue may have failed and be waiting for another attempt."


def test_failed_events_awaiting_another_attempt_are_reported(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    pipeline.sqs.send_message(QueueUrl=pipeline.ingestion, MessageBody=json.dumps(notification("a.json")))
    pipeline.sqs.receive_message(QueueUrl=pipeline.ingestion, VisibilityTimeout=1800)  # failed once: four to go
    assert run("failures").errors.splitlines() == ["No failed events.", WAITING]
    assert run("failures", "--json").summary == {"rejected": 0, "messages": 0, "hidden": 0, "waiting": 1}


def test_a_message_is_released_by_its_newest_receipt(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody="not json")
    client, given_back = pipeline.client("sqs"), list[str]()
    receive, change = client.receive_message, client.change_message_visibility_batch
    answers: list[Any] = []

    def receive_at_once_again(**request: Any) -> Any:
        answers.append(receive(**request | {"VisibilityTimeout": 0 if len(answers) < 1 else 60}))
        return answers[-1]

    def note(**request: Any) -> Any:
        given_back.extend(entry["ReceiptHandle"] for entry in request["Entries"])
        return change(**request)

    monkeypatch.setattr(client, "receive_message", receive_at_once_again)
    monkeypatch.setattr(client, "change_message_visibility_batch", note)
    assert run("failures", "--json").summary["messages"] == 1
    first, second = (answer["Messages"][0]["ReceiptHandle"] for answer in answers[:2])
    assert (given_back, first == second) == ([second], False)


def test_more_failed_events_than_sqs_hands_out_are_reported(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    refuse(pipeline.client("sqs"), "sqs", "ReceiveMessage", "OverLimit")
    assert run("failures").errors.splitlines()[0].startswith("SQS hands out 120,000 messages at a time")
