"""Source text of generated functions: lines, names, constants, and the helpers that the text calls.

A decoder trusts no length: an array's count is bounded by the bytes that remain and by MAX_ELEMENTS before anything is
made, a string or bytes field is checked against the end, a tagged field against its own size.
"""

import struct
from collections.abc import Callable
from typing import Any

from riverport.kafka.wire.classes import NEW, EncodedElements, Tags
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.schema import ALL, FIXED_WIDTH, NO_DEFAULT, NONE, Field, Struct
from riverport.kafka.wire.varint import Buffer, read_uvarint, uvarint

MAX_ELEMENTS = 1_000_000
"""Most elements of one array, as Apache Kafka 4.4 allows."""
MAX_TAGS = 10_000
"""Most tagged fields of one struct, as Apache Kafka 4.4 allows."""


CODES = {"bool": "?", "i8": "b", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "f64": "d", "uuid": "16s"}
"""Format characters of `struct` for the types of a fixed width."""


class Source:
    """Source lines with an indent, unique names, and the constants that the lines use."""

    def __init__(self, version: int, flexible: bool) -> None:
        self.lines: list[str] = []
        self.depth = 1
        self.version = version
        self.flexible = flexible
        self.space: dict[str, Any] = dict(_HELPERS)
        self._names = 0

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def name(self, stem: str = "v") -> str:
        self._names += 1
        return f"{stem}{self._names}"

    def constant(self, stem: str, value: Any) -> str:
        for name, known in self.space.items():
            if known is value:
                return name
        name = self.name(stem)
        self.space[name] = value
        return name

    def packer(self, codes: str) -> str:
        name = "P_" + codes.replace("?", "B0")
        self.space.setdefault(name, struct.Struct(">" + codes).pack)
        return name

    def unpacker(self, codes: str) -> tuple[str, int]:
        name = "U_" + codes.replace("?", "B0")
        fmt = struct.Struct(">" + codes)
        self.space.setdefault(name, fmt.unpack_from)
        return name, fmt.size

    def function(self, head: str) -> Any:
        source = "\n".join([head, *self.lines])
        exec(compile(source, f"<wire {head}>", "exec"), self.space)
        return self.space[head[4 : head.index("(")]]


def is_plain(field: Field) -> bool:
    return not field.array and field.type in FIXED_WIDTH


def present(schema: Struct, version: int, flexible: bool) -> tuple[list[Field], list[Field]]:
    """The fields of a version: (in the body, in the tag section)."""
    regular, tagged = [], []
    for field in schema.fields:
        if version in field.tagged and field.tag is not None and flexible:
            tagged.append(field)
        elif version in field.versions and (field.tag is None or field.versions != field.tagged):
            regular.append(field)
    return regular, sorted(tagged, key=lambda f: f.tag or 0)


def element_of(field: Field) -> Field:
    """One element of an array of strings or bytes, as a field of its own: never null, never tagged."""
    return Field(field.name, field.type, False, ALL, NONE, NO_DEFAULT, None, NONE, False, False)


def _too_many(count: int) -> None:
    raise WireError(f"a count of {count}, more than the bytes that remain can hold")


def _past_end(size: int) -> None:
    raise WireError(f"a length of {size}, past the end of the message")


def _null(name: str) -> None:
    raise WireError(f"{name} is null, which this version does not allow")


def _unsupported(name: str, version: int) -> None:
    raise WireError(f"{name} is set, and version {version} has no such field")


def _read_tags(buf: Buffer, pos: int, end: int, count: int) -> tuple[list[tuple[int, int, int]], int]:
    """The tag section after its count: [(tag, start, stop)] and the position behind it."""
    if count > MAX_TAGS or count * 2 > end - pos:
        _too_many(count)
    found = []
    for _ in range(count):
        tag, pos = read_uvarint(buf, pos)
        size, pos = read_uvarint(buf, pos)
        if pos + size > end:
            _past_end(size)
        found.append((tag, pos, pos + size))
        pos += size
    return found, pos


def _write_tags(write: Callable[[Any], None], known: Tags | None, unknown: Tags | None) -> None:
    tags = sorted([*(known or ()), *(unknown or ())])
    write(uvarint(len(tags)))
    for tag, body in tags:
        write(uvarint(tag))
        write(uvarint(len(body)))
        write(body)


_HELPERS: dict[str, Any] = {
    "_uv": uvarint, "_ruv": read_uvarint, "_too_many": _too_many, "_past_end": _past_end, "_null": _null,
    "_unsupported": _unsupported, "_read_tags": _read_tags, "_write_tags": _write_tags, "_ZERO": bytes(16),
    "_MAX": MAX_ELEMENTS, "_ONE": [bytes([n]) for n in range(128)], "_join": b"".join,
    "_unpack_from": struct.unpack_from, "_pack": struct.pack, "_NEW": NEW, "_Encoded": EncodedElements,
}  # fmt: skip
