"""Every alarm on one metric goes off, says so, and calms down."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Pipeline, wait_for


@pytest.fixture(scope="module")
def inbox(dev: Pipeline) -> Iterator[str]:
    """Return a queue that receives what the topic sends, as an e-mail address would."""
    url = dev.sqs.create_queue(QueueName="alarm-inbox")["QueueUrl"]
    arn = dev.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns, topic = dev.client("sns"), dev.outputs["alarm_topic_arn"]
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    statement |= {"Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    dev.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)
    yield url
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    dev.sqs.delete_queue(QueueUrl=url)


def notified(dev: Pipeline, inbox: str) -> dict[str, str]:
    """Wait for a message of the topic; return the alarm's name and new state."""

    def receive() -> Any:
        return dev.sqs.receive_message(QueueUrl=inbox, WaitTimeSeconds=1).get("Messages")

    (message,) = wait_for("a notification", receive)
    dev.sqs.delete_message(QueueUrl=inbox, ReceiptHandle=message["ReceiptHandle"])
    text = json.loads(json.loads(message["Body"])["Message"])
    return {"name": text["AlarmName"], "state": text["NewStateValue"]}


@pytest.mark.parametrize(
    "name",
    [
        "function-errors",
        "function-throttles",
        "function-duration",
        "rejected-files",
        "failed-files",
        "lost-events",
        "dead-letter-queue",
        "oldest-message",
    ],
)
def test_alarm_goes_off_and_calms_down(dev: Pipeline, inbox: str, name: str) -> None:
    cloudwatch = dev.client("cloudwatch")
    full_name = f"ikerian-data-pipeline-{name}"
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[full_name])["MetricAlarms"]

    def measure(value: float, seconds_ago: float = 0) -> None:
        when = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        datum = {
            "MetricName": alarm["MetricName"],
            "Dimensions": alarm["Dimensions"],
            "Value": value,
            "Timestamp": when,
        }
        cloudwatch.put_metric_data(Namespace=alarm["Namespace"], MetricData=[datum])

    measure(alarm["Threshold"] + 1, seconds_ago=alarm["Period"] - 2)  # soon outside of what the alarm looks at
    assert notified(dev, inbox) == {"name": full_name, "state": "ALARM"}

    def calm() -> bool:
        measure(0)
        return bool(cloudwatch.describe_alarms(AlarmNames=[full_name])["MetricAlarms"][0]["StateValue"] == "OK")

    wait_for("the alarm to calm down", calm)
    assert notified(dev, inbox) == {"name": full_name, "state": "OK"}
