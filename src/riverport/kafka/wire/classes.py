"""A slots class for each struct of the table, with a constructor compiled for its fields."""

from typing import Any

from riverport.kafka.wire.schema import NO_DEFAULT, Field, Message, Struct

Tags = list[tuple[int, bytes]]

_EMPTY = {"bool": "False", "f64": "0.0", "uuid": "_ZERO", "string": "''", "bytes": "b''", "records": "None"}
NEW = object()
"""The default of a parameter that gets a fresh list or struct in each call."""


class EncodedElements(list[Any]):
    """Stands for an array of structs: its elements are bytes, each encoded before in the version that is written."""

    __slots__ = ()


class StructBase:
    """Base of every generated class: equality and repr by fields; `unknown_tags` keeps what KIP-482 says to keep."""

    __slots__ = ("unknown_tags",)
    _fields: tuple[str, ...] = ()
    _message: Message
    _struct: Struct
    unknown_tags: Tags | None

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in (*self._fields, "unknown_tags"))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        tags = f", unknown_tags={self.unknown_tags!r}" if self.unknown_tags else ""
        return f"{type(self).__name__}({shown}{tags})"


def default_source(field: Field) -> str:
    """The default of a field as source text; `_NEW` stands for a fresh empty list or struct."""
    if field.default is not NO_DEFAULT:
        return repr(field.default)
    if field.array or field.struct is not None:
        return "_NEW"
    return _EMPTY.get(field.type, "0")


def make_class(message: Message, schema: Struct) -> type[StructBase]:
    """A slots class whose constructor takes every field, in the table's order, with its default."""
    names = [field.name for field in schema.fields]
    lines = [
        f"def __init__(self, {''.join(f'{f.name}={default_source(f)}, ' for f in schema.fields)}unknown_tags=None):"
    ]
    space: dict[str, Any] = {"_NEW": NEW, "_ZERO": bytes(16), "_structs": {}}
    for field in schema.fields:
        if default_source(field) != "_NEW":
            lines.append(f"    self.{field.name} = {field.name}")
            continue
        fresh = "[]" if field.array else f"_structs[{field.type!r}]()"
        lines.append(f"    self.{field.name} = {fresh} if {field.name} is _NEW else {field.name}")
    lines.append("    self.unknown_tags = unknown_tags")
    exec("\n".join(lines), space)
    body = {
        "__slots__": tuple(names),
        "__init__": space["__init__"],
        "__doc__": f"{schema.name} of {message.name}." if schema.name != message.name else f"{message.name}.",
        "__module__": "riverport.kafka.wire.messages",
        "__qualname__": schema.name if schema is message.root else f"{message.name}.{schema.name}",
        "_fields": tuple(names),
        "_message": message,
        "_struct": schema,
        "_structs_of_init": space["_structs"],
    }
    return type(schema.name, (StructBase,), body)


def make_classes(message: Message) -> type[StructBase]:
    """The message's class, with the classes of its nested structs as attributes of it."""
    classes = {name: make_class(message, schema) for name, schema in message.structs.items()}
    root = make_class(message, message.root)
    for cls in (root, *classes.values()):
        cls._structs_of_init.update(classes)  # type: ignore[attr-defined]
    for name, cls in classes.items():
        setattr(root, name, cls)
    return root


_CLASSES: dict[int, type[StructBase]] = {}


def class_of(schema: Struct) -> type[StructBase]:
    return _CLASSES[id(schema)]


def register(root: type[StructBase]) -> None:
    """Let generated code find the classes of a message's structs."""
    _CLASSES[id(root._struct)] = root
    for name, schema in root._message.structs.items():
        _CLASSES[id(schema)] = getattr(root, name)
