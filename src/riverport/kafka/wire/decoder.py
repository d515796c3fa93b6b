"""Compiles one version of a message into its decoder: a function that reads it from a buffer at a position."""

from collections.abc import Callable
from typing import Any

from riverport.kafka.wire.classes import class_of, default_source
from riverport.kafka.wire.schema import FIXED_WIDTH, Field, Message, Struct
from riverport.kafka.wire.source import CODES, Source, element_of, is_plain, present
from riverport.kafka.wire.varint import Buffer

Decoder = Callable[[Buffer, int, int], tuple[Any, int]]


def compile_decoder(message: Message, schema: Struct, version: int) -> Decoder:
    """`decode(buf, pos, end) -> (object, next position)` for one version; records are slices of `buf`."""
    out = Source(version, version in message.flexible)
    result = _decode_struct(out, schema)
    out.add(f"return {result}, pos")
    decoder: Decoder = out.function("def decode(buf, pos, end):")
    return decoder


def _decode_struct(out: Source, schema: Struct) -> str:
    """Emit code that reads the struct at `pos`; returns the expression that builds it."""
    regular, tagged = present(schema, out.version, out.flexible)
    values: dict[str, str] = {}
    run: list[tuple[str, str]] = []

    def flush() -> None:
        if run:
            unpack, size = out.unpacker("".join(code for code, _ in run))
            out.add(f"{', '.join(name for _, name in run)}, = {unpack}(buf, pos); pos += {size}")
            run.clear()

    for field in regular:
        local = values[field.name] = out.name()
        if is_plain(field):
            run.append((CODES[field.type], local))
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


def _absent(out: Source, field: Field) -> str:
    source = default_source(field)
    if source != "_NEW":
        return source
    return "[]" if field.array else "_NEW"


def _decode_tags(out: Source, tagged: list[Field], values: dict[str, str], count: str) -> str:
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


def _decode_value(out: Source, field: Field, local: str, in_tag: bool) -> None:
    if field.struct is not None and not field.array:
        _decode_nested(out, field, local, in_tag)
    elif is_plain(field):
        unpack, size = out.unpacker(CODES[field.type])
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


def _decode_sized(out: Source, field: Field, local: str, length: str) -> None:
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


def _decode_elements(out: Source, field: Field, local: str, count: str) -> None:
    width = _least_width(field, out.version, out.flexible)
    out.add(f"if {count} > _MAX or {count} * {width} > end - pos: _too_many({count})")
    if field.type in FIXED_WIDTH:
        if field.type == "uuid":
            out.add(f"{local} = [bytes(buf[p:p + 16]) for p in range(pos, pos + {count} * 16, 16)]")
        else:
            out.add(f"{local} = list(_unpack_from('>%d{CODES[field.type]}' % {count}, buf, pos))")
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
        _decode_value(out, element_of(field), element, in_tag=False)
        out.add(f"{append}({element})")
    out.depth -= 1


def _least_width(field: Field, version: int, flexible: bool) -> int:
    """The fewest bytes that one element can take: what bounds a count before anything is allocated."""
    if field.type in FIXED_WIDTH:
        return FIXED_WIDTH[field.type]
    if field.struct is None:
        return 1 if flexible else (2 if field.type == "string" else 4)
    regular, _ = present(field.struct, version, flexible)
    total = 1 if flexible else 0
    for inner in regular:
        if inner.array:
            total += 1 if flexible else 4
        elif inner.struct is not None:
            total += 1 if version in inner.nullable else _least_width(inner, version, flexible)
        else:
            total += _least_width(inner, version, flexible)
    return max(total, 1)


def _decode_nested(out: Source, field: Field, local: str, in_tag: bool) -> None:
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
