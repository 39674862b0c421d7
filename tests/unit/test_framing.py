"""Framing: the records of a JSON array, whatever they are and wherever the stream is cut."""

from __future__ import annotations

import itertools
import json
import operator
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lambda_function
from lambda_function import Framer, Rejected

from .framing import chunks, frame, rejection

if TYPE_CHECKING:
    from collections.abc import Iterator

# Text that looks like structure, keys that look like those of records.
TEXT = st.one_of(
    st.sampled_from(['},{"patient_id":"', "},{", '"', "\\", '\\"', "[[{", "]}", ",", "", "\n", "é", "😀", "\u2028"]),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
KEYS = st.one_of(st.sampled_from(["patient_id", "patient_name", "a", '"', "", "{"]), TEXT)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False, width=32), TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
KNOWN = st.fixed_dictionaries(
    {},
    optional={
        "scan_date": st.dates().map(str),
        "retina_thickness_microns": st.floats(0, exclude_min=True, allow_infinity=False) | st.integers(1, 10**30),
        "optic_disc_cup_ratio": st.floats(0, 1) | st.integers(0, 1),
        "diagnosis": TEXT,
    },
)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    known = {"patient_id": draw(NAMES), "patient_name": draw(NAMES), **draw(KNOWN)}
    others = draw(st.dictionaries(KEYS, VALUES, max_size=3))
    return dict(draw(st.permutations(list({**others, **known}.items()))))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A valid file, in one of the layouts that JSON writers produce."""
    text = json.dumps(
        draw(st.lists(records(), max_size=8)) * draw(st.sampled_from([1, 1, 1, 20])),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, None, 1, "\t"])),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n", " :\n ")])),
    )
    white = st.text(" \t\r\n", max_size=3)
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + (draw(white) + text + draw(white)).encode()


@st.composite
def pieces(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> list[bytes]:
    data = draw(source)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def expected(data: bytes) -> list[tuple[str, str]]:
    return [(record["patient_id"], record["patient_name"]) for record in json.loads(data)]


AT_ONCE = st.sampled_from([1, 20, 64, 300, 5000])


@pytest.mark.slow
@settings(max_examples=600)
@given(pieces(files()), AT_ONCE)
def test_any_array_in_any_pieces_gives_what_the_standard_library_reads(parts: list[bytes], at_once: int) -> None:
    assert frame(parts, at_once) == expected(b"".join(parts).removeprefix(b"\xef\xbb\xbf"))


@pytest.mark.slow
@settings(max_examples=150)
@given(files(), st.integers(1, 40))
def test_any_size_of_window_gives_the_same(data: bytes, size: int) -> None:
    assert frame(chunks(data, size), size) == frame([data])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file with a few bytes changed, added or removed."""
    data = bytearray(draw(files()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        piece = draw(
            st.sampled_from([b"", b",", b"}", b"{", b"]", b'"', b"\\", b" ", b"1", b"\xff", b"\x00", b":", b"-"])
        )
        data[at : at + draw(st.integers(0, 2))] = piece
    return bytes(data)


@pytest.mark.slow
@settings(max_examples=600)
@given(pieces(st.one_of(damaged(), st.binary(max_size=40))), AT_ONCE)
@example([b'[{"patient_id":"1","patient_name":"x","n":-1', b".5e", b"+1", b"0}]"], 1)
@example([b'[{"patient_id":"1","patient_name":"x"},', b" ]"], 1)
@example([b"[]", b"", b"]"], 1)
@example([b'[{"patient_id":"1","patient_name":"x"}]', b"[", b"]"], 1)
def test_any_bytes_give_the_right_records_or_a_rejection(parts: list[bytes], at_once: int) -> None:
    data = b"".join(parts)
    try:
        records = frame(parts, at_once)
    except Rejected:
        return
    readable = data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")  # other fields may hold any bytes
    assert records == expected(readable.encode())


@pytest.mark.slow
@settings(max_examples=300)
@given(damaged(), st.integers(1, 9))
def test_the_reason_does_not_depend_on_the_pieces(data: bytes, size: int) -> None:
    rejection(data, size)


def record(**fields: Any) -> dict[str, Any]:
    return {"patient_id": "1", "patient_name": "x", **fields}


def separators(text: str) -> list[int]:
    """Return where the commas between an array's elements are."""
    commas: list[int] = []
    at = 1
    while True:
        _, at = json.JSONDecoder().raw_decode(text, at)
        if text[at] == "]":
            return commas
        commas.append(at)
        at += 1


INNER = st.lists(st.fixed_dictionaries({"a": TEXT | st.lists(st.just({"b": 1}), max_size=3)}), max_size=6)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.builds(record, n=INNER, m=TEXT), min_size=2, max_size=6), st.data())
def test_the_likely_separator_is_the_last_one_whatever_looks_like_it(array: list[Any], data: st.DataObject) -> None:
    text = json.dumps(array, separators=(",", ":"))
    between = separators(text)
    cut = data.draw(st.integers(between[0] + len(',{"p'), len(text)))
    last = max(comma for comma in between if comma + len(',{"p') <= cut)
    window = bytearray(text.encode())
    assert lambda_function._likely_separator(window, len(text[:cut].encode())) == last


