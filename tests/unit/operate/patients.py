"""IDs of patients, and files of records that hold them in every form that JSON allows."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

IDS = st.text(
    st.one_of(st.sampled_from('ab1"\\/ \n\té眼😀_-'), st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6
)
SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def written(text: str, choices: random.Random) -> str:
    """Return a text as JSON may have it: each character as it is, with its own escape, or with a u and its number."""
    parts = []
    for char in text:
        forms = ["".join(f"\\u{unit:{choices.choice(['04x', '04X'])}}" for unit in units(char))]
        if char in SHORT:
            forms.append(SHORT[char])
        if char >= " " and char not in '"\\':
            forms += [char] * 3
        parts.append(choices.choice(forms))
    return f'"{"".join(parts)}"'


def units(char: str) -> list[int]:
    data = char.encode("utf-16-be")
    return [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]


@st.composite
def files(draw: Any) -> tuple[set[str], bytes]:
    """Ids to look for, and a file of records, of these patients and others, with strings escaped in any way."""
    asked = draw(st.sets(IDS, min_size=1, max_size=4))
    other = draw(st.lists(IDS, max_size=4))
    choices = draw(st.randoms(use_true_random=False))
    some = draw(st.lists(st.sampled_from([*sorted(asked), *other]), max_size=6))
    records = [
        f'{{{written("patient_id", choices)}: {written(one, choices)}, "patient_name":{written("x", choices)}}}'
        for one in some
    ]
    space = draw(st.sampled_from(["", " ", "\n  ", "\ufeff"]))
    return asked, f"{space}[{','.join(records)}]".encode()
