"""Trim retina scans: raw bucket in, processed bucket out.

An S3 event says that a key changed. The current version of that object, a JSON array of retina-scan records, is read,
checked and written under the same key to PROCESSED_BUCKET, cut down to patient_id and patient_name. All records of a
file are written, or none.

Deliveries come more than once, in any order, and at the same time. So an event is only a hint: the newest version is
read, and after writing the key is looked at again. Whoever writes last has seen that its source is still the newest,
hence every processed object ends up made from the newest raw version.

Patient data stays out of logs and errors: a file is named by bucket, key and version id, a fault by reason code, record
index and field. Text of a foreign exception is never passed on, for it can quote what it choked on.
"""

import json
import os
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote_plus

import boto3
import msgspec
from aws_lambda_powertools import Logger
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

PROCESSED_BUCKET = os.environ.get("PROCESSED_BUCKET", "")
if not PROCESSED_BUCKET:
    raise RuntimeError("PROCESSED_BUCKET is not set. Set it to the name of the bucket for the trimmed records.")

# A key that is overwritten faster than it can be processed is left to the event of its last version.
MAX_ROUNDS = 5

logger = Logger(service="data-processor")
# The SDK would wait 60 seconds on a silent connection, longer than many an invocation has left.
s3 = boto3.client(
    "s3", config=Config(connect_timeout=3, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
)

Text = Annotated[str, msgspec.Meta(min_length=1)]
Date = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]


class Record(msgspec.Struct, frozen=True, gc=False):
    """A retina scan: the fields that are kept, and the ones that are checked when present. Others pass unread."""

    patient_id: Text
    patient_name: Text
    scan_date: Date | msgspec.UnsetType = msgspec.UNSET
    retina_thickness_microns: Annotated[float, msgspec.Meta(gt=0)] | msgspec.UnsetType = msgspec.UNSET
    optic_disc_cup_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] | msgspec.UnsetType = msgspec.UNSET
    diagnosis: str | msgspec.UnsetType = msgspec.UNSET


class ProcessingError(Exception):
    """A file that was not processed. The message holds no patient data."""


class RejectedError(ProcessingError):
    """A file that can never be processed as it is: reason is one of the fixed codes below."""

    def __init__(self, reason: str, record: int | None = None, field: str | None = None) -> None:
        self.reason, self.record, self.field = reason, record, field
        place = f" at record {record}" if record is not None else ""
        super().__init__(f"{reason}{place}{f', field {field}' if field else ''}")


def trim(content: bytes) -> tuple[bytes, int]:
    """Return the file cut down to patient_id and patient_name, one record per line, and the number of records.

    Raises RejectedError:
        empty_file: there is nothing in it.
        not_utf8: it is not UTF-8 text.
        not_json: it is not one well-formed JSON document.
        not_an_array: it is JSON, but not an array.
        invalid_record: a record is not an object, or a field is missing, of the wrong type or outside of its range.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise RejectedError("empty_file")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise RejectedError("not_utf8") from None
    try:
        records = msgspec.json.decode(content, type=list[Record])
    except msgspec.ValidationError as error:
        raise rejection(str(error)) from None
    except (msgspec.DecodeError, RecursionError):
        raise RejectedError("not_json") from None
    lines = [msgspec.json.encode({"patient_id": r.patient_id, "patient_name": r.patient_name}) for r in records]
    return (b"[\n" + b",\n".join(lines) + b"\n]\n" if lines else b"[]\n"), len(lines)


def rejection(message: str) -> RejectedError:
    """Translate msgspec's message, which ends in the path of the fault: "... - at `$[3].patient_id`"."""
    if missing := re.fullmatch(r"Object missing required field `(\w+)` - at `\$\[(\d+)\]`", message):
        return RejectedError("invalid_record", int(missing[2]), missing[1])
    if place := re.search(r" - at `\$\[(\d+)\](?:\.(\w+))?`$", message):
        return RejectedError("invalid_record", int(place[1]), place[2])
    return RejectedError("not_an_array")


