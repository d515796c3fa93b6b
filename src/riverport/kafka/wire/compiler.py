"""Turns schemas into code: a slots class for each struct, straight-line encode and decode functions for each version.

Generated code is what a careful person would write by hand for one version of one message: runs of fixed-width fields
are one `struct.Struct` call (a length or count that ends a run is part of it), nested structs are loops in place, and
nothing tests the version. Each function is compiled when it is first used (about 0.5 ms) and kept.

Measured on CPython 3.11: decoding a Produce request of one partition 3 us without copying the records, encoding its
answer 2 us; the same through a field-by-field interpreter takes ten times that.

A decoder trusts no length: an array's count is bounded by the bytes that remain and by MAX_ELEMENTS before anything is
made, a string or bytes field is checked against the end, a tagged field against its own size. Short input surfaces as
IndexError or struct.error, which `codec.decode` turns into WireError.
"""

import struct
from collections.abc import Callable
from typing import Any

from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.schema import ALL, FIXED_WIDTH, NO_DEFAULT, NONE, Field, Message, Struct
from riverport.kafka.wire.varint import read_uvarint, uvarint

MAX_ELEMENTS = 1_000_000
"""Most elements of one array, as Apache Kafka 4.4 allows."""
MAX_TAGS = 10_000
"""Most tagged fields of one struct, as Apache Kafka 4.4 allows."""

Buffer = bytes | bytearray | memoryview
Tags = list[tuple[int, bytes]]
Encoder = Callable[[Any, Callable[[Any], None]], None]
Decoder = Callable[[Buffer, int, int], tuple[Any, int]]

_CODES = {"bool": "?", "i8": "b", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "f64": "d", "uuid": "16s"}
_EMPTY = {"bool": "False", "f64": "0.0", "uuid": "_ZERO", "string": "''", "bytes": "b''", "records": "None"}


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
    "_unpack_from": struct.unpack_from, "_pack": struct.pack,
}  # fmt: skip


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
    space: dict[str, Any] = {"_NEW": _HELPERS.setdefault("_NEW", object()), "_ZERO": bytes(16), "_structs": {}}
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


class _Writer:
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


def _plain(field: Field) -> bool:
    return not field.array and field.type in FIXED_WIDTH


def _present(schema: Struct, version: int, flexible: bool) -> tuple[list[Field], list[Field]]:
    """The fields of a version: (in the body, in the tag section)."""
    regular, tagged = [], []
    for field in schema.fields:
        if version in field.tagged and field.tag is not None and flexible:
            tagged.append(field)
        elif version in field.versions and (field.tag is None or field.versions != field.tagged):
            regular.append(field)
    return regular, sorted(tagged, key=lambda f: f.tag or 0)


# --- encoding ---------------------------------------------------------------------------------------------------


def compile_encoder(message: Message, schema: Struct, version: int) -> Encoder:
    """`encode(obj, write)` for one version; `write` takes chunks. Records are written as the chunk they are."""
    out = _Writer(version, version in message.flexible)
    _encode_struct(out, schema, "o")
    out.add("return None")
    encoder: Encoder = out.function("def encode(o, w):")
    return encoder


def _encode_struct(out: _Writer, schema: Struct, obj: str) -> None:
    regular, tagged = _present(schema, out.version, out.flexible)
    run: list[tuple[str, str]] = []

    def flush() -> None:
        if run:
            out.add(f"w({out.packer(''.join(code for code, _ in run))}({', '.join(value for _, value in run)}))")
            run.clear()

    for field in schema.fields:
        if not field.ignorable and not any(field is f for f in (*regular, *tagged)):
            _encode_absent(out, field, f"{obj}.{field.name}")
    for field in regular:
        value = f"{obj}.{field.name}"
        if _plain(field):
            run.append((_CODES[field.type], value))
        else:
            flush()
            _encode_value(out, field, value, in_tag=False)
    flush()
    if out.flexible:
        _encode_tags(out, tagged, obj)


def _encode_absent(out: _Writer, field: Field, value: str) -> None:
    """A value that this version cannot carry must not vanish silently."""
    out.add(f"if {_differs(out, field, value)}: _unsupported({field.name!r}, {out.version})")


