"""Simulate a burst of uploads in queue mode, second by second, within AWS's limits, and show the outcome.

Uploads arrive as fast as they are sent and S3 accepts them; S3 notifies the queue a little later; the event source
mapping adds invocations while messages wait; each invocation works on full batches, as fast as S3 allows.
Files are counted, not tracked: a fraction of one may be done in a second. The oldest message is received first, which
SQS mostly does but does not guarantee. Nothing fails.
"""

import argparse
from collections import deque
from dataclasses import dataclass, replace

import cost
from capacity import (
    ACCOUNT_CONCURRENCY,
    BATCH,
    BATCHES_PER_SECOND,
    FIRST_BATCHES,
    S3_WRITES,
    batch_seconds,
    drain_seconds,
    duration,
    number,
    s3_files_per_second,
    whole,
)

NOTICE_SECONDS = 2  # until the queue has S3's notification: "typically in seconds"
ALARM_SECONDS = 3 * 300  # modules/pipeline: three times the function's default time limit
RETENTION_SECONDS = 14 * 24 * 3600  # modules/queue: how long a message is kept
IN_FLIGHT = 120_000  # messages of a queue that may be in flight
CONCURRENCIES = (10, 100, 1000)  # the module's default, and the most that an event source mapping takes


@dataclass(frozen=True)
class Burst:
    """Files that are uploaded within some minutes, in MB of 1,000,000 bytes, and the settings that handle them."""

    files: int = 1_000_000
    megabytes: float = 1
    minutes: float = 5
    memory: int = 1024
    prefixes: int = 1  # over which keys spread evenly
    maximum_concurrency: int = 10

    @property
    def seconds_per_file(self) -> float:
        """How long the function works on one file of a full batch."""
        return batch_seconds(self.megabytes, self.memory) / BATCH

    @property
    def uploads_per_second(self) -> float:
        """How fast files arrive: as fast as they are sent or, if that is slower, as S3 accepts them."""
        return min(self.files / (60 * self.minutes), S3_WRITES * self.prefixes / cost.writes(self.megabytes))

    @property
    def s3_files_per_second(self) -> float:
        """How many files S3 lets the function process."""
        return s3_files_per_second(self.megabytes, self.prefixes)


@dataclass(frozen=True)
class Second:
    """The state at the end of one second."""

    waiting: float  # messages in the queue that are not in flight
    invocations: float  # concurrent
    files: float  # done in this second
    oldest: float  # age in seconds of the oldest message that waits


def simulate(burst: Burst) -> list[Second]:
    """Return every second from the first upload until nothing is left to do."""
    queue: deque[tuple[int, float]] = deque()  # messages by the second in which they arrived
    history: list[Second] = []
    told = done = waiting = batches = 0.0
    while done < burst.files - 0.5:
        now = len(history) + 1
        uploaded = min(burst.files, burst.uploads_per_second * max(now - NOTICE_SECONDS, 0))
        queue.append((now, uploaded - told))
        waiting, told = waiting + uploaded - told, uploaded

        batches = max(batches + BATCHES_PER_SECOND, FIRST_BATCHES) if waiting else 0
        batches = min(batches, burst.maximum_concurrency, ACCOUNT_CONCURRENCY, IN_FLIGHT / BATCH)
        possible = min(batches / burst.seconds_per_file, burst.s3_files_per_second)
        files = min(waiting, possible)
        waiting, done = waiting - files, done + files

        left = files
        while queue and queue[0][1] <= left:
            left -= queue.popleft()[1]
        if queue:
            queue[0] = (queue[0][0], queue[0][1] - left)
        busy = batches * files / possible if possible else 0
        history.append(Second(waiting, busy, files, now - queue[0][0] if waiting else 0))
    return history


def closed_form_seconds(burst: Burst) -> float:
    """Return how long a burst takes that never lets the queue run empty, without simulating every second."""
    most = min(burst.maximum_concurrency, ACCOUNT_CONCURRENCY)
    return NOTICE_SECONDS + drain_seconds(burst.files, burst.seconds_per_file, most, burst.s3_files_per_second)


def alarm_second(history: list[Second]) -> int | None:
    """Return when the oldest message is older than the alarm allows, None if never."""
    return next((second for second, after in enumerate(history, 1) if after.oldest > ALARM_SECONDS), None)


def row(burst: Burst) -> str:
    """Return a burst as a row of the table."""
    history = simulate(burst)
    alarm, oldest = alarm_second(history), max(after.oldest for after in history)
    function_seconds = sum(after.invocations for after in history)
    cells = [
        f"{burst.maximum_concurrency:,}",
        duration(len(history)),
        f"{max(after.waiting for after in history):,.0f}",
        f"{max(after.invocations for after in history):,.0f}",
        f"{max(after.files for after in history):,.0f}",
        duration(oldest),
        "never" if alarm is None else f"after {duration(alarm)}",
        f"{oldest / RETENTION_SECONDS:.2%}",
        f"{function_seconds * burst.memory / 1024 * cost.LAMBDA_GB_SECOND:,.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def table(burst: Burst, concurrencies: list[int]) -> str:
    """Return the burst with each maximum concurrency as a Markdown table."""
    columns = ["maximum_concurrency", "done after", "peak backlog", "concurrent invocations", "files a second"]
    columns += ["oldest message", "alarm oldest-message", "of SQS retention", "US$ of function time"]
    rows = [row(replace(burst, maximum_concurrency=concurrency)) for concurrency in concurrencies]
    return "\n".join([f"| {' | '.join(columns)} |", "|---:" * len(columns) + "|", *rows])


def main() -> None:
    """Simulate the burst that the options describe."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    default = Burst()
    concurrency = whole(2, 1000, "a maximum_concurrency")
    parser.add_argument("--files", type=whole(1, 100_000_000, "a number of files"), default=default.files)
    parser.add_argument("--megabytes", type=number(1e-6, 5e7, "a size in MB"), default=default.megabytes)
    parser.add_argument("--minutes", type=number(0.01, 1e5, "a time in minutes"), default=default.minutes)
    parser.add_argument("--memory", type=whole(128, 10_240, "a memory setting in MB"), default=default.memory)
    parser.add_argument("--prefixes", type=whole(1, 1_000_000, "a number of prefixes"), default=default.prefixes)
    parser.add_argument("--maximum-concurrency", type=concurrency, nargs="+", default=list(CONCURRENCIES))
    chosen = vars(parser.parse_args())
    concurrencies = chosen.pop("maximum_concurrency")
    burst = Burst(**chosen)
    print(
        f"{burst.files:,} files of {burst.megabytes:g} MB, sent within {duration(60 * burst.minutes)}: S3 takes "
        f"{burst.uploads_per_second:,.0f} a second, the function {burst.seconds_per_file * BATCH:.2f} s for a batch.\n"
    )
    print(table(burst, concurrencies))


if __name__ == "__main__":
    main()
