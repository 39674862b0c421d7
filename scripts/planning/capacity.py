"""Model what a number of files a day demands: time, concurrency, memory, dollars, and the first limit reached.

A model to plan with. It errs on the slow side on purpose; --seconds replaces its time for a file with one from the log
(`milliseconds`). docs/scaling.md explains the figures and names AWS's pages for them.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import cost

# AWS's limits: default quotas, as of November 2026.
ACCOUNT_CONCURRENCY = 1000  # concurrent invocations of all functions of an account in a region
VCPU_MB = 1769  # memory that comes with one whole processor; less memory comes with proportionally less of it
LONGEST_SECONDS = 900  # of an invocation
S3_WRITES, S3_READS = 3500, 5500  # requests a second to one prefix
FIRST_BATCHES = 5  # batches that an event source mapping starts concurrently when messages begin to arrive
BATCHES_PER_SECOND = 300 / 60  # by which it raises that, as long as there are more messages

# S3's speed. The first two are from AWS's performance guidelines, the third from its own transfer manager.
REQUEST_SECONDS = 0.1  # until an answer begins: "roughly 100-200 milliseconds"
READ_MB_PER_SECOND = 85.0  # over one connection
WRITE_MB_PER_SECOND = 45.0  # over one connection

# The function's time. tests/bench/model.py measures it, through a real S3 endpoint over TLS, and compares.
CPU_SECONDS_PER_MB = 0.008  # of a processor. Measured: 3 to 4 ms for files as documented, 7 to 8 for hostile ones
CPU_SECONDS_PER_FILE = 0.005  # of a processor, whatever the size. Measured: 3 to 4 ms
REQUESTS = 3  # for a file, in turn: read it, write its result, check whether it is still the newest version
READS = 2  # of those, of the raw bucket
TIME_MARGIN_SECONDS = 10  # the function stops by itself this long before its timeout
BATCH = 10  # messages that one invocation gets from the queue, one file each
SMALL_MB = 0.262  # files up to this size are processed side by side, larger ones one after the other
DELIVERIES = 5  # of a message, before it goes to the dead-letter queue

SECONDS_PER_DAY, DAYS_PER_MONTH = 24 * 3600, 30
MEMORY_SETTINGS = (512, 1024, VCPU_MB)
MAY_TAKE_LONGER = 1.25  # times as long as with the most useful memory: the most that the recommended setting may take


@dataclass(frozen=True)
class Load:
    """The files that arrive, and the settings that handle them. Sizes are in MB of 1,000,000 bytes, memory in MiB."""

    files_per_day: float
    megabytes: float
    mode: str = "direct"
    memory: int = 1024
    timeout: float = 300
    maximum_concurrency: int = 10
    account_concurrency: int = ACCOUNT_CONCURRENCY
    peak: float = 10  # the busiest second's rate of uploads, as a multiple of the day's average
    prefixes: int = 1  # over which keys spread evenly
    seconds: float | None = None  # for one file, if known better

    @property
    def files_per_second(self) -> float:
        """The average rate of uploads."""
        return self.files_per_day / SECONDS_PER_DAY

    @property
    def seconds_per_file(self) -> float:
        """How long the function works on one file."""
        return self.seconds or seconds_per_file(self.megabytes, self.memory)

    @property
    def batch_seconds(self) -> float:
        """How long the function works on a full batch of files from the queue."""
        slower = self.seconds_per_file / seconds_per_file(self.megabytes, self.memory)
        return slower * batch_seconds(self.megabytes, self.memory)

    @property
    def seconds_in_batch(self) -> float:
        """How long the function works on each file of a full batch."""
        return self.batch_seconds / BATCH


@dataclass(frozen=True)
class Limit:
    """A limited resource. `used` is the fraction of it that the peak takes, 1 for all."""

    name: str
    used: float
    beyond: str  # what happens if it is not enough
    remedy: str


def seconds_per_file(megabytes: float, memory: float) -> float:
    """Return how many seconds the function takes for a file of that size, with that much memory in MiB.

    It reads and works at the same time, so that the slower of the two counts; while it sends a part of the result, it
    does neither. Its work is done by one thread: more than one processor does not help.
    """
    processor = min(memory / VCPU_MB, 1)
    per_megabyte = max(CPU_SECONDS_PER_MB / processor, 1 / READ_MB_PER_SECOND) + cost.RESULT_SHARE / WRITE_MB_PER_SECOND
    return REQUESTS * REQUEST_SECONDS + CPU_SECONDS_PER_FILE / processor + megabytes * per_megabyte


def batch_seconds(megabytes: float, memory: float) -> float:
    """Return how many seconds the function takes for a full batch of files of that size, with that much memory in MiB.

    For small files it waits for S3 concurrently. Large ones are read and written one after the other; only the requests
    before and after that are sent concurrently.
    """
    in_turn = seconds_per_file(megabytes, memory) - REQUESTS * REQUEST_SECONDS
    if megabytes > SMALL_MB:
        in_turn += REQUEST_SECONDS
    return seconds_per_file(megabytes, memory) + (BATCH - 1) * in_turn


def largest_megabytes(seconds: float, memory: float) -> float:
    """Return the size of the largest file that a function with that time limit finishes."""
    empty = seconds_per_file(0, memory)
    return (seconds - TIME_MARGIN_SECONDS - empty) / (seconds_per_file(1, memory) - empty)


def s3_files_per_second(megabytes: float, prefixes: float = 1) -> float:
    """Return how many files a second S3 lets the function process, given two raw reads and one result for each."""
    return prefixes * min(S3_READS / READS, S3_WRITES / cost.writes(megabytes * cost.RESULT_SHARE))


def drain_seconds(files: float, seconds: float, concurrency: float, files_per_second: float = math.inf) -> float:
    """Return how long the queue takes to hand over that many waiting files, at so many seconds a file.

    The event source mapping begins with a few concurrent batches and adds more until it reaches the maximum concurrency
    or the maximum of files a second.
    """
    most = min(concurrency, files_per_second * seconds)
    first = min(FIRST_BATCHES, most)
    rise = (most - first) / BATCHES_PER_SECOND
    done_in_rise = (first + most) / 2 * rise / seconds
    if files > done_in_rise:
        return rise + (files - done_in_rise) * seconds / most
    return (math.sqrt(first**2 + 2 * BATCHES_PER_SECOND * files * seconds) - first) / BATCHES_PER_SECOND


def dollars_per_month(load: Load) -> float:
    """Return what a month costs, with one month's storage of its files and results."""
    month = load.files_per_day * DAYS_PER_MONTH
    files = cost.files(month, load.megabytes * 1000, load.seconds_per_file, load.memory / 1024)
    return sum(files.values()) + sum(cost.idle().values())


