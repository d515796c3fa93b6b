"""Entries of a tar archive, from a stream of bytes: ustar, pax and GNU, as layers come.

Python's own tarfile neither hands out the bytes it has read (a layer's tar must be written again to the byte) nor takes
names that are no text, and needs three times as long. Names are bytes here, as the kernel has them.

Sources: POSIX pax(1) "ustar Interchange Format" and "pax Extended Header", GNU tar manual "Standard" and "Sparse".
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from riverport.engine.errors import InvalidParameter

BLOCK: Final = 512
MAX_EXTENSION_BYTES: Final = 1 << 20
"""Of one pax header or one long name, as in Go's archive/tar."""
MAX_SPARSE_SEGMENTS: Final = 1 << 16
MAX_FILE_BYTES: Final = (1 << 63) - 1
"""What the kernel can say (off_t)."""

REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_CONTIGUOUS, _OLD_REGULAR = b"7", b"\0"
_PAX, _PAX_GLOBAL, _GNU_LONG_NAME, _GNU_LONG_LINK, _GNU_SPARSE = b"x", b"g", b"L", b"K", b"S"
_WITHOUT_DATA = frozenset({LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})
_KNOWN = frozenset({REGULAR, *_WITHOUT_DATA})

_XATTR = b"SCHILY.xattr."
# name, mode, uid, gid, size, mtime, checksum, type, link, magic, user, group, major, minor, prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_CHECKSUM_FIELD = slice(148, 156)
_SPACES = b" " * 8


class InvalidArchive(InvalidParameter):
    """The bytes are no archive, or one that is not taken: damaged, cut off, hostile."""


class Source(Protocol):
    def read(self, size: int) -> bytes:
        """1 to `size` bytes, as many as are at hand; b"" at the end."""
        ...


@dataclass(slots=True)
class Entry:
    """One member; `name` and `link` are as written, so anything may stand in them."""

    name: bytes
    type: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    segments: list[tuple[int, int]] | None = None
    """Of a sparse file: (offset, length) of what is there; the rest are zeros."""
    stored: int = 0
    """Bytes of data in the archive that follow; `size`, unless the file is sparse."""


