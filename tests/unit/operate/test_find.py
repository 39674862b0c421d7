"""find: what is searched, what counts as found, and that no ID appears anywhere."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import terminal
from commands.operate import find
from commands.operate.find import Patients, Version
from commands.operate.ledger import ledger_path
from hypothesis import example, given
from hypothesis import strategies as st

import lambda_function
from tests.unit.framing import chunks

from .patients import files
from .pipeline import (
    BAD,
    ODD_KEYS,
    ONE,
    TWO,
    Pipeline,
    Run,
)

# --- ids in bytes -----------------------------------------------------------------------------------------------------


@given(files())
@example(({"a/b"}, b'[{"patient_id":"a\\/b","patient_name":"x"}]'))
@example(({"A"}, b'[{"patient_id":"\\u0041","patient_name":"x"}]'))
@example(({"\n"}, b'[{"patient_id":"\\n","patient_name":"x"}]'))
def test_a_file_that_is_ruled_out_holds_no_record_of_the_patients(case: tuple[set[str], bytes]) -> None:
    asked, data = case
    ids = {record["patient_id"] for record in json.loads(data.decode("utf-8-sig"))}
    if Patients(asked).ruled_out(data):
        assert not ids & asked
    matched, records = find.count_records(lambda_function, Patients(asked), iter([data]))
    assert records == len(json.loads(data.decode("utf-8-sig")))
    assert matched == sum(record["patient_id"] in asked for record in json.loads(data.decode("utf-8-sig")))


def test_most_files_of_others_are_ruled_out() -> None:
    patients = Patients(["P-1", "P-2"])
    assert patients.ruled_out(b'[{"patient_id":"P-3","patient_name":"a \\"quoted\\" name"}]')
    assert patients.ruled_out(b'[{"patient_id":"P-3","patient_name":"M\\u00fcller"}]')
    assert not patients.ruled_out(b'[{"patient_id":"P-3","patient_name":"\\u0050"}]')
    assert not patients.ruled_out(b'[{"patient_id":"P\\u002D1","patient_name":"x"}]')
    assert not patients.ruled_out(b'[{"patient_id":"P-3","patient_name":"x"},{"patient_id":"P-1"}]')
    assert not Patients(["a/b"]).ruled_out(b'[{"patient_name":"a \\/ name"}]')


@pytest.mark.parametrize(
    "data",
    [gzip.compress(ONE, mtime=0), "[]".encode("utf-16"), "[]".encode("utf-16-le"), b"PK", b""],
    ids=["gzip", "UTF-16", "UTF-16 without a mark", "zip", "empty"],
)
def test_content_that_does_not_look_like_json_is_never_ruled_out(data: bytes) -> None:
    assert not Patients(["P-1"]).ruled_out(data)


@given(files(), st.integers(1, 40))
def test_an_id_in_a_text_is_found_however_it_is_escaped_and_cut(case: tuple[set[str], bytes], size: int) -> None:
    asked, data = case
    ids = {record["patient_id"] for record in json.loads(data.decode("utf-8-sig"))}
    broken = data.removesuffix(b"]")
    if ids & asked:
        assert Patients(asked).in_text(chunks(broken, size))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"id;name\nP-1;Ann\n", True),
        (b"P-1", True),
        (b"XP-1", False),
        (b"P-12", False),
        (b"P-1_2", False),
        (b'"\\nP-1"', True),
        (b'"\\u0050\\u002d\\u0031"', True),
        (b'"\\u0050\\u002d\\u00312"', False),
        ("P-1;Ann".encode("utf-16"), True),
        ("P-12;Ann".encode("utf-16"), False),
        ("Ü-1;Ann".encode("utf-16"), True),
        ("Ü-1;Ann".encode("latin-1"), True),
        (b"\\" * 99 + b"P-1", True),
        (b"", False),
    ],
)
def test_an_id_within_a_longer_word_does_not_count(text: bytes, found: bool) -> None:
    patients = Patients(["P-1", "Ü-1"])
    for size in (1, 2, 3, 7, 1000):
        assert patients.in_text(chunks(text, size)) is found, size


# --- the verb ---------------------------------------------------------------------------------------------------------


def upload(pipeline: Pipeline, key: str, *bodies: bytes) -> list[str]:
    """Upload one version after the other, all of which are processed; return their IDs."""
    for body in bodies:
        pipeline.upload(key, body=body)
    listing = pipeline.s3.list_object_versions(Bucket="raw", Prefix=key)["Versions"]
    return [one["VersionId"] for one in reversed(listing) if one["Key"] == key]


def places(answer: Run) -> list[tuple[Any, ...]]:
    return [(line["key"], line["bucket"], line["records"], line["of"]) for line in answer.lines[:-1]]


def test_records_are_found_in_all_versions_of_uploads_and_results(
    pipeline: Pipeline, run: Callable[..., Run], asked: Callable[..., str]
) -> None:
    first, second = upload(pipeline, "a.json", ONE, TWO)
    upload(pipeline, "b.json", TWO.replace(b'"1"', b'"3"'))
    answer = run("find", "--json", "--patients", asked("1"))
    assert answer.code == 0
    assert places(answer) == [
        *(("a.json", bucket, 1, of) for bucket in ("processed", "raw") for of in (1, 2)),
    ]
    raw = answer.lines[2:4]
    assert [(line["version_id"], line["newest"], line["state"]) for line in raw] == [
        (first, False, "records"),
        (second, True, "records"),
    ]
    assert answer.summary == {
        "records": 4, "text": 0, "archived": 0, "unreadable": 0, "matched_records": 4, "searched": 6,
    }  # fmt: skip
    assert not list(Path(ledger_path("find", "raw", "", "").parent).glob("*"))


@pytest.mark.parametrize("key", [*ODD_KEYS, "no-suffix", "x.JSON"])
def test_every_key_is_searched(
    pipeline: Pipeline, run: Callable[..., Run], asked: Callable[..., str], key: str
) -> None:
    pipeline.put(key, TWO)
    assert places(run("find", "--json", "--patients", asked("2"))) == [(key, "raw", 1, 2)]


def test_ids_come_from_standard_input_too(
    pipeline: Pipeline, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.put("a.json", TWO)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf1\r\n\r\n2")))
    assert places(run("find", "--json")) == [("a.json", "raw", 2, 2)]


def test_a_file_that_is_not_an_array_of_records_is_searched_as_text(
    pipeline: Pipeline, run: Callable[..., Run], asked: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "WHOLE_BYTES", 30)  # some are held whole, others read again
    pipeline.put("bad.json", BAD)
    pipeline.put("csv.json", b"id,name\n1,Ann\n" + b"2,Bob\n" * 9)
    pipeline.put("escaped.json", b'[{"patient_id":"\\u0031"}]')
    pipeline.put("gzip.json", gzip.compress(ONE))
    pipeline.put("other.json", b"id,name\n11,Ann\n")
    pipeline.put("zip.json", b"PK\x03\x04" + b"1" * 40)
    answer = run("find", "--json", "--patients", asked("1"))
    assert answer.code == 1
    assert [(line["key"], line["state"], line["reason"]) for line in answer.lines[:-1]] == [
        ("bad.json", "text", "missing_field"),
        ("csv.json", "text", "not_an_array"),
        ("escaped.json", "text", "missing_field"),
        ("gzip.json", "unreadable", "compressed"),
        ("zip.json", "unreadable", "compressed"),
    ]


def test_an_archived_version_is_named(pipeline: Pipeline, run: Callable[..., Run], asked: Callable[..., str]) -> None:
    pipeline.s3.put_object(Bucket="raw", Key="cold.json", Body=ONE, StorageClass="DEEP_ARCHIVE")
    answer = run("find", "--patients", asked("1"))
    assert answer.code == 1
    assert "newest  archived" in answer.text
    assert "Not searched: 1 version, which may hold records of these patients as well." in answer.errors


def test_large_files_are_searched_as_a_stream(
    pipeline: Pipeline, run: Callable[..., Run], asked: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "WHOLE_BYTES", 1000)
    records = [{"patient_id": str(n % 1000), "patient_name": "x" * 50} for n in range(20_000)]
    pipeline.put("large.json", json.dumps(records, indent=2).encode())
    assert places(run("find", "--json", "--patients", asked("7"))) == [("large.json", "raw", 20, 20_000)]


def test_the_search_can_be_limited_by_prefix_and_time(
    pipeline: Pipeline, run: Callable[..., Run], asked: Callable[..., str]
) -> None:
    for key in ("a/1.json", "b/1.json"):
        pipeline.put(key)
    ids = asked("1")
    assert places(run("find", "--json", "--patients", ids, "--prefix", "b/")) == [("b/1.json", "raw", 1, 1)]
    assert places(run("find", "--json", "--patients", ids, "--since", "2999-01-01")) == []
    assert len(places(run("find", "--json", "--patients", ids, "--since", "1h"))) == 2


def stop_after(monkeypatch: pytest.MonkeyPatch, looks: int) -> list[Version]:
    """Interrupt the search when so many versions were looked at; return those that are."""
    seen: list[Version] = []
    original = find.look

    def look(pipeline: Any, patients: Patients, version: Version) -> Any:
        seen.append(version)
        if len(seen) == looks:
            terminal.stopping.set()
        return original(pipeline, patients, version)

    monkeypatch.setattr(find, "look", look)
    return seen


def test_an_interrupted_search_resumes_where_it_was(
    pipeline: Pipeline, run: Callable[..., Run], asked: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "SIDE_BY_SIDE", 1)
    for n in range(30):
        pipeline.put(f"{n:02}.json", TWO)
    ids = asked("1")
    seen = stop_after(monkeypatch, 12)
    answer = run("find", "--json", "--patients", ids)
    assert (answer.code, answer.text) == (130, "")
    assert "To resume, run the same command with --resume." in answer.errors
    before = len(seen)
    assert before < 25
    answer = run("find", "--json", "--patients", ids, "--resume")
    assert "Resuming after" in answer.errors
    assert [line["key"] for line in answer.lines[:-1]] == [f"{n:02}.json" for n in range(30)]
    assert len(seen) - before < 30


def test_an_interrupted_search_is_not_resumed_with_other_ids(
    pipeline: Pipeline, run: Callable[..., Run], asked: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.put("a.json", TWO)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        assert run("find", "--patients", asked("1")).code == 130
    answer = run("find", "--patients", asked("2"), "--resume")
    assert (answer.code, answer.text) == (1, "")
    assert "Run the command without --resume." in answer.errors
    assert run("find", "--patients", asked("2")).code == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "the file of --patients cannot be read: No such file or directory."),
        (b"\n\n", "there are no patient ids to look for."),
        (b"caf\xe9", "the patient ids are not UTF-8."),
        (b"".join(b"%d\n" % n for n in range(1001)), "there are 1,001 patient ids; one run takes 1,000."),
    ],
)
def test_an_invalid_file_of_ids_is_refused_without_quoting_it(
    run: Callable[..., Run], tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "caf-1000"
    if content is not None:
        path.write_bytes(content)
    answer = run("find", "--patients", str(path))
    assert (answer.code, answer.text) == (1, "")
    (line,) = answer.errors.splitlines()
    assert why in line
    assert "caf" not in line


def test_a_version_deleted_before_it_is_read_is_no_fault(
    pipeline: Pipeline, run: Callable[..., Run], asked: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = pipeline.put("a.json")
    listed = list(find.versions(pipeline.deployed, ""))
    pipeline.s3.delete_object(Bucket="raw", Key="a.json", VersionId=version)
    monkeypatch.setattr(find, "versions", lambda *_: iter(listed))
    assert run("find", "--json", "--patients", asked("1")).lines[:-1] == []
