"""Compare the handler with other ways to do its work, side by side in one run, and draw docs/benchmark.svg.

Rounds are interleaved and medians shown, so that a machine that gets slower meanwhile slows all of them alike. Only
ratios mean something; absolute figures are those of the machine that is named with them.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import boto3
import matplotlib as mpl
from botocore.config import Config

mpl.use("svg")
import files
from contestants import CONTESTANTS
from matplotlib import pyplot

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WHOLE_FILE = ("json", "json-checked", "orjson", "msgspec")  # they hold the file in memory, several times over
LABELS = {
    "handler": "this handler",
    "decoding": "decoding alone",
    "json": "json (stdlib)",
    "json-checked": "json, checked",
    "duckdb": "duckdb, 1 thread",
}


@dataclass(frozen=True)
class Figures:
    """Medians of some runs: seconds, processor seconds, bytes of memory above the baseline."""

    seconds: float
    cpu_seconds: float
    memory: float


def python(*command: str, **environment: str) -> dict[str, float]:
    """Run a Python program of this folder; return the JSON that it prints last."""
    search = os.pathsep.join([str(ROOT), str(HERE)])
    run = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": search, "AWS_DEFAULT_REGION": "us-east-1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        sys.exit(f"{run.stderr}\nerror: {' '.join(command)} failed. Its output is above.")
    figures: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return figures


def compare(path: Path, names: list[str], rounds: int) -> dict[str, Figures]:
    """Run each contestant in turn, round by round."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            runs[name].append(python(str(HERE / "contestants.py"), name, str(path)))
    return {
        name: Figures(*(statistics.median(run[key] for run in of_name) for key in ("seconds", "cpu_seconds", "bytes")))
        for name, of_name in runs.items()
    }


def show(file: str, size: int, figures: dict[str, Figures]) -> None:
    """Print one file's table: throughput, the ratio to stdlib json, memory."""
    print(f"\n{file}  ({size / 1e6:,.0f} MB)")
    print(f"  {'':<18}{'MB/s':>8}{'x json':>8}{'memory MB':>11}")
    for name, of_name in sorted(figures.items(), key=lambda item: item[1].seconds):
        ratio = f"{figures['json'].seconds / of_name.seconds:8.1f}" if "json" in figures else f"{'':>8}"
        speed = size / 1e6 / of_name.seconds
        print(f"  {LABELS.get(name, name):<18}{speed:8.0f}{ratio}{of_name.memory / 1e6:11.0f}")


def cold_start(rounds: int) -> float:
    """Return how much longer the handler takes to import, client included, than boto3 and an S3 client alone."""
    timed = "import time, json; t = time.perf_counter(); {}; print(json.dumps({{'s': time.perf_counter() - t}}))"
    handler = timed.format("import lambda_function")
    alone = timed.format("import boto3; boto3.client('s3')")
    ratios = []
    for _ in range(rounds):
        with_handler = python("-c", handler, PROCESSED_BUCKET="bench", REJECTED_BUCKET="bench-rejected")["s"]
        ratios.append(with_handler / python("-c", alone)["s"])
    return statistics.median(ratios)


