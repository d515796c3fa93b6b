"""Variable-length integers: unsigned ones in messages, zigzag ones in records (7 bits a byte, low group first)."""

from riverport.kafka.wire.errors import WireError

Buffer = bytes | bytearray | memoryview

_ONE_BYTE = [bytes([n]) for n in range(128)]


def uvarint(value: int) -> bytes:
    """Encode 0 <= value < 2**64."""
    if 0 <= value < 128:
        return _ONE_BYTE[value]
    if not 0 <= value < 1 << 64:
        raise WireError(f"{value} does not fit an unsigned varint")
    out = bytearray()
    while value > 127:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_uvarint(buf: Buffer, pos: int) -> tuple[int, int]:
    """Decode an unsigned varint of at most 32 bits (five bytes); returns (value, next position).

    Raises WireError for a longer one, IndexError where the buffer ends first.
    """
    byte = buf[pos]
    pos += 1
    if byte < 128:
        return byte, pos
    value = byte & 0x7F
    for shift in (7, 14, 21, 28):
        byte = buf[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 128:
            if value > 0xFFFFFFFF:
                raise WireError("an unsigned varint of more than 32 bits")
            return value, pos
    raise WireError("an unsigned varint of more than 5 bytes")


def zigzag(value: int) -> bytes:
    """Encode a signed integer of up to 64 bits as records do."""
    return uvarint((value << 1) ^ (value >> 63))


def read_zigzag(buf: Buffer, pos: int) -> tuple[int, int]:
    """Decode a signed varint of at most 64 bits (ten bytes); returns (value, next position).

    Raises WireError for a longer one, IndexError where the buffer ends first.
    """
    value = shift = 0
    while True:
        byte = buf[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 128:
            if value >= 1 << 64:
                raise WireError("a varint of more than 64 bits")
            return (value >> 1) ^ -(value & 1), pos
        shift += 7
        if shift > 63:
            raise WireError("a varint of more than 10 bytes")
