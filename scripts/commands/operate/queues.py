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
WAIT_SECONDS = 1  # long polling, which asks all of SQS's servers instead of some
RUN = "redrive"  # message attribute that tells which run sent an event again


def notification(bucket: str, key: str) -> str:
    """Return an event that the function takes for S3's notification of an upload."""
    return json.dumps({"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, "/")}}}]})


def send(pipeline: Pipeline, events: list[str], run: str = "") -> None:
    """Send events, no more than a batch, to the ingestion queue, which feeds the function in both modes.

    Raises ClientError, and Refused when SQS does not accept them all.
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
    """Retry a batch call until SQS accepts every entry. Returns the errors of the entries that it keeps refusing."""
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
        """Count so many objects, and wait until the next one is due. Raises Interrupted."""
        self._free = max(self._free, time.monotonic() - 1) + count / self._rate
        pause(self._free - time.monotonic())


def depth(pipeline: Pipeline, queue: str) -> int:
    """Return approximately how many messages a queue holds, including those in flight."""
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    attributes = pipeline.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(attributes.get(name, 0)) for name in names)


def dead_letters(pipeline: Pipeline, ledger: Ledger) -> Generator[dict[str, Any]]:
    """Yield each message of the dead-letter queue once. Close the generator to return all that were not removed.

    Notes approximately how many messages it did not get, because others have them in flight.

    SQS cannot show messages without hiding them from others for a time, which is chosen to last for all of them. It may
    return fewer than it has, so it is asked again if there should be more.
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
    """Note the newest receipt handle of a message, which SQS requires. Returns whether it is the first one."""
    values = [message["ReceiptHandle"], message["MessageId"]]
    ledger.db.execute("update message set handle = ? where id = ? and handle != ''", values)
    return bool(ledger.db.execute("insert or ignore into message (handle, id) values (?, ?)", values).rowcount)


def remove(pipeline: Pipeline, ledger: Ledger, messages: list[dict[str, Any]]) -> int:
    """Delete messages, no more than a batch, from the dead-letter queue. Returns how many SQS did not delete."""
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

    No objects if the function would not accept it as such an event. In direct mode the message is Lambda's record of
    the failure; in queue mode it is the event itself, which does not say how often it was tried.
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
    elif not answer:  # the function did not answer; Lambda's condition says why
        reason = str(context.get("condition", ""))
    named, all_of_them = [], []
    try:
        for item in event["Records"]:
            bucket, thing = item["s3"]["bucket"]["name"], item["s3"]["object"]
            key, version = unquote_plus(thing["key"], errors="strict"), thing.get("versionId")
            if not key or not isinstance(bucket, str):
                return "", [], None
            before, found, rest = message.partition(f" bucket={bucket} key={key} version=")
            if found:  # the function names each object that failed in this way
                named.append(Failed(key, rest.partition(";")[0], before.rpartition("; ")[2]))
            all_of_them.append(Failed(key, version if isinstance(version, str) else "", reason))
        return json.dumps(event), named or all_of_them, tries if tries in range(1000) else None
    except (AttributeError, KeyError, RecursionError, TypeError, UnicodeDecodeError):
        return "", [], None
