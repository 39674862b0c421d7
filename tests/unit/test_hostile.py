"""Hostile files, with the memory of the process limited: no crash, a reason, and memory that does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .framing import frame, rejection

pytestmark = pytest.mark.slow

LARGE = "record_too_large record=1"


def run(name: str) -> dict[str, Any]:
    script = Path(__file__).with_name("hostile.py")
    done = subprocess.run([sys.executable, script, name], env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    ("name", "outcome", "megabytes"),
    [
        ("200,000 open brackets", "nested_too_deep record=1", 8),
        ("200,000 open brackets from the start", "not_an_object record=0", 8),
        ("200,000 open braces", "nested_too_deep record=1", 8),
        ("a record of brackets in strings", "accepted", 100),
        ("a record as deep and wide as is safe", "accepted", 100),
        ("a number of 10 MB", "accepted", 60),
        ("a number of 10 MB in a known field", "invalid_field record=0 field=retina_thickness_microns", 60),
        ("a string of 50 MB", LARGE, 60),
        ("a name of 50 MB", "record_too_large record=0", 60),
        ("a key of 50 MB", "record_too_large record=0", 60),
        ("500 MB of white space", "record_too_large record=0", 60),
        ("500 MB of white space at the end", "accepted", 8),
        ("500 MB of garbage", "not_an_array", 8),
        ("500 MB of commas", "malformed record=1", 8),
        ("small records after large ones", "accepted", 50),
    ],
)
def test_hostile_files_have_an_outcome_and_take_little_memory(name: str, outcome: str, megabytes: int) -> None:
    answer = run(name)
    assert answer["outcome"] == outcome
    assert answer["megabytes"] < megabytes


def test_memory_does_not_grow_with_the_file() -> None:
    small, large = run("10 MB of records"), run("200 MB of records")
    assert (small["records"], large["records"]) == (250_001, 5_000_001)
    assert large["megabytes"] < 8
    assert large["megabytes"] < small["megabytes"] + 2


def test_a_file_cut_short_anywhere_is_rejected() -> None:
    text = (
        '\ufeff[{"patient_id":"1","patient_name":"é😀","retina_thickness_microns":-1.5e+3,"n":[{"a":null},"\\u00e9"]},'
        '{"patient_id":"2","patient_name":"y","optic_disc_cup_ratio":0.25,"scan_date":"2024-01-31"}]'
    )
    data = text.replace("-1.5e", "1.5e").encode()
    assert len(frame([data])) == 2
    for length in range(len(data)):
        reason = rejection(data[:length], 1).split()[0]
        assert reason in ("truncated", "malformed", "empty_file", "not_an_array")
        assert reason != "not_an_array" or length < 3
