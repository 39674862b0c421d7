"""Send a synthetic file through the deployed pipeline, check what comes out, and remove both: smoke_test.py ENV.

PIPELINE in the environment is the pipeline, as `terraform output -json pipelines` describes it.
"""

import json
import os
import sys
import time
import uuid
from typing import Any

import boto3
from account import reason
from botocore.exceptions import BotoCoreError, ClientError
from run_sample import await_result

RECORDS = [{"patient_id": "SMOKE-1", "patient_name": "Smoke Test", "retina_thickness_microns": 280.5}]
EXPECTED = [{"patient_id": "SMOKE-1", "patient_name": "Smoke Test"}]
# A new notification may take minutes to come into effect, and a delivery one; the queue gathers for up to 300 s.
WAIT_SECONDS = 360.0 + 300.0
# What is uploaded before a notification is in effect starts nothing, so it is uploaded again.
AGAIN_SECONDS = 60.0


def main() -> None:
    """Run the test. Raises SystemExit with where to look when it fails."""
    (environment,) = sys.argv[1:]
    pipeline = json.loads(os.environ["PIPELINE"])
    raw, processed = pipeline["raw_data_bucket_name"], pipeline["processed_data_bucket_name"]
    s3, key = boto3.client("s3"), f"smoke-test/{uuid.uuid4()}.json"
    began = time.monotonic()
    try:
        try:
            result = send(s3, raw, processed, key)
        finally:
            # By version, so that nothing stays; where the bucket is locked, as a deletion that hides it.
            for bucket in (raw, processed):
                remove(s3, bucket, key)
    except KeyboardInterrupt:
        sys.exit(130)
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"error: the smoke test could not use the pipeline: {reason(error)}. Check your permissions on {key}.")
    if result is None or json.loads(result) != EXPECTED:
        sys.exit(
            f"error: the smoke test failed: {'nothing' if result is None else 'something else'} came of {raw}/{key}. "
            f"Look at the log group {pipeline['log_group_name']}; "
            f"./deploy.sh rollback {environment} returns to the version before."
        )
    print(f"The smoke test passed: a file went through in {time.monotonic() - began:.1f} s.")


def send(s3: Any, raw: str, processed: str, key: str) -> str | None:
    """Upload the file, again and again until something comes of it; return that, or None when nothing does in time."""
    deadline, result = time.monotonic() + WAIT_SECONDS, None
    versions: set[str] = set()
    while result is None and time.monotonic() < deadline:
        if versions:
            print("Nothing came of the synthetic file yet; uploading it again.", flush=True)
        versions.add(s3.put_object(Bucket=raw, Key=key, Body=json.dumps(RECORDS).encode())["VersionId"])
        result = await_result(s3, processed, key, versions, AGAIN_SECONDS)
    return result


def remove(s3: Any, bucket: str, key: str) -> None:
    """Delete all versions of an object."""
    for version in s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", []):
        try:
            s3.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
        except ClientError:
            s3.delete_object(Bucket=bucket, Key=key)


if __name__ == "__main__":
    main()
