"""./deploy.sh check: the handler's verdict on a file, the location of the fault, and none of the file's content."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from commands.check import IGNORED, LOOKS_LIKE, Text, check
from commands.terminal import Refused
from hypothesis import given
from hypothesis import strategies as st

import lambda_function

from .canaries import BAD, GOOD, hidden
from .framing import rejection

RUNBOOK = (Path(__file__).parents[2] / "docs/operations.md").read_text()
RECORD = '{"patient_id":"P-1","patient_name":"Ada Example"}'


class Answer:
    """The output and the exit code of a run."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Check files in an empty folder; those given with content are written first."""
    monkeypatch.chdir(tmp_path)

    def run(*names: str, **files: bytes) -> Answer:
        for name, content in files.items():
            Path(f"{name}.json").write_bytes(content)
        capsys.readouterr()
        code = check([*names, *(f"{name}.json" for name in files)])
        return Answer(code, *capsys.readouterr())

    return run


def place(before: str) -> str:
    """The position after a text, as people count it."""
    shown = before.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    line, column = shown.count("\n") + 1, len(shown.rpartition("\n")[2]) + 1
    return f"line {line} column {column} (byte {len(encoded(before))})"


def encoded(text: str) -> bytes:
    """A text as UTF-8, apart from single bytes, written as U+DC80 to U+DCFF."""
    return text.encode(errors="surrogateescape")


def verdict(run: Callable[..., Answer], text: str, reason: str) -> None:
    """Check a text that is rejected, with the place of the fault marked, however it is read and decoded."""
    before, marked, after = text.partition("▲")
    data = encoded(before + after)
    assert rejection(data) == reason
    expected = f"scan.json: rejected, {reason}{', ' + place(before) if marked else ''}\n"
    for read, at_once in ((7, 7), (len(data) or 1, 64), (len(data) or 1, 2 * len(data))):
        at_once = min(at_once, lambda_function.MAX_RECORD_BYTES)
        with mock.patch.multiple(lambda_function, READ_BYTES=read, BATCH_BYTES=at_once):
            answer = run(scan=data)
        assert (answer.code, answer.out, answer.err) == (1, expected, "")


# What check prints, the place counted by hand, and the file of which it prints that.
PRINTED = {
    "empty_file": b"",
    "gzip": b"\x1f\x8b\x08\x00",
    "not_an_array: it looks like UTF-16": f"[{RECORD}]".encode("utf-16"),
    "trailing_data, line 2 column 1 (byte 52)": f"[{RECORD}]\n[{RECORD}]".encode(),
    "truncated record=1, line 1 column 52 (byte 51)": f"[{RECORD},".encode(),
    "malformed record=1, line 2 column 1 (byte 56)": f"\ufeff[{RECORD},\r\n,{RECORD}]".encode(),
    "not_utf8 record=0, line 1 column 37 (byte 36)": b'[{"patient_id":"1","patient_name":"J\xf6rg"}]',
    "not_an_object record=0, line 1 column 2 (byte 1)": b'["Ada"]',
    "missing_field record=1 field=patient_name, line 2 column 1 (byte 52)": (
        f'[{RECORD},\n{{"patient_id":"1"}}]'.encode()
    ),
    "invalid_field record=0 field=scan_date, line 1 column 2 (byte 1)": f'[{RECORD[:-1]},"scan_date":7}}]'.encode(),
    "record_too_large record=0, line 1 column 2 (byte 1)": b'[{"image":"%b"}]' % (b"Ada" * 6_000_000),
    "nested_too_deep record=0, line 1 column 2 (byte 1)": b'[{"n":' + b"[" * 100_000,
}


@pytest.mark.parametrize("printed", PRINTED)
def test_a_file_is_rejected_with_reason_and_place_in_one_line(run: Callable[..., Answer], printed: str) -> None:
    answer = run(scan=PRINTED[printed])
    assert (answer.code, answer.out, answer.err) == (1, f"scan.json: rejected, {printed}\n", "")


