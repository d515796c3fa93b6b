"""Many records of the same shape, compared in columns: a part of walking a section in plain Python.

Producers often send records of one size, one key size and one set of headers. Such records lie in the section at equal
distance, so that the bytes in the same place of each of them are one slice with a stride: `data[at :: size]` costs 1 ns
a record. Two records have the same shape if they agree in every byte that says how to read on (the lengths, the counts,
the "more follows" bits); then one of them being sound makes the other sound.
"""

import struct

from riverport.kafka.records.record import read_varint, read_varlong

_FIRST_ROWS = 64  # small at first: where shapes alternate, little is compared in vain
_GROWTH = 4
_TABLE = 8192  # an offset delta's third byte and those above stay the same within a group of this size

_OFFSETS_1 = bytes(range(0, 128, 2))  # offset deltas 0 to 63 take one byte
_OFFSETS_2 = bytes(index >> 6 & 0x7F for index in range(_TABLE))  # the second byte, if it is the last
_MORE = 0x80
_LOW_BYTES = bytes(range(_MORE, 256, 2)) * (_TABLE // 64)  # the first byte of the others
_MIDDLE_BYTES = bytes(byte | _MORE for byte in _OFFSETS_2)  # the second, if more follow
_MORE_EVEN = _LOW_BYTES[:64]  # first bytes of two-byte deltas that are not negative


def count_alike(data: bytes, start: int, stop: int, index: int, count: int) -> tuple[int, int, int]:
    """How many records behind the sound one in data[start:stop] have its shape and the next offset deltas.

    `index` is the place in the batch of the first record behind it, `count` the number of records in the batch. Also
    returns the least and the greatest timestamp delta among those found, which mean nothing if there are none.
    """
    stride = stop - start
    fixed, timestamps, offsets = _shape(data, start)
    found = 0
    least, greatest = 2**63 - 1, -(2**63)
    rows = _FIRST_ROWS
    while True:
        first = index + found
        at_most = min(count - first, _same_size_of_offset(first, len(offsets)), (len(data) - stop) // stride - found)
        asked = min(rows, at_most)
        if asked <= 0:
            break
        shift = stride * (found + 1)
        got = _same_fixed(data, fixed, shift, stride, asked)
        if not got or not _same_offsets(data, offsets, shift, stride, got, first):
            break
        low_high = _timestamps(data, timestamps, shift, stride, got)
        if low_high is None:
            break
        least, greatest = min(least, low_high[0]), max(greatest, low_high[1])
        found += got
        if got < asked:
            break
        rows *= _GROWTH
    return found, least, greatest


def _same_size_of_offset(index: int, size: int) -> int:
    """For how many records from `index` on the offset delta has `size` bytes, and the same third byte and above."""
    if size == 1:
        return 64 - index
    return _TABLE - index % _TABLE if index >= 64 else 0


def _same_fixed(data: bytes, fixed: list[int], shift: int, stride: int, rows: int) -> int:
    """How many of the first `rows` records agree with the model in all places of `fixed`."""
    for at in fixed:
        cells = data[at + shift : at + shift + rows * stride : stride]
        rest = cells.lstrip(data[at : at + 1])
        if rest:
            rows -= len(rest)
            if not rows:
                return 0
    return rows


def _same_offsets(data: bytes, offsets: range, shift: int, stride: int, rows: int, index: int) -> bool:
    """Whether the offset deltas of `rows` records from `index` on count up by one."""
    columns = [data[at + shift : at + shift + rows * stride : stride] for at in offsets[:2]]
    place = index % _TABLE
    window = slice(place, place + rows)
    match len(offsets):
        case 1:
            return columns == [_OFFSETS_1[window]]
        case 2:
            return columns == [_LOW_BYTES[window], _OFFSETS_2[window]]
        case _:
            return columns == [_LOW_BYTES[window], _MIDDLE_BYTES[window]]


def _timestamps(data: bytes, places: range, shift: int, stride: int, rows: int) -> tuple[int, int] | None:
    """Least and greatest timestamp delta of `rows` records; None if they are not encoded alike, or in rare ways."""
    model = data[places.start : places.stop]
    columns = [data[at + shift : at + shift + rows * stride : stride] for at in places]
    if all(not cells.lstrip(model[n : n + 1]) for n, cells in enumerate(columns)):
        delta, _ = read_varlong(model, 0)
        return delta, delta
    if len(columns) == 1 and columns[0].isascii():
        deltas = [(byte >> 1) ^ -(byte & 1) for byte in set(columns[0])]
        return min(deltas), max(deltas)
    if len(columns) == 2 and columns[1].isascii() and not columns[0].translate(None, _MORE_EVEN):
        return _two_byte_deltas(columns[0], columns[1])
    return None


def _two_byte_deltas(low: bytes, high: bytes) -> tuple[int, int]:
    """Least and greatest of the deltas 64 to 8191: even when zigzag-encoded, so in the order of their bytes."""
    cells = bytearray(2 * len(low))
    cells[::2], cells[1::2] = high, low
    words = struct.unpack(f">{len(low)}H", cells)
    return _decode_two(min(words)), _decode_two(max(words))


def _decode_two(word: int) -> int:
    return (word >> 8) << 6 | (word & 0x7F) >> 1


def _shape(data: bytes, pos: int) -> tuple[list[int], range, range]:
    """The places in the sound record at `pos` that say how to read on, the timestamp delta's and the offset delta's.

    Of an offset delta, the third byte and those above count among the first, as they stay the same for a while.
    """
    fixed: list[int] = []

    def take(*, skips: bool) -> int:
        nonlocal pos
        at = pos
        value, pos = read_varint(data, pos)
        fixed.extend(range(at, pos))
        if skips and value > 0:
            pos += value
        return value

    take(skips=False)  # the record's length
    pos += 1  # attributes may be anything
    timestamp_at = pos
    _, pos = read_varlong(data, pos)
    offset_at = pos
    _, pos = read_varint(data, pos)
    timestamps, offsets = range(timestamp_at, offset_at), range(offset_at, pos)
    fixed.extend(offsets[2:])
    take(skips=True)
    take(skips=True)
    for _ in range(take(skips=False)):
        take(skips=True)
        take(skips=True)
    return fixed, timestamps, offsets
