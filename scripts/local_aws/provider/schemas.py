"""Select the schemas of a few types from all that the provider has, and keep them in a file."""

import os
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path

# Fields of GetProviderSchema.Response in Terraform's tfplugin5.proto that map a name to a schema.
RESOURCES, DATA_SOURCES, EPHEMERAL_RESOURCES = 2, 3, 8
DIAGNOSTICS = 4  # one that holds what went wrong
LENGTH_DELIMITED = 2  # a wire type


async def kept(file: Path, types: Collection[str], ask: Callable[[], Awaitable[bytes]]) -> bytes:
    """Return what a file holds. If it is not there, ask for all schemas, and write those of the types to it."""
    if file.exists():
        return file.read_bytes()
    schemas = filtered(await ask(), types)
    if DIAGNOSTICS not in [number for number, _, _ in _fields(schemas)]:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(schemas)
        unfinished.replace(file)
    return schemas


def filtered(schemas: bytes, types: Collection[str]) -> bytes:
    """Return a serialized GetProviderSchema.Response without the schemas of all other types."""
    selected = []
    for number, field, content in _fields(schemas):
        if number in (RESOURCES, DATA_SOURCES, EPHEMERAL_RESOURCES):
            key = next(value for _, _, value in _fields(content))
            if key.decode() not in types:
                continue
        selected.append(field)
    return b"".join(selected)


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield number, whole field and content of each field, all of which are length-delimited."""
    position = 0
    while position < len(message):
        begin = position
        tag, position = _varint(message, position)
        if tag & 7 != LENGTH_DELIMITED:
            raise ValueError(f"field {tag >> 3} of the provider's schemas is not length-delimited")
        length, position = _varint(message, position)
        content = message[position : position + length]
        position += length
        yield tag >> 3, message[begin:position], content


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number that begins at a position, and where it ends."""
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
