"""The project's own texts: the results that they show are real, and their commands name the environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands.__main__ import parser

import lambda_function

from .invocations import Context, notification

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "ikerian_sample.json"

# Verbs that act on one environment, and on dev where none is named.
VERBS = [verb for verb, options in parser().verbs.items() if any(each.dest == "name" for each in options._actions)]
# An environment, or what stands for one in a text, a script, Terraform and Python.
ENVIRONMENT = "|".join(
    (
        r"(?:dev|prod|local|ENV|NAME)\b",
        r'"?\$ENV\b',
        r"\$\{(?:ENV|[\w.]*\benvironment)\}",
        r"\{(?:[\w.]*\b(?:environment(?:\.name)?|name|file))\}",
    )
)
WITHOUT_ENVIRONMENT = re.compile(rf"\./deploy\.sh\s+(?:{'|'.join(VERBS)})\b(?!\s+(?:{ENVIRONMENT}))")
SUFFIXES = (".hcl", ".md", ".tf", ".tfvars", ".yml")  # and .py in scripts/


def texts() -> Iterator[tuple[str, str]]:
    """Yield path and content of every committed file with commands for people."""
    for folder, folders, files in ROOT.walk():
        folders[:] = [name for name in folders if name == ".github" or not name.startswith((".", "_", "build"))]
        for file in (folder / name for name in files):
            path = file.relative_to(ROOT).as_posix()
            is_printed = file.suffix in SUFFIXES or (file.suffix == ".py" and path.startswith("scripts/"))
            if is_printed:
                yield path, file.read_text()


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


def test_every_command_names_its_environment() -> None:
    read = dict(texts())
    assert {"README.md", "docs/operations.md", "modules/monitoring/alarms.tf", "scripts/commands/smoke.py"} <= set(read)
    assert ".github/workflows/deploy.yml" in read
    assert {"deploy", "unlock", "audit", "restore"} <= set(VERBS)
    found = [
        f"{path}:{text.count('\n', 0, command.start()) + 1}: {command[0]}"
        for path, text in read.items()
        for command in WITHOUT_ENVIRONMENT.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "`./deploy.sh deploy dev`",
        "./deploy.sh audit prod --repair",
        "./deploy.sh\n  plan local",
        "./deploy.sh unlock ENV ID",
        './deploy.sh redrive "$ENV" --key KEY',
        "./deploy.sh status $ENV",
        "./deploy.sh deploy ${var.environment}",
        "./deploy.sh rollback {environment} returns",
        "./deploy.sh deploy {self.environment.name}",
        "./deploy.sh build",
        "./deploy.sh local --keep",
        "`./deploy.sh` alone deploys dev",
        "./deploy.sh VERB --help",
        "./deploy.sh deploys",
    ],
)
def test_a_command_that_names_its_environment_passes(text: str) -> None:
    assert not WITHOUT_ENVIRONMENT.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "`./deploy.sh deploy`",
        "./deploy.sh audit --repair",
        "./deploy.sh audit --repair dev",
        "./deploy.sh status       # dev",
        "./deploy.sh\n  plan",
        "./deploy.sh deploy again",
        "./deploy.sh deploy development",
        "./deploy.sh unlock ID",
        "./deploy.sh unlock {lock}",
        "./deploy.sh deploy ${var.name}",
    ],
)
def test_a_command_that_names_none_is_found(text: str) -> None:
    assert WITHOUT_ENVIRONMENT.search(text)
