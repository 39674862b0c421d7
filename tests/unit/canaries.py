"""Files with conspicuous invented patient data, and the assertion that none of it is in a text."""

from __future__ import annotations

import gzip
import json
from typing import Any

PARTS = ("Quetzalcoatl", "Xylophonia", "987-65-4329", "Zygomycosis", "unbekannt-notiz", "1871-04-05", "613.25")
RECORD = {
    "patient_id": "987-65-4329",
    "patient_name": "Xylophonia Quetzalcoatl",
    "scan_date": "1871-04-05",
    "retina_thickness_microns": 613.25,
    "diagnosis": "Zygomycosis",
    "unbekannt-notiz": {"Zygomycosis": ["unbekannt-notiz"]},
}
GOOD = json.dumps([RECORD, RECORD]).encode()


def changed(**fields: Any) -> bytes:
    return json.dumps([RECORD, {**RECORD, **fields}]).encode()


BAD = {
    "truncated": GOOD[:-20],
    "trailing": GOOD + b"Zygomycosis",
    "two arrays": GOOD + GOOD,
    "not an array": GOOD[1:-1],
    "a string": b'"Xylophonia Quetzalcoatl"',
    "bare text": b"Xylophonia Quetzalcoatl",
    "csv": b"patient_id,patient_name\n987-65-4329,Xylophonia Quetzalcoatl\n",
    "elements": json.dumps([RECORD, "Xylophonia Quetzalcoatl"]).encode(),
    "gzip": gzip.compress(GOOD),
    "stored gzip": gzip.compress(GOOD, 0),
    "utf-16": GOOD.decode().encode("utf-16"),
    "latin-1 in a kept field": GOOD.replace(b"Xylophonia", b"Xylophonia\xe9"),
    "latin-1 in a checked field": GOOD.replace(b': "Zygomycosis', b': "Zygomycosis\xe9'),
    "nan": GOOD.replace(b"613.25", b"NaN"),
    "surrogate": GOOD.replace(b"Xylophonia", b"Xylophonia\\ud800"),
    "control character": GOOD.replace(b"Xylophonia", b"Xylophonia\n"),
    "escape": GOOD.replace(b"Xylophonia", b"Xylophonia\\x"),
    "single quotes": GOOD.replace(b'"', b"'"),
    "id": changed(patient_id=["987-65-4329"]),
    "name": changed(patient_name={"Xylophonia": "Quetzalcoatl"}),
    "date": changed(scan_date="1871-04-05 Zygomycosis"),
    "thickness": changed(retina_thickness_microns="613.25"),
    "negative": changed(retina_thickness_microns=-613.25),
    "ratio": changed(optic_disc_cup_ratio=613.25),
    "diagnosis": changed(diagnosis=["Zygomycosis"]),
    "missing": json.dumps([{"patient_name": "Xylophonia Quetzalcoatl"}]).encode(),
    "empty": changed(patient_name="", diagnosis="Zygomycosis"),
    "deepest": changed().replace(b"613.25", b"[" * 5000 + b'"Zygomycosis"' + b"]" * 5000),
    "key": GOOD.replace(b'"patient_id"', b'"987-65-4329"'),
    "key like a message": json.dumps([{"required field `Xylophonia`": 1, "`$.Quetzalcoatl`": 2}]).encode(),
    "too large": changed(n="Zygomycosis" * 100),
}


def hidden(text: str) -> None:
    assert text
    for part in PARTS:
        assert part not in text
