"""Write the tables of settings and modules from the Terraform: `python docs/generate.py`, after a change to variables.

A table stands between two comments: <!-- settings --> or <!-- modules/NAME --> and <!-- end -->. The Terraform is
formatted by `terraform fmt`, so lines can be told by their indentation.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("docs/environments.md", "modules/README.md", "bootstrap/README.md")
TABLE = re.compile(r"(<!-- (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


class Field(NamedTuple):
    """A variable, an output, or a field of an object: its type and default as written, and its description."""

    name: str
    type: str
    default: str
    description: str


def blocks(kind: str, file: Path) -> Iterator[Field]:
    """Yield the variables or the outputs of a file."""
    text = file.read_text() if file.exists() else ""
    for name, body in re.findall(rf'^{kind} "(\w+)" {{\n(.*?)^}}$', text, re.MULTILINE | re.DOTALL):
        arguments = dict(re.findall(r"^  (\w+) += (.*?)\n(?=  [\w#]|\n|\Z)", body, re.MULTILINE | re.DOTALL))
        yield Field(name, arguments.get("type", ""), arguments.get("default", ""), arguments["description"].strip('"'))


def fields(type_: str) -> Iterator[Field]:
    """Yield the fields of an object. The comment above a field is its description."""
    lines = type_.splitlines()[1:]
    (indent,) = re.findall(r"^ *", lines[0])
    comment: list[str] = []
    for number, line in enumerate(lines):
        if line.startswith(f"{indent}# "):
            comment.append(line.strip(" #"))
        elif field := re.match(rf"{indent}(\w+) += (.*)", line):
            rest = itertools.takewhile(lambda each: not re.match(rf"{indent}[\w#]", each), lines[number + 1 :])
            expression = "\n".join([field[2], *rest])
            if optional := re.fullmatch(r"optional\((object\(.*\)|.*?)(?:, (.*))?\)", expression, re.DOTALL):
                kind, default = optional[1], optional[2] or "null"
            else:
                kind, default = expression, ""
            yield Field(field[1], kind, default, " ".join(comment))
            comment = []


def settings() -> Iterator[str]:
    """Yield the table of what an entry of `environments` may set."""
    (environments,) = (each for each in blocks("variable", ROOT / "variables.tf") if each.name == "environments")
    yield "| setting | default | meaning |"
    yield "|---|---|---|"
    for each in fields(environments.type):
        meaning, _, null = each.description.partition(" Null: ")
        yield f"| `{each.name}` | {null.rstrip('.') or code(each.default)} | {cell(meaning)}{inner(each.type)} |"


def module(path: str) -> Iterator[str]:
    """Yield the tables of the inputs and the outputs of a module."""
    yield "| input | type | meaning |"
    yield "|---|---|---|"
    for each in blocks("variable", ROOT / path / "variables.tf"):
        kind = re.sub(r"object\(\{.*\}\)", "object", each.type, flags=re.DOTALL)
        kind += f", {code(each.default)}" if each.default else ""
        yield f"| `{each.name}` | {kind} | {cell(each.description)}{inner(each.type)} |"
    outputs = list(blocks("output", ROOT / path / "outputs.tf"))
    if outputs:
        yield ""
        yield "| output | meaning |"
        yield "|---|---|"
    for each in outputs:
        yield f"| `{each.name}` | {cell(each.description)} |"


def inner(type_: str) -> str:
    """Return a sentence that names the fields of an object, if it is one."""
    names = [f"`{each.name}`" for each in fields(type_)] if "object({\n" in type_ else []
    return f" Fields: {', '.join(names)}." if names else ""


def code(default: str) -> str:
    """Return a default as a table shows it."""
    return {"": "", "null": "null"}.get(default, f"`{default.strip('"')}`")


def cell(text: str) -> str:
    """Return a description as a cell of a table."""
    heredoc = re.fullmatch(r"<<-EOT\n(.*)\n\s*EOT", text, re.DOTALL)
    return (
        " ".join((heredoc[1] if heredoc else text).replace('\\"', '"').split()).replace("|", "\\|").replace("<", "&lt;")
    )


def generated(page: str) -> str:
    """Return a page with its tables written again."""

    def table(match: re.Match[str]) -> str:
        rows = settings() if match[2] == "settings" else module(match[2])
        return match[1] + "\n".join(rows) + "\n" + match[3]

    return TABLE.sub(table, (ROOT / page).read_text())


if __name__ == "__main__":
    for name in PAGES:
        (ROOT / name).write_text(generated(name))
