"""The smoke test: a synthetic file goes through a deployed pipeline, and both it and its result are removed again."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from commands.aws import reason
from commands.operate.objects import result_of
from commands.terminal import Refused, wait_for

if TYPE_CHECKING:
    from collections.abc import Container

    from commands.state import Pipeline

RECORDS = [{"patient_id": "SMOKE-1", "patient_name": "Smoke Test", "retina_thickness_microns": 280.5}]
EXPECTED = [{"patient_id": "SMOKE-1", "patient_name": "Smoke Test"}]
# A new notification may take minutes to take effect, and a delivery one minute; batching takes up to 300 s.
WAIT_SECONDS = 360.0 + 300.0
# A file uploaded before the notification takes effect does not start the function, so it is uploaded again.
AGAIN_SECONDS = 60.0
POLL_SECONDS = 0.1


def test(pipeline: Pipeline) -> None:
    """Run the test. Raises Refused, with where to look, when it fails."""
    key, began = f"smoke-test/{uuid.uuid4()}.json", time.monotonic()
    try:
        try:
            result = send(pipeline, key)
        finally:
            # Delete by version, so that nothing stays; in a locked bucket, hide the file by a delete marker.
            for bucket in (pipeline.raw, pipeline.processed):
                remove(pipeline.s3, bucket, key)
    except (BotoCoreError, ClientError) as error:
        raise Refused(
            f"the smoke test could not use {pipeline.name}: {reason(error)}. Check your permissions on {key}."
        ) from None
    if result is None or json.loads(result) != EXPECTED:
        what = "gave no result" if result is None else "gave the wrong result"
        raise Refused(
            f"the smoke test failed: {pipeline.raw}/{key} {what}. Look at ./deploy.sh logs {pipeline.name} --once; "
            f"./deploy.sh rollback {pipeline.name} returns to the previous version."
        )
    print(f"The smoke test passed: a file went through in {time.monotonic() - began:.1f} s.", flush=True)


def send(pipeline: Pipeline, key: str) -> str | None:
    """Upload the file again and again until there is a result; return it, or None when there is none in time."""
    deadline, result = time.monotonic() + WAIT_SECONDS, None
    versions: set[str] = set()
    while result is None and time.monotonic() < deadline:
        if versions:
            print("The synthetic file has no result yet; uploading it again.", flush=True)
        body = json.dumps(RECORDS).encode()
        versions.add(pipeline.s3.put_object(Bucket=pipeline.raw, Key=key, Body=body)["VersionId"])
        result = await_result(pipeline, key, versions, AGAIN_SECONDS)
    return result


def await_result(pipeline: Pipeline, key: str, versions: Container[str], seconds: float) -> str | None:
    """Return the processed object made from one of the raw versions, or None when it does not appear in time."""
    found = wait_for(lambda: result_of(pipeline, key, versions), seconds, POLL_SECONDS)
    return str(found["Body"].read().decode()) if found else None


def remove(s3: Any, bucket: str, key: str) -> None:
    """Delete all versions of an object."""
    for version in s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", []):
        try:
            s3.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
        except ClientError:
            s3.delete_object(Bucket=bucket, Key=key)