def _differs(out: _Writer, field: Field, value: str) -> str:
    if field.default is None:
        return f"{value} is not None"
    if field.array:
        return value if field.nullable == NONE else f"({value} is None or len({value}))"
    if field.struct is not None:
        fresh = out.name("fresh")
        out.space[fresh] = _fresh(field)
        return f"{value} != {fresh}()"
    if field.type == "records":
        return f"{value} is not None"
    return f"{value} != {default_source(field)}"


def _fresh(field: Field) -> Callable[[], Any]:
    assert field.struct is not None
    schema = field.struct

    def make() -> Any:
        return class_of(schema)()

    return make


_CLASSES: dict[int, type[StructBase]] = {}


def class_of(schema: Struct) -> type[StructBase]:
    return _CLASSES[id(schema)]


def register(root: type[StructBase]) -> None:
    """Let generated code find the classes of a message's structs."""
    _CLASSES[id(root._struct)] = root
    for name, schema in root._message.structs.items():
        _CLASSES[id(schema)] = getattr(root, name)


def _encode_tags(out: _Writer, tagged: list[Field], obj: str) -> None:
    if not tagged:
        out.add(f"w(_ONE[0]) if {obj}.unknown_tags is None else _write_tags(w, None, {obj}.unknown_tags)")
        return
    tags = out.name("tags")
    out.add(f"{tags} = None")
    for field in tagged:
        value = f"{obj}.{field.name}"
        out.add(f"if {_differs(out, field, value)}:")
        out.depth += 1
        chunks, outer = out.name("chunks"), out.name("w")
        out.add(f"{chunks} = []; {outer} = w; w = {chunks}.append")
        _encode_value(out, field, value, in_tag=True)
        out.add(f"w = {outer}")
        out.add(f"{tags} = {tags} or []; {tags}.append(({field.tag}, _join({chunks})))")
        out.depth -= 1
    out.add(f"if {tags} is None and {obj}.unknown_tags is None: w(_ONE[0])")
    out.add(f"else: _write_tags(w, {tags}, {obj}.unknown_tags)")


def _encode_value(out: _Writer, field: Field, value: str, in_tag: bool) -> None:
    flexible = out.flexible and not field.rigid
    nullable = out.version in field.nullable
    if field.array:
        local = out.name()
        out.add(f"{local} = {value}")
        _encode_length(out, local, f"len({local})", flexible, nullable, "i", field.name)
        out.depth += 1
        _encode_elements(out, field, local)
        out.depth -= 1
    elif field.struct is not None:
        _encode_nested(out, field, value, nullable, in_tag)
    elif field.type in FIXED_WIDTH:
        out.add(f"w({out.packer(_CODES[field.type])}({value}))")
    else:
        local = out.name()
        out.add(f"{local} = {value}")
        if field.type == "string":
            out.add(f"if {local} is not None: {local} = {local}.encode()")
        _encode_length(
            out, local, f"len({local})", flexible, nullable, "h" if field.type == "string" else "i", field.name
        )
        out.add(f"    w({local})")


def _encode_length(out: _Writer, local: str, size: str, flexible: bool, nullable: bool, code: str, name: str) -> None:
    """Write the length, or null; leaves an open `else:` for what follows a length."""
    out.add(f"if {local} is None:")
    if not nullable:
        out.add(f"    _null({name!r})")
    elif flexible:
        out.add("    w(_ONE[0])")
    else:
        out.add(f"    w({out.packer(code)}(-1))")
    out.add("else:")
    if flexible:
        n = out.name("n")
        out.add(f"    {n} = {size} + 1")
        out.add(f"    w(_ONE[{n}] if {n} < 128 else _uv({n}))")
    else:
        out.add(f"    w({out.packer(code)}({size}))")


def _encode_elements(out: _Writer, field: Field, local: str) -> None:
    if field.type in FIXED_WIDTH:
        code = _CODES[field.type]
        if field.type == "uuid":
            out.add(f"w(_join({local}))")
        else:
            out.add(f"w(_pack('>%d{code}' % len({local}), *{local}))")
        return
    element = out.name("e")
    out.add(f"for {element} in {local}:")
    out.depth += 1
    if field.struct is not None:
        _encode_struct(out, field.struct, element)
    else:
        _encode_value(out, _element_of(field), element, in_tag=False)
    out.depth -= 1


def _element_of(field: Field) -> Field:
    """One element of an array of strings or bytes, as a field of its own: never null, never tagged."""
    return Field(field.name, field.type, False, ALL, NONE, NO_DEFAULT, None, NONE, False, False)