@pytest.mark.parametrize(
    "number",
    ["0.5", "0.001", "10e-1", "5E-1", "100000000000000000000e-25", "0e0", "-0.0", "1.0e+0", f"1{'0' * 99}e-100"],
)
def test_a_number_split_across_reads_is_not_taken_for_another(number: str) -> None:
    first = json.dumps(record(optic_disc_cup_ratio=7, n=7)).replace("7", number)
    text = f"[{first}, {json.dumps(record())}]".encode()
    for cut in range(len(text)):
        for at_once in (20, 64):
            assert len(frame([text[:cut], text[cut:]], at_once)) == 2


def test_nested_objects_that_look_like_records_are_not_taken_for_records() -> None:
    data = json.dumps([record(n=[record(), record(n=[record()] * 3)] * 9) for _ in range(40)]).encode()
    for size in (50, 333, 4096):
        assert len(frame(chunks(data, size))) == 40


def test_records_longer_than_a_read_are_reassembled() -> None:
    data = json.dumps([record(n="x" * length) for length in (0, 300_000, 5, 1_000_000, 0)]).encode()
    assert len(frame(chunks(data, 65536))) == 5


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """How many bytes each decoder goes through, time after time."""
    sizes: dict[str, list[int]] = {}
    decoders = lambda_function._Decoders()

    class Counting:
        def __init__(self, name: str) -> None:
            self.decoder, self.sizes = getattr(decoders, name), sizes.setdefault(name, [])

        def decode(self, data: Any) -> Any:
            self.sizes.append(len(data))
            try:
                return self.decoder.decode(data)
            except msgspec.DecodeError as error:
                if stopped := re.search(r"\(byte (\d+)\)", str(error)):
                    self.sizes[-1] = int(stopped[1])
                raise

    for name in ("one", "many", "passed"):
        monkeypatch.setattr(decoders, name, Counting(name))
    monkeypatch.setattr(lambda_function, "_idle_decoders", [decoders])
    return sizes


