"""Run the framer on one hostile file, made piece by piece, and print the outcome and the memory it took on top.

Run by test_hostile.py, each file in a process of its own: `python hostile.py NAME`.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from lambda_function import READ_BYTES, Framer, Rejected, cut_down

GOOD = b'{"patient_id":"1","patient_name":"x"}'
MB = 1_000_000


def around(middle: Iterator[bytes], opening: bytes = b"", closing: bytes = b"") -> Iterator[bytes]:
    """A file with a good record, then one with a hostile field."""
    yield b"[" + GOOD + b',{"patient_id":"2","patient_name":"y","n":' + opening
    yield from middle
    yield closing + b"}," + GOOD + b"]"


def deep_and_wide() -> bytes:
    return b"[" * 990 + b",".join([b"[]"] * 1000) + b"]" * 990


def large_then_small() -> Iterator[bytes]:
    """Records that fill the window, each followed by as many small ones as fit into it."""
    yield b"[" + GOOD
    for _ in range(4):
        yield b',{"patient_id":"1","patient_name":"x","n":"'
        yield from repeat(b"x" * MB, 16)
        yield b'"}'
        yield from repeat((b"," + GOOD) * 20_000, 20)
    yield b"]"


def flat(records: int) -> Iterator[bytes]:
    yield b"[" + GOOD
    for _ in range(records // 1000):
        yield (b"," + GOOD) * 1000
    yield b"]"


FILES: dict[str, Callable[[], Iterator[bytes]]] = {
    "200,000 open brackets": lambda: around(iter([b"[" * 200_000])),
    "200,000 open brackets from the start": lambda: iter([b"[" * 200_000]),
    "200,000 open braces": lambda: around(iter([b'{"a":' * 200_000])),
    "a record of brackets in strings": lambda: around(repeat(b'["["],["]"],' * 10_000, 120), b"[", b"1]"),
    "a record as deep and wide as is safe": lambda: around(repeat(deep_and_wide() + b",", 3000), b"[", b"1]"),
    "a number of 10 MB": lambda: around(repeat(b"1" * MB, 10)),
    "a number of 10 MB in a known field": lambda: iter(
        [b'[{"patient_id":"1","patient_name":"x","retina_thickness_microns":', *repeat(b"1" * MB, 10), b"}]"]
    ),
    "a string of 50 MB": lambda: around(repeat(b"x" * MB, 50), b'"', b'"'),
    "a name of 50 MB": lambda: iter([b'[{"patient_id":"1","patient_name":"', *repeat(b"x" * MB, 50), b'"}]']),
    "a key of 50 MB": lambda: iter([b'[{"', *repeat(b"x" * MB, 50), b'":1}]']),
    "500 MB of white space": lambda: iter([b"[", *repeat(b" " * MB, 500), GOOD, b"]"]),
    "500 MB of white space at the end": lambda: iter([b"[", GOOD, b"]", *repeat(b" " * MB, 500)]),
    "500 MB of garbage": lambda: repeat(b"\x00" * MB, 500),
    "500 MB of commas": lambda: iter([b"[", GOOD, *repeat(b"," * MB, 500)]),
    "small records after large ones": large_then_small,
    "10 MB of records": lambda: flat(250_000),
    "200 MB of records": lambda: flat(5_000_000),
}


def main(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (space + 160 * MB, space + 160 * MB))
    reads = (data[at : at + READ_BYTES] for data in FILES[name]() for at in range(0, len(data), READ_BYTES))
    framer = Framer(reads)
    outcome = "accepted"
    try:
        for batch in framer.batches():
            cut_down(batch)
    except Rejected as error:
        outcome = str(error)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"outcome": outcome, "records": framer.records, "megabytes": (after - before) / 1000}))


if __name__ == "__main__":
    main(sys.argv[1])
