"""What the settings files in env/ may say: the variables that Terraform declares, with their types."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.terminal import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ANY = "*"  # stands for every name in a map, and for every element of a list

# The names in a type: those of an object, each with its own shape, or ANY; empty for text, numbers and the like.
type Shape = dict[str, "Shape"]


@dataclass(frozen=True)
class Variable:
    """A variable of a root module."""

    shape: Shape
    default: Any


def read(path: Path) -> dict[str, Any]:
    """Return what an HCL file holds. Raises Refused when there is no such file, or it is not HCL."""
    import hcl2  # takes a fifth of a second, which the refusal of a wrong argument should not

    options = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)
    name = path.relative_to(ROOT)
    try:
        with path.open() as file:
            return dict(hcl2.load(file, serialization_options=options))
    except FileNotFoundError:
        raise Refused(f"{name} is missing. Every environment needs one; use prod's as a template.") from None
    except Exception as error:  # noqa: BLE001 - the parser's own, of several kinds
        raise Refused(f"{name} cannot be read ({type(error).__name__}). terraform fmt shows where.") from None


@functools.cache
def declared(path: Path) -> dict[str, Variable]:
    """Return the variables that a file of Terraform declares, by name."""
    blocks = {name: block for each in read(path)["variable"] for name, block in each.items()}
    return {name: Variable(shape(str(block["type"])), block.get("default")) for name, block in blocks.items()}


def shape(type_expression: str) -> Shape:
    """Return the names that a value of a type may have, such as map(object({ memory_mb = optional(number, 1024) }))."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\w+|[^\s\w"]', type_expression.removeprefix("${"))
    found: Shape = {}
    current, opened = found, list[tuple[str, Shape]]()  # opened: what stands before each open bracket, and its shape
    default = 0  # how many brackets are open where the default of an optional type begins
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word in "([{":
            opened.append((before, current))
        elif word in ")]}":
            if not opened:
                break  # the end of ${...}
            if len(opened) == default:
                default = 0
            current = opened.pop()[1]
        elif default:
            continue
        elif word == "," and opened[-1][0] == "optional":
            default = len(opened)
        elif word in ("map", "list", "set"):
            current = current.setdefault(ANY, {})
        elif after in ("=", ":"):
            current = opened[-1][1].setdefault(word, {})
    return found


def unknown(value: Any, known: Shape, place: str = "") -> Iterator[str]:
    """Yield what is wrong with the names in a value: one sentence for each that its shape does not have."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not known or value is None:
        return
    if not isinstance(value, dict):
        yield f"{place.removeprefix('.')} must be {'a map' if ANY in known else 'an object'}, in braces."
        return
    for name, inner in value.items():
        if ANY in known:
            yield from unknown(inner, known[ANY], f"{place}.{name}")
        elif name in known:
            yield from unknown(inner, known[name], f"{place}.{name}")
        else:
            near = difflib.get_close_matches(str(name), known, 1)
            meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}."
            where = f" in {place.removeprefix('.')}" if place else ""
            yield f"there is no setting {name}{where}; {meant}"


def read_settings(path: Path, variables: Path) -> dict[str, Any]:
    """Return the settings in a file. Raises Refused when it has one that variables.tf does not declare.

    Terraform drops an unknown attribute of an object without a word, and only warns of an unknown variable.
    """
    settings = read(path)
    known = {name: variable.shape for name, variable in declared(variables).items()}
    if problems := list(unknown(settings, known)):
        raise Refused(f"{path.relative_to(ROOT)}: {' '.join(problems)}")
    return settings
