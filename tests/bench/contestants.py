"""Run one contestant on one file, in a process of its own, and print what it took as JSON.

Every contestant reads the file and writes patient_id and patient_name of each record as JSON; the output is counted and
thrown away. Some read the file whole, as their kind does; none is helped or held back.
"""

import datetime
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("PROCESSED_BUCKET", "bench")
os.environ.setdefault("REJECTED_BUCKET", "bench-rejected")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
KEPT = ("patient_id", "patient_name")

Contestant = Callable[[str], int]  # takes a path, returns the number of bytes written


def batches(path: str) -> Iterator[Any]:
    """Yield the records of a file as the handler takes them out, streamed, the whole schema checked."""
    from lambda_function import READ_BYTES, Framer

    with Path(path).open("rb", buffering=0) as file:
        yield from Framer(iter(lambda: file.read(READ_BYTES), b"")).batches()


def handler() -> Contestant:
    """The handler."""
    from lambda_function import cut_down

    return lambda path: sum(len(cut_down(batch)) for batch in batches(path))


def decoding_alone() -> Contestant:
    """What the handler cannot be faster than: its records, dropped."""
    import lambda_function  # noqa: F401 - what it takes to load is not measured

    return lambda path: sum(0 for _ in batches(path))


def stdlib_json() -> Contestant:
    """The program that everyone writes first."""

    def run(path: str) -> int:
        with Path(path).open("rb") as file:
            records = json.load(file)
        return len(json.dumps([{name: record[name] for name in KEPT} for record in records]))

    return run


def stdlib_json_checked() -> Contestant:
    """The same with the handler's checks, so that both do the same work."""

    def number(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    def kept(record: dict[str, Any]) -> dict[str, str]:
        patient_id, patient_name = record["patient_id"], record["patient_name"]
        date = record.get("scan_date", "2026-01-31")
        thickness, ratio = record.get("retina_thickness_microns", 1), record.get("optic_disc_cup_ratio", 0)
        if not (isinstance(patient_id, str) and isinstance(patient_name, str) and patient_id and patient_name):
            raise ValueError
        if not (datetime.date.fromisoformat(date) and isinstance(record.get("diagnosis", ""), str)):
            raise ValueError
        if not (number(thickness) and thickness > 0 and number(ratio) and 0 <= ratio <= 1):
            raise ValueError
        return {"patient_id": patient_id, "patient_name": patient_name}

    def run(path: str) -> int:
        with Path(path).open("rb") as file:
            records = json.load(file)
        return len(json.dumps([kept(record) for record in records]))

    return run


def orjson_whole() -> Contestant:
    """The same with orjson."""
    import orjson

    def run(path: str) -> int:
        records = orjson.loads(Path(path).read_bytes())
        return len(orjson.dumps([{name: record[name] for name in KEPT} for record in records]))

    return run


def ijson_stream() -> Contestant:
    """ijson with its fastest backend: streamed, nothing checked."""
    import ijson.backends.yajl2_c as ijson

    def run(path: str) -> int:
        written = 0
        with Path(path).open("rb") as file:
            for record in ijson.items(file, "item", buf_size=1 << 20, use_float=True):
                written += len(json.dumps({name: record[name] for name in KEPT}))
        return written

    return run


def msgspec_whole() -> Contestant:
    """The handler's own schema on the whole file in memory."""
    import msgspec

    from lambda_function import Record, cut_down

    decoder = msgspec.json.Decoder(list[Record])

    def run(path: str) -> int:
        return len(cut_down(decoder.decode(Path(path).read_bytes())))

    return run


def duckdb_one_thread() -> Contestant:
    """DuckDB's JSON reader on one thread, types checked."""
    import duckdb

    def run(path: str) -> int:
        connection = duckdb.connect(config={"threads": 1})
        connection.execute(
            "copy (select patient_id, patient_name from read_json(?, format = 'array', maximum_object_size = 33554432,"
            " columns = {patient_id: 'VARCHAR', patient_name: 'VARCHAR', scan_date: 'DATE',"
            " retina_thickness_microns: 'DOUBLE', optic_disc_cup_ratio: 'DOUBLE', diagnosis: 'VARCHAR'}))"
            " to '/dev/null' (format json, array true)",
            [path],
        )
        return 0

    return run


CONTESTANTS = {
    "handler": handler,
    "decoding": decoding_alone,
    "json": stdlib_json,
    "json-checked": stdlib_json_checked,
    "orjson": orjson_whole,
    "ijson": ijson_stream,
    "msgspec": msgspec_whole,
    "duckdb": duckdb_one_thread,
}


def peak_bytes() -> int:
    """Return the most memory that this process has had resident so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent had at the fork
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure the contestant named first on the file named second."""
    run = CONTESTANTS[sys.argv[1]]()
    baseline = peak_bytes()
    began, cpu_began = time.perf_counter(), time.process_time()
    run(sys.argv[2])
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "bytes": peak_bytes() - baseline}))


if __name__ == "__main__":
    main()
