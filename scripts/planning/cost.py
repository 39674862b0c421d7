"""Work out what an environment costs, from AWS's list prices in us-east-1, and print it as a table.

Free tiers are left out. The options set the size of a file and the time that it takes.
"""

import argparse
import math

# US dollars, us-east-1, list prices of November 2026 as published by AWS.
KMS_KEY_MONTH = 1.00
ALARM_METRIC_MONTH = 0.10
DASHBOARD_MONTH = 3.00
CUSTOM_METRIC_MONTH = 0.30
SQS_REQUEST = 0.40e-6
S3_WRITE, S3_READ = 5e-6, 0.4e-6
S3_GB_MONTH = 0.023
LAMBDA_REQUEST = 0.20e-6
LAMBDA_GB_SECOND = 16.6667e-6
LOG_GB = 0.50
TRACE = 5e-6

ALARM_METRICS = 8 + 5  # eight alarms on one metric each, one that compares five
POLLS_MONTH = 5 * 3 * 60 * 24 * 30  # five pollers, each waiting 20 seconds for a message
FILE_METRICS = 8 + 2  # of the function's metrics, all eight and two reasons of rejection
REQUEST_METRICS = 16  # that S3 publishes for the raw bucket while there are requests
LOG_LINE_BYTES = 1500  # what one file leaves in the log: its line, its metrics, and the report of Lambda
TRACED = 0.05
RESULT_SHARE = 0.5  # size of a result as a fraction of its file; for the densest file of tests/bench it is 0.35
PART_MB = 8.39  # one part of a multipart upload, by the AWS CLI and by the function


def idle() -> dict[str, float]:
    """Return what an environment costs per month, in dollars, when nothing is uploaded."""
    return {
        "encryption key": KMS_KEY_MONTH,
        "alarms": ALARM_METRICS * ALARM_METRIC_MONTH,
        "dashboard": DASHBOARD_MONTH,
        "waiting for the queue": POLLS_MONTH * SQS_REQUEST,
    }


def writes(megabytes: float) -> int:
    """Return how many requests it takes to upload that much: one or, in parts, one for each part and two more."""
    return 1 if megabytes < PART_MB else math.ceil(megabytes / PART_MB) + 2


def files(count: float, kilobytes: float, seconds: float, memory_gb: float) -> dict[str, float]:
    """Return what that many files cost, in dollars, with the metrics and the storage of one month."""
    megabytes = kilobytes / 1000
    requests = writes(megabytes) + writes(megabytes * RESULT_SHARE)
    return {
        "uploads, results and messages": count * (requests * S3_WRITE + 1.2 * SQS_REQUEST),
        "reads and checks": count * 3 * S3_READ,  # of the file, of its newest version, and whether there is a verdict
        "function, requests": count * LAMBDA_REQUEST,
        "function, time": count * seconds * memory_gb * LAMBDA_GB_SECOND,
        "log": count * LOG_LINE_BYTES / 1e9 * LOG_GB,
        "metrics": (FILE_METRICS + REQUEST_METRICS) * CUSTOM_METRIC_MONTH,
        "traces": count * TRACED * TRACE,
        "storage for a month": count * megabytes * (1 + RESULT_SHARE) / 1e3 * S3_GB_MONTH,
    }


def table(title: str, costs: dict[str, float]) -> str:
    """Return costs as a Markdown table with their sum."""
    rows = [f"| {name} | {dollars:.2f} |" for name, dollars in costs.items()]
    return "\n".join([f"| {title} | US$ |", "|---|---|", *rows, f"| **sum** | **{sum(costs.values()):.2f}** |"])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kilobytes", type=float, default=100, help="size of a file")
    parser.add_argument(
        "--seconds", type=float, default=0.31, help="time that the function takes for a file: see capacity.py"
    )
    parser.add_argument("--memory-gb", type=float, default=1, help="the function's memory")
    options = parser.parse_args()
    print(table("an idle environment, per month", idle()))
    print()
    million = f"a million files of {options.kilobytes:g} kB, {options.seconds:g} s each"
    print(table(million, files(1e6, options.kilobytes, options.seconds, options.memory_gb)))


if __name__ == "__main__":
    main()
