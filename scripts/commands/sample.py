"""Send the documented sample through a pipeline and show what comes out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from commands.settings import ROOT
from commands.smoke import POLL_SECONDS, await_result
from commands.terminal import Refused, wait_for

if TYPE_CHECKING:
    from commands.state import Pipeline

SAMPLE = ROOT / "ikerian_sample.json"
WAIT_SECONDS = 60.0
LOG_SECONDS = 10.0


def run(pipeline: Pipeline) -> None:
    """Upload the sample, wait for its result, and print it with the function's log and the time it took.

    Raises Refused when there is no result.
    """
    print(f"\n$ aws s3 cp {SAMPLE.name} s3://{pipeline.raw}/", flush=True)
    began, began_at = time.monotonic(), int(time.time() * 1000)
    uploaded = pipeline.s3.put_object(Bucket=pipeline.raw, Key=SAMPLE.name, Body=SAMPLE.read_bytes())
    result = await_result(pipeline, SAMPLE.name, {uploaded["VersionId"]}, WAIT_SECONDS)
    took = time.monotonic() - began
    log = await_log(pipeline, began_at)
    if result is None:
        print("\n".join(log))
        raise Refused(f"no result after {WAIT_SECONDS:.0f} seconds. The function's log is above.")
    print(f"\n$ aws s3 cp s3://{pipeline.processed}/{SAMPLE.name} -")
    print(result)
    print(f"Log of {pipeline.function}:")
    print("\n".join(f"  {line}" for line in log))
    print(f"\nUpload to result: {took:.1f} s", flush=True)


def await_log(pipeline: Pipeline, since: int) -> list[str]:
    """Return what the function logged since that time (ms since the epoch), if possible of a complete invocation."""
    lines: list[str] = []

    def is_complete() -> bool:
        events = pipeline.logs.filter_log_events(logGroupName=pipeline.log_group, startTime=since)["events"]
        lines[:] = [str(event["message"]).rstrip() for event in events]
        return any(line.startswith("REPORT") for line in lines)

    wait_for(is_complete, LOG_SECONDS, POLL_SECONDS)
    return lines
