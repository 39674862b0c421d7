"""reprocess: existing uploads go through the pipeline again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from commands import terminal

from .pipeline import AUDIT, ODD_KEYS, Pipeline, Run


def test_reprocess_sends_the_objects_of_a_prefix(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    for key in ("a/1.json", "a/2.json", "a/notes.txt", "b/1.json", *(f"a/{key}" for key in ODD_KEYS)):
        pipeline.put(key)
    answer = run("reprocess", "--prefix", "a/", "--rate", "10000")
    assert (answer.code, answer.errors) == (0, f"Sent {2 + len(ODD_KEYS)} objects through the pipeline.\n")
    assert pipeline.work_off() == 2 + len(ODD_KEYS)
    assert run(*AUDIT, "--prefix", "a/").code == 0
    assert run(*AUDIT, "--prefix", "b/").states == {"b/1.json": "missing"}


def test_reprocess_since_a_time(pipeline: Pipeline, run: Callable[..., Run]) -> None:
    pipeline.put("a.json")
    assert run("reprocess", "--prefix", "", "--since", "2100-01-01").errors == "There are no such objects.\n"
    assert run("reprocess", "--prefix", "", "--since", "1h").errors == "Sent 1 object through the pipeline.\n"
    assert run("reprocess", "--prefix", "", "--since", "soon").errors.splitlines()[-1] == (
        "error: not a time: soon. Say how long ago, as in 10m, 12h or 7d, or when: 2026-01-31."
    )


def test_reprocess_resumes_where_it_was_interrupted_even_with_nothing_to_send(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        pipeline.put(f"{n:02}.json")
    asked: list[Any] = []

    def pages_of_five(params: Any, **_: Any) -> None:
        asked.append(params.get("StartAfter", params.get("ContinuationToken")))
        params["MaxKeys"] = 5
        if len(asked) == 2:
            terminal.stopping.set()

    pipeline.client("s3").meta.events.register("provide-client-params.s3.ListObjectsV2", pages_of_five)
    command = ("reprocess", "--prefix", "", "--since", "2100-01-01")
    answer = run(*command)
    assert (answer.code, len(asked)) == (130, 2)
    assert answer.errors == "Stopped after sending 0 objects. To resume, run the same command with --resume.\n"
    answer = run(*command, "--resume")
    assert asked[2] == "09.json"
    assert (answer.code, answer.errors.splitlines()[0]) == (0, "Resuming after 0 objects, at 09.json.")