class TarReader:
    """Iterate over the entries; between two of them, `data` gives what belongs to the last one.

    `raw`, if given, gets every byte of the archive that is no data of a file: headers, padding, the end. What it gets
    and what `data` yields, in the order of the calls, is the archive.
    """

    def __init__(self, source: Source, raw: Callable[[bytes], object] | None = None) -> None:
        self._source = source
        self._raw = raw
        self._left = 0  # of the current entry's data
        self._padding = 0
        self._global: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            yield entry
        self._drain()

    def data(self, limit: int = 1 << 20) -> Iterator[bytes]:
        """The data of the current entry, in pieces of at most `limit` bytes; of a sparse file, its segments on end."""
        while self._left:
            piece = self._source.read(min(self._left, limit))
            if not piece:
                raise InvalidArchive("unexpected EOF")
            self._left -= len(piece)
            yield piece

    def _next(self) -> Entry | None:
        extended: dict[bytes, bytes] = {}
        while True:
            self._skip()
            header = self._read(BLOCK, may_end=True)
            if not header or header.count(0) == BLOCK:
                return None
            entry = _entry_of(header)
            match entry.type:
                case b"x":
                    extended |= _pax_records(self._read_extension(entry))
                case b"g":
                    self._global |= _pax_records(self._read_extension(entry))
                case b"L":
                    extended[b"path"] = self._read_extension(entry).rstrip(b"\0")
                case b"K":
                    extended[b"linkpath"] = self._read_extension(entry).rstrip(b"\0")
                case _:
                    return self._complete(entry, header, {**self._global, **extended})

    def _complete(self, entry: Entry, header: bytes, records: dict[bytes, bytes]) -> Entry:
        if records:
            _apply(entry, records)
        if entry.type in (_OLD_REGULAR, _CONTIGUOUS, _GNU_SPARSE, REGULAR):
            # Before POSIX a directory was a file whose name ends in a slash.
            old_directory = entry.name.endswith(b"/") and entry.type != _GNU_SPARSE
            sparse, entry.type = entry.type == _GNU_SPARSE, DIRECTORY if old_directory else REGULAR
        else:
            sparse = False
        if entry.type not in _KNOWN:
            raise InvalidArchive(f"unhandled tar header type {entry.type[0]}")
        entry.stored = 0 if entry.type in _WITHOUT_DATA else entry.size
        if entry.type in _WITHOUT_DATA:
            entry.size = 0
        self._left = entry.stored
        self._padding = -entry.stored % BLOCK
        if sparse:
            self._old_sparse_map(entry, header)
        elif records.get(b"GNU.sparse.major") == b"1":
            self._pax_sparse_map(entry, records)
        elif b"GNU.sparse.map" in records or b"GNU.sparse.numblocks" in records:
            raise InvalidArchive("archive/tar: sparse files of the pax 0.x formats are not supported")
        return entry

    def _old_sparse_map(self, entry: Entry, header: bytes) -> None:
        """GNU tar "Old GNU Format": pairs of numbers in the header and in blocks after it."""
        segments: list[tuple[int, int]] = []
        block, at, more, size = header[386:482], 4, header[482], _number(header[483:495])
        while True:
            for position in range(at):
                pair = block[24 * position : 24 * position + 24]
                if not pair.strip(b"\0 "):
                    break
                segments.append((_number(pair[:12]), _number(pair[12:])))
            if not more:
                break
            if len(segments) > MAX_SPARSE_SEGMENTS:
                raise InvalidArchive("archive/tar: too many sparse segments")
            block, at = self._read(BLOCK), 21
            more = block[504]
        _set_segments(entry, segments, size)

    def _pax_sparse_map(self, entry: Entry, records: dict[bytes, bytes]) -> None:
        """GNU tar "PAX Format, Version 1.0": decimal lines before the data, padded to a block."""
        text = b""
        needed, lines = 1, list[bytes]()
        while len(lines) < needed:
            if len(text) > MAX_SPARSE_SEGMENTS * 48 or self._left < BLOCK:
                raise InvalidArchive("archive/tar: invalid sparse map")
            self._left -= BLOCK
            text += self._read(BLOCK)
            lines = text.split(b"\n")[:-1]
            if lines:
                needed = 1 + 2 * _decimal(lines[0])
                if needed > 2 * MAX_SPARSE_SEGMENTS:
                    raise InvalidArchive("archive/tar: too many sparse segments")
        numbers = [_decimal(line) for line in lines[1:needed]]
        entry.stored = self._left
        entry.name = records.get(b"GNU.sparse.name", entry.name)
        segments = list(zip(numbers[::2], numbers[1::2], strict=True))
        _set_segments(entry, segments, _decimal(records.get(b"GNU.sparse.realsize", b"0")))

    def _read_extension(self, entry: Entry) -> bytes:
        if entry.size > MAX_EXTENSION_BYTES:
            raise InvalidArchive("archive/tar: header field too long")
        data = self._read(entry.size)
        self._read(-entry.size % BLOCK)
        return data

    def _skip(self) -> None:
        """Go on to the next header; data that nobody wanted still goes to `raw`, which is told everything."""
        for piece in self.data():
            if self._raw is not None:
                self._raw(piece)
        self._read(self._padding)
        self._padding = 0

    def _drain(self) -> None:
        """What follows the end of the archive belongs to the layer's bytes."""
        while piece := self._source.read(1 << 16):
            if self._raw is not None:
                self._raw(piece)

    def _read(self, size: int, may_end: bool = False) -> bytes:
        pieces = []
        missing = size
        while missing:
            piece = self._source.read(missing)
            if not piece:
                if may_end and missing == size:
                    return b""
                raise InvalidArchive("unexpected EOF")
            pieces.append(piece)
            missing -= len(piece)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._raw is not None and data:
            self._raw(data)
        return data


