"""Write retina_scan.schema.json from the handler's types: `python schemas/generate.py`, after any change to them."""

import json
import os
import sys
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
for name in ("PROCESSED_BUCKET", "REJECTED_BUCKET"):
    os.environ.setdefault(name, "unused")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from lambda_function import Record


def schema() -> str:
    """Return the JSON schema of a whole file, as text."""
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Retina scan export",
        **msgspec.json.schema(list[Record]),
    }
    return json.dumps(whole, indent=2) + "\n"


if __name__ == "__main__":
    (HERE / "retina_scan.schema.json").write_text(schema())
