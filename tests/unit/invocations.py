"""Invocations of the handler: events, the context, and what is there afterwards in log, answer and buckets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).parent.parent / "events"


class Context:
    """The part of an invocation's context that the handler and its logger use."""

    function_name = "data-processor"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:data-processor"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def __init__(self, remaining: Callable[[], int] = lambda: 300_000) -> None:
        self.get_remaining_time_in_millis = remaining


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def notification(*keys: str, bucket: str = "raw") -> dict[str, Any]:
    """An S3 event naming objects by keys as they stand in events, form-encoded."""
    one = json.dumps(event("s3_put")["Records"][0])
    records = [json.loads(one) for _ in keys]
    for record, key in zip(records, keys, strict=True):
        record["s3"]["bucket"]["name"] = bucket
        record["s3"]["object"]["key"] = key
    return {"Records": records}


def batch(*bodies: Any) -> dict[str, Any]:
    """An SQS batch, its messages called m0, m1, ..."""
    message = event("sqs_batch")["Records"][0]
    return {
        "Records": [
            {**message, "messageId": f"m{n}", "body": body if isinstance(body, str) else json.dumps(body)}
            for n, body in enumerate(bodies)
        ]
    }


def failed(answer: Any) -> list[str]:
    """The messages that a batch's answer asks for again."""
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def processed(client: Any, key: str) -> Any:
    """The processed object's content, None if there is none."""
    try:
        return json.loads(client.get_object(Bucket="processed", Key=key)["Body"].read())
    except client.exceptions.NoSuchKey:
        return None


def verdict(client: Any, key: str) -> Any:
    """The verdict on a key, None if there is none."""
    try:
        return json.loads(client.get_object(Bucket="rejected", Key=key)["Body"].read())
    except client.exceptions.NoSuchKey:
        return None
