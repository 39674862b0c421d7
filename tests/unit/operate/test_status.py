"""status: the state of a pipeline on one screen."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
from commands import terminal

from tests.unit.invocations import notification

from .pipeline import BAD, Pipeline, Run, a_line, fail_in_queue_mode, make


def test_status_is_one_screen(pipeline: Pipeline, run: Callable[..., Run], function: str) -> None:
    pipeline.upload("a.json", "b.json")
    pipeline.upload("bad.json", "worse.json", body=BAD)
    pipeline.invoke(notification("gone.json"))
    fail_in_queue_mode(pipeline, "bad too.json")  # tried twice
    pipeline.sqs.send_message(QueueUrl=pipeline.ingestion, MessageBody="{}")
    for name, topic in (("pipeline-errors", "pipeline-alarms"), ("pipeline-prod-errors", "pipeline-prod-alarms")):
        make("cloudwatch").put_metric_alarm(
            AlarmName=name, Namespace="n", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=0,
            ComparisonOperator="GreaterThanThreshold", AlarmActions=[f"arn:aws:sns:us-east-1:123456789012:{topic}"],
        )  # fmt: skip
        make("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    answer = run("status")
    assert answer.code == 0
    screen = {line[:17].rstrip(): line[18:] for line in answer.text.splitlines()}
    assert screen["function"] == f"function, version 1, code {function}"
    assert re.fullmatch(r"b\.json, \S+Z", screen["last processed"])
    assert screen["in the last hour"] == "6 files in, 2 out, 2 rejected, 1 failed, 1 gone"
    assert screen["waiting"] == "1 event in the queue"
    assert screen["failed events"] == "1 in the dead-letter queue, see ./deploy.sh failures test"
    assert screen["ignored"] == "none"
    assert screen["alarms"] == "pipeline-errors"


def test_a_file_that_failed_and_later_succeeded_counts_once(
    pipeline: Pipeline, run: Callable[..., Run], function: str
) -> None:
    lost = a_line("a.json", "failed") | {"level": "ERROR", "version_id": ""}
    pipeline.write(json.dumps(lost), json.dumps(lost | {"key": "b.json"}))
    pipeline.upload("a.json")
    assert function
    assert "\nin the last hour  2 files in, 1 out, 0 rejected, 1 failed, 0 gone\n" in run("status").text


def test_status_of_an_unused_pipeline(run: Callable[..., Run], function: str) -> None:
    text = run("status").text
    assert "last processed    none in two weeks" in text
    assert "in the last hour  0 files in, 0 out, 0 rejected, 0 failed, 0 gone" in text
    assert "alarms            none" in text


@pytest.mark.usefixtures("function")
@pytest.mark.parametrize("hours", [60, 96, 335])
def test_status_finds_the_last_file_within_two_weeks(pipeline: Pipeline, run: Callable[..., Run], hours: int) -> None:
    at = time.time() - hours * 3600
    line = {"timestamp": int(at * 1000), "message": json.dumps(a_line("a.json", "processed"))}
    pipeline.logs.put_log_events(logGroupName="group", logStreamName="stream", logEvents=[line])
    assert f"last processed    a.json, {terminal.iso(at)}" in run("status").text