def _encode_nested(out: _Writer, field: Field, value: str, nullable: bool, in_tag: bool) -> None:
    assert field.struct is not None
    local = out.name("s")
    out.add(f"{local} = {value}")
    if not nullable:
        out.add(f"if {local} is None: _null({field.name!r})")
        _encode_struct(out, field.struct, local)
        return
    # KIP-893: a byte says null or present; inside a tag it is an unsigned varint.
    out.add(f"if {local} is None:")
    out.add("    w(_ONE[0])" if in_tag else "    w(b'\\xff')")
    out.add("else:")
    out.depth += 1
    out.add("w(_ONE[1])")
    _encode_struct(out, field.struct, local)
    out.depth -= 1


# --- decoding ---------------------------------------------------------------------------------------------------


def compile_decoder(message: Message, schema: Struct, version: int) -> Decoder:
    """`decode(buf, pos, end) -> (object, next position)` for one version; records are slices of `buf`."""
    out = _Writer(version, version in message.flexible)
    result = _decode_struct(out, schema)
    out.add(f"return {result}, pos")
    decoder: Decoder = out.function("def decode(buf, pos, end):")
    return decoder


def _decode_struct(out: _Writer, schema: Struct) -> str:
    """Emit code that reads the struct at `pos`; returns the expression that builds it."""
    regular, tagged = _present(schema, out.version, out.flexible)
    values: dict[str, str] = {}
    run: list[tuple[str, str]] = []

    def flush() -> None:
        if run:
            unpack, size = out.unpacker("".join(code for code, _ in run))
            out.add(f"{', '.join(name for _, name in run)}, = {unpack}(buf, pos); pos += {size}")
            run.clear()

    for field in regular:
        local = values[field.name] = out.name()
        if _plain(field):
            run.append((_CODES[field.type], local))
            continue
        if (not out.flexible or field.rigid) and (field.struct is None or field.array):
            # The length ends the run before it: one unpack reads both.
            length = out.name("n")
            run.append(("h" if field.type == "string" and not field.array else "i", length))
            flush()
            _decode_sized(out, field, local, length)
            continue
        flush()
        _decode_value(out, field, local, in_tag=False)
    unknown = "None"
    if not out.flexible:
        flush()
    else:
        count = out.name("n")
        run.append(("B", count))
        flush()
        unknown = _decode_tags(out, tagged, values, count)
    cls = out.constant("C", class_of(schema))
    arguments = [values.get(field.name) or _absent(out, field) for field in schema.fields]
    return f"{cls}({', '.join([*arguments, unknown])})" if unknown != "None" else f"{cls}({', '.join(arguments)})"


def _absent(out: _Writer, field: Field) -> str:
    source = default_source(field)
    if source != "_NEW":
        return source
    return "[]" if field.array else "_NEW"


def _decode_tags(out: _Writer, tagged: list[Field], values: dict[str, str], count: str) -> str:
    """Read the tag section whose first count byte is in `count`; known tags set their locals, others are kept."""
    unknown = out.name("unknown")
    out.add(f"{unknown} = None")
    for field in tagged:
        values[field.name] = out.name()
        out.add(f"{values[field.name]} = {_absent(out, field)}")
    out.add(f"if {count}:")
    out.depth += 1
    out.add(f"if {count} > 127: {count}, pos = _ruv(buf, pos - 1)")
    found, tag, start, stop, outer = (out.name(stem) for stem in ("found", "tag", "start", "stop", "end"))
    out.add(f"{found}, pos = _read_tags(buf, pos, end, {count}); {outer} = end")
    out.add(f"for {tag}, {start}, {stop} in {found}:")
    out.depth += 1
    for index, field in enumerate(tagged):
        out.add(f"{'elif' if index else 'if'} {tag} == {field.tag}:")
        out.depth += 1
        behind = out.name("behind")
        out.add(f"{behind} = pos; pos = {start}; end = {stop}")
        _decode_value(out, field, values[field.name], in_tag=True)
        out.add(f"if pos != {stop}: _past_end(pos - {start})")
        out.add(f"pos = {behind}; end = {outer}")
        out.depth -= 1
    keep = f"{unknown} = {unknown} or []; {unknown}.append(({tag}, bytes(buf[{start}:{stop}])))"
    if tagged:
        out.add("else:")
        out.add("    " + keep)
    else:
        out.add(keep)
    out.depth -= 2
    return unknown