# Where white space may go there is a "·", and "~" in a field that is not read; "▲" marks the fault.
BEFORE = '·[·{"patient_id":·"P-1",·"patient_name":"Ada Example","note":"~"}·,·\n'
FAULTS = {
    "empty_file": "·",
    "not_an_array": f"·▲x·{RECORD}·",
    "trailing_data": f"{BEFORE}{RECORD}·]·\n·▲[·]·",
    "truncated record=2": f'{BEFORE}{RECORD}·,\n·▲{{"patient_id":·"P-2"·',
    "malformed record=1": f'{BEFORE}{{"patient_id":·"P-2"·\n·▲"patient_name":"~"}}·]·',
    "not_utf8 record=1": f'{BEFORE}·{{"note":"~",·"patient_id":·"P-2é▲\udce9"}}·]·',
    "not_an_object record=1": f"{BEFORE}·▲7·]·",
    "missing_field record=1 field=patient_name": f'{BEFORE}·▲{{"patient_id":·"P-2",\n"note":"~"}}·]·',
    "invalid_field record=1 field=scan_date": f'{BEFORE}·▲{RECORD[:-1]},·"scan_date":·\n"2024-02-30"·}}·]·',
    "record_too_large record=1": f'{BEFORE}·▲{{"patient_id":·"P-2","patient_name":"{"x" * 500}","note":"~"}}·]·',
    "nested_too_deep record=1": f'{BEFORE}·▲{{"patient_id":"P-2","note":"~","patient_name":"x","n":·{"[" * 30_000}',
}
ODDITIES: dict[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "byte order mark": lambda text: "\ufeff" + text,
    "bad UTF-8 where nothing is read": lambda text: text.replace("~", "\udcff\udc80\udce9"),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "CR": lambda text: text.replace("\n", "\r"),
    "white space before": lambda text: "\n \t\r\n" + text,
    "white space after": lambda text: text + "\n \t\r\n",
    "white space within": lambda text: text.replace("·", "\n \t"),
    "many records before": lambda text: text.replace(",·\n", f",{RECORD},\n" + f"{RECORD}, \n" * 40),
}
MORE = len(ODDITIES["many records before"](BEFORE).split('"patient_id"')) - 2  # records that are not in BEFORE


def odd(text: str, oddities: list[str]) -> str:
    for name in reversed(ODDITIES):  # the byte order mark comes last
        if name in oddities:
            text = ODDITIES[name](text)
    return text.replace("~", "note").replace("·", "")


