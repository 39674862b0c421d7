"""The names that a settings file may have come from the types in variables.tf."""

import re
from pathlib import Path

import pytest
from commands.settings import ANY, ROOT, Shape, declared, read, read_settings, shape
from commands.terminal import Refused

from docs import generate
from tests.unit.checkout import make

SETTINGS = (ROOT / "docs/environments.md").read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("string", {}),
        ("optional(number, 14)", {}),
        ("map(string)", {ANY: {}}),
        ("object({ a = string, b : number })", {"a": {}, "b": {}}),
        ("map(object({ a = optional(list(string), []) }))", {ANY: {"a": {ANY: {}}}}),
        ("object({ a = optional(object({ b = bool }), { b = true }), c = any })", {"a": {"b": {}}, "c": {}}),
        (
            'object({ a = optional(map(string), { x = "y", z = "," }), c = set(number) })',
            {"a": {ANY: {}}, "c": {ANY: {}}},
        ),
        ("list(object({ a = tuple([string, number]) }))", {ANY: {"a": {}}}),
        ('${object({ a = optional(string, "x = {") })}', {"a": {}}),
    ],
)
def test_the_names_in_a_type(expression: str, names: Shape) -> None:
    assert shape(expression) == names


@pytest.mark.parametrize("page", generate.PAGES)
def test_the_tables_in_the_documents_are_those_of_the_terraform(page: str) -> None:
    assert (ROOT / page).read_text() == generate.generated(page), "run: python docs/generate.py"


def test_every_module_and_every_setting_is_in_a_table() -> None:
    tables = {name for page in generate.PAGES for _, name, _ in generate.TABLE.findall((ROOT / page).read_text())}
    modules = {f"modules/{path.name}" for path in (ROOT / "modules").iterdir() if path.is_dir()}
    assert tables == modules | {"settings", "bootstrap"}


def test_the_settings_of_this_repository_are_those_that_are_documented() -> None:
    known = declared(ROOT / "variables.tf")
    settings = known["environments"].shape[ANY]
    assert known["region"].default == "us-east-1"
    assert settings["private_network"].keys() == {"availability_zones", "cidr_block"}
    assert set(re.findall(r"^\| `(\w+)` \|", SETTINGS, re.MULTILINE)) == set(settings)
    github = declared(ROOT / "bootstrap/variables.tf")["github"].shape
    assert github.keys() == {"repository", "subject_prefixes", "branch", "create_oidc_provider"}


def test_comments_and_odd_spellings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.settings.ROOT", tmp_path)
    (tmp_path / "x.tfvars").write_text('# a\nenvironments = { "dev" : { memory_mb = 1 /* b */ } } // c\n')
    assert read(tmp_path / "x.tfvars") == {"environments": {"dev": {"memory_mb": 1}}}


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ('githb = { repository = "a/b" }', "there is no setting githb; did you mean github?"),
        (
            'github = { repo = "a/b" }',
            "there is no setting repo in github; known are branch, create_oidc_provider, repository, subject_prefixes.",
        ),
        (
            'github = { subject_prefix = ["a"] }',
            "there is no setting subject_prefix in github; did you mean subject_prefixes?",
        ),
        ('disposable = ["dev"]', "there is no setting disposable; did you mean disposable_environments?"),
    ],
)
def test_an_unknown_setting_of_bootstrap_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, says: str
) -> None:
    file = make(tmp_path, monkeypatch) / "bootstrap.tfvars"
    file.write_text(written)
    with pytest.raises(Refused) as refused:
        read_settings(file, tmp_path / "bootstrap/variables.tf")
    assert str(refused.value) == f"env/bootstrap.tfvars: {says}"
