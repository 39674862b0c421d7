"""The project's own texts: the results that they show are real, and their commands name the environment."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands.__main__ import parse, parser

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


# --- the runbook and the pages beside it ------------------------------------------------------------------------------

DOCS = sorted((ROOT / "docs").glob("*.md"))
ALARM = re.compile(  # its name, and the first command of its description
    r'^ +(?:alarm_name += "\$\{var\.name\}-)?([a-z]+-[a-z-]+)(?: = \{|")$.*?^ +Start with: (.*?)$', re.M | re.S
)


def alarms() -> dict[str, str]:
    """Return the first command of each alarm, with the environment as the runbook has it."""
    text = (ROOT / "modules/monitoring/alarms.tf").read_text()
    return {name: command.replace("${var.environment}", '"$ENV"') for name, command in ALARM.findall(text)}


def test_each_alarm_has_its_row_and_its_section_in_the_runbook() -> None:
    runbook = (ROOT / "docs/operations.md").read_text()
    first_page, _, rest = runbook.partition("\n## Alarms\n")
    sections = re.split(r"^### (.*)\n", rest.partition("\n## ")[0], flags=re.M)[1:]
    rows = re.findall(r"^\| \[`(.*)`\]\(#(.*)\) \| (.+) \| (.+) \| `(.*)` \|$", first_page, re.M)
    assert len(alarms()) == 9
    assert {name: command for name, _, _, _, command in rows} == alarms()
    assert [name for name, *_ in rows] == [anchor for _, anchor, *_ in rows] == sections[::2]
    for name, section in zip(sections[::2], sections[1::2], strict=True):
        assert re.findall(r"^\*\*(\w+)\.\*\*", section, re.M) == ["Impact", "Check", "Fix"], name
        check = section.partition("**Check.**")[2].partition("**Fix.**")[0]
        first = re.search(r"^```(?:bash|sh)\n(.*)$", check, re.M)
        assert first
        assert first[1] == alarms()[name]


def test_the_first_page_of_the_runbook_fits_a_screen() -> None:
    runbook = (ROOT / "docs/operations.md").read_text()
    assert '\n```sh\n./deploy.sh rollback "$ENV"\n```\n' in "\n".join(runbook.splitlines()[:45])


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one_that_deploy_sh_takes(page: Path) -> None:
    for command in re.findall(r"\./deploy\.sh (?!VERB)([^|`\n]+)", page.read_text()):
        parse(shlex.split(command.replace("$ENV", "prod"), comments=True))  # exits if it is wrong


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M):
        anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        found.add(next(name for n in range(9) if (name := f"{anchor}-{n}" if n else anchor) not in found))
    return found


@pytest.mark.parametrize("path", sorted(path for path, _ in texts() if path.endswith(".md")))
def test_every_link_leads_somewhere(path: str) -> None:
    page = ROOT / path
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(
    ("kind", "files"), [("modules", "modules/*/tests/*.hcl"), ("bootstrap", "bootstrap/tests/*.hcl")]
)
def test_the_proofs_named_on_the_page_about_security_exist(kind: str, files: str) -> None:
    page = (ROOT / "docs/security.md").read_text()
    named = {name for names in re.findall(rf"{kind} ((?:`\w+`(?:, )?)+)", page) for name in re.findall(r"\w+", names)}
    runs = {name for file in ROOT.glob(files) for name in re.findall(r'^run "(\w+)"', file.read_text(), re.M)}
    assert named
    assert named - runs == set()
