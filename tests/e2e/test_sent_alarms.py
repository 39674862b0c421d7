"""Every alarm on one metric fires and recovers, and alarms and dashboard watch metrics that the function writes."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from by_hand import BOTH, changes, terraform, variables
from local_aws.process import LocalAws
from pipeline import RECORDS, Pipeline, inbox
from waiting import wait_for


@pytest.fixture(scope="module")
def sent(dev: Pipeline) -> Iterator[Callable[[], list[Any]]]:
    """Return a function that takes the topic's messages."""
    with inbox(dev, dev.outputs["alarm_topic_arn"]) as take:
        yield take


def await_notification(sent: Callable[[], list[Any]], name: str, state: str) -> None:
    """Wait until the topic reports this alarm in this state, whatever it reports of others meanwhile."""
    wait_for(
        f"the notification that {name} is {state}",
        lambda: (name, state) in [(text["AlarmName"], text["NewStateValue"]) for text in sent()],
    )


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
def test_an_alarm_fires_and_recovers(dev: Pipeline, sent: Callable[[], list[Any]], name: str) -> None:
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
    await_notification(sent, full_name, "ALARM")

    def calm() -> bool:
        measure(0)
        return bool(cloudwatch.describe_alarms(AlarmNames=[full_name])["MetricAlarms"][0]["StateValue"] == "OK")

    wait_for("the alarm to calm down", calm)
    await_notification(sent, full_name, "OK")


Series = tuple[str, str, frozenset[tuple[str, str]]]  # namespace, metric, dimensions


def written(dev: Pipeline) -> set[Series]:
    """Return the metrics that the function has written to its log, for CloudWatch to read."""
    found: set[Series] = set()
    for line in dev.log():
        if '"_aws"' in line:
            metrics = json.loads(line)
            for group in metrics["_aws"]["CloudWatchMetrics"]:
                for names in group["Dimensions"]:
                    dimensions = frozenset((name, metrics[name]) for name in names)
                    found |= {(group["Namespace"], metric["Name"], dimensions) for metric in group["Metrics"]}
    return found


def watched(resources: list[dict[str, Any]]) -> set[Series]:
    """Return the metrics that alarms and dashboard of a plan watch."""
    found: set[Series] = set()
    for resource in resources:
        values = resource["change"]["after"]
        if resource["type"] == "aws_cloudwatch_metric_alarm":
            metrics = [query["metric"][0] for query in values["metric_query"] if query["metric"]] or [values]
            for metric in metrics:
                found.add((metric["namespace"], metric["metric_name"], frozenset(metric["dimensions"].items())))
        if resource["type"] == "aws_cloudwatch_dashboard":
            for widget in json.loads(values["dashboard_body"])["widgets"]:
                for metric in widget["properties"].get("metrics", []):
                    names = [part for part in metric if isinstance(part, str)]
                    if names:
                        found.add((names[0], names[1], frozenset(zip(names[2::2], names[3::2], strict=True))))
    return found


def test_alarms_and_dashboard_watch_the_metrics_that_the_function_writes(
    both: dict[str, Pipeline], aws: LocalAws
) -> None:
    dev = both["dev"]
    dev.await_result("contract.json", dev.upload("contract.json", RECORDS))
    dev.await_verdict("contract-rejected.json", dev.upload("contract-rejected.json", b"[{}]"))
    gone = {"s3": {"bucket": {"name": dev.raw}, "object": {"key": "contract-gone.json"}}}
    for event in ({"Records": [gone]}, {"no": "event"}):
        dev.functions.invoke(FunctionName=dev.function, Qualifier="live", Payload=json.dumps(event))

    options = ["-refresh=false", "-var=request_metrics=true", variables(aws, BOTH)]
    plan, _ = changes(aws, *options)  # the local AWS has no request metrics and so not the alarm that compares them
    resources = json.loads(terraform(aws, "show", "-json", str(plan)).stdout)["resource_changes"]
    resources = [resource for resource in resources if resource["address"].startswith('module.pipeline["dev"]')]
    ours = {series for series in watched(resources) if not series[0].startswith("AWS/")}
    assert {metric for _, metric, _ in ours} == {
        *("FilesProcessed", "FilesRejected", "FilesFailed", "FilesGone"),
        *("RecordsProcessed", "ProcessingTime", "BytesRead"),
    }
    assert wait_for("the metrics", lambda: ours <= written(dev) and ours)
    # What the dashboard searches for is by reason as well.
    reasons = {(namespace, metric) for namespace, metric, dimensions in written(dev) if len(dimensions) == 2}
    (search,) = (
        metric[0]["expression"]
        for resource in resources
        if resource["type"] == "aws_cloudwatch_dashboard"
        for widget in json.loads(resource["change"]["after"]["dashboard_body"])["widgets"]
        for metric in widget["properties"].get("metrics", [])
        if isinstance(metric[0], dict)
    )
    # A rejected file that was started over, in the disorder before, tells that by its reason as well.
    assert reasons - {("RetinaScanPipeline", "Reprocessed")} == {("RetinaScanPipeline", "FilesRejected")}
    assert search.startswith('SEARCH(\'{RetinaScanPipeline,reason,service} MetricName="FilesRejected" ')
    # The alarms that are deployed are those of the plan.
    deployed = dev.client("cloudwatch").describe_alarms(AlarmNamePrefix="ikerian-data-pipeline-")["MetricAlarms"]
    of_service = {
        (alarm["Namespace"], alarm["MetricName"], frozenset((d["Name"], d["Value"]) for d in alarm["Dimensions"]))
        for alarm in deployed
        if not alarm["AlarmName"].startswith("ikerian-data-pipeline-prod-")
        and not alarm["Namespace"].startswith("AWS/")
    }
    assert {metric for _, metric, _ in of_service} == {"FilesRejected", "FilesFailed"}
    assert of_service <= written(dev)
