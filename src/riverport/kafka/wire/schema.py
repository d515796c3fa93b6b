"""Reads the protocol table: blocks of text in `table/*.txt` become messages, structs and fields.

A block is one message. Its first line is

    NAME KIND [KEY] VERSIONS flex:VERSIONS [unstable] [on:LISTENER,...]

and each further line one field, nested by two spaces under the struct or array that holds it:

    name type [VERSIONS] [null | null:VERSIONS] [=DEFAULT] [tag:N | tag:N:VERSIONS] [~] [rigid]

Types are bool, i8 i16 u16 i32 u32 i64 f64, string, bytes, records, uuid, a struct's name, and `[]` of any of these.
VERSIONS is `3`, `3-5`, `3+` or `none`; left out it is all. `null` says where null is allowed (alone: wherever the field
is), `tag:N` where it is a tagged field (KIP-482), `~` that a version without the field may drop a set value, `rigid`
that a string keeps its two-byte length in flexible versions. `struct NAME` opens a struct that several fields share.
"""

from dataclasses import dataclass
from functools import cache
from glob import glob
from typing import Any

FIXED_WIDTH = {"bool": 1, "i8": 1, "i16": 2, "u16": 2, "i32": 4, "u32": 4, "i64": 8, "f64": 8, "uuid": 16}
"""Types of a fixed width, in bytes."""

NO_DEFAULT = object()


@dataclass(slots=True, frozen=True)
class Versions:
    """An inclusive range of versions; `none` is the empty one."""

    low: int
    high: int

    def __contains__(self, version: int) -> bool:
        return self.low <= version <= self.high


ALL = Versions(0, 32767)
NONE = Versions(0, -1)


def parse_versions(text: str) -> Versions:
    if text == "none":
        return NONE
    if text.endswith("+"):
        return Versions(int(text[:-1]), 32767)
    low, _, high = text.partition("-")
    return Versions(int(low), int(high or low))


@dataclass(slots=True)
class Field:
    name: str
    type: str  # the element's type where `array`
    array: bool
    versions: Versions
    nullable: Versions
    default: Any  # NO_DEFAULT: the type's own (0, "", [], an empty struct)
    tag: int | None
    tagged: Versions
    ignorable: bool
    rigid: bool
    struct: "Struct | None" = None


@dataclass(slots=True)
class Struct:
    name: str
    fields: list[Field]


@dataclass(slots=True)
class Message:
    """One message: its root struct, and every nested one by name."""

    name: str
    kind: str  # request, response, header, data, metadata, coordinator-key, coordinator-value
    key: int  # API key or record type; -1 where the message has none
    versions: Versions
    flexible: Versions
    unstable: bool  # the newest version is not advertised
    listeners: tuple[str, ...]
    root: Struct
    structs: dict[str, Struct]


_TABLE = __file__.rpartition("/")[0] + "/table"
"""No `Path`: pathlib loads urllib and ipaddress, and everything that talks to a broker starts with this module."""


@cache
def blocks() -> dict[str, str]:
    """The text of every message by name, unparsed."""
    found: dict[str, str] = {}
    for name in sorted(glob("*.txt", root_dir=_TABLE)):
        found.update(blocks_of(name.removesuffix(".txt")))
    return found


@cache
def blocks_of(family: str) -> dict[str, str]:
    """The blocks of one file of the table, by message name."""
    with open(f"{_TABLE}/{family}.txt", encoding="ascii") as file:
        text = file.read()
    return {block[: block.index(" ")]: block for block in text.strip().split("\n\n")}


@dataclass(slots=True, frozen=True)
class Head:
    """The first line of a block."""

    name: str
    kind: str
    key: int
    versions: Versions
    flexible: Versions
    unstable: bool
    listeners: tuple[str, ...]


def parse_head(block: str) -> Head:
    name, kind, *rest = block.partition("\n")[0].split()
    key = -1
    if rest[0].isdigit() and not rest[1].startswith("flex:"):
        key = int(rest.pop(0))
    listeners: tuple[str, ...] = ()
    for word in rest[2:]:
        if word.startswith("on:"):
            listeners = tuple(word[3:].split(","))
    flexible = parse_versions(rest[1].removeprefix("flex:"))
    return Head(name, kind, key, parse_versions(rest[0]), flexible, "unstable" in rest, listeners)


def parse_message(name: str) -> Message:
    """The schema of one message. Raises KeyError for a name that the table lacks."""
    block = blocks()[name]
    head = parse_head(block)
    lines = [(_indent(line), line.split()) for line in block.split("\n")[1:]]
    structs: dict[str, Struct] = {}
    root = Struct(name, [])
    stack: list[Struct] = [root]
    for depth, words in lines:
        del stack[depth:]
        if words[0] == "struct":
            structs[words[1]] = Struct(words[1], [])
            stack.append(structs[words[1]])
            continue
        field = _parse_field(words)
        stack[-1].fields.append(field)
        if not _is_primitive(field.type):
            # A struct is defined by the lines nested under its first use, or by a `struct` block of the message.
            stack.append(structs.setdefault(field.type, Struct(field.type, [])))
    for struct in (root, *structs.values()):
        for field in struct.fields:
            field.struct = structs.get(field.type)
    return Message(
        name, head.kind, head.key, head.versions, head.flexible, head.unstable, head.listeners, root, structs
    )


def _indent(line: str) -> int:
    return (len(line) - len(line.lstrip(" "))) // 2


def _is_primitive(type_name: str) -> bool:
    return type_name in FIXED_WIDTH or type_name in ("string", "bytes", "records")


def _parse_field(words: list[str]) -> Field:
    name, type_name, *rest = words
    array = type_name.startswith("[]")
    field = Field(name, type_name.removeprefix("[]"), array, ALL, NONE, NO_DEFAULT, None, NONE, False, False)
    for word in rest:
        if word == "~":
            field.ignorable = True
        elif word == "rigid":
            field.rigid = True
        elif word.startswith("="):
            field.default = _parse_default(field.type, array, word[1:])
        elif word.startswith("tag:"):
            number, _, versions = word[4:].partition(":")
            field.tag = int(number)
            field.tagged = parse_versions(versions) if versions else field.versions
        elif word.startswith("null"):
            field.nullable = parse_versions(word[5:]) if word[4:] else field.versions
        else:
            field.versions = parse_versions(word)
    return field


def _parse_default(type_name: str, array: bool, text: str) -> Any:
    if text == "null":
        return None
    if array:
        return NO_DEFAULT
    match type_name:
        case "string":
            return text.strip('"')
        case "bool":
            return text == "true"
        case "f64":
            return float(text)
        case "bytes" | "records" | "uuid":
            return NO_DEFAULT
        case _ if type_name in FIXED_WIDTH:
            return int(text, 0)
        case _:
            return NO_DEFAULT