def _entry_of(header: bytes) -> Entry:
    fields = _HEADER.unpack(header)
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic, _, _, major, minor, prefix = fields
    plain = header[: _CHECKSUM_FIELD.start] + _SPACES + header[_CHECKSUM_FIELD.stop :]
    expected, unsigned = _number(checksum), sum(plain)
    # Some old tars summed signed characters.
    if expected != unsigned and expected != unsigned - 256 * sum(byte > 127 for byte in plain):
        raise InvalidArchive("archive/tar: invalid tar header")
    name = name.split(b"\0", 1)[0]
    if magic.startswith(b"ustar\0") and prefix[0]:
        name = prefix.split(b"\0", 1)[0] + b"/" + name
    length = _number(size)
    if length < 0:
        raise InvalidArchive("archive/tar: invalid tar header")
    device = (_number(major), _number(minor)) if kind in (CHARACTER, BLOCK_DEVICE) else (0, 0)
    return Entry(
        name, kind, _number(mode) & 0o7777, _number(uid), _number(gid), length, _number(mtime) * 1_000_000_000,
        link.split(b"\0", 1)[0], device,
    )  # fmt: skip


def _number(text: bytes) -> int:
    """Octal digits, or GNU's base 256 where the first bit is set."""
    if text[0] & 0x80:
        value = int.from_bytes(text, "big")
        # The bit after the marker is the sign.
        return value - (1 << 8 * len(text)) if text[0] & 0x40 else value & ~(0x80 << 8 * (len(text) - 1))
    digits = text.strip(b"\0 ").split(b"\0", 1)[0]
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise InvalidArchive("archive/tar: invalid tar header") from None


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise InvalidArchive("archive/tar: invalid tar header")
    return int(text)


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """`<length> <key>=<value>\\n`, where the length counts the whole record."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        length = _decimal(data[at:space]) if space > at else 0
        record = data[space + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if length < 5 or at + length > len(data) or record[-1:] != b"\n" or not equals or not key:
            raise InvalidArchive("archive/tar: invalid tar header")
        records[key] = value
        at += length
    return records


def _apply(entry: Entry, records: dict[bytes, bytes]) -> None:
    for key, value in records.items():
        if key.startswith(_XATTR):
            if b"\0" in key:
                raise InvalidArchive("archive/tar: invalid tar header")
            entry.xattrs[key[len(_XATTR) :]] = value
        elif not value:
            continue  # an empty value takes the header's field (pax(1))
        elif key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            entry.size = _decimal(value)
        elif key == b"uid":
            entry.uid = _decimal(value)
        elif key == b"gid":
            entry.gid = _decimal(value)
        elif key == b"mtime":
            entry.mtime_ns = _time_ns(value)
    if b"\0" in entry.name or b"\0" in entry.link:
        raise InvalidArchive("archive/tar: invalid tar header")


def _time_ns(text: bytes) -> int:
    """Seconds with a fraction, perhaps negative, to the nanosecond below."""
    sign, digits = (-1, text[1:]) if text.startswith(b"-") else (1, text)
    seconds, _, fraction = digits.partition(b".")
    if not seconds.isdigit() or len(seconds) > 12 or (fraction and not fraction.isdigit()):
        raise InvalidArchive("archive/tar: invalid tar header")
    return sign * (int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def _set_segments(entry: Entry, segments: list[tuple[int, int]], size: int) -> None:
    """Check that they ascend, lie within the file and make up what is stored; then the entry is the whole file."""
    if size > MAX_FILE_BYTES:
        raise InvalidArchive("archive/tar: invalid sparse map")
    end = 0
    for offset, length in segments:
        if offset < end or length < 0 or offset + length > size:
            raise InvalidArchive("archive/tar: invalid sparse map")
        end = offset + length
    if sum(length for _, length in segments) != entry.stored:
        raise InvalidArchive("archive/tar: invalid sparse map")
    entry.segments = segments
    entry.size = size
