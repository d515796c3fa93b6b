"""Values of messages, made from the protocol table itself.

`random_value` takes its chances from a `random.Random`: a seeded one in plain tests, the one of Hypothesis in property
tests, which then knows how to shrink what it drew.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from riverport.kafka.wire import messages, schema
from riverport.kafka.wire.schema import Field, Message, Struct

INTEGER_RANGES = {
    "i8": (-(2**7), 2**7 - 1),
    "i16": (-(2**15), 2**15 - 1),
    "u16": (0, 2**16 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "u32": (0, 2**32 - 1),
    "i64": (-(2**63), 2**63 - 1),
}
TEXTS = ["", "a", "orders", "é€😀", "x" * 127, "y" * 128, "z" * 300]


@dataclass(slots=True)
class Chances:
    """What a random value may be. An oracle that cannot do something gets values without it."""

    rng: Random
    most_elements: int = 3
    unknown_tags: bool = True
    surrogate_free: bool = True

    def integer(self, field: Field) -> int:
        low, high = INTEGER_RANGES[field.type]
        if self.rng.random() < 0.5:
            return self.rng.choice([low, high, 0, 1, max(low, -1)])
        return self.rng.randint(low, high)

    def text(self, field: Field) -> str:
        return self.rng.choice(TEXTS)

    def octets(self, field: Field) -> bytes:
        return self.rng.choice([b"", b"\0", b"\xff" * 40, bytes(range(200))])

    def primitive(self, field: Field) -> Any:
        match field.type:
            case "bool":
                return self.rng.random() < 0.5
            case "f64":
                return self.rng.choice([0.0, -1.5, 1e300, 3.141592653589793])
            case "uuid":
                return self.rng.choice([bytes(16), bytes(15) + b"\1", bytes(range(16)), b"\xff" * 16])
            case "string":
                return self.text(field)
            case "bytes" | "records":
                return self.octets(field)
            case _:
                return self.integer(field)


def versions_of(name: str) -> range:
    head = schema.parse_head(schema.blocks()[name])
    return range(head.versions.low, head.versions.high + 1)


def every_message() -> list[str]:
    """Every message that has a version, by name."""
    return [name for name in sorted(schema.blocks()) if len(versions_of(name))]


def every_version() -> Iterator[tuple[str, int]]:
    for name in every_message():
        for version in versions_of(name):
            yield name, version


def present(message: Message, field: Field, version: int) -> bool:
    """Whether the version carries the field, in the body or as a tagged field."""
    if version in field.tagged:
        return version in message.flexible
    return version in field.versions


def random_value(name: str, version: int, chances: Chances) -> Any:
    """A value that the version can carry: fields that it lacks keep their defaults."""
    cls = getattr(messages, name)
    return _struct(cls._message, cls._message.root, cls, version, chances)


def _struct(message: Message, struct: Struct, cls: Any, version: int, chances: Chances) -> Any:
    values = {}
    for field in struct.fields:
        if present(message, field, version) and not (version in field.tagged and chances.rng.random() < 0.3):
            values[field.name] = _value(message, field, version, chances)
    obj = cls(**values)
    if chances.unknown_tags and version in message.flexible and chances.rng.random() < 0.2:
        obj.unknown_tags = [(200 + n, bytes(n)) for n in range(chances.rng.randint(1, 3))]
    return obj


def _value(message: Message, field: Field, version: int, chances: Chances) -> Any:
    if version in field.nullable and chances.rng.random() < 0.25:
        return None
    if not field.array:
        return _element(message, field, version, chances)
    return [_element(message, field, version, chances) for _ in range(chances.rng.randint(0, chances.most_elements))]


def _element(message: Message, field: Field, version: int, chances: Chances) -> Any:
    if field.struct is None:
        return chances.primitive(field)
    cls = getattr(getattr(messages, message.name), field.struct.name)
    return _struct(message, field.struct, cls, version, chances)