@contextlib.contextmanager
def s3_endpoint(folder: Path, port: int = 4599) -> Iterator[str]:
    """Run the local AWS over plain http, without IAM; yield its address."""
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0"}
    settings |= {"S3_DATA_DIR": str(folder / "s3"), "STATE_DIR": str(folder / "state"), "TMPDIR": str(folder)}
    command = [str(ROOT / ".venv/local-aws/bin/python"), "-m", "hypercorn", "ministack.app:app"]
    emulator = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "--workers", "0"],
        env={"PATH": os.environ["PATH"], **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_ministack/health"):  # noqa: S310
                break
            time.sleep(0.05)
        yield address
    finally:
        emulator.send_signal(signal.SIGTERM)
        emulator.wait()


@contextlib.contextmanager
def one_processor() -> Iterator[None]:
    """Keep this process and those it starts on one processor, where the system can.

    Two processors of a virtual machine often share a core. What the endpoint does on one then slows the other, which
    looks like processor time of the handler.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def s3_cost(path: Path, folder: Path, rounds: int) -> float:
    """Return the processor time of the whole handler on an S3 endpoint, as a ratio to the pure parse."""
    ratios = []
    folder.mkdir(exist_ok=True)
    with one_processor(), s3_endpoint(folder) as address:
        environment = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        config = folder / "config"  # without TLS, unlike with it, the SDK would hash all that it sends
        config.write_text("[default]\ns3 =\n  payload_signing_enabled = false\n")
        environment["AWS_CONFIG_FILE"] = str(config)
        s3 = boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            config=Config(read_timeout=300),
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        for bucket in ("bench-raw", "bench-processed", "bench-rejected"):
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket="bench-raw", VersioningConfiguration={"Status": "Enabled"})
        s3.upload_file(str(path), "bench-raw", path.name)
        for _ in range(rounds):
            through_s3 = python(str(HERE / "s3_path.py"), path.name, PROCESSED_BUCKET="bench-processed", **environment)
            parse = python(str(HERE / "contestants.py"), "handler", str(path))
            ratios.append(through_s3["cpu_seconds"] / parse["cpu_seconds"])
    return statistics.median(ratios)


def machine() -> str:
    """Return the machine and versions that the figures are from."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    packages = ", ".join(f"{name} {version(name)}" for name in ("msgspec", "orjson", "ijson", "duckdb"))
    return f"{os.cpu_count()} x {model}, {platform.system()}, Python {platform.python_version()}, {packages}"


def draw(title: str, figures: dict[str, Figures], size: int, target: Path) -> None:
    """Draw throughput and memory of one file side by side."""
    mpl.rcParams.update({"svg.hashsalt": "benchmark", "font.size": 10, "svg.fonttype": "none"})
    names = sorted(figures, key=lambda name: figures[name].seconds, reverse=True)
    colours = ["#0b7285" if name == "handler" else "#ced4da" for name in names]
    labels = [LABELS.get(name, name) for name in names]
    figure, (speed, memory) = pyplot.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    bars = speed.barh(labels, [size / 1e6 / figures[name].seconds for name in names], color=colours)
    speed.bar_label(bars, fmt="%.0f", padding=3)
    speed.set_title("MB per second (more is better)", fontsize=10)
    bars = memory.barh(labels, [figures[name].memory / 1e6 for name in names], color=colours)
    memory.bar_label(bars, fmt="%.0f", padding=3)
    memory.set_title("memory in MB (less is better)", fontsize=10)
    for axes in (speed, memory):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.15)
    figure.suptitle(title, fontsize=11)
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small files only; draws nothing")
    options = parser.parse_args()
    folder = ROOT / ".local/bench"
    folder.mkdir(parents=True, exist_ok=True)
    everyone = list(CONTESTANTS)
    print(machine())

    middle = "30" if options.quick else "275"
    results = {}
    for file in (
        f"flat-compact-{middle}",
        "flat-compact-1",
        f"flat-pretty-{middle}",
        f"wide-compact-{middle}",
        f"wide-pretty-{middle}",
        f"nested-compact-{middle}",
        f"nested-pretty-{middle}",
        f"similar-compact-{middle}",
        f"mixed-compact-{middle}",
        f"mingled-compact-{middle}",
    ):
        path = files.make(file, folder)
        results[file] = compare(path, everyone, options.rounds)
        show(file, path.stat().st_size, results[file])
    if not options.quick:
        path = files.make("flat-compact-2000", folder)
        large = compare(path, [name for name in everyone if name not in WHOLE_FILE], 1)
        show("flat-compact-2000", path.stat().st_size, large)

    main_file = f"flat-compact-{middle}"
    print(f"\nCold start: {cold_start(options.rounds * 3):.2f}x of boto3 and an S3 client alone")
    path = files.make(main_file, folder)
    print(f"Through S3: {s3_cost(path, folder / 'aws', options.rounds * 3):.2f}x the processor time of the pure parse")
    shutil.rmtree(folder / "aws", ignore_errors=True)
    if not options.quick:
        draw(f"{main_file}.json\n{machine()}", results[main_file], path.stat().st_size, ROOT / "docs/benchmark.svg")


if __name__ == "__main__":
    main()