def recommended_memory(megabytes: float) -> int:
    """Return the smallest memory setting with which a file takes hardly longer than with the most useful one."""
    fastest = seconds_per_file(megabytes, VCPU_MB)
    return next(m for m in MEMORY_SETTINGS if seconds_per_file(megabytes, m) <= MAY_TAKE_LONGER * fastest)


def limits(load: Load) -> list[Limit]:
    """Return what could run out, the scarcest first."""
    queue, files_per_second = load.mode == "queue", load.files_per_second * load.peak
    seconds = load.timeout - TIME_MARGIN_SECONDS
    invocations = files_per_second * (load.seconds_in_batch if queue else load.seconds_per_file)
    slow_down = "S3 answers 503 until it has divided the prefix, and the SDK tries again"
    longer = f"raise timeout_seconds, up to {LONGEST_SECONDS}, or memory_mb, up to {VCPU_MB}"
    found = [
        Limit(
            "timeout_seconds",
            load.seconds_per_file / seconds,
            "its event ends in the dead-letter queue",
            f"{longer}; then split the files",
        ),
        Limit(
            f"{S3_READS:,} S3 reads a second",
            files_per_second * READS / (S3_READS * load.prefixes),
            slow_down,
            "spread the keys over more prefixes",
        ),
        Limit(
            f"{S3_WRITES:,} S3 writes a second",
            files_per_second * cost.writes(load.megabytes) / (S3_WRITES * load.prefixes),
            slow_down,
            "spread the keys over more prefixes",
        ),
        Limit(
            f"{load.account_concurrency:,} invocations of the account",
            invocations / load.account_concurrency,
            "uploads wait in the queue" if queue else "Lambda tries again, for 6 hours at most",
            "ask AWS for more concurrent executions" + ("" if queue else ", or set ingestion to queue"),
        ),
    ]
    if queue:
        found.append(
            Limit(
                f"maximum_concurrency of {load.maximum_concurrency:,}",
                invocations / load.maximum_concurrency,
                "uploads wait in the queue",
                "raise maximum_concurrency",
            )
        )
    if queue and load.seconds_per_file <= seconds:
        found.append(
            Limit(
                f"timeout_seconds for {BATCH} files",
                load.batch_seconds / seconds,
                f"full batches are not finished; what {DELIVERIES} of them do not reach ends in the dead-letter queue",
                f"lower batch_size; or {longer}",
            )
        )
    return sorted(found, key=lambda limit: -limit.used)