def _decode_value(out: _Writer, field: Field, local: str, in_tag: bool) -> None:
    if field.struct is not None and not field.array:
        _decode_nested(out, field, local, in_tag)
    elif _plain(field):
        unpack, size = out.unpacker(_CODES[field.type])
        out.add(f"{local}, = {unpack}(buf, pos); pos += {size}")
    else:
        length = out.name("n")
        if out.flexible and not field.rigid:
            out.add(f"{length} = buf[pos]; pos += 1")
            out.add(f"if {length} > 127: {length}, pos = _ruv(buf, pos - 1)")
            out.add(f"{length} -= 1")
        else:
            unpack, size = out.unpacker("h" if field.type == "string" and not field.array else "i")
            out.add(f"{length}, = {unpack}(buf, pos); pos += {size}")
        _decode_sized(out, field, local, length)


def _decode_sized(out: _Writer, field: Field, local: str, length: str) -> None:
    """Read what follows a length (or count) that has just been read; a negative one is null."""
    out.add(f"if {length} < 0:")
    if out.version in field.nullable:
        out.add(f"    if {length} != -1: _past_end({length})")
        out.add(f"    {local} = None")
    else:
        out.add(f"    _null({field.name!r})")
    out.add("else:")
    out.depth += 1
    if field.array:
        _decode_elements(out, field, local, length)
    else:
        stop = out.name("q")
        out.add(f"{stop} = pos + {length}")
        out.add(f"if {stop} > end: _past_end({length})")
        piece = f"buf[pos:{stop}]"
        out.add(
            f"{local} = "
            + {"string": f"str({piece}, 'utf-8')", "bytes": f"bytes({piece})", "records": piece}[field.type]
        )
        out.add(f"pos = {stop}")
    out.depth -= 1


def _decode_elements(out: _Writer, field: Field, local: str, count: str) -> None:
    width = _least_width(field, out.version, out.flexible)
    out.add(f"if {count} > _MAX or {count} * {width} > end - pos: _too_many({count})")
    if field.type in FIXED_WIDTH:
        if field.type == "uuid":
            out.add(f"{local} = [bytes(buf[p:p + 16]) for p in range(pos, pos + {count} * 16, 16)]")
        else:
            out.add(f"{local} = list(_unpack_from('>%d{_CODES[field.type]}' % {count}, buf, pos))")
        out.add(f"pos += {count} * {FIXED_WIDTH[field.type]}")
        return
    append = out.name("append")
    out.add(f"{local} = []; {append} = {local}.append")
    out.add(f"for _ in range({count}):")
    out.depth += 1
    if field.struct is not None:
        out.add(f"{append}({_decode_struct(out, field.struct)})")
    else:
        element = out.name()
        _decode_value(out, _element_of(field), element, in_tag=False)
        out.add(f"{append}({element})")
    out.depth -= 1


def _least_width(field: Field, version: int, flexible: bool) -> int:
    """The fewest bytes that one element can take: what bounds a count before anything is allocated."""
    if field.type in FIXED_WIDTH:
        return FIXED_WIDTH[field.type]
    if field.struct is None:
        return 1 if flexible else (2 if field.type == "string" else 4)
    regular, _ = _present(field.struct, version, flexible)
    total = 1 if flexible else 0
    for inner in regular:
        if inner.array:
            total += 1 if flexible else 4
        elif inner.struct is not None:
            total += 1 if version in inner.nullable else _least_width(inner, version, flexible)
        else:
            total += _least_width(inner, version, flexible)
    return max(total, 1)


def _decode_nested(out: _Writer, field: Field, local: str, in_tag: bool) -> None:
    assert field.struct is not None
    if out.version not in field.nullable:
        out.add(f"{local} = {_decode_struct(out, field.struct)}")
        return
    flag = out.name("flag")
    if in_tag:
        out.add(f"{flag}, pos = _ruv(buf, pos)")
        out.add(f"if {flag} == 0: {local} = None")
    else:
        unpack, _ = out.unpacker("b")
        out.add(f"{flag}, = {unpack}(buf, pos); pos += 1")
        out.add(f"if {flag} < 0: {local} = None")
    out.add("else:")
    out.depth += 1
    out.add(f"{local} = {_decode_struct(out, field.struct)}")
    out.depth -= 1