@pytest.mark.parametrize("length", [1000, 30_000, 300_000, 2_000_000])
def test_a_record_is_decoded_a_bounded_number_of_times_while_it_arrives(length: int, decoded: Any) -> None:
    data = json.dumps([record(n="x" * length)] * (8_000_000 // length)).encode()
    assert len(frame(chunks(data, 4096), 65536)) == 8_000_000 // length
    assert sum(map(sum, decoded.values())) < 3 * len(data)


@pytest.mark.parametrize("layout", [{"separators": (",", ":")}, {"indent": 2}, {"separators": (" , ", " : ")}])
def test_records_of_about_the_same_size_are_decoded_once(layout: dict[str, Any], decoded: Any) -> None:
    data = json.dumps([record(n=[record(t="]]{{"), {"a": record()}]) for _ in range(5000)], **layout).encode()
    assert len(frame(chunks(data, 65536), 65536)) == 5000
    assert decoded["many"]
    assert not decoded["one"] + decoded["passed"]


LOOKALIKE = {"patient_id": "1", "note": '"},{"patient_id":"y\\'}


@pytest.mark.parametrize("size", [4096, 65536])
@pytest.mark.parametrize("small", [3, 30, 1000, 5000])
@pytest.mark.parametrize(
    "large", [[LOOKALIKE] * 50, [LOOKALIKE] * 500, [LOOKALIKE] * 5000, [record()] * 3000, "x" * 300_000]
)
def test_small_records_among_large_ones_are_decoded_a_bounded_number_of_times(
    small: int, large: Any, size: int, decoded: Any
) -> None:
    block = [record(n=large), *[record()] * small]
    data = json.dumps(block * (4_000_000 // len(json.dumps(block)))).encode()
    assert len(frame(chunks(data, size), 65536)) == len(json.loads(data))
    assert sum(map(sum, decoded.values())) < 3 * len(data)
    assert sum(map(len, decoded.values())) < 3 * len(data) / min(65536, len(json.dumps(block)))
    assert not decoded["one"] or len(json.dumps(block[0])) > 65536 / 2  # what is less is never decoded alone


@pytest.mark.parametrize("length", [45_000, 52_000])  # of a large record and small ones: a read ends in the next large
def test_records_whose_rhythm_matches_the_reads_are_seldom_decoded_twice(length: int, decoded: Any) -> None:
    large, small = json.dumps(record(n=[LOOKALIKE] * 500)), json.dumps(record())
    count = (length - len(large)) // (len(small) + 2)
    data = f"[{', '.join([large, *[small] * count] * 200)}]".encode()
    assert len(frame(chunks(data, 65536), 65536)) == (count + 1) * 200
    assert sum(decoded["passed"]) < len(data) / 2
    assert max(decoded["many"]) <= 65536


def test_batches_are_bounded_but_not_small() -> None:
    framer = Framer(iter([json.dumps([record(n=[record()] * 30_000), *[record()] * 200_000]).encode()]))
    batches = list(framer.batches())
    most = lambda_function.BATCH_BYTES / len(json.dumps(record()))
    assert max(map(len, batches)) <= most
    assert len(batches) < 10 + 200_000 / most
    assert sum(map(len, batches)) == framer.records == 200_001


def test_the_last_comma_outside_of_all_records_is_the_likely_separator() -> None:
    one = json.dumps(record(n=[record(t="]]{{"), record(t="[")])).encode()
    window = bytearray(b"[" + b",".join([one] * 4))
    for cut in range(1, len(one) - 5):
        assert lambda_function._likely_separator(window, len(window) - cut) == 3 * (len(one) + 1)
    alone = bytearray(b"[" + json.dumps(record()).encode())
    assert lambda_function._likely_separator(alone, len(alone)) == 0


def test_the_limit_on_record_bytes_is_exact_wherever_the_file_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_function, "MAX_RECORD_BYTES", 200)
    fits, too_long = ('{"patient_id":"1","patient_name":"%s"}' % ("x" * n) for n in (164, 165))
    assert len(fits) == 200
    for size in (1, 7, 64, 150, 201, 202, 203, 5000):
        for rest in ("", "," + fits):
            assert rejection(f"[{fits}{rest}]".encode(), size) == ""
            assert rejection(f"[{fits},{too_long}{rest}]".encode(), size) == "record_too_large record=1"
    assert rejection(f"[{fits}, {fits}]".encode(), 64) == "record_too_large record=1"  # white space counts


def test_an_endless_record_is_rejected_as_soon_as_it_exceeds_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lambda_function, "MAX_RECORD_BYTES", 200)
    for before, records in (("", 0), ('{"patient_id":"1","patient_name":"x"},', 1)):
        for length, reason in ((200, "truncated"), (201, "record_too_large")):
            endless = '{"patient_id":"' + "x" * (length - 15)
            for size in (1, 7, 64, 5000):
                assert rejection(f"[{before}{endless}".encode(), size) == f"{reason} record={records}"


def test_endless_white_space_before_the_array_is_rejected_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_function, "MAX_RECORD_BYTES", 4096)
    for size, reads in ((1, 4098), (4097, 2), (1000, 5)):
        pieces = itertools.repeat(b" " * size, 10_000)
        with pytest.raises(Rejected, match=r"^record_too_large record=0$"):
            list(Framer(pieces).batches())
        assert 10_000 - operator.length_hint(pieces) == reads
    with pytest.raises(Rejected, match=r"^empty_file$"):
        list(Framer(iter([b" " * 4097])).batches())


@pytest.mark.parametrize("at_once", [2, 256 * 1024])
def test_white_space_after_the_array_is_not_kept(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_function, "BATCH_BYTES", at_once)

    def pieces() -> Iterator[bytes]:
        yield b"[]"
        for _ in range(500):
            yield b" " * 1000
            assert len(framer._window) < max(2 * at_once, 2000)

    framer = Framer(pieces())
    assert not list(framer.batches())
    assert framer.offset == 2 + 500_000 + len(lambda_function._PADDING)


def deep(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    plain = '{"patient_id":"1","patient_name":"x"}'
    nested = f'{{"patient_id":"1","patient_name":"x","n":{opening * levels}1{closing * levels}}}'
    return f"[{plain},{nested},{plain}]".encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('["]]}",', ',"[["]'), ('[{"a":', "}]")])
