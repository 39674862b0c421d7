"""Generate the files that the benchmarks read: the same bytes for the same name, on every machine.

A name is <shape>-<style>-<megabytes>, for example flat-compact-275 (a megabyte is 1,000,000 bytes).
"""

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DIAGNOSES = ("No diabetic retinopathy", "Mild NPDR", "Suspected glaucoma", "Macular degeneration", "")
FIRST_NAMES = ("Ada", "Ben", "Chloé", "Dmitri", "Emeka", "Fatima", "Grace", "Hiro")
LAST_NAMES = ("Example", "Sample", "Specimen", "Placeholder", "Müller", "O'Neil")


def flat(random_: random.Random, number: int) -> dict[str, Any]:
    """A record of the documented fields."""
    return {
        "patient_id": f"P-{number:08d}",
        "patient_name": f"{random_.choice(FIRST_NAMES)} {random_.choice(LAST_NAMES)}",
        "scan_date": f"20{random_.randint(10, 26)}-{random_.randint(1, 12):02d}-{random_.randint(1, 28):02d}",
        "retina_thickness_microns": round(random_.uniform(150, 400), 1),
        "optic_disc_cup_ratio": round(random_.random(), 2),
        "diagnosis": random_.choice(DIAGNOSES),
    }


def wide(random_: random.Random, number: int) -> dict[str, Any]:
    """A record with twenty more fields, such as devices export, that nobody asked for."""
    return flat(random_, number) | {
        "eye": random_.choice("LR"),
        "acquired_at": f"2026-03-{random_.randint(1, 28):02d}T09:26:{random_.randint(0, 59):02d}Z",
        "clinic_id": f"C-{random_.randint(100, 999)}",
        "operator_id": f"OP-{random_.randint(100, 999)}",
        "device_maker": "Acme",
        "device_model": f"OCT-{random_.randint(1, 9)}",
        "device_serial": f"SN{random_.randint(10_000_000, 99_999_999)}",
        "software_version": "4.2.1",
        "image_file": f"{random_.getrandbits(128):032x}.dcm",
        "image_width": 768,
        "image_height": 496,
        "signal_strength": random_.randint(1, 10),
        "axial_length_mm": round(random_.uniform(21, 27), 2),
        "intraocular_pressure_mmhg": round(random_.uniform(8, 30), 1),
        "macular_volume_mm3": round(random_.uniform(6, 12), 3),
        "visual_acuity": "20/40",
        "pupil_dilated": random_.random() < 0.5,
        "reviewed": False,
        "reviewer_id": None,
        "notes": "Fixated well; no artefacts of motion in this volume. To be repeated in twelve months.",
    }


def nested(random_: random.Random, number: int) -> dict[str, Any]:
    """A record with a device and a list of layers that nobody asked for."""
    return flat(random_, number) | {
        "device": {"maker": "Acme", "model": f"OCT-{random_.randint(1, 9)}", "calibrated": True},
        "layers": [{"name": f"L{n}", "microns": round(random_.uniform(10, 60), 2)} for n in range(6)],
    }


def lookalikes(count: int) -> list[dict[str, str]]:
    """Objects that open as a record does, one of them holding commas, braces and quotes in text."""
    return [{"patient_id": f"x{n}", "note": '"},{"patient_id":"y\\'} for n in range(count)]


def similar(random_: random.Random, number: int) -> dict[str, Any]:
    """A record full of objects that look like records."""
    return flat(random_, number) | {"history": lookalikes(random_.choice((1, 10, 100, 1000, 10_000)))}


def mixed(random_: random.Random, number: int) -> dict[str, Any]:
    """A record with nothing but what is kept; one in a thousand has a megabyte of objects that look like records."""
    if number % 1000 == 0:
        return flat(random_, number) | {"history": lookalikes(20_000)}
    return {"patient_id": f"P-{number:08d}", "patient_name": "Ada"}


def mingled(random_: random.Random, number: int) -> dict[str, Any]:
    """The same with 30 KB instead of a megabyte: a read often ends in the midst of one."""
    if number % 1000 == 0:
        return flat(random_, number) | {"history": lookalikes(600)}
    return mixed(random_, number)


SHAPES = {"flat": flat, "wide": wide, "nested": nested, "similar": similar, "mixed": mixed, "mingled": mingled}


def pieces(shape: str, style: str, size: int) -> Iterator[bytes]:
    """Yield a JSON array of about that many bytes, a piece at a time."""
    random_ = random.Random(f"{shape}-{style}")  # the same on every machine
    indent = 2 if style == "pretty" else None
    separators = None if style == "pretty" else (",", ":")
    # Drawing every record afresh would take hours for the large files: a block of them repeats.
    texts = [
        json.dumps(SHAPES[shape](random_, n), ensure_ascii=False, indent=indent, separators=separators)
        for n in range(200 if shape == "similar" else 2000)
    ]
    written = 1
    yield b"["
    for n, text in enumerate(itertools.cycle(texts)):
        piece = ((("," if n else "") + ("\n" if style == "pretty" else "")) + text).encode()
        yield piece
        written += len(piece)
        if written >= size:
            break
    yield b"\n]" if style == "pretty" else b"]"


def make(name: str, folder: Path) -> Path:
    """Return the file of that name in folder, written now unless it is there."""
    shape, style, megabytes = name.split("-")
    path = folder / f"{name}.json"
    if not path.exists():
        unfinished = path.with_suffix(".tmp")
        with unfinished.open("wb", buffering=1 << 20) as file:
            file.writelines(pieces(shape, style, int(megabytes) * 1_000_000))
        unfinished.rename(path)
    return path
