"""What the project's own texts say: what they show comes out, and what they tell to type is about one environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lambda_function

from .conftest import Context, notification

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "ikerian_sample.json"


def test_the_readme_shows_what_the_handler_makes_of_the_sample(s3: Any, context: Context) -> None:
    s3.put_object(Bucket="raw", Key=SAMPLE, Body=(ROOT / SAMPLE).read_bytes())
    lambda_function.lambda_handler(notification(SAMPLE), context)
    result = s3.get_object(Bucket="processed", Key=SAMPLE)["Body"].read().decode()
    assert json.loads(result) == [
        {"patient_id": "A12345", "patient_name": "Ikerian A"},
        {"patient_id": "B67890", "patient_name": "Ikerian B"},
    ]
    output = (ROOT / "README.md").read_text().partition("\n### Output\n")[2].partition("\n## ")[0]
    assert output.partition("```json\n")[2].partition("```")[0] == result