def duration(seconds: float) -> str:
    """Return a time as people write it."""
    if seconds < 10:
        return f"{seconds:.{1 if seconds >= 1 else 2}f} s"
    for size, name, smaller, smaller_name in ((86_400, "days", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= 2 * size:
            whole_part, rest = divmod(round(seconds / smaller), size // smaller)
            return f"{whole_part} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{seconds:.0f} s"


def count(value: float) -> str:
    """Return a number with as many digits as matter."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.01 else "under 0.01"


def percent(part: float) -> str:
    """Return a part of 1 in percent."""
    return f"{count(100 * part)}%"


def answer(load: Load) -> str:
    """Return the model's answer for people to read."""
    seconds, first = load.seconds_per_file, limits(load)[0]
    at_once = load.files_per_second * seconds
    latency = f"{duration(seconds)} after S3 sends the event, which takes seconds, at times a minute"
    invocations = f"{count(at_once)} invocations on average, {count(at_once * load.peak)} at the peak"
    if load.mode == "queue":
        latency += f"; {duration(min(load.batch_seconds, load.timeout))} in a full batch"
        invocations += f", {count(load.files_per_second * load.peak * load.seconds_in_batch)} with full batches"
    rows = [("one file", duration(seconds)), ("concurrency", invocations), ("latency", latency)]
    if load.mode == "queue":
        concurrency = min(load.maximum_concurrency, load.account_concurrency)
        s3_rate = s3_files_per_second(load.megabytes, load.prefixes)
        drain = drain_seconds(load.files_per_day, load.seconds_in_batch, concurrency, s3_rate)
        rows.append(("backlog", f"{duration(drain)} for all files of a day, if they come in one moment"))
    rows.append(("cost", f"US$ {dollars_per_month(load):,.2f} a month"))
    if load.seconds is None:
        sizes = [(most, largest_megabytes(most, load.memory)) for most in sorted({load.timeout, LONGEST_SECONDS})]
        rows.append(("largest file", ", ".join(f"{size / 1000:,.1f} GB in {most:g} s" for most, size in sizes)))
        recommended = recommended_memory(load.megabytes)
        for memory in MEMORY_SETTINGS:
            other = replace(load, memory=memory)
            price = f"{duration(other.seconds_per_file)} a file, US$ {dollars_per_month(other):,.2f} a month"
            rows.append(("memory", f"{memory:,} MB: {price}{', recommended' if memory == recommended else ''}"))
    rows.append(("first limit", f"{first.name}: {percent(first.used)} of it at the peak"))
    rows.append(("beyond it", first.beyond))
    rows.append(("remedy", first.remedy))
    title = f"{load.files_per_day:,.0f} files a day of {load.megabytes:g} MB, {load.mode} mode, memory_mb {load.memory}"
    return "\n".join([title, *(f"  {name:<12} {text}" for name, text in rows)])


SIZES = ((1000, 1), (100_000, 0.1), (100_000, 5), (1_000_000, 1), (10_000, 500), (100, 20_000))


def table(like: Load) -> str:
    """Return answers for some sizes as a Markdown table."""
    rows = ["| files a day | MB | a file | concurrency | peak | US$ a month | first limit | of it at the peak |"]
    rows.append("|---:|---:|---:|---:|---:|---:|---|---:|")
    for files_per_day, megabytes in SIZES:
        load = replace(like, files_per_day=files_per_day, megabytes=megabytes)
        at_once, first = load.files_per_second * load.seconds_per_file, limits(load)[0]
        cells = [f"{files_per_day:,}", f"{megabytes:,}", duration(load.seconds_per_file), count(at_once)]
        cells += [count(at_once * load.peak), f"{dollars_per_month(load):,.2f}", first.name, percent(first.used)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def number(low: float, high: float, what: str) -> Callable[[str], float]:
    """Return a reader of a number within bounds. It raises SystemExit with what is wrong and what to do."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            sys.exit(f"error: {text} is not {what}. Use a number from {low:g} to {high:,.0f}.")
        return value

    return read


def whole(low: int, high: int, what: str) -> Callable[[str], int]:
    """Return a reader of a whole number within bounds. It raises SystemExit with what is wrong and what to do."""
    return lambda text: int(number(low, high, what)(text))


def main() -> None:
    """Answer for the load that the options describe."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    default = Load(files_per_day=10_000, megabytes=1)
    options: dict[str, tuple[Callable[[str], float], str]] = {
        "files_per_day": (number(1, 1e10, "a number of files a day"), "files uploaded in a day"),
        "megabytes": (number(1e-6, 5e7, "the size of an S3 object in MB"), "size of a file, in MB of 1,000,000 bytes"),
        "memory": (whole(128, 10_240, "a memory setting of Lambda in MB"), "memory_mb of the environment"),
        "timeout": (number(20, LONGEST_SECONDS, "a time limit of the function in seconds"), "its timeout_seconds"),
        "maximum_concurrency": (whole(2, 1000, "a maximum_concurrency"), "its maximum_concurrency, in queue mode"),
        "account_concurrency": (
            whole(1, 1_000_000, "a concurrency"),
            "concurrent executions that the account may have",
        ),
        "peak": (number(1, 86_400, "a peak"), "the busiest second's rate of uploads, as a multiple of the average"),
        "prefixes": (whole(1, 1_000_000, "a number of prefixes"), "prefixes that the keys spread over evenly"),
        "seconds": (
            number(0.001, LONGEST_SECONDS, "a time in seconds"),
            "time that a file takes, from the log; by default the model works it out",
        ),
    }
    for name, (read, text) in options.items():
        given = getattr(default, name)
        shown = text if given is None else f"{text} (default: {given:,})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=read, default=given, metavar="N", help=shown)
    parser.add_argument(
        "--mode", choices=("direct", "queue"), default=default.mode, help="ingestion of the environment"
    )
    parser.add_argument("--table", action="store_true", help="answer for some typical sizes, as a table in Markdown")
    chosen = vars(parser.parse_args())
    write = table if chosen.pop("table") else answer
    print(write(Load(**chosen)))


if __name__ == "__main__":
    main()
