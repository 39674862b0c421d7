"""Send events to the pipeline, and look into the queue of those that failed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote_plus, unquote_plus

from botocore.exceptions import ClientError

from commands.operate.ledger import Ledger
from commands.operate.log import parsed
from commands.state import Pipeline
from commands.terminal import Refused, pause, say

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


BATCH = 10  # messages in one call, the most that SQS takes
WAIT_SECONDS = 1  # asks all of SQS's servers; without it, only some
RUN = "redrive"  # message attribute that tells which run sent an event again


def notification(bucket: str, key: str) -> str:
    """Return an event that the function takes for S3's notification of an upload."""
    return json.dumps({"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, "/")}}}]})


def send(pipeline: Pipeline, events: list[str], run: str = "") -> None:
    """Send events, no more than a batch, to the ingestion queue, which feeds the function in both modes.

    Raises Refused when SQS does not take them all, ClientError.
    """
    attributes = {RUN: {"DataType": "String", "StringValue": run}} if run else {}
    entries = [
        {"Id": str(number), "MessageBody": event, "MessageAttributes": attributes}
        for number, event in enumerate(events)
    ]
    if refused := insist(pipeline.sqs.send_message_batch, pipeline.ingestion, entries):
        code = next(iter(refused.values()))
        raise Refused(f"cannot send to the ingestion queue: {code}. Try again later.")


def insist(call: Callable[..., Any], queue: str, entries: list[dict[str, Any]]) -> dict[str, str]:
    """Make a call about a batch until SQS has done all of it. Returns the errors of entries that it keeps refusing."""
    refused: dict[str, str] = {}
    for attempt in range(6):
        answer = call(QueueUrl=queue, Entries=entries)
        refused = {failure["Id"]: failure["Code"] for failure in answer.get("Failed", [])}
        entries = [entry for entry in entries if entry["Id"] in refused]
        if not entries:
            break
        time.sleep(0.1 * 2**attempt)
    return refused


class Pace:
    """Holds a rate, in objects per second. It catches up on one second's worth at most."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free = rate, time.monotonic()

    def keep(self, count: int) -> None:
        """Wait until the next may go after so many have. Raises Interrupted."""
        self._free = max(self._free, time.monotonic() - 1) + count / self._rate
        pause(self._free - time.monotonic())


def depth(pipeline: Pipeline, queue: str) -> int:
    """Return about how many messages a queue holds, those included that somebody works on."""
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    attributes = pipeline.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(attributes.get(name, 0)) for name in names)


def dead_letters(pipeline: Pipeline, ledger: Ledger) -> Generator[dict[str, Any]]:
    """Yield each message of the dead-letter queue once. Close it to give back all that were not removed.

    Notes about how many it did not get, as somebody else has them in hand.

    SQS has no way to look at messages without hiding them from others for a time, which is chosen to last for all. It
    may answer with less than it has, so it is asked again where there should be more.
    """
    expected = depth(pipeline, pipeline.dead_letter)
    hidden = min(60 + expected // 20, 43_200)
    seen = in_vain = 0
    try:
        while in_vain < (1 if seen >= expected else 3):
            try:
                answer = pipeline.sqs.receive_message(
                    QueueUrl=pipeline.dead_letter,
                    MaxNumberOfMessages=BATCH,
                    VisibilityTimeout=hidden,
                    WaitTimeSeconds=WAIT_SECONDS,
                    AttributeNames=["SentTimestamp"],
                    MessageAttributeNames=[RUN],
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("OverLimit", "AWS.SimpleQueueService.OverLimit"):
                    raise
                say("SQS hands out 120,000 messages at a time: there are more than these.")
                return
            new = [message for message in answer.get("Messages", []) if note_receipt(ledger, message)]
            in_vain = 0 if new else in_vain + 1
            seen += len(new)
            yield from new
            pause(0)
        ledger.put(hidden=max(expected - seen, 0))
    finally:
        handles = ledger.db.execute("select id, handle from message where handle != ''")
        while held := handles.fetchmany(BATCH):
            pipeline.sqs.change_message_visibility_batch(
                QueueUrl=pipeline.dead_letter,
                Entries=[{"Id": id_, "ReceiptHandle": handle, "VisibilityTimeout": 0} for id_, handle in held],
            )


def note_receipt(ledger: Ledger, message: dict[str, Any]) -> bool:
    """Note the newest receipt of a message, which is what SQS wants to see. Returns whether it is the first one."""
    values = [message["ReceiptHandle"], message["MessageId"]]
    ledger.db.execute("update message set handle = ? where id = ? and handle != ''", values)
    return bool(ledger.db.execute("insert or ignore into message (handle, id) values (?, ?)", values).rowcount)


def remove(pipeline: Pipeline, ledger: Ledger, messages: list[dict[str, Any]]) -> int:
    """Take messages, no more than a batch, out of the dead-letter queue. Returns how many SQS keeps all the same."""
    entries = [{"Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"]} for message in messages]
    kept = insist(pipeline.sqs.delete_message_batch, pipeline.dead_letter, entries)
    removed = [[entry["Id"]] for entry in entries if entry["Id"] not in kept]
    ledger.db.executemany("update message set handle = '' where id = ?", removed)
    return len(kept)


class Failed(NamedTuple):
    """An object that an event of the dead-letter queue is about."""

    key: str
    version_id: str
    reason: str


def failed_objects(body: str) -> tuple[str, list[Failed], int | None]:
    """Return the event of S3 in a message of the dead-letter queue, its objects, and how often Lambda has tried it.

    No objects if it is no such event, as the function sees it. In direct mode the message is Lambda's record of the
    failure, in queue mode the event itself, and who has tried it how often is not in it.
    """
    record = parsed(body) or {}
    event = record
    while isinstance(event, dict) and "requestPayload" in event:
        event = event["requestPayload"]
    context, answer = (
        value if isinstance(value := record.get(name), dict) else {} for name in ("requestContext", "responsePayload")
    )
    message, tries = str(answer.get("errorMessage", "")), context.get("approximateInvokeCount")
    reason = str(answer.get("errorType", ""))
    if "Task timed out" in message:
        reason = "timed_out"
    elif not answer:  # the function was never asked, or for too long
        reason = str(context.get("condition", ""))
    named, all_of_them = [], []
    try:
        for item in event["Records"]:
            bucket, thing = item["s3"]["bucket"]["name"], item["s3"]["object"]
            key, version = unquote_plus(thing["key"], errors="strict"), thing.get("versionId")
            if not key or not isinstance(bucket, str):
                return "", [], None
            before, found, rest = message.partition(f" bucket={bucket} key={key} version=")
            if found:  # as the function names each object that failed
                named.append(Failed(key, rest.partition(";")[0], before.rpartition("; ")[2]))
            all_of_them.append(Failed(key, version if isinstance(version, str) else "", reason))
        return json.dumps(event), named or all_of_them, tries if tries in range(1000) else None
    except (AttributeError, KeyError, RecursionError, TypeError, UnicodeDecodeError):
        return "", [], None