def process_object(bucket: str, key: str) -> None:
    """Bring the processed object of a key up to date with the newest version of the raw one.

    Raises ProcessingError when that cannot be done; the processed object is then what it was before.
    """
    if bucket == PROCESSED_BUCKET:
        raise ProcessingError("the raw bucket is the processed bucket: every result would start the function again")
    if not key.endswith(".json"):
        logger.info("skipped: not a .json object", extra={"bucket": bucket, "key": key})
        return
    for attempt in range(1, MAX_ROUNDS + 1):
        try:
            source = s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                logger.info("skipped: the object is gone", extra={"bucket": bucket, "key": key})
                return
            raise
        place = {"bucket": bucket, "key": key, "version_id": source.get("VersionId", "null")}
        content = source["Body"].read()
        result, records = trim(content)
        s3.put_object(
            Bucket=PROCESSED_BUCKET,
            Key=key,
            Body=result,
            ContentType="application/json",
            Metadata={
                "source-version-id": place["version_id"],
                "source-etag": source["ETag"],
                "record-count": str(records),
            },
        )
        if current_etag_and_version(bucket, key) == (source["ETag"], source.get("VersionId")):
            sizes = {"records": records, "bytes_in": len(content), "bytes_out": len(result)}
            logger.info("processed", extra={**place, **sizes, "attempts": attempt})
            return
    raise ProcessingError(f"overwritten {MAX_ROUNDS} times while being processed")


def current_etag_and_version(bucket: str, key: str) -> tuple[str, str | None] | None:
    """Return what identifies the newest version of an object, or None when the object is gone."""
    try:
        head: HeadObjectOutputTypeDef = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":
            return None
        raise
    return head["ETag"], head.get("VersionId")


def process_notification(notification: Any) -> None:
    """Process every record of an S3 notification; s3:TestEvent has none.

    Raises ProcessingError after the last record when any record failed.
    """
    if isinstance(notification, dict) and notification.get("Event") == "s3:TestEvent":
        logger.info("S3 test event acknowledged")
        return
    try:
        objects = [
            (record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))
            for record in notification["Records"]
        ]
    except (KeyError, TypeError, AttributeError):
        raise ProcessingError("not an S3 notification") from None
    failures = [
        failure
        for bucket, key in objects
        if (failure := attempt(partial(process_object, bucket, key), bucket=bucket, key=key))
    ]
    if failures:
        raise ProcessingError(f"{len(failures)} of {len(objects)} objects failed: {'; '.join(failures)}")


def attempt(work: Callable[[], None], **place: str) -> str | None:
    """Do the work; return None when it is done, else what failed, in words that are safe to pass on and log."""
    try:
        work()
    except ProcessingError as error:
        failure = str(error)
    except ClientError as error:
        failure = f"{error.operation_name} failed with {error.response['Error'].get('Code', 'an unknown code')}"
    except BotoCoreError as error:
        failure = f"an S3 call failed with {type(error).__name__}"
    else:
        return None
    logger.error("failed", extra={**place, "failure": failure})
    return failure


def lambda_handler(event: dict[str, Any], _context: Any) -> dict[str, Any] | None:
    """Process an S3 notification, or an SQS batch of them.

    For a batch, returns the ids of the messages that failed, so that only those are delivered again. For a notification
    raises ProcessingError when an object failed, so that Lambda retries the event and at last sends it to the
    dead-letter queue.
    """
    messages = event.get("Records")
    if not (messages and all(isinstance(m, dict) and m.get("eventSource") == "aws:sqs" for m in messages)):
        process_notification(event)
        return None
    failed = [
        m["messageId"] for m in messages if attempt(partial(process_message, m["body"]), message_id=m["messageId"])
    ]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def process_message(body: str) -> None:
    """Process an SQS message whose body is an S3 notification.

    Raises ProcessingError when the body is anything else, or an object failed.
    """
    try:
        notification = json.loads(body)
    except (ValueError, RecursionError):
        raise ProcessingError("not an S3 notification") from None
    process_notification(notification)
