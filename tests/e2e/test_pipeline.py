"""Files through the deployed pipelines, in both modes: real notification, real function process, enforced IAM."""

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from by_hand import BOTH, terraform, variables
from callers import user
from local_aws.process import LocalAws
from pipeline import Pipeline, inbox
from shared_aws import processes_of
from waiting import wait_for

CANARY = "Zebulon-Quixote"


def patients(count: int, name: str = "Name") -> bytes:
    return json.dumps([{"patient_id": f"P-{n}", "patient_name": name, "diagnosis": "x"} for n in range(count)]).encode()


@pytest.mark.parametrize(
    "key",
    ["a b.json", "a+b.json", "100%.json", "x%20y.json", "müller-眼.json", "2026/11/scan 1.json", "a b+c%25é.json"],
)
def test_a_key_of_any_form_comes_out_unchanged(pipeline: Pipeline, key: str) -> None:
    version = pipeline.upload(key, patients(1))
    assert pipeline.await_result(key, version) == [{"patient_id": "P-0", "patient_name": "Name"}]


def test_a_text_file_does_not_start_the_function(pipeline: Pipeline) -> None:
    pipeline.upload("notes.txt", patients(1))
    pipeline.upload("notes.JSON", patients(1))
    pipeline.await_result("after-notes.json", pipeline.upload("after-notes.json", patients(1)))
    assert pipeline.result("notes.txt") is None
    assert not [line for line in pipeline.log() if "notes.txt" in line or "notes.JSON" in line]


def test_fifty_concurrent_files_are_all_processed(pipeline: Pipeline) -> None:
    keys = [f"burst/{n}.json" for n in range(50)]
    with ThreadPoolExecutor(10) as pool:
        versions = list(pool.map(lambda key: pipeline.upload(key, patients(int(key[6:-5]))), keys))
    for n, (key, version) in enumerate(zip(keys, versions, strict=True)):
        assert len(pipeline.await_result(key, version)) == n


def test_a_large_file_comes_out_whole(pipeline: Pipeline) -> None:
    content = patients(400_000)
    assert len(pipeline.await_result("large.json", pipeline.upload("large.json", content))) == 400_000
    assert pipeline.s3.list_multipart_uploads(Bucket=pipeline.processed).get("Uploads", []) == []


def test_an_overwrite_wins(pipeline: Pipeline) -> None:
    versions = [pipeline.upload("overwritten.json", patients(n)) for n in (1, 2, 3)]
    assert len(pipeline.await_result("overwritten.json", versions[-1])) == 3


def test_a_broken_file_among_good_ones_has_its_verdict_and_nothing_else(pipeline: Pipeline) -> None:
    with inbox(pipeline, pipeline.outputs["rejection_topic_arn"]) as messages:
        good = {f"good/{n}.json": pipeline.upload(f"good/{n}.json", patients(n)) for n in range(5)}
        verdict = pipeline.await_verdict("broken.json", pipeline.upload("broken.json", patients(2, CANARY)[:-20]))
        message = wait_for("the message about it", messages)
    assert (verdict["reason"], verdict["record"]) == ("truncated", 1)
    for key, version in good.items():
        pipeline.await_result(key, version)
    assert pipeline.result("broken.json") is None
    for text in (json.dumps(verdict), json.dumps(message), pipeline.aws.log.read_text(), *pipeline.log()):
        assert CANARY not in text


def test_the_result_of_an_older_version_is_kept_or_removed_as_configured(pipeline: Pipeline) -> None:
    keys = ("then-rejected.json", "then-deleted.json")
    for key in keys:
        pipeline.await_result(key, pipeline.upload(key, patients(1)))
    pipeline.await_verdict(keys[0], pipeline.upload(keys[0], b"[{}]"))
    pipeline.s3.delete_object(Bucket=pipeline.raw, Key=keys[1])
    if pipeline.removes_results:
        wait_for("the results to go", lambda: not any(map(pipeline.result, keys)))
        # The versions are there.
        listing = pipeline.s3.list_object_versions(Bucket=pipeline.processed, Prefix="then-")
        assert {version["Key"] for version in listing["Versions"]} == set(keys)
    else:
        assert all(map(pipeline.result, keys))


