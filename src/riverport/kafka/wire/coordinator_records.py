"""Keys and values of the coordinators' topics: `int16 type | body` and `int16 version | body`.

Three topics have their own numbering: `__consumer_offsets` (groups), `__transaction_state`, `__share_group_state`.
"""

import struct
from functools import cache
from typing import Any, Literal, TypeVar

from riverport.kafka.wire import codec, messages, schema
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.varint import Buffer

_SHORT = struct.Struct(">h")
Family = Literal["group", "transaction", "share"]
T = TypeVar("T")


@cache
def key_names(family: Family = "group") -> dict[int, str]:
    """The key message of every record type of one topic."""
    found = {}
    for block in schema.blocks_of(f"{family}_records").values():
        head = schema.parse_head(block)
        if head.kind == "coordinator-key":
            found[head.key] = head.name
    return found


def encode_key(obj: Any) -> bytes:
    """A record's key: the record type, then the key message, which has one version only."""
    return _SHORT.pack(obj._message.key) + codec.encode(obj, obj._message.versions.high)


def encode_value(obj: Any, version: int) -> bytes:
    """A record's value: the version, then the message."""
    return _SHORT.pack(version) + codec.encode(obj, version)


def decode_key(key: Buffer, family: Family = "group") -> Any | None:
    """The key message, or None for a record type that is not known. Raises WireError for bytes that are no key."""
    if len(key) < 2:
        raise WireError("a coordinator key of fewer than two bytes")
    (record_type,) = _SHORT.unpack_from(key, 0)
    name = key_names(family).get(record_type)
    if name is None:
        return None
    cls = getattr(messages, name)
    return codec.decode(cls, cls._message.versions.high, key, 2)[0]


def decode_value(cls: type[T], value: Buffer) -> T:
    """The value message of a known class. Raises WireError, also for a version that is newer than ours."""
    if len(value) < 2:
        raise WireError("a coordinator value of fewer than two bytes")
    (version,) = _SHORT.unpack_from(value, 0)
    return codec.decode(cls, version, value, 2)[0]
