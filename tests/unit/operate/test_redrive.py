"""redrive: failed events go back into the pipeline, none is lost on the way, and each outcome is reported."""

from __future__ import annotations

import threading
import time
import types
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from commands import state, terminal
from commands.aws import Account
from commands.operate import log, queues
from commands.terminal import Refused

from .pipeline import AUDIT, MODES, ODD_KEYS, Pipeline, Run, a_line, fail_in_direct_mode, refuse, stop_sending_after


@pytest.fixture
def lambda_works(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the function take what is in the queue whenever redrive reads its log."""
    read = log.log_lines

    def work_and_read(*arguments: Any) -> Any:
        pipeline.work_off()
        return read(*arguments)

    monkeypatch.setattr(log, "log_lines", work_and_read)


@MODES
@pytest.mark.usefixtures("lambda_works")
def test_redrive_resends_failed_events_and_reports_each_outcome(
    pipeline: Pipeline, run: Callable[..., Run], fail: Callable[..., None]
) -> None:
    fail(pipeline, "bad.json", "deleted.json", *ODD_KEYS)
    pipeline.s3.delete_object(Bucket="raw", Key="deleted.json")
    pipeline.refused = {"bad.json"}
    answer = run("redrive", "--json", "--wait", "0.1")
    assert answer.code == 1
    became = {line["key"]: (line["outcome"], line["reason"]) for line in answer.lines[:-1]}
    assert became == dict.fromkeys(ODD_KEYS, ("processed", "")) | {
        "bad.json": ("failed", "PutObject AccessDenied"),
        "deleted.json": ("gone", ""),
    }
    assert answer.summary == {"messages": 10, "hidden": 0, "processed": 8, "gone": 1, "failed": 1}
    assert answer.errors == "Sent back 10 events. Failed again or not done yet: 1 object.\n"
    assert pipeline.dead() == 1  # bad.json is back
    assert run(*AUDIT).states == {"bad.json": "missing"}
    pipeline.refused.clear()
    assert run("redrive").code == 0
    assert pipeline.dead() == 0


def test_an_answer_without_new_messages_is_not_taken_for_the_end(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, *(f"{n:02}.json" for n in range(21)))
    receive, answers = pipeline.client("sqs").receive_message, list[Any]()

    def receive_again(**request: Any) -> Any:
        if len(answers) == 1:
            answers.append({"Messages": answers[0]["Messages"][:1]})  # its hiding is over
        elif len(answers) == 2:
            answers.append({})  # by servers that have none
        else:
            answers.append(receive(**request))
        return answers[-1]

    monkeypatch.setattr(pipeline.client("sqs"), "receive_message", receive_again)
    answer = run("redrive", "--wait", "0", "--rate", "1000")
    assert answer.errors == "Sent back 21 events.\n"
    assert pipeline.dead() == 0


def test_a_message_that_sqs_does_not_delete_is_reported_and_released(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b.json", "c.json")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    client, calls = pipeline.client("sqs"), list[int]()
    delete = client.delete_message_batch

    def all_but_one(QueueUrl: str, Entries: list[Any]) -> Any:
        calls.append(len(Entries))
        stubborn, *others = Entries
        answer = delete(QueueUrl=QueueUrl, Entries=others) if others else {}
        return answer | {"Failed": [{"Id": stubborn["Id"], "Code": "InternalError", "SenderFault": False}]}

    monkeypatch.setattr(client, "delete_message_batch", all_but_one)
    answer = run("redrive", "--wait", "0")
    assert answer.errors == (
        "Sent back, but not deleted from the dead-letter queue: 1 message. Processing an event twice is harmless.\n"
        "Sent back 3 events.\n"
    )
    assert calls == [3, 1, 1, 1, 1, 1]
    assert run("failures", "--json").summary["messages"] == 1


def test_interrupting_redrive_reports_what_was_sent(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, *(f"{n:02}.json" for n in range(30)))
    stop_sending_after(monkeypatch, 2)
    answer = run("redrive", "--rate", "10000", "--json")
    assert answer.code == 130
    assert [line["outcome"] for line in answer.lines[:-1]] == ["sent"] * 20
    assert answer.summary == {"messages": 20, "hidden": 0, "sent": 20}
    assert answer.errors == (
        "Stopped. Events that were not sent back are still in the dead-letter queue.\nSent back 20 events.\n"
    )
    assert (pipeline.dead(), pipeline.work_off()) == (10, 40)  # each tried twice


def test_events_sent_before_a_refusal_are_reported(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, *(f"{n:02}.json" for n in range(30)))
    left = iter(range(2))

    def send(*arguments: Any) -> None:
        if next(left, None) is None:
            raise Refused("the ingestion queue is full")
        queues.send(*arguments)

    monkeypatch.setattr("commands.operate.verbs.send", send)
    answer = run("redrive", "--rate", "10000", "--json")
    assert (answer.code, answer.summary["sent"]) == (1, 20)
    assert answer.errors.splitlines()[-1] == "error: the ingestion queue is full"
    monkeypatch.undo()


def test_a_refusal_while_waiting_does_not_hide_what_was_sent(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    refuse(pipeline.client("logs"), "logs", "FilterLogEvents", "AccessDenied")
    answer = run("redrive", "--json")
    assert (answer.code, answer.summary["unfinished"]) == (1, 1)
    assert answer.errors.splitlines()[-1].startswith("error: AWS refuses FilterLogEvents.")


def test_a_key_without_failed_events_is_reported(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    answer = run("redrive", "--key", "b.json", "--key", "a.json", "--wait", "0")
    assert answer.errors.splitlines() == ["There is no failed event about b.json.", "Sent back 1 event."]


def test_redrive_of_one_object_leaves_the_others(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b c.json", "d.json")
    answer = run("redrive", "--key", "b c.json", "--key", "d.json", "--wait", "0", "--json")
    assert answer.lines[:-1] == [{"key": key, "outcome": "sent", "reason": ""} for key in ("b c.json", "d.json")]
    assert run("failures", "--json").reasons.keys() == {"a.json"}
    assert pipeline.work_off() == 4  # two messages, each tried twice


def test_a_dry_run_changes_nothing(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    answer = run("redrive", "--dry-run")
    assert (answer.code, answer.text) == (0, "would be sent  a.json\n")
    assert answer.errors == "Would send back 1 event.\n"
    assert (pipeline.work_off(), run("failures", "--json").summary["messages"]) == (0, 1)


def test_events_that_fail_again_immediately_are_resent_only_once(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, *(f"{n:02}.json" for n in range(12)))
    sent: list[int] = []

    def send_and_work(names: state.Pipeline, events: list[str], run: str) -> None:
        sent.append(len(events))
        assert sum(sent) <= 12, "events of this run are sent back again"
        queues.send(names, events, run)
        pipeline.work_off()

    monkeypatch.setattr("commands.operate.verbs.send", send_and_work)
    assert run("redrive", "--wait", "0").code == 0
    assert (sent, pipeline.dead()) == ([10, 2], 12)


def test_messages_that_are_not_s3_events_stay_in_the_dead_letter_queue(
    pipeline: Pipeline, run: Callable[..., Run]
) -> None:
    pipeline.sqs.send_message(QueueUrl=pipeline.dead_letter, MessageBody="not json")
    answer = run("redrive")
    assert answer.errors == "Left in the dead-letter queue, not an S3 event: 1 message.\nSent back 0 events.\n"
    assert pipeline.dead() == 1


def test_an_event_is_always_in_one_of_the_queues(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, "a.json")
    refuse(pipeline.client("sqs"), "sqs", "SendMessageBatch", "AccessDenied")
    answer = run("redrive")
    assert answer.code == 1
    assert answer.errors.splitlines()[-1].startswith("error: AWS refuses SendMessageBatch. These credentials need ")
    assert (pipeline.dead(), pipeline.work_off()) == (1, 0)


def test_redrive_checks_the_buckets_for_outcomes_missing_from_the_log(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b.json", "c.json")
    pipeline.refused.remove("a.json")
    pipeline.s3.delete_object(Bucket="raw", Key="b.json")

    def work_in_silence(*_: Any) -> list[Any]:
        pipeline.work_off()
        return []

    monkeypatch.setattr(log, "log_lines", work_in_silence)
    made: list[str] = []

    def make_client(service: str, **options: Any) -> Any:
        made.append(f"{service} by {threading.current_thread().name}")
        return boto3.Session().client(service, **options)  # type: ignore[call-overload]

    session: Any = types.SimpleNamespace(client=make_client, region_name="us-east-1")
    pipeline.account = Account(session)
    answer = run("redrive", "--json", "--wait", "0.1")
    assert made.count("s3 by MainThread") == 1
    assert [client for client in made if "MainThread" not in client] == []
    assert [(line["key"], line["outcome"]) for line in answer.lines[:-1]] == [
        ("a.json", "processed"), ("b.json", "gone"), ("c.json", "unfinished"),
    ]  # fmt: skip
    assert answer.code == 1


def test_interrupting_the_wait_reports_the_known_outcomes(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_direct_mode(pipeline, "a.json", "b.json")
    pipeline.put("a.json")

    def stop(_: float) -> None:
        terminal.stopping.set()
        terminal.pause(0)

    monkeypatch.setattr("commands.operate.verbs.pause", stop)
    monkeypatch.setattr(log, "log_lines", lambda *_: [(time.time(), a_line("a.json", "processed"))])
    answer = run("redrive", "--json")
    assert [(line["key"], line["outcome"]) for line in answer.lines[:-1]] == [
        ("a.json", "processed"),
        ("b.json", "unfinished"),
    ]
    assert answer.errors == (
        "Stopped waiting. Events that were sent back will still be processed.\n"
        "Sent back 2 events. Failed again or not done yet: 1 object.\n"
    )
    assert answer.code == 1
