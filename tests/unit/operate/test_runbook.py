"""The runbook, docs/operations.md: complete, and what it holds for S3 is valid."""

from __future__ import annotations

import re
from pathlib import Path

from botocore.validate import validate_parameters
from commands.settings import ROOT

import lambda_function

from .pipeline import make
from .runbook import INVENTORY, JOB, RUNBOOK


def test_the_runbook_has_a_section_for_every_alarm() -> None:
    alarms = (ROOT / "modules/monitoring/alarms.tf").read_text()
    names = set(re.findall(r"^    ([a-z-]+) = \{$", alarms, re.M)) | {"nothing-processed"}
    assert names == set(re.findall(r"^### ([a-z]+-[a-z-]+)$", RUNBOOK, re.M))


def test_the_runbook_has_a_section_for_every_reason_and_for_no_other() -> None:
    source = Path(lambda_function.__file__).read_text()
    rejected, others = (set(re.findall(rf'\b{name}\("(\w+)"', source)) for name in ("Rejected", "Failure"))
    assert len(rejected) == 12
    part, rest = RUNBOOK.partition("## Rejected files")[2].split("\n## ", 2)[:2]
    assert set(re.findall(r"^### `(\w+)`$", part, re.M)) == rejected
    documented = set(re.findall(r"^### `(\w+)`$", rest, re.M))
    ours = {"timed_out", "EventAgeExceeded", "unknown"}  # what failures says by itself
    assert documented == others | ours
    for sections, block in ((part, r"^```text$"), (rest, r"^```bash$")):  # what check prints, what to type
        for section in re.split(r"^### ", sections, flags=re.M)[1:]:
            assert re.search(block, section, re.M), section
    rules = (ROOT / "docs/input.md").read_text()
    table = rules.partition("| reason | meaning |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == rejected


def test_s3_accepts_the_runbooks_job() -> None:
    shape = make("s3control").meta.service_model.operation_model("CreateJob").input_shape
    validate_parameters(JOB, shape)
    assert JOB["Operation"]["LambdaInvoke"]["InvocationSchemaVersion"] == "2.0"


def test_s3_accepts_the_runbooks_inventory_and_audit_reads_it() -> None:
    operation = make("s3").meta.service_model.operation_model("PutBucketInventoryConfiguration")
    validate_parameters(INVENTORY, operation.input_shape.members["InventoryConfiguration"])
    assert INVENTORY["IncludedObjectVersions"] == "All"
    assert INVENTORY["Destination"]["S3BucketDestination"]["Format"] == "CSV"
    assert INVENTORY["OptionalFields"] == ["ETag"]