def moved(reason: str, oddities: list[str]) -> str:
    """A reason, with the index that the record has then."""
    if "many records before" not in oddities:
        return reason
    return re.sub(r"record=(\d+)", lambda match: f"record={int(match[1]) + MORE}", reason)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make records too large that are larger than 400 bytes, where that is the reason."""

    def limited(reason: str) -> None:
        limit = 400 if reason.startswith("record_too_large") else 16 * 1024 * 1024
        monkeypatch.setattr(lambda_function, "MAX_RECORD_BYTES", limit)
        monkeypatch.setattr(lambda_function, "BATCH_BYTES", min(limit, batch_bytes))

    batch_bytes = lambda_function.BATCH_BYTES
    return limited


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("reason", FAULTS)
def test_an_oddity_that_is_tolerated_changes_neither_verdict_nor_place(
    run: Callable[..., Answer], limited: Callable[[str], None], reason: str, oddity: str
) -> None:
    limited(reason)
    verdict(run, odd(FAULTS[reason], [oddity]), moved(reason, [oddity]))


@given(st.sampled_from([reason for reason in FAULTS if "deep" not in reason]), st.sets(st.sampled_from([*ODDITIES])))
def test_several_oddities_change_neither_verdict_nor_place(
    run: Callable[..., Answer], limited: Callable[[str], None], reason: str, oddities: set[str]
) -> None:
    limited(reason)
    verdict(run, odd(FAULTS[reason], [*oddities]), moved(reason, [*oddities]))


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_compressed_file_is_recognized_whatever_it_holds(run: Callable[..., Answer], oddity: str) -> None:
    data = gzip.compress(encoded(odd(f"{BEFORE}{RECORD}·]·", [oddity])))
    assert rejection(data) == "gzip"
    assert run(scan=data).out == "scan.json: rejected, gzip\n"


def test_the_cases_cover_every_reason_of_the_handler() -> None:
    documented = lambda_function.Rejected.__doc__ or ""
    reasons = set(re.findall(r"[a-z_0-9]{4,}(?=[,:])", documented.partition("\n\n")[2]))
    assert {reason.partition(" ")[0] for reason in FAULTS} | {"gzip"} == reasons


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddities_are_accepted(run: Callable[..., Answer], oddity: str) -> None:
    data = encoded(odd(f"{BEFORE}{RECORD}·]·", [oddity]))
    assert rejection(data) == ""
    answer = run(scan=data)
    records = 2 + MORE * (oddity == "many records before")
    assert (answer.code, answer.out, answer.err) == (0, f"scan.json: accepted, {records} records\n", "")


def test_the_number_of_records_is_printed_in_english(run: Callable[..., Answer]) -> None:
    assert run(scan=b"[]").out == "scan.json: accepted, 0 records\n"
    assert run(scan=f"[{RECORD}]".encode()).out == "scan.json: accepted, 1 record\n"


MALFORMED = [
    '"n":▲NaN',
    '"n":-▲Infinity',
    '"retina_thickness_microns":▲NaN',
    '"n":[1,2▲}',
    '"n":{"a":1▲]',
    '"n":[1,▲]',
    '"n":{"a":1,▲}',
    '"n":0▲1',
    '"n":1.▲',
    '"n":1e▲',
    '"n":▲+1',
    '"n" ▲1',
    "▲'n':1",
    "▲,",
    "▲",
    "▲//\n",
    '"é😀":1 ▲"n":1',
    '"n":"é😀▲\n"',
    '"diagnosis":"é😀▲\t"',
    '"n":"a▲\\x"',
    '"diagnosis":"a\\\\▲\\x"',
    '"n":"\\\\▲\\u12G4"',
    '"diagnosis":"\\\\▲\\u12G4"',
    '"diagnosis":"▲\\u12\\n"',
    '"diagnosis":"▲\\ud800"',
    '"diagnosis":"▲\\ud800 and more text"',
    '"diagnosis":"▲\\udc00"',
    '"diagnosis":"\\ud800▲\\u0041"',
    '"diagnosis":"▲\\ud800\\n"',
    '"n":"▲\\ud800\\n"',
    '"n":"▲\\ud800 and more text"',
    '"\\\\":1,"▲\\ud800":1',
]


@pytest.mark.parametrize("text", MALFORMED)
def test_invalid_json_is_located_to_the_character(run: Callable[..., Answer], text: str) -> None:
    verdict(run, f"[{RECORD},\n{RECORD},{RECORD[:-1]},{text}}}\n,{RECORD}]", "malformed record=2")


@pytest.mark.parametrize(
    "text", ["é▲\udce9 ", 'é\\"\\\\▲\udcc3\\"', "▲\udced\udca0\udc80", '\\\\\\"é▲\udcff', "▲\udcf0"]
)
@pytest.mark.parametrize("field", ["patient_id", "diagnosis"])
def test_invalid_utf8_is_located_to_the_character(run: Callable[..., Answer], text: str, field: str) -> None:
    same = text.replace("▲", "")  # as text that is not read
    verdict(run, f'[{RECORD},\n{RECORD[:-1]},"n":"{same}","{field}":"{text}","m":"{same}"}}]', "not_utf8 record=1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[▲", "truncated record=0"),
        (f"[▲{RECORD}", "truncated record=0"),
        (f"[\n▲{RECORD}\n\n", "truncated record=0"),
        (f"[{RECORD},\n\n▲", "truncated record=1"),
        (f"[{RECORD}, ▲]", "malformed record=1"),
        (f"[▲,{RECORD}]", "malformed record=0"),
        (f"[{RECORD} ▲{RECORD}]", "malformed record=0"),
        (f"[{RECORD},\n{RECORD},\n{RECORD}\n▲{RECORD},{RECORD}]", "malformed record=2"),
        (f"[{RECORD},\n{RECORD}▲:]", "malformed record=1"),
        ('[{"patient_id":"▲\\ud800', "malformed record=0"),
        (f"\ufeff[{RECORD}]▲\ufeff[]", "trailing_data"),
        ("\ufeff▲\ufeff[]", "not_an_array"),
        ("\ufeff\n ▲\udcff", "not_an_array"),
        ("▲\udcef\udcbb", "not_an_array"),
        (
            f'[▲{{"n":"\udcff\udcff\udce2\udc82 é"}},{RECORD}]',
            "missing_field record=0 field=patient_id",
        ),
        (f'[{RECORD[:-1]},"n":"\udcff"}},▲7]', "not_an_object record=1"),
    ],
)
def test_the_place_is_where_the_fault_shows(run: Callable[..., Answer], text: str, reason: str) -> None:
    verdict(run, text, reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [(f"[{RECORD},▲\n{' ' * 300}", "record_too_large record=1"), ("▲" + "\n" * 300, "record_too_large record=0")],
)
def test_excessive_white_space_is_located_at_its_start(
    run: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    monkeypatch.setattr(lambda_function, "MAX_RECORD_BYTES", 100)
    verdict(run, text, reason)


def told_byte(out: str) -> int:
    match = re.search(r"line \d+ column \d+ \(byte (\d+)\)$", out.strip())
    assert match, out
    return int(match[1])


def test_a_stray_byte_is_found_wherever_it_is(run: Callable[..., Answer]) -> None:
    text = f'[{RECORD[:-1]},"retina_thickness_microns":-1.5e+3,"n":[{{"é":"😀"}},12]}},\r\n{RECORD}, {RECORD}]\n'
    data = text.replace("-1.5", "1.5").encode()
    assert run(scan=data).code == 0
    for byte, at in itertools.product((b"\x00", b"\xff"), range(len(data) + 1)):
        answer = run(scan=data[:at] + byte + data[at:])
        if byte == b"\x00" and at < 2:
            assert "UTF-16" in answer.out  # which has it there
        elif not answer.code:
            assert byte == b"\xff"  # in text that is not read
        elif "missing_field" not in answer.out:  # in the name of a field
            assert told_byte(answer.out) == at


@given(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"x", "é😀".encode(), b"\xff", b"\xe2\x82"])))
def test_lines_and_columns_do_not_depend_on_how_the_file_is_read(parts: list[bytes]) -> None:
    data = b"".join(parts)
    for size, end in itertools.product((1, 2, 3, 1000), range(len(data) + 1)):
        if 0 < end < 3 and data.startswith(b"\xef\xbb\xbf"):
            continue  # nothing is ever found within a byte order mark
        text = Text()
        text.add(data[:3])
        for at in range(3, len(data), size):
            text.add(data[at : at + size])
            text.forget(min(end - 4, at))
        shown = io.IncrementalNewlineDecoder(None, translate=True).decode(
            data[:end].removeprefix(b"\xef\xbb\xbf").decode(errors="replace"), final=True
        )
        assert text.place(end) == (end, shown.count("\n") + 1, len(shown.rpartition("\n")[2]) + 1)


@given(st.lists(st.sampled_from([*RECORD, RECORD, f"[{RECORD},", ",", "]", "\\", '"', "\udcff", "\ufeff", "1", "\n"])))
def test_check_agrees_with_the_handler_on_any_file(run: Callable[..., Answer], parts: list[str]) -> None:
    data = encoded("[" + "".join(parts))
    answer, reason = run(scan=data), rejection(data)
    if reason:
        assert answer.out.startswith(f"scan.json: rejected, {reason}, line ")
        assert told_byte(answer.out) <= len(data)
    else:
        assert answer.out.startswith("scan.json: accepted, ")
    assert (answer.code, answer.err) == (bool(reason), "")


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("scan.json", RECORD)
    return data.getvalue()


OTHERS = {
    "UTF-16 of Windows": (f"[{RECORD}]".encode("utf-16"), "UTF-16"),
    "UTF-16, the other way": (b"\xfe\xff" + f"[{RECORD}]".encode("utf-16-be"), "UTF-16"),
    "UTF-16 without a mark, the other way": (f"[{RECORD}]".encode("utf-16-be"), "UTF-16"),
    "zip": (zipped(), "a zip archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7-Zip archive"),
    "bzip2": (bz2.compress(b"[]"), "a bzip2 file"),
    "xz": (lzma.compress(b"[]"), "an xz file"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00", "a Zstandard file"),
    "JSON lines": (f"{RECORD}\n{RECORD}\n".encode(), "records without the brackets of an array"),
    "a page": (b"\xef\xbb\xbf\r\n<!doctype html>", "HTML or XML"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_of_another_format_is_recognized(run: Callable[..., Answer], kind: str) -> None:
    data, looks = OTHERS[kind]
    assert rejection(data) == "not_an_array"
    assert run(scan=data).out == f"scan.json: rejected, not_an_array: it looks like {looks}\n"


def test_utf16_that_begins_with_a_bracket_is_recognized(run: Callable[..., Answer]) -> None:
    data = f"[{RECORD}]".encode("utf-16-le")
    assert rejection(data) == "malformed record=0"
    assert run(scan=data).out == "scan.json: rejected, malformed record=0: it looks like UTF-16\n"
    assert {looks for _, looks in OTHERS.values()} == set(LOOKS_LIKE.values())


def test_the_runbook_shows_what_is_printed(run: Callable[..., Answer], limited: Callable[[str], None]) -> None:
    def outlined(line: str) -> str:
        return re.sub(r"[0-9]+", "N", line.strip())

    printed = {outlined(run(scan=data).out) for data, _ in OTHERS.values()} | {"scan.json: rejected, gzip"}
    for reason, text in FAULTS.items():
        limited(reason)
        line = outlined(run(scan=encoded(odd(text.replace("▲", ""), []))).out)
        section = RUNBOOK.partition(f"### `{reason.partition(' ')[0]}`\n")[2].partition("\n### ")[0]
        assert line in outlined(section).splitlines()
        printed.add(line)
    shown = set(outlined(RUNBOOK).splitlines())
    assert {line for line in shown if line.startswith("scan.json: ")} <= printed


# --- names and other things that go wrong -----------------------------------------------------------------------------


def test_each_file_has_a_line_and_one_that_is_rejected_fails_the_run(run: Callable[..., Answer]) -> None:
    answer = run("nowhere.json", good=f"[{RECORD}]".encode(), bad=b"[7]", well=b"[]")
    assert answer.code == 1
    assert answer.out.splitlines() == [
        "good.json: accepted, 1 record",
        "bad.json: rejected, not_an_object record=0, line 1 column 2 (byte 1)",
        "well.json: accepted, 0 records",
    ]
    assert answer.err == "error: nowhere.json does not exist. Check its name and folder.\n"
    assert run("good.json", "well.json").code == 0
    assert run("good.json", "bad.json").code == 1
    assert run("bad.json", "good.json").code == 1
    assert run("nowhere.json", "good.json").code == 1


def test_an_unreadable_file_is_reported_with_a_remedy(
    run: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("folder.json").mkdir()
    Path("loop.json").symlink_to("loop.json")
    Path("good.json").write_bytes(b"[]")
    names = ["folder.json", "loop.json", "good.json/scan.json", "good.json/", "", "/proc/self/mem"]
    answer = run(*names, "good.json")
    assert (answer.code, answer.out) == (1, "good.json: accepted, 0 records\n")
    assert answer.err.splitlines() == [
        "error: folder.json is a folder. Name the files in it.",
        "error: loop.json cannot be read: Too many levels of symbolic links. Try again, or copy it again.",
        "error: good.json/scan.json does not exist. Check its name and folder.",
        "error: good.json/ does not exist. Check its name and folder.",
        'error: "" does not exist. Check its name and folder.',
        "error: /proc/self/mem cannot be read: Input/output error. Try again, or copy it again.",
    ]
    monkeypatch.setattr("builtins.open", mock.Mock(side_effect=PermissionError(13, "Permission denied", "good.json")))
    denied = run("good.json")
    assert (denied.code, denied.out) == (1, "")
    assert re.fullmatch(r"error: good\.json cannot be read: permission denied\. Use .*\n", denied.err)


@pytest.mark.parametrize("content", [b"[]", b"[7]", b""])
@pytest.mark.parametrize("name", ["scan.txt", "scan.JSON", "scan.json.gz", "json", "scan.json "])
def test_a_name_that_the_pipeline_ignores_is_reported(run: Callable[..., Answer], name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    answer = run(name)
    assert answer.code == 1
    assert answer.out.startswith(f"{name}: {'accepted, 0' if content == b'[]' else 'rejected, '}")
    assert answer.out.endswith(f", {'but' if content == b'[]' else 'and'} {IGNORED}\n")


@pytest.mark.parametrize(
    "name",
    [
        " a b .json",
        'O\'Brien "x".json',
        "-x.json",
        "a\nb.json",
        "\x1b[31m.json",
        "é日.json",
        b"\xff\xe9.json",
        "\u202e.json",
    ],
)
def test_odd_names_are_printed_on_one_line_without_control_characters(run: Callable[..., Answer], name: Any) -> None:
    name = os.fsdecode(name)
    Path(name).write_bytes(b"[]")
    good = run(name)
    Path(name).unlink()
    gone = run(name)
    assert (good.code, gone.code) == (0, 1)
    for line in (good.out, gone.err):
        assert line.endswith("\n")
        assert line[:-1].isprintable()
    shown = good.out.removesuffix(": accepted, 0 records\n")
    assert shown == name or json.loads(shown) == name
    assert gone.err == f"error: {shown} does not exist. Check its name and folder.\n"


def test_a_pipe_is_read_in_one_pass_and_needs_no_name(run: Callable[..., Answer]) -> None:
    for content, says in (
        (b"[]", "accepted, 0 records"),
        (b"[\n7]", "rejected, not_an_object record=0, line 2 column 1"),
    ):
        reader, writer = os.pipe()
        os.write(writer, content)
        os.close(writer)
        answer = run(f"/dev/fd/{reader}")
        os.close(reader)
        assert answer.out.startswith(f"/dev/fd/{reader}: {says}")
        assert IGNORED not in answer.out
        assert answer.code == (content != b"[]")


# --- nothing leaks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_no_content_of_a_bad_file_is_printed(
    run: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, log: io.StringIO, name: str
) -> None:
    if name == "too large":
        for limit in ("MAX_RECORD_BYTES", "BATCH_BYTES"):
            monkeypatch.setattr(lambda_function, limit, 600)
    answer = run(scan=BAD[name])
    assert (answer.code, answer.err) == (1, "")
    hidden(answer.out)
    assert answer.out.startswith(
        f"scan.json: rejected, {rejection(BAD[name]) if name != 'too large' else 'record_too'}"
    )
    assert not log.getvalue()


@pytest.mark.parametrize("broken", ["_likely_separator", "_rejection"])
def test_a_handler_bug_leaks_no_content(
    run: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def wrong(data: Any, *_: Any) -> Any:
        raise ValueError(f"cannot do it: {GOOD!r}")

    monkeypatch.setattr(lambda_function, broken, wrong)
    for name in ("READ_BYTES", "BATCH_BYTES"):
        monkeypatch.setattr(lambda_function, name, 200)
    answer = run("scan.json", scan=json.dumps([json.loads(GOOD)[0]] * 20).encode()[:-1] + b",7]")
    assert (answer.code, answer.out) == (1, "")
    hidden(answer.err)
    assert re.fullmatch(
        r"(error: scan\.json cannot be checked: ValueError in wrong line \d+\. Report it\.\n){2}", answer.err
    )


# --- a process of its own ---------------------------------------------------------------------------------------------


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that knows nothing of the handler, without settings of the tests."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("AWS_") and name != "PROCESSED_BUCKET"
    }
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=kept | {"PYTHONPATH": str(Path(__file__).parents[2] / "scripts")} | environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


PLAIN = """
import os, sys
from commands.check import check
before = dict(os.environ)
code = check(sys.argv[1:])
assert dict(os.environ) == before
sys.exit(code)
"""


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"AWS_PROFILE": "nobody", "AWS_CONFIG_FILE": "/nowhere"},
        {"AWS_DEFAULT_REGION": "not a region", "AWS_CA_BUNDLE": "/nowhere", "PROCESSED_BUCKET": ""},
        {"AWS_MAX_ATTEMPTS": "many", "POWERTOOLS_LOG_LEVEL": "LOUD", "POWERTOOLS_METRICS_NAMESPACE": ""},
    ],
)
def test_check_needs_no_aws_settings_and_changes_none(tmp_path: Path, settings: dict[str, str]) -> None:
    file = tmp_path / "scan.json"
    file.write_text(f"[{RECORD}]")
    done = python(PLAIN, str(file), **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: accepted, 1 record\n", "")


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    done = python(f"import sys; sys.modules['msgspec'] = None\n{PLAIN}", str(tmp_path))
    assert f"{Refused.__name__}: check runs the function's own code, which needs msgspec. Install it." in done.stderr


MEASURED = """
import os, sys, threading
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from commands import handler
from commands.check import check
handler.load("check")
import hostile

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000

