"""The values of `__cluster_metadata` records: `uvarint frame (1) | uvarint record type | uvarint version | body`."""

from functools import cache
from typing import Any

from riverport.kafka.wire import codec, messages, schema
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.varint import Buffer, read_uvarint, uvarint

FRAME_VERSION = 1


@cache
def record_names() -> dict[int, str]:
    """Every metadata record's name by its type."""
    # Tiered storage numbers its records anew, so only this file of the table counts.
    heads = (schema.parse_head(block) for block in schema.blocks_of("metadata_records").values())
    return dict(sorted((head.key, head.name) for head in heads))


def encode_record(obj: Any, version: int) -> bytes:
    """The value of one record. Raises WireError for what the version cannot carry."""
    head = uvarint(FRAME_VERSION) + uvarint(obj._message.key) + uvarint(version)
    return head + codec.encode(obj, version)


def decode_record(value: Buffer) -> tuple[Any, int]:
    """The record and its version. Raises WireError for an unknown frame, type or version, and for bytes left over."""
    try:
        frame, pos = read_uvarint(value, 0)
        key, pos = read_uvarint(value, pos)
        version, pos = read_uvarint(value, pos)
    except IndexError as error:
        raise WireError("a metadata record shorter than its frame") from error
    if frame != FRAME_VERSION:
        raise WireError(f"metadata frame version {frame}, known is {FRAME_VERSION}")
    if (name := record_names().get(key)) is None:
        raise WireError(f"metadata record type {key} is unknown")
    obj, end = codec.decode(getattr(messages, name), version, value, pos)
    if end != len(value):
        raise WireError(f"{len(value) - end} bytes behind a {name}")
    return obj, version
