"""Send a retina-scan file through the pipeline and show what comes out. Clients are configured by the environment."""

import json
import subprocess
import sys
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

ROOT = Path(__file__).resolve().parent.parent
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.1


def main() -> None:
    """Upload ikerian_sample.json, wait for its result, and print it with the function's log and the time it took."""
    outputs = subprocess.run(["terraform", "output", "-json", "pipelines"], capture_output=True, check=True, cwd=ROOT)
    (pipeline,) = json.loads(outputs.stdout).values()
    sample = ROOT / "ikerian_sample.json"
    s3 = boto3.client("s3")

    print(f"\n$ aws s3 cp {sample.name} s3://{pipeline['raw_data_bucket_name']}/")
    began, began_at = time.monotonic(), int(time.time() * 1000)
    version = s3.put_object(Bucket=pipeline["raw_data_bucket_name"], Key=sample.name, Body=sample.read_bytes())[
        "VersionId"
    ]
    result = await_result(s3, pipeline["processed_data_bucket_name"], sample.name, {version}, WAIT_SECONDS)
    took = time.monotonic() - began
    log = await_log(pipeline["log_group_name"], began_at)
    if result is None:
        print("\n".join(log))
        sys.exit(f"error: no result after {WAIT_SECONDS:.0f} seconds. The function's log is above.")

    print(f"\n$ aws s3 cp s3://{pipeline['processed_data_bucket_name']}/{sample.name} -")
    print(result)
    print(f"Log of {pipeline['lambda_function_name']}:")
    print("\n".join(f"  {line}" for line in log))
    print(f"\nUpload to result: {took:.1f} s")


def await_result(s3: Any, bucket: str, key: str, versions: Container[str], seconds: float) -> str | None:
    """Return the processed object made from one of the raw versions, or None when it does not appear in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
        else:
            if found["Metadata"].get("source-version-id") in versions:
                return str(found["Body"].read().decode())
        time.sleep(POLL_SECONDS)
    return None


def await_log(group: str, since: int) -> list[str]:
    """Return what the function logged since that time (ms since the epoch), once an invocation is complete."""
    deadline = time.monotonic() + 10
    while True:
        events = boto3.client("logs").filter_log_events(logGroupName=group, startTime=since)["events"]
        lines = [str(event["message"]).rstrip() for event in events]
        if any(line.startswith("REPORT") for line in lines) or time.monotonic() > deadline:
            return lines
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
