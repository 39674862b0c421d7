"""The schemas of the AWS provider's version 6, read from bindings that are generated from them: cdktn-provider-aws.

The package holds a module of JavaScript for each resource type and data source, all of one form, with a class for each
block: a comment says whether an attribute is required, optional or computed, the code below it reads the attribute, and
a table tells how it is written. What the package leaves out: which attributes are deprecated, and how many blocks of a
kind there may be beyond one. Messages are those of tfplugin5.proto:
https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CLASS = re.compile(r"^class (\w+) extends .*?^}$", re.MULTILINE | re.DOTALL)
FUNCTION = re.compile(r"^function (\w+)ToHclTerraform\(.*?^}$", re.MULTILINE | re.DOTALL)
ATTRIBUTE = re.compile(
    r"^    // (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n(.*?)(?=^    // \w+ - computed|\Z)",
    re.MULTILINE | re.DOTALL,
)
ENTRY = re.compile(r'(\w+): \{\s+value: .*,\s+isBlock: (\w+),\s+type: "(\w+)",\s+storageClassType: "(\w+)",')
# new XList(this, "name", true), where true stands for a set; new XOutputReference(this, "name") where one is most.
BLOCKS = re.compile(r'new (\w+?)(List|Map|)(?:OutputReference)?\(this, "\w+"(?:, (true|false))?\)')
# this.getStringAttribute('name'), new cdktn.StringMap(this, "name"); and of a table, string or stringMap.
VALUE = re.compile(r"(?:this\.get|new cdktn\.)(String|Number|Boolean|)(List|Map|)(?:Attribute\('|\(this, )")
WRITTEN = re.compile("(string|number|boolean)(?:List|Map|)")
SIMPLE = {"string": "string", "number": "number", "boolean": "bool"}
NESTING = {"struct": 1, "list": 2, "set": 3}
PROVIDER, RESOURCE, DATA_SOURCE = 1, 2, 3  # fields of GetProviderSchema.Response


@dataclass(frozen=True)
class Attribute:
    """An attribute as a class declares it. code: what reads it."""

    required: bool
    optional: bool
    computed: bool
    code: str


@dataclass(frozen=True)
class Entry:
    """How an attribute or block is written. kind: simple, list, set, map or struct; of: the type of what it holds."""

    is_block: bool
    kind: str
    of: str


class Module:
    """The code of a resource type, a data source or the provider."""

    def __init__(self, code: str) -> None:
        self._classes = {each[1]: each[0] for each in CLASS.finditer(code)}
        self._functions = {each[1].lower(): each[0] for each in FUNCTION.finditer(code)}
        self._top = next(name for name, code in self._classes.items() if "synthesizeHclAttributes" in code)

    def schema(self) -> bytes:
        """Return a Schema message."""
        return message(2, self._block(self._top, self._classes[self._top]))

    def _block(self, name: str, table: str) -> bytes:
        """Return a Block message for what a class reads and the code of a table writes."""
        written = {each[1]: Entry(each[2] == "true", each[3], each[4]) for each in ENTRY.finditer(table)}
        # The provider's own blocks cannot be read, so there are no classes for them.
        read = self._attributes(name) or dict.fromkeys(written, Attribute(False, True, False, ""))
        fields = []
        for each, attribute in read.items():
            entry = written.get(each)
            if entry and entry.is_block and not attribute.computed:
                fields.append(message(3, self._nested_block(each, attribute, entry)))
            else:
                kind = json.dumps(self._type(attribute, entry)).encode()
                flags = number(4, attribute.required) + number(5, attribute.optional) + number(6, attribute.computed)
                fields.append(message(2, message(1, each.encode()) + message(2, kind) + flags))
        return b"".join(fields)

    def _attributes(self, name: str) -> dict[str, Attribute]:
        code = self._classes.get(name) or self._classes.get(f"{name}OutputReference", "")
        return {
            each[1]: Attribute(each[4] == "true", each[3] == "true", each[2] == "true", each[5])
            for each in ATTRIBUTE.finditer(code)
        }

    def _nested_block(self, name: str, attribute: Attribute, entry: Entry) -> bytes:
        holds = entry.of if entry.kind == "struct" else entry.of.removesuffix("List")
        found = BLOCKS.search(attribute.code)
        most = 1 if entry.kind != "struct" and found and not found[2] else 0
        block = message(1, name.encode()) + message(2, self._block(holds, self._functions[holds.lower()]))
        return block + number(3, NESTING[entry.kind]) + number(4, attribute.required) + number(5, most)

    def _type(self, attribute: Attribute, entry: Entry | None) -> Any:
        """Return a type as JSON holds it, such as ["set", "string"]. Raises ValueError when the code does not tell."""
        if found := BLOCKS.search(attribute.code):
            kind = "map" if found[2] == "Map" else "set" if found[3] == "true" else "list"
            return [
                kind,
                ["object", {name: self._type(each, None) for name, each in self._attributes(found[1]).items()}],
            ]
        if found := VALUE.search(attribute.code):
            holds, kind = SIMPLE[found[1].lower() or "string"], found[2].lower()
            if kind == "list" and "Fn.tolist(" in attribute.code:
                kind = "set"
            return [kind, holds] if kind else holds
        if entry and (found := WRITTEN.fullmatch(entry.of)):
            return SIMPLE[found[1]] if entry.kind == "simple" else [entry.kind, SIMPLE[found[1]]]
        raise ValueError(f"the type of an attribute is not known: {attribute.code.strip()}")


def message(field: int, content: bytes) -> bytes:
    """Return a field that holds text, bytes or another message, as Protocol Buffers encode it."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    """Return a field that holds a number or a truth value: nothing for 0."""
    return varint(field << 3) + varint(value) if value else b""


def varint(value: int) -> bytes:
    """Return a number, seven bits to the byte, least first."""
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def schemas(archive: Path, types: Collection[str]) -> tuple[bytes, str]:
    """Return a GetProviderSchema.Response message with a few types, and the version of the provider.

    Each name stands for the resource type and for the data source of that name, as far as there are both.
    """
    wanted = {"provider": (PROVIDER, "")}
    for name in types:
        plain = name.removeprefix("aws_").replace("_", "-")
        wanted |= {plain: (RESOURCE, name), f"data-aws-{plain}": (DATA_SOURCE, name)}
    fields, version = [], "?"
    for module, code in modules(archive, wanted):
        field, name = wanted[module]
        schema = Module(code).schema()
        fields.append(message(field, message(1, name.encode()) + message(2, schema) if name else schema))
        if found := re.search("providerVersion: '(.*)'", code):
            version = found[1]
    return b"".join(fields), version


def modules(archive: Path, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield those modules that there are, and their code."""
    paths = {f"package/lib/{name}/index.js": name for name in names}
    with tarfile.open(archive) as files:
        for member in files:
            if member.name in paths and (content := files.extractfile(member)):
                yield paths[member.name], content.read().decode().partition("//# sourceMappingURL")[0]


def installed() -> Path:
    """Return the archive with the modules. It is found without importing the package, which would start Node.js."""
    found = find_spec("cdktn_provider_aws")
    if not found or not found.origin:
        raise ModuleNotFoundError("cdktn-provider-aws is not installed")
    (archive,) = Path(found.origin).parent.glob("_jsii/*.tgz")
    return archive
