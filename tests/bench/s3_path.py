"""Measure what S3 costs: the whole handler against a real S3 endpoint, beside the pure parse of the same bytes.

The endpoint is the local AWS over plain http on 127.0.0.1, with a bucket of its own; TLS is not what is measured.
"""

import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("PROCESSED_BUCKET", "bench-processed")
os.environ.setdefault("REJECTED_BUCKET", "bench-rejected")


class Context:
    """The context that Lambda passes to a function."""

    function_name = "bench"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"
    aws_request_id = "bench"

    def get_remaining_time_in_millis(self) -> int:
        """Return a quarter of an hour."""
        return 900_000


def main() -> None:
    """Process the object named on the command line and print the processor seconds of this process."""
    import lambda_function

    key = sys.argv[1]
    event: dict[str, Any] = {"Records": [{"s3": {"bucket": {"name": "bench-raw"}, "object": {"key": key}}}]}
    cpu_began = time.process_time()
    lambda_function.lambda_handler(event, Context())
    print(json.dumps({"cpu_seconds": time.process_time() - cpu_began}))  # the last line; the handler logs before it


if __name__ == "__main__":
    main()
