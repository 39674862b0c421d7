"""The messages in a queue."""

import json
from typing import Any


def keys(sqs: Any, queue_url: str) -> list[str]:
    """Take all messages out of a queue; return the key that each is about.

    They are hidden for half a day, not deleted: at each delete the local AWS goes through the whole queue.
    """
    found = []
    while some := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, VisibilityTimeout=43_200).get(
        "Messages"
    ):
        found += [json.loads(one["Body"])["Records"][0]["s3"]["object"]["key"] for one in some]
    return found
