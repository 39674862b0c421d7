"""The capacity model and the simulated burst: by hand, against each other, the settings and the documents."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import burst
import capacity
import cost
import pytest
from burst import Burst, Second, closed_form_seconds, simulate
from capacity import Limit, Load, batch_seconds, drain_seconds, duration, limits, seconds_per_file

import lambda_function

from .invocations import Context, notification

ROOT = Path(__file__).resolve().parents[2]
SCALING = (ROOT / "docs/scaling.md").read_text()
COMMANDS = re.findall(r"^\$ python3 (scripts/.+)$", SCALING, re.MULTILINE)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)


def first(**settings: Any) -> Limit:
    return limits(Load(**settings))[0]


# --- the model --------------------------------------------------------------------------------------------------------


def test_a_file_by_hand() -> None:
    # With a whole processor the connection is what takes long: 100 / 85 s in, 50 / 45 s out, three answers.
    assert seconds_per_file(100, 1769) == pytest.approx(0.3 + 0.005 + 100 / 85 + 50 / 45)
    # With a quarter of one the processor is: 0.8 s of work take 3.2 s.
    assert seconds_per_file(100, 1769 / 4) == pytest.approx(0.3 + 0.02 + 3.2 + 50 / 45)
    assert seconds_per_file(100, 10_240) == seconds_per_file(100, 1769)


def test_a_batch_by_hand() -> None:
    # Small files wait for S3 together. Each further one adds its work, and the writing of 0.05 MB.
    assert batch_seconds(0.1, 1769) == pytest.approx(0.3 + 10 * (0.005 + 0.1 / 85 + 0.05 / 45))
    # Each large one adds the wait for its own result to be written as well.
    assert batch_seconds(100, 1769) == pytest.approx(0.2 + 10 * (0.1 + 0.005 + 100 / 85 + 50 / 45))
    assert round(lambda_function.READ_BYTES / 1e6, 3) == capacity.SMALL_MB
    assert Load(1, 1, seconds=2 * seconds_per_file(1, 1024)).batch_seconds == pytest.approx(2 * batch_seconds(1, 1024))


def test_a_batch_takes_less_than_a_quarter_of_the_time_per_small_file() -> None:
    assert batch_seconds(0.1, 1024) / capacity.BATCH < seconds_per_file(0.1, 1024) / 4


def test_a_day_by_hand() -> None:
    load = Load(files_per_day=864_000, megabytes=1, mode="queue", seconds=0.5)
    assert load.files_per_second == 10
    answer = capacity.answer(load)
    assert "one file     0.50 s\n" in answer
    full = 23  # a full batch takes 2.3 s: the 1.5 s of the model, slowed down as one file is
    assert load.batch_seconds == pytest.approx(2.3, abs=0.01)
    assert f"concurrency  5 invocations on average, 50 at the peak, {full} with full batches\n" in answer
    assert f"first limit  maximum_concurrency of 10: {10 * full}% of it at the peak\n" in answer


def test_dollars_by_hand() -> None:
    load = Load(files_per_day=1e6 / 30, megabytes=1, memory=512, seconds=2)
    # Uploads and results, messages, reads, calls, 1 GB second each, log, traces; then metrics, storage, an idle month.
    each = 2 * 5e-6 + 1.2 * 0.4e-6 + 3 * 0.4e-6 + 0.2e-6 + 16.6667e-6 + 1500 / 1e9 * 0.5 + 0.05 * 5e-6
    assert capacity.dollars_per_month(load) == pytest.approx(1e6 * each + 7.8 + 1500 * 0.023 + 5.5592)


def test_parts_of_an_upload_are_requests() -> None:
    assert (cost.writes(8), cost.writes(9), cost.writes(84)) == (1, 4, 13)
    assert round(lambda_function.PART_BYTES / 1e6, 2) == cost.PART_MB


def test_more_of_anything_is_never_less() -> None:
    sizes = [0, 0.001, 1, 8, 9, 1000, 100_000]
    memories = [128, 512, 1024, 1769, 1770, 10_240]
    for memory in memories:
        seconds = [seconds_per_file(size, memory) for size in sizes]
        assert seconds == sorted(set(seconds))
    for size in sizes:
        seconds = [seconds_per_file(size, memory) for memory in memories]
        assert seconds == sorted(seconds, reverse=True)
    for mode in ("direct", "queue"):
        loads = [Load(files, size, mode) for size in sizes for files in (1, 1000, 10**6)]
        for fewer, more in itertools.pairwise(loads):
            if fewer.megabytes == more.megabytes:
                assert capacity.dollars_per_month(fewer) < capacity.dollars_per_month(more)
            if fewer.megabytes == more.megabytes:
                used = {limit.name: limit.used for limit in limits(more)}
                assert all(limit.used <= used[limit.name] for limit in limits(fewer))


def test_each_limit_can_be_the_first_and_is_full_at_its_figure() -> None:
    def full(limit: Limit, name: str) -> bool:
        return limit.name == name and limit.used == pytest.approx(1)

    day = 24 * 3600
    assert full(first(files_per_day=2750 * day, megabytes=1, peak=1, seconds=0.1), "5,500 S3 reads a second")
    # 7 parts and 2 requests more for an upload of 55 MB
    assert full(first(files_per_day=3500 / 9 * day, megabytes=55, peak=1, seconds=0.1), "3,500 S3 writes a second")
    assert full(first(files_per_day=100 * day, megabytes=1, peak=1, seconds=10), "1,000 invocations of the account")
    assert full(first(files_per_day=1, megabytes=1, seconds=290), "timeout_seconds")
    queue: dict[str, Any] = {"mode": "queue", "megabytes": 1}
    ratio = seconds_per_file(1, 1024) / batch_seconds(1, 1024)
    assert full(first(files_per_day=2 * day, peak=1, seconds=50 * ratio, **queue), "maximum_concurrency of 10")
    assert full(first(files_per_day=1, seconds=290 * ratio, **queue), "timeout_seconds for 10 files")
    assert first(files_per_day=1, seconds=300, **queue).name == "timeout_seconds"


def test_prefixes_and_quotas_move_the_limits() -> None:
    load = Load(files_per_day=1e9, megabytes=1)
    used = {limit.name: limit.used for limit in limits(load)}
    spread = {limit.name: limit.used for limit in limits(replace(load, prefixes=4))}
    for name in ("5,500 S3 reads a second", "3,500 S3 writes a second"):
        assert spread[name] == pytest.approx(used[name] / 4)
    more = {limit.name: limit.used for limit in limits(replace(load, account_concurrency=5000))}
    assert more["5,000 invocations of the account"] == pytest.approx(used["1,000 invocations of the account"] / 5)


@pytest.mark.parametrize("memory", [512, 1024, 1769])
def test_the_largest_file_just_fits(memory: int) -> None:
    assert seconds_per_file(capacity.largest_megabytes(900, memory), memory) == pytest.approx(890)


def test_recommended_memory() -> None:
    assert capacity.recommended_memory(0.1) == 512  # it mostly waits for S3
    assert capacity.recommended_memory(1000) == 1024  # a smaller part of a processor cannot keep up with S3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.333, "0.33 s"), (1.25, "1.2 s"), (119, "119 s"), (300, "5 min"), (455, "7 min 35 s"), (33_360, "9 h 16 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    assert duration(86_400 * 3.5) == "3 days 12 h"


# --- the burst --------------------------------------------------------------------------------------------------------


def test_a_drain_by_hand() -> None:
    assert drain_seconds(1000, 1, 2) == 500  # two concurrent ones from the beginning
    # From 5 concurrent ones to 105 in 20 seconds: 1,100 files. The rest at 105 a second.
    assert drain_seconds(1100, 1, 105) == pytest.approx(20)
    assert drain_seconds(1100 + 1050, 1, 105) == pytest.approx(30)
    assert drain_seconds(150, 1, 105) == pytest.approx(6.810, abs=0.001)  # 5 t + 2.5 t² = 150
    assert drain_seconds(1100 + 1050, 1, 1000, files_per_second=105) == pytest.approx(30)


@pytest.mark.parametrize("concurrency", [2, 10, 100, 1000])
@pytest.mark.parametrize("megabytes", [0.1, 1, 8])
@pytest.mark.parametrize("prefixes", [1, 10])
def test_simulated_and_closed_form_agree(concurrency: int, megabytes: float, prefixes: int) -> None:
    one = Burst(300_000, megabytes, minutes=1, maximum_concurrency=concurrency, prefixes=prefixes)
    assert len(simulate(one)) == pytest.approx(closed_form_seconds(one), rel=0.01, abs=2)


def test_the_burst_keeps_to_the_limits() -> None:
    one = Burst(maximum_concurrency=1000, minutes=1)
    history = simulate(one)
    assert sum(second.files for second in history) == pytest.approx(one.files, abs=1)
    assert one.uploads_per_second == 3500
    assert max(second.files for second in history) <= 5500 / 2
    assert max(second.invocations for second in history) == 1000
    invocations = [5.0, *(second.invocations for second in history if second.invocations)]
    assert max(after - before for before, after in itertools.pairwise(invocations)) < 5.001
    assert all(second.waiting >= 0 and second.oldest >= 0 for second in history)
    assert history[-1].waiting == pytest.approx(0, abs=1)


def test_uploads_that_come_slowly_do_not_wait() -> None:
    history = simulate(Burst(6000, minutes=10, maximum_concurrency=10))
    assert len(history) == pytest.approx(600, abs=burst.NOTICE_SECONDS + 2)
    assert max(second.waiting for second in history) < 1
    assert max(second.oldest for second in history) == 0
    assert max(second.invocations for second in history) == pytest.approx(batch_seconds(1, 1024), abs=0.01)


def test_the_oldest_message_by_hand() -> None:
    # 60 files in a minute, 2 seconds each: the last comes after a minute and is done after two.
    one = replace(Burst(60, minutes=1, maximum_concurrency=1), megabytes=75)
    assert one.seconds_per_file == pytest.approx(2, abs=0.01)
    history = simulate(one)
    assert len(history) == pytest.approx(2 + 120, abs=2)
    assert max(second.oldest for second in history) == pytest.approx(60, abs=2)
    assert history[61].waiting == pytest.approx(30, abs=1)


def test_the_alarm_sounds_when_the_oldest_message_is_too_old() -> None:
    history = [Second(1, 1, 1, age) for age in (0, 900, 901, 902)]
    assert burst.alarm_second(history) == 3
    assert burst.alarm_second(history[:2]) is None


def test_limits_that_never_bind() -> None:
    # An event source mapping grows more slowly than a function may, and has fewer messages in work than a queue may.
    assert capacity.BATCHES_PER_SECOND < 1000 / 10
    assert max(burst.CONCURRENCIES) * capacity.BATCH < burst.IN_FLIGHT


# --- the settings and the function that they are about ----------------------------------------------------------------


def test_the_settings_are_those_of_the_project() -> None:
    variables, queue, pipeline = (
        (ROOT / path).read_text() for path in ("variables.tf", "modules/queue/main.tf", "modules/pipeline/main.tf")
    )
    load = Load(1, 1)
    for name, value in (
        ("memory_mb", load.memory),
        ("timeout_seconds", load.timeout),
        ("maximum_concurrency", load.maximum_concurrency),
        ("batch_size", capacity.BATCH),
        ("ingestion", json.dumps(load.mode)),
    ):
        assert re.search(rf"\b{name} += optional\(\w+, {value}\)", variables), name
    assert (Burst().memory, Burst().maximum_concurrency) == (load.memory, load.maximum_concurrency)
    assert f"maxReceiveCount = {capacity.DELIVERIES}\n" in queue
    assert "oldest_message_seconds = 3 * var.settings.timeout_seconds" in pipeline
    assert 3 * load.timeout == burst.ALARM_SECONDS
    assert "longest_seconds = 14 * 24 * 3600" in queue.replace("  ", " ")
    assert burst.RETENTION_SECONDS == 14 * 24 * 3600
    assert lambda_function.TIME_MARGIN_MS == capacity.TIME_MARGIN_SECONDS * 1000


def test_the_function_makes_as_many_requests_as_the_model_says(s3: Any, context: Context) -> None:
    s3.put_object(Bucket="raw", Key="a.json", Body=b"[]")
    calls: list[tuple[str, str]] = []

    def note(model: Any, params: Any, **_: Any) -> None:
        calls.append((model.name, params["context"]["input_params"]["Bucket"]))

    s3.meta.events.register("before-call.s3", note, unique_id="count")
    lambda_function.lambda_handler(notification("a.json"), context)
    s3.meta.events.unregister("before-call.s3", unique_id="count")
    calls.remove(("HeadObject", "rejected"))  # which nobody waits for
    assert calls == [("GetObject", "raw"), ("PutObject", "processed"), ("HeadObject", "raw")]
    assert (len(calls), sum(bucket == "raw" for _, bucket in calls)) == (capacity.REQUESTS, capacity.READS)


def test_the_table_of_costs_takes_the_time_of_the_model() -> None:
    said = run("scripts/planning/cost.py").stdout
    assert f"a million files of 100 kB, {seconds_per_file(0.1, 1024):.2f} s each" in said


# --- the commands and the documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documented_answers_are_the_computed_ones(command: str) -> None:
    result = run(*shlex.split(command))
    assert result.returncode == 0, result.stderr
    assert result.stdout in SCALING


def test_there_are_documented_answers() -> None:
    assert len(COMMANDS) == 5


def test_the_documented_text_has_the_figures_of_the_model() -> None:
    text = " ".join(SCALING.split())
    default, longest = (capacity.largest_megabytes(seconds, 1024) / 1000 for seconds in (300, 900))
    assert f"300 seconds at {default:.1f} GB and 900 seconds at {longest:.1f} GB" in text
    assert f"{default / 10:.1f} GB by default" in text
    assert f"From about {round(2750 * batch_seconds(1, 1024) / 10, -2):.0f} concurrent invocations" in text
    million = 1e6 * batch_seconds(0.1, 1024) / 10 * cost.LAMBDA_GB_SECOND
    assert f"0.1 MB cost {million:.2f} dollars of function time" in text
    assert f"| processor time for a MB | {1000 * capacity.CPU_SECONDS_PER_MB:g} ms |" in text
    assert f"| processor time for a file | {1000 * capacity.CPU_SECONDS_PER_FILE:g} ms |" in text


def test_the_plot_shows_the_simulation() -> None:
    plot = (ROOT / "docs/burst.svg").read_text()
    for concurrency in burst.CONCURRENCIES:
        done = duration(len(simulate(Burst(maximum_concurrency=concurrency))))
        assert f"{concurrency:,}: {done}" in plot


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("capacity.py --memory 64", "64 is not a memory setting of Lambda in MB. Use a number from 128 to 10,240."),
        (
            "capacity.py --files-per-day many",
            "many is not a number of files a day. Use a number from 1 to 10,000,000,000.",
        ),
        (
            "capacity.py --timeout 901",
            "901 is not a time limit of the function in seconds. Use a number from 20 to 900.",
        ),
        ("capacity.py --seconds nan", "nan is not a time in seconds. Use a number from 0.001 to 900."),
        ("burst.py --maximum-concurrency 1", "1 is not a maximum_concurrency. Use a number from 2 to 1,000."),
    ],
)
def test_invalid_numbers_are_reported_in_one_line(command: str, message: str) -> None:
    script, *options = command.split()
    result = run(f"scripts/planning/{script}", *options)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"error: {message}\n")