@pytest.fixture
def administrator(pipeline: Pipeline) -> Any:
    """A session of an IAM user who may do anything: bucket policies do not bind the local AWS's root user."""
    with user(pipeline, "*") as somebody:
        yield boto3.Session(somebody["AWS_ACCESS_KEY_ID"], somebody["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")


@pytest.mark.parametrize("bucket", ["raw", "processed", "rejected"])
def test_buckets_and_queue_refuse_requests_without_tls(pipeline: Pipeline, administrator: Any, bucket: str) -> None:
    environment = pipeline.aws.environment()
    where = {"endpoint_url": environment["AWS_ENDPOINT_URL"], "verify": environment["AWS_CA_BUNDLE"]}
    s3, sqs = administrator.client("s3", **where), administrator.client("sqs", **where)
    name = getattr(pipeline, bucket)
    s3.list_objects_v2(Bucket=name)
    sqs.get_queue_attributes(QueueUrl=pipeline.queue)

    def say_http(request: Any, **_: Any) -> None:
        request.headers["x-forwarded-proto"] = "http"

    for client in (s3, sqs):
        # The local AWS takes this header's word for the transport, as if it stood behind a load balancer.
        client.meta.events.register("before-send.*", say_http)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.list_objects_v2(Bucket=name)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_object(Bucket=name, Key="any.json")
    with pytest.raises(ClientError, match="AccessDenied"):
        sqs.get_queue_attributes(QueueUrl=pipeline.queue)


def test_log_groups_keep_14_days(both: dict[str, Pipeline]) -> None:
    groups = both["dev"].logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    assert {group["logGroupName"]: group["retentionInDays"] for group in groups} == {
        "/aws/lambda/ikerian-data-pipeline-data-processor": 14,
        "/aws/lambda/ikerian-data-pipeline-prod-data-processor": 14,
    }


def test_s3_test_event_in_the_queue_is_acknowledged(both: dict[str, Pipeline]) -> None:
    prod = both["prod"]
    prod.sqs.send_message(
        QueueUrl=prod.outputs["ingestion_queue_url"],
        MessageBody=json.dumps({"Event": "s3:TestEvent", "Bucket": prod.raw}),
    )
    wait_for("the test event to be taken", lambda: prod.depth() == 0)
    prod.await_result("after-test.json", prod.upload("after-test.json", patients(1)))


def test_a_burst_in_queue_mode_loses_nothing_and_keeps_to_its_concurrency(both: dict[str, Pipeline]) -> None:
    prod = both["prod"]
    mapping, *_ = prod.functions.list_event_source_mappings(FunctionName=prod.function)["EventSourceMappings"]
    limit = mapping["ScalingConfig"]["MaximumConcurrency"]
    keys = [f"flood/{n}.json" for n in range(2000)]
    most_at_once = 0

    def finished() -> bool:
        nonlocal most_at_once
        most_at_once = max(
            most_at_once, sum("_worker.py" in line and prod.function in line for line in processes_of(prod.aws))
        )
        pages = prod.s3.get_paginator("list_objects_v2").paginate(Bucket=prod.processed, Prefix="flood/")
        return sum(int(page["KeyCount"]) for page in pages) == len(keys)

    with ThreadPoolExecutor(8) as pool:
        uploads = pool.map(lambda key: prod.upload(key, patients(1)), keys)
        wait_for("2,000 results", finished)
        assert len(list(uploads)) == len(keys)
    assert 1 <= most_at_once <= limit


def test_switching_modes_while_files_arrive_loses_none(both: dict[str, Pipeline], aws: LocalAws) -> None:
    dev, versions, stop = both["dev"], dict[str, str](), threading.Event()

    def keep_uploading(who: int) -> None:
        for n in itertools.count():
            if stop.wait(0.1):
                return
            key = f"switch/{who}-{n}.json"
            versions[key] = dev.upload(key, patients(1))

    def switch(mode: str, told: str) -> None:
        terraform(aws, "apply", "-input=false", "-auto-approve", variables(aws, BOTH | {"dev": {"ingestion": mode}}))
        configured = dev.s3.get_bucket_notification_configuration(Bucket=dev.raw)
        assert [name for name in configured if name.endswith("Configurations")] == [told]
        enough = len(versions) + 10
        wait_for("uploads in the new mode", lambda: len(versions) > enough)

    with ThreadPoolExecutor(4) as pool:
        uploads = [pool.submit(keep_uploading, who) for who in range(4)]
        try:
            switch("queue", "QueueConfigurations")
            # A backlog: the queue feeds nobody until the next apply turns its mapping on again.
            mapping, *_ = dev.functions.list_event_source_mappings(FunctionName=dev.function)["EventSourceMappings"]
            dev.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
            wait_for("a backlog", lambda: dev.depth() > 50)
            switch("direct", "LambdaFunctionConfigurations")
        finally:
            stop.set()
        for upload in uploads:
            upload.result()
    for key, version in versions.items():
        dev.await_result(key, version)
    assert dev.depth() == 0


def test_nothing_is_left_in_the_dead_letter_queue(pipeline: Pipeline) -> None:
    attributes = pipeline.sqs.get_queue_attributes(QueueUrl=pipeline.queue, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "0"
    assert attributes["KmsMasterKeyId"].startswith("arn:aws:kms:")