def write():
    with open(writer, "wb") as pipe:
        for data in hostile.FILES[sys.argv[3]]():
            pipe.write(data)

hostile.FILES["a fault after 100 MB"] = lambda: (
    part.replace(b"},", b"},\\r\\n").removesuffix(b"]") + b",\\n7" * (part == b"]") for part in hostile.flat(2_500_000)
)
hostile.FILES["100 MB on one line"] = lambda: (part.removesuffix(b"]") for part in hostile.flat(2_500_000))
reader, writer = os.pipe()
threading.Thread(target=write, daemon=True).start()
before = peak()
check([f"/dev/fd/{reader}"])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says", "megabytes"),
    [
        ("200 MB of records", r"accepted, 5,000,001 records", 10),
        (
            "a fault after 100 MB",
            r"rejected, not_an_object record=2500001, line 2497502 column 1 \(byte 99995040\)",
            10,
        ),
        ("100 MB on one line", r"rejected, truncated record=2500000, line 1 column 95000002 \(byte 95000001\)", 10),
        ("small records after large ones", r"accepted, [\d,]+ records", 100),
        ("a name of 50 MB", r"rejected, record_too_large record=0, line 1 column 2 \(byte 1\)", 100),
        ("500 MB of white space", r"rejected, record_too_large record=0, line 1 column 2 \(byte 1\)", 100),
        ("500 MB of white space at the end", "accepted, 1 record", 10),
        ("500 MB of garbage", r"rejected, not_an_array, line 1 column 1 \(byte 0\)", 10),
    ],
)
def test_memory_does_not_grow_with_the_file(name: str, says: str, megabytes: int) -> None:
    done = python(
        MEASURED,
        str(Path(__file__).parents[2]),
        str(Path(__file__).parent),
        name,
        PROCESSED_BUCKET="none",
        AWS_DEFAULT_REGION="us-east-1",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line, taken = done.stdout.splitlines()
    assert re.fullmatch(rf"/dev/fd/\d+: {says}", line)
    assert float(taken) < megabytes