def test_a_thousand_levels_pass_and_deeper_nesting_has_its_own_reason(opening: str, closing: str) -> None:
    times = 1000 // (closing.count("]") + closing.count("}"))
    assert rejection(deep(times, opening, closing), 64) == ""
    assert rejection(deep(100 * times, opening, closing), 4096) == "nested_too_deep record=1"


def test_how_deep_is_too_deep_does_not_depend_on_how_the_bytes_arrive() -> None:
    limit, too_deep = 1000, 100_000
    while limit + 1 < too_deep:
        middle = (limit + too_deep) // 2
        limit, too_deep = (limit, middle) if rejection(deep(middle), 64) else (middle, too_deep)
    for window in (1, 1000, 1_000_000):
        assert rejection(deep(limit), window) == ""
        assert rejection(deep(too_deep), window) == "nested_too_deep record=1"


def test_the_decoder_words_its_errors_as_the_framer_expects() -> None:
    whole = b'{"patient_id":"1","patient_name":"x"}'
    for data, message in [
        (whole + b",", f"JSON is malformed: trailing characters (byte {len(whole) + 1})"),
        (whole + b"  ]", f"JSON is malformed: trailing characters (byte {len(whole) + 3})"),
        (whole[:-1], "Input data was truncated"),
        (b'{"patient_id":1}', "Expected `str`, got `int` - at `$.patient_id`"),
        (b'{"patient_id":""}', "Expected `str` of length >= 1 - at `$.patient_id`"),
        (b'{"patient_id":"1"}', "Object missing required field `patient_name`"),
        (b"[]", "Expected `object`, got `array`"),
    ]:
        with pytest.raises(msgspec.DecodeError) as caught:
            lambda_function._Decoders().one.decode(data)
        assert str(caught.value) == message


def test_records_of_an_abandoned_file_do_not_leak_into_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def decode(self, data: Any) -> None:
            many.decode(data)
            raise MemoryError

    decoders = lambda_function._Decoders()
    many = decoders.many
    monkeypatch.setattr(lambda_function, "_idle_decoders", [decoders])
    with monkeypatch.context() as patched:
        patched.setattr(decoders, "many", Failing())
        with pytest.raises(MemoryError):
            frame([json.dumps([record()]).encode()])
    assert frame([json.dumps([record(patient_name="y")]).encode()]) == [("1", "y")]


@pytest.mark.parametrize("after", [b"", b"]", b",", b"}", b" ]", b",{}]", b",7]", b',{"a":[1,2', b"x"])
def test_the_end_of_so_many_records_is_found_whatever_follows(after: bytes) -> None:
    array, decoders = b"[", lambda_function._Decoders()
    for count in range(1, 5):
        array += b"," * (count > 1) + json.dumps(record(n=[record()] * count, m="]},{")).encode()
        for rest in (after, b",{}" * 3 + after):
            assert decoders.end_of(count, bytearray(array + rest)) == len(array)
