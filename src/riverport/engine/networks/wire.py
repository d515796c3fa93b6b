"""DNS messages (RFC 1035, 4.1), as far as a small name server needs them: one question read, answers written. Pure."""

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

A, PTR, AAAA, OPT = 1, 12, 28, 41
IN = 1
NO_ERROR, SERVER_FAILURE = 0, 2

UDP_BYTES: Final = 512
"""What a client takes without saying otherwise (RFC 1035, 4.2.1)."""

_HEADER: Final = struct.Struct("!HHHHHH")
_QR, _OPCODE, _TC, _RD, _RA = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080
_POINTER_TO_QUESTION: Final = b"\xc0\x0c"
_NAME_BYTES: Final = 255
_TTL_S: Final = 600


class MalformedMessage(ValueError):
    """Not a question that can be read."""


@dataclass(frozen=True, slots=True)
class Question:
    id: int
    flags: int
    name: str  # without the last dot, as it was written
    kind: int
    question: bytes  # as it stands in the message
    udp_bytes: int  # how much the client takes over UDP

    def reply(self, addresses: Sequence[IpAddress] = (), pointer: str | None = None, code: int = NO_ERROR) -> bytes:
        """With an A or AAAA record for each address, or one PTR record."""
        records = [_record(AAAA if address.version == 6 else A, address.packed) for address in addresses]
        if pointer is not None:
            records.append(_record(PTR, encode_name(pointer)))
        header = _HEADER.pack(self.id, _QR | _RA | (self.flags & (_OPCODE | _RD)) | code, 1, len(records), 0, 0)
        return header + self.question + b"".join(records)


def read_question(message: bytes) -> Question:
    """Raises MalformedMessage for what is no standard query with exactly one question."""
    if len(message) < _HEADER.size:
        raise MalformedMessage("shorter than a header")
    identifier, flags, questions, answers, authorities, additional = _HEADER.unpack_from(message)
    if flags & (_QR | _OPCODE) or questions != 1 or answers or authorities:
        raise MalformedMessage("not a query with one question")
    labels, offset = _labels(message, _HEADER.size)
    if offset + 4 > len(message):
        raise MalformedMessage("cut off in its question")
    kind, group = struct.unpack_from("!HH", message, offset)
    if group != IN:
        raise MalformedMessage("not of class IN")
    offset += 4
    size = _edns_bytes(message, offset) if additional else UDP_BYTES
    return Question(identifier, flags, ".".join(labels), kind, message[_HEADER.size : offset], size)


def failure(message: bytes, code: int = SERVER_FAILURE) -> bytes:
    """What to answer to a message that could not be answered: its id and question, and the code."""
    try:
        return read_question(message).reply(code=code)
    except MalformedMessage:
        return _HEADER.pack(int.from_bytes(message[:2], "big"), _QR | _RA | code, 0, 0, 0, 0)


def truncated(reply: bytes, limit: int) -> bytes:
    """A reply that fits, or its header and question with TC set: the client asks again over TCP."""
    if len(reply) <= limit:
        return reply
    identifier, flags, _, _, _, _ = _HEADER.unpack_from(reply)
    _, offset = _labels(reply, _HEADER.size)
    return _HEADER.pack(identifier, flags | _TC, 1, 0, 0, 0) + reply[_HEADER.size : offset + 4]


def with_id(message: bytes, identifier: int) -> bytes:
    return identifier.to_bytes(2, "big") + message[2:]


def encode_name(name: str) -> bytes:
    """Raises MalformedMessage for a label or a name that is too long."""
    encoded = b""
    for label in filter(None, name.split(".")):
        raw = label.encode("utf-8", "surrogateescape")
        if len(raw) > 63:
            raise MalformedMessage(f"label of {len(raw)} bytes")
        encoded += bytes([len(raw)]) + raw
    if len(encoded) >= _NAME_BYTES:
        raise MalformedMessage(f"name of {len(encoded)} bytes")
    return encoded + b"\0"


def reverse_address(name: str) -> IpAddress | None:
    """The address in a name below in-addr.arpa (RFC 1035, 3.5) or ip6.arpa (RFC 3596, 2.5)."""
    labels = name.lower().rstrip(".").split(".")
    try:
        if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
            return ipaddress.IPv4Address(".".join(reversed(labels[:4])))
        if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
            return ipaddress.IPv6Address(int("".join(reversed(labels[:32])), 16))
    except ValueError:
        return None
    return None


def _record(kind: int, data: bytes) -> bytes:
    """Of the name that was asked for."""
    return _POINTER_TO_QUESTION + struct.pack("!HHIH", kind, IN, _TTL_S, len(data)) + data


def _labels(message: bytes, offset: int) -> tuple[list[str], int]:
    """A name without compression: there is nothing before the first question to point at."""
    labels: list[str] = []
    total = 0
    while True:
        if offset >= len(message):
            raise MalformedMessage("cut off in a name")
        length = message[offset]
        offset += 1
        if length == 0:
            return labels, offset
        total += length + 1
        if length > 63 or total >= _NAME_BYTES or offset + length > len(message):
            raise MalformedMessage("a label that is none")
        labels.append(message[offset : offset + length].decode("utf-8", "surrogateescape"))
        offset += length


def _edns_bytes(message: bytes, offset: int) -> int:
    """The size that an OPT record right after the question grants (RFC 6891, 6.1.2)."""
    if len(message) >= offset + 5 and message[offset] == 0:
        kind, size = struct.unpack_from("!HH", message, offset + 1)
        if kind == OPT:
            return max(int(size), UDP_BYTES)
    return UDP_BYTES
