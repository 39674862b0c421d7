"""The runbook, docs/operations.md: every command in it works, and shows or does what it says."""

import re
import subprocess
from pathlib import Path

import pytest
from commands.settings import ROOT
from local_aws.process import LocalAws
from pipeline import RECORDS, TWO_RECORDS, Pipeline
from verbs import audit

RUNBOOK = (ROOT / "docs/operations.md").read_text()
PAGES = [RUNBOOK, *((ROOT / f"docs/{page}.md").read_text() for page in ("auditing", "reprocessing"))]
COMMANDS = sorted(
    {
        line
        for page in PAGES
        for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_runbook_works(both: dict[str, Pipeline], aws: LocalAws, command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=aws.full_environment() | {"ENV": "dev"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def shell(pipeline: Pipeline, block: str, key: str, **variables: str) -> str:
    """Type a block of the runbook, about dev; return what it prints."""
    names = {"ENV": "dev", "RAW": pipeline.raw, "PROCESSED": pipeline.processed, "KEY": key}
    done = subprocess.run(
        ["bash", "-c", block],
        cwd=ROOT,
        env=pipeline.aws.full_environment() | names | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


GOOD = '{"patient_id":"P-1","patient_name":"Secret Name"}'
MALFORMED, BYTE = f"\ufeff[{GOOD},\r\n,{GOOD}]".encode(), 56
REJECTED = RUNBOOK.partition("## Rejected files by reason\n")[2].partition("\n### ")[0]
NAMES, CHECK, REMOVE, SHOW = re.findall(r"```sh\n(.*?)```", REJECTED, re.DOTALL)


def test_the_runbook_shows_how_to_look_at_a_rejected_file(both: dict[str, Pipeline], tmp_path: Path) -> None:
    key = "operate/a patient's look.txt"  # which starts nothing
    version = both["dev"].upload(key, MALFORMED)
    both["dev"].upload(key, b"[]")
    shown = shell(both["dev"], CHECK + REMOVE, key, VERSION=version, TMPDIR=str(tmp_path))
    (line,) = re.findall(rf"^{re.escape(str(tmp_path))}/\S+/scan\.json: rejected, (.+)$", shown, re.MULTILINE)
    assert line == f"malformed record=1, line 2 column 1 (byte {BYTE})"
    assert "Secret" not in shown
    assert not list(tmp_path.iterdir())


def test_the_runbook_shows_the_bytes_at_the_fault(both: dict[str, Pipeline], tmp_path: Path) -> None:
    version = both["dev"].upload("operate/a look.txt", MALFORMED)
    variables = {"VERSION": version, "BYTE": str(BYTE), "TMPDIR": str(tmp_path)}
    shown = shell(both["dev"], NAMES + CHECK + SHOW, "operate/a look.txt", RAW="", **variables)
    assert shown.endswith(f",{GOOD}]")


RESTORING = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/restoring.md").read_text(), re.DOTALL)


def test_the_runbook_deletes_orphans_and_restores_deleted_and_overwritten_uploads(both: dict[str, Pipeline]) -> None:
    pipeline = both["dev"]
    _, names, undelete, versions_of, bring_back, delete_result, delete_orphans = RESTORING
    one, two, kept = "operate/O'Orphan 1.json", "operate/orphan+2.json", "operate/O'Kept.json"
    versions = {key: pipeline.upload(key, RECORDS) for key in (one, two, kept)}
    for key, version in versions.items():
        pipeline.await_result(key, version)
        if key != kept:
            pipeline.s3.delete_object(Bucket=pipeline.raw, Key=key)
    assert {key for key, state in audit(pipeline)[1].items() if state == "orphaned"} >= {one, two}
    shell(pipeline, names + delete_result, one, RAW="", PROCESSED="")
    assert (pipeline.result(one), bool(pipeline.result(two))) == (None, True)
    shell(pipeline, delete_orphans, "")
    assert "orphaned" not in audit(pipeline)[1].values()
    assert pipeline.result(kept)
    shown = shell(pipeline, undelete, one)
    assert pipeline.s3.head_object(Bucket=pipeline.raw, Key=one)["VersionId"] == versions[one], shown
    pipeline.await_result(one, versions[one])
    pipeline.await_result(kept, pipeline.upload(kept, TWO_RECORDS))
    shown = shell(pipeline, names + versions_of + bring_back, kept, RAW="", VERSION=versions[kept])
    assert versions[kept] in shown
    newest = pipeline.s3.head_object(Bucket=pipeline.raw, Key=kept)["VersionId"]
    assert newest not in versions.values()
    assert pipeline.await_result(kept, newest) == [{"patient_id": "P-1", "patient_name": "Name"}]
