"""Request and response headers (KIP-482 headers v1 and v2; responses v0 and v1).

A frame is `int32 size` and that many bytes. The client id of a request is never compact, not even in header v2, and an
ApiVersions answer always carries header v0, because its client does not know yet what the broker speaks (KIP-511).
"""

import struct
from dataclasses import dataclass
from typing import Any

from riverport.kafka.wire.api import ApiKey, apis
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.varint import read_uvarint

_FIXED = struct.Struct(">hhih")
_ID = struct.Struct(">i")
_FRAME_AND_ID = struct.Struct(">ii")
_FRAME_ID_TAGS = struct.Struct(">iiB")

_JOIN_BYTES = 64 * 1024
"""A smaller answer is one chunk: copying that much takes less than queueing a chunk more."""
_SMALL_BYTES = 4 * 1024
"""A chunk of less is joined with its neighbours in a larger answer, too."""


@dataclass(slots=True)
class RequestHeader:
    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None


def read_request_header(buf: memoryview) -> tuple[RequestHeader, int]:
    """The header of a request frame (without its size), and where the body starts. Raises WireError.

    The body of an API or version that is not known starts where a v1 header would end: its caller refuses it anyway.
    """
    try:
        key, version, correlation_id, length = _FIXED.unpack_from(buf, 0)
        pos = 10
        client_id = None
        if length >= 0:
            pos += length
            if pos > len(buf):
                raise WireError(f"a client id of {length} bytes, past the end of the header")
            client_id = str(buf[10:pos], "utf-8")
        elif length != -1:
            raise WireError(f"a client id of {length} bytes")
        api = apis().get(key)
        if api is not None and version in api.flexible:
            pos = _skip_tags(buf, pos)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise WireError(f"request header: {error}") from error
    return RequestHeader(key, version, correlation_id, client_id), pos


def _skip_tags(buf: memoryview, pos: int) -> int:
    count = buf[pos]
    if count == 0:
        return pos + 1
    count, pos = read_uvarint(buf, pos)
    if count * 2 > len(buf) - pos:
        raise WireError(f"a header with {count} tagged fields")
    for _ in range(count):
        _, pos = read_uvarint(buf, pos)
        size, pos = read_uvarint(buf, pos)
        pos += size
        if pos > len(buf):
            raise WireError("a tagged field of the header past its end")
    return pos


def flexible_response(api_key: int, version: int) -> bool:
    """Whether the response's header is v1, which has a tag section."""
    return api_key != ApiKey.API_VERSIONS and version in apis()[api_key].flexible


def response_head(flexible: bool, correlation_id: int, body_size: int) -> bytes:
    """The size and header in front of a response's body."""
    if flexible:
        return _FRAME_ID_TAGS.pack(body_size + 5, correlation_id, 0)
    return _FRAME_AND_ID.pack(body_size + 4, correlation_id)


def request_head(api_key: int, version: int, correlation_id: int, client_id: str | None, body_size: int) -> bytes:
    """The size and header in front of a request's body."""
    name = b"" if client_id is None else client_id.encode()
    tags = b"\0" if version in apis()[api_key].flexible else b""
    fixed = _FIXED.pack(api_key, version, correlation_id, -1 if client_id is None else len(name))
    return _ID.pack(len(fixed) + len(name) + len(tags) + body_size) + fixed + name + tags


def read_response_header(buf: memoryview, flexible: bool) -> tuple[int, int]:
    """The correlation id of a response frame (without its size), and where the body starts. Raises WireError."""
    try:
        (correlation_id,) = _ID.unpack_from(buf, 0)
        return correlation_id, _skip_tags(buf, 4) if flexible else 4
    except (struct.error, IndexError) as error:
        raise WireError(f"response header: {error}") from error


def framed(flexible: bool, correlation_id: int, parts: list[Any]) -> list[Any]:
    """The chunks of a whole answer: size and header in front of the body. Small chunks are joined into one."""
    size = 0
    for part in parts:
        size += len(part)
    head = response_head(flexible, correlation_id, size)
    if size < _JOIN_BYTES:
        return [head + b"".join(parts)]
    return _coalesced(head, parts)


def _coalesced(head: bytes, parts: list[Any]) -> list[Any]:
    """Join runs of small chunks, leave large ones (records) as they are: a chunk costs 0.3 us to queue."""
    out: list[Any] = []
    run: list[Any] = [head]
    for part in parts:
        if len(part) < _SMALL_BYTES:
            run.append(part)
            continue
        if run:
            out.append(b"".join(run))
            run = []
        out.append(part)
    if run:
        out.append(b"".join(run))
    return out
