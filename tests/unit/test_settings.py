"""The names that a settings file may have come from the types in variables.tf."""

import re
from pathlib import Path

import pytest
from commands.settings import ANY, ROOT, Shape, declared, read, read_settings, shape
from commands.terminal import Refused

from tests.unit.checkout import make

SETTINGS_OF_README = (ROOT / "README.md").read_text().partition("\n## Environments\n")[2].partition("\n## ")[0]


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


def test_the_settings_of_this_repository_are_those_that_the_readme_lists() -> None:
    known = declared(ROOT / "variables.tf")
    settings = known["environments"].shape[ANY]
    assert known["region"].default == "us-east-1"
    assert settings["private_network"].keys() == {"availability_zones", "cidr_block"}
    assert set(re.findall(r"^\| `(\w+)` \|", SETTINGS_OF_README, re.MULTILINE)) == set(settings)
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
