"""The input rules: what is accepted, and the reason code for what is not."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import lambda_function

from .framing import frame, rejection

SCHEMAS = Path(lambda_function.__file__).parent / "schemas"
GOOD = b'{"patient_id":"1","patient_name":"x"}'


def file(**fields: Any) -> bytes:
    """A file of two records, the second with these fields changed, those that are ... left out."""
    record = {"patient_id": "1", "patient_name": "x", **fields}
    return b"[%b,%b]" % (GOOD, json.dumps({k: v for k, v in record.items() if v is not ...}).encode())


@pytest.mark.parametrize(
    "fields",
    [
        {"scan_date": "2024-02-29"},
        {"retina_thickness_microns": 1},
        {"retina_thickness_microns": 0.001},
        {"optic_disc_cup_ratio": 0},
        {"optic_disc_cup_ratio": 1.0},
        {"diagnosis": ""},
        {"patient_name": " "},
        {"unknown": [None, {"patient_id": 5}], "scan_dates": 7},
    ],
)
def test_good_fields_are_accepted(fields: dict[str, Any]) -> None:
    assert rejection(file(**fields)) == ""


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("patient_id", ["", 1, None, ["1"]]),
        ("patient_name", ["", 1, None, {"a": "x"}]),
        ("scan_date", ["2024-02-30", "2024-2-3", "2024-02-03T10:00:00", "0000-01-01", "", "x" * 5000, 20240203, None]),
        ("retina_thickness_microns", [0, -1, -0.5, "250", True, None, [250], 10**400]),
        ("optic_disc_cup_ratio", [-0.01, 1.01, "0.5", False, None]),
        ("diagnosis", [1, None, ["healthy"], {"code": "H36.0"}]),
    ],
)
def test_bad_fields_are_named(field: str, values: list[Any]) -> None:
    for value in values:
        assert rejection(file(**{field: value})) == f"invalid_field record=1 field={field}"


@pytest.mark.parametrize("field", ["patient_id", "patient_name"])
def test_missing_fields_are_named(field: str) -> None:
    assert rejection(file(**{field: ...})) == f"missing_field record=1 field={field}"


@pytest.mark.parametrize("element", ["1", "null", '"text"', "[]", "[1", "true", '["patient_id"]'])
def test_an_element_that_is_not_an_object_is_rejected(element: str) -> None:
    assert rejection(b"[%b,%b]" % (GOOD, element.encode())) == "not_an_object record=1"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b" \n ", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
        (b"\xef", "not_an_array"),
        (b"{}", "not_an_array"),
        (GOOD, "not_an_array"),
        (GOOD + b"\n" + GOOD, "not_an_array"),
        (b"null", "not_an_array"),
        (b"7", "not_an_array"),
        (b'"text"', "not_an_array"),
        (b"\x00", "not_an_array"),
        (b"\xef\xbb\xbf\xef\xbb\xbf[]", "not_an_array"),
        (b"[%b]" % GOOD + b"]", "trailing_data"),
        (b"[]x", "trailing_data"),
        (b"[%b][%b]" % (GOOD, GOOD), "trailing_data"),
        (b"[%b]\x00" % GOOD, "trailing_data"),
        (b"[%b]\x0c" % GOOD, "trailing_data"),
        (b"\x0c", "not_an_array"),
        (b"[%b" % GOOD, "truncated record=0"),
        (b"[%b," % GOOD, "truncated record=1"),
        (b"[%b,%b" % (GOOD, GOOD[:-1]), "truncated record=1"),
        (b"[", "truncated record=0"),
        (b'[{"patient_id":"\\ud800', "malformed record=0"),  # before it ends
        (b"[%b,]" % GOOD, "malformed record=1"),
        (b"[,%b]" % GOOD, "malformed record=0"),
        (b"[%b %b]" % (GOOD, GOOD), "malformed record=0"),
        (b"[%b}" % GOOD, "malformed record=0"),
        (b"[%b,{'patient_id':1}]" % GOOD, "malformed record=1"),
        (b"[%b//\n]" % GOOD, "malformed record=0"),
    ],
)
def test_a_file_that_is_not_one_array_is_rejected(data: bytes, reason: str) -> None:
    assert rejection(data) == reason


def test_nothing_but_a_comma_separates_records() -> None:
    for byte in set(range(33, 256)) - set(b",]"):
        assert rejection(b"[%b%c%b]" % (GOOD, byte, GOOD)) == "malformed record=0"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "1e", "nul", "'a'", "[1,]"])
@pytest.mark.parametrize("field", ["retina_thickness_microns", "other"])
def test_json_lookalikes_are_rejected(value: str, field: str) -> None:
    data = b'[%b,{"patient_id":"1","patient_name":"x","%b":%b}]' % (GOOD, field.encode(), value.encode())
    wrong_type = value in ("'a'", "[1,]", "[1") and field != "other"
    assert rejection(data) in ("malformed record=1", f"invalid_field record=1 field={field}" if wrong_type else "")


@pytest.mark.parametrize(
    "text", [b'"\n"', b'"\x00"', b'"\\x"', b'"\\u12G4"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud800\\u0041"']
)
@pytest.mark.parametrize("field", [b"patient_name", b"diagnosis", b"other"])
def test_control_characters_bad_escapes_and_lone_surrogates_are_rejected(text: bytes, field: bytes) -> None:
    assert rejection(b'[{"patient_id":"1","patient_name":"x","%b":%b}]' % (field, text)) == "malformed record=0"


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"])
def test_invalid_utf8_is_rejected_in_schema_fields_only(text: bytes) -> None:
    data = b'[%b,{"patient_id":"1","patient_name":"x","%%b":"%b"}]' % (GOOD, text)
    for field in (b"patient_id", b"patient_name", b"diagnosis"):
        assert rejection(data.replace(b"%b", field)) == "not_utf8 record=1"
    assert frame([data.replace(b"%b", b"other")]) == [("1", "x")] * 2
    assert frame([data.replace(b"%b", text)]) == [("1", "x")] * 2


def test_the_last_of_repeated_fields_counts_and_each_is_checked() -> None:
    assert frame([b'[{"patient_id":"1","patient_name":"x","patient_id":"2"}]']) == [("2", "x")]
    assert (
        rejection(b'[{"patient_id":1,"patient_name":"x","patient_id":"2"}]')
        == "invalid_field record=0 field=patient_id"
    )


def test_a_field_name_may_be_written_with_escapes() -> None:
    assert frame([b'[{"patient\\u005fid":"1","patient_name":"\\u0078"}]']) == [("1", "x")]


def test_numbers_of_any_length_pass_in_other_fields_only() -> None:
    digits = b"9" * 100_000
    assert rejection(b'[{"patient_id":"1","patient_name":"x","n":-%b.%be%b}]' % (digits, digits, digits), 4096) == ""
    field = b'[{"patient_id":"1","patient_name":"x","retina_thickness_microns":%b}]' % digits
    assert rejection(field, 4096) == "invalid_field record=0 field=retina_thickness_microns"


def test_a_byte_order_mark_is_accepted_and_other_encodings_are_not() -> None:
    text = f"[{GOOD.decode()}]"
    assert frame([text.encode("utf-8-sig")]) == [("1", "x")]
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert rejection(text.encode(encoding)) in ("not_an_array", "malformed record=0", "not_an_object record=0")


def test_gzip_has_its_own_reason() -> None:
    assert rejection(gzip.compress(b"[%b]" % GOOD)) == "gzip"


def test_the_first_fault_of_a_file_is_the_one_reported() -> None:
    bad = b'{"patient_id":"1"}'
    assert rejection(b"[%b,%b,%b,x" % (GOOD, bad, GOOD)) == "missing_field record=1 field=patient_name"
    assert rejection(b"[%b,%b" % (GOOD, bad)) == "missing_field record=1 field=patient_name"


def test_the_record_index_counts_from_the_start_of_the_file() -> None:
    data = b"[" + GOOD.join([b""] + [b","] * 9999) + GOOD + b',{"patient_id":"1","patient_name":""}]'
    assert rejection(data, 4096) == "invalid_field record=10000 field=patient_name"


def test_a_file_without_records_yields_none() -> None:
    for data in (b"[]", b" [ \n ] ", b"\xef\xbb\xbf[]"):
        assert rejection(data, 1) == ""
        assert frame([data]) == []


def test_results_hold_one_record_per_line() -> None:
    batch = msgspec.json.decode(
        b'[{"patient_id":"1\\n","patient_name":"\\u00e9\\u2028","n":[1]},%b]' % GOOD, type=list[lambda_function.Record]
    )
    text = lambda_function.cut_down(batch).decode()
    assert text == '{"patient_id":"1\\n","patient_name":"é\u2028"},\n{"patient_id":"1","patient_name":"x"}'


def test_the_published_schema_is_the_one_enforced() -> None:
    spec = importlib.util.spec_from_file_location("generate", SCHEMAS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (SCHEMAS / "retina_scan.schema.json").read_text() == module.schema(), "run: python schemas/generate.py"


def test_every_reason_is_documented() -> None:
    source = Path(lambda_function.__file__).read_text()
    reasons = {part.split('"')[1] for part in source.split("Rejected(")[1:] if part.startswith('"')}
    assert len(reasons) == 12
    assert all(reason in (lambda_function.Rejected.__doc__ or "") for reason in reasons)
