"""Compare the capacity model with what the function takes here, and draw the simulated burst as docs/burst.svg.

The whole handler runs on an S3 endpoint, the local AWS, over TLS. Only processor seconds of this process are compared;
how long S3 takes to answer, and the processors of Lambda, no machine can tell but Lambda's.
"""

import contextlib
import io
import os
import shutil
import socket
import statistics
import time
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import files
from burst import ALARM_SECONDS, CONCURRENCIES, RETENTION_SECONDS, Burst, simulate
from capacity import CPU_SECONDS_PER_FILE, CPU_SECONDS_PER_MB, duration
from local_aws.process import LocalAws
from matplotlib import pyplot
from s3_path import Context

ROOT = Path(__file__).resolve().parents[2]
SIZED = ("flat-compact-30", "flat-pretty-30", "nested-compact-30", "nested-pretty-30", "similar-compact-30")
SMALL_FILE = "ikerian_sample.json"
ROUNDS = 5
COLOURS = ("#e8590c", "#0b7285", "#5f3dc4")


def compare() -> None:
    """Print the processor time of each kind of file beside the model's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        aws = LocalAws(port=int(probe.getsockname()[1]))
    aws.start()
    try:
        os.environ.update(aws.environment(), POWERTOOLS_LOG_LEVEL="CRITICAL")
        os.environ.update(PROCESSED_BUCKET="bench-processed", REJECTED_BUCKET="bench-rejected")
        measure()
    finally:
        aws.stop()
        shutil.rmtree(aws.folder, ignore_errors=True)


def measure() -> None:
    """Run the handler on every kind of file, in turn."""
    import lambda_function  # which asks for its settings when it is imported

    s3 = lambda_function.s3
    for bucket in ("bench-raw", "bench-processed", "bench-rejected"):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket="bench-raw", VersioningConfiguration={"Status": "Enabled"})
    folder = ROOT / ".local/bench"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {SMALL_FILE: ROOT / SMALL_FILE} | {name: files.make(name, folder) for name in SIZED}
    for name, path in paths.items():
        s3.upload_file(str(path), "bench-raw", f"{name}.json")

    def cpu_seconds(name: str) -> float:
        event = {"Records": [{"s3": {"bucket": {"name": "bench-raw"}, "object": {"key": f"{name}.json"}}}]}
        began = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            lambda_function.lambda_handler(event, Context())
        return time.process_time() - began

    cpu_seconds(SMALL_FILE)  # the first one also sets up connections
    per_file = statistics.median(cpu_seconds(SMALL_FILE) for _ in range(10 * ROUNDS))
    rounds = [{name: cpu_seconds(name) for name in SIZED} for _ in range(ROUNDS)]

    print("\nThe capacity model (scripts/planning/capacity.py): processor time, through S3 over TLS")
    print(f"  {'':<20}{'measured':>10}{'model':>8}{'ratio':>8}")
    show("any file, ms", per_file, CPU_SECONDS_PER_FILE)
    for name in SIZED:
        megabytes = paths[name].stat().st_size / 1e6
        seconds = statistics.median(of_round[name] for of_round in rounds)
        show(f"{name.rpartition('-')[0]}, ms/MB", (seconds - per_file) / megabytes, CPU_SECONDS_PER_MB)


def show(name: str, measured: float, model: float) -> None:
    """Print one comparison. The model holds where it is not quicker than what is measured."""
    verdict = "holds" if measured <= model else "too quick here: raise the model's figure, or trust this machine less"
    print(f"  {name:<24}{1000 * measured:>6.1f}{1000 * model:>8.1f}{measured / model:>8.2f}  {verdict}")


def draw(burst: Burst, target: Path) -> None:
    """Draw what a burst does over time, one line for each maximum concurrency."""
    mpl.rcParams.update({"svg.hashsalt": "burst", "font.size": 10, "svg.fonttype": "none", "axes.titlesize": 10})
    figure, grid = pyplot.subplots(2, 2, figsize=(9, 6), sharex=True, layout="constrained")
    (waiting, done), (invocations, oldest) = grid
    lines = []
    for concurrency, colour in zip(CONCURRENCIES, COLOURS, strict=True):
        history = simulate(replace(burst, maximum_concurrency=concurrency))
        # As many for each part of the logarithmic axis. The last second is left out: less than a second's work is left.
        seconds = sorted({min(round(1.02**n), len(history) - 1) for n in range(1000)})
        drawn = [history[second - 1] for second in seconds]
        for axes, values in (
            (waiting, [second.waiting / 1000 for second in drawn]),
            (done, [second.files for second in drawn]),
            (invocations, [second.invocations for second in drawn]),
            (oldest, [second.oldest for second in drawn]),
        ):
            (line,) = axes.plot(seconds, values, color=colour, linewidth=2)
            axes.plot(seconds[-1], values[-1], "o", color=colour, markersize=5)
        line.set_label(f"{concurrency:,}: {duration(len(history))}")
        lines.append(line)

    waiting.set_title("thousands of messages that wait")
    done.set_title("files done in a second")
    invocations.set_title("concurrent invocations")
    oldest.set_title("age of the oldest message that waits")
    for axes, level, text in (
        (done, burst.s3_files_per_second, "S3's limit for one prefix"),
        (oldest, ALARM_SECONDS, "the alarm sounds"),
        (oldest, RETENTION_SECONDS, "SQS deletes the message"),
    ):
        axes.axhline(level, color="#868e96", linewidth=1, linestyle="--")
        axes.annotate(text, (6, level), (0, 3), textcoords="offset points", color="#495057", fontsize=9)
    for axes in (done, invocations):
        axes.set_yscale("log")
        axes.set_ylim(2, 6000)
        axes.yaxis.set_major_formatter("{x:,.0f}")
    oldest.set_yscale("log")
    oldest.set_ylim(3, 50 * 86_400)
    ages = {
        10: "10 s",
        60: "1 min",
        ALARM_SECONDS: "15 min",
        7200: "2 h",
        86_400: "1 day",
        RETENTION_SECONDS: "14 days",
    }
    oldest.set_yticks(list(ages), list(ages.values()))
    oldest.set_xscale("log")
    times = {10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36_000: "10 h"}
    oldest.set_xticks(list(times), list(times.values()))
    for axes in grid.flat:
        axes.minorticks_off()
        axes.set_xlim(5, 60_000)
        axes.grid(color="#e9ecef")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{burst.files:,} files of {burst.megabytes:g} MB, sent within {duration(60 * burst.minutes)}", fontsize=11
    )
    figure.legend(handles=lines, title="maximum_concurrency, and when all is done", loc="outside lower center", ncols=3)
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    """Compare, then draw."""
    draw(Burst(), ROOT / "docs/burst.svg")
    compare()


if __name__ == "__main__":
    main()
