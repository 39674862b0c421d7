"""Messages sent to a queue: again if SQS refuses them temporarily, and no faster than a rate."""

from __future__ import annotations

import time
from typing import Any

import pytest
from commands.operate import queues
from commands.terminal import Refused

from .pipeline import Pipeline


def test_messages_that_sqs_refuses_temporarily_are_sent_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = pipeline.deployed
    calls = []
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def half(QueueUrl: str, Entries: list[Any]) -> Any:
        calls.append([entry["Id"] for entry in Entries])
        answer = pipeline.sqs.send_message_batch(QueueUrl=QueueUrl, Entries=Entries[:1])
        return answer | {"Failed": [{"Id": entry["Id"], "Code": "Busy", "SenderFault": False} for entry in Entries[1:]]}

    monkeypatch.setattr(pipeline.client("sqs"), "send_message_batch", half)
    queues.send(names, [queues.notification("raw", key) for key in ("a.json", "b.json", "c.json")])
    assert calls == [["0", "1", "2"], ["1", "2"], ["2"]]
    assert queues.depth(names, pipeline.ingestion) == 3
    with pytest.raises(Refused, match="cannot send to the ingestion queue: Busy"):
        queues.send(names, ["{}"] * 9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes only when somebody waits."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(queues, "pause", lambda seconds: clock.__setitem__(0, clock[0] + max(seconds, 0)))
    return clock


def test_a_rate_is_kept_after_an_idle_time(clock: list[float]) -> None:
    pace = queues.Pace(100)
    clock[0] = 600.0
    for _ in range(60):
        pace.keep(10)
    assert clock[0] == pytest.approx(605.0)  # a second's worth is caught up on


def test_a_rate_is_kept(clock: list[float]) -> None:
    pace = queues.Pace(50)
    for _ in range(30):
        clock[0] += 0.01  # what a call takes
        pace.keep(10)
    assert clock[0] == pytest.approx(6.0)
