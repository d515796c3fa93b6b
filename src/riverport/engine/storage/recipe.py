"""How to write a layer's tar again to the byte without keeping it: what is no file's content, and where that is.

A recipe is a zlib stream of records: kind (1 byte), a length (8 bytes, big-endian), then

    0  that many bytes of the archive itself: headers, padding
    1  a path in the layer's directory (2 bytes of length before it), an offset (8 bytes): so many bytes of that file

A header costs about 40 bytes that way. Whoever plays a recipe compares the digest of what comes out.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Final

from riverport.engine.errors import SystemFailure
from riverport.engine.linux.inroot import Root

_RECORD: Final = struct.Struct(">BQ")
_PLACE: Final = struct.Struct(">HQ")
_RAW, _FILE = 0, 1
_RAW_AT_ONCE: Final = 1 << 16
_READ: Final = 1 << 18


class RecipeWriter:
    """Told the archive from its beginning to its end, in order."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._packer = zlib.compressobj(1)
        self._raw: list[bytes] = []
        self._raw_size = 0
        self.spoilt = False
        """Some file's content is no longer there: an entry of the archive took its place."""

    def raw(self, data: bytes) -> None:
        self._raw.append(data)
        self._raw_size += len(data)
        if self._raw_size >= _RAW_AT_ONCE:
            self._flush()

    def file(self, path: bytes, offset: int, size: int) -> None:
        self._flush()
        place = _PLACE.pack(len(path), offset) + path
        self._file.write(self._packer.compress(_RECORD.pack(_FILE, size) + place))

    def close(self) -> None:
        """A spoilt recipe is removed."""
        if self.spoilt:
            self.abandon()
            return
        self._flush()
        with self._file:
            self._file.write(self._packer.flush())

    def abandon(self) -> None:
        self._file.close()
        os.unlink(self._file.name)

    def _flush(self) -> None:
        if self._raw:
            data = b"".join(self._raw)
            self._file.write(self._packer.compress(_RECORD.pack(_RAW, len(data)) + data))
            self._raw.clear()
            self._raw_size = 0


class RecipeReader:
    """A source (`read`) of the archive, from the recipe and the layer's files; close it."""

    def __init__(self, recipe: Path, files: Path) -> None:
        self._recipe: BinaryIO = recipe.open("rb")
        self._unpacker = zlib.decompressobj()
        self._pending = b""
        self._root = Root(files)
        self._fd = -1
        self._at = 0
        self._left = 0

    def read(self, size: int) -> bytes:
        while not self._left:
            if not self._next():
                return b""
        size = min(size, self._left, _READ)
        if self._fd < 0:
            data = self._unpacked(min(size, _READ), at_least=1)[:size]
            self._pending = self._pending[len(data) :]
        else:
            data = os.pread(self._fd, size, self._at)
            self._at += len(data)
        if not data:
            raise SystemFailure("a file of the layer is shorter than it was")
        self._left -= len(data)
        return data

    def size(self) -> int:
        """Of the whole archive. Reads the recipe to its end, so a reader that was asked gives nothing more."""
        total = 0
        while (record := self._record()) is not None:
            size, path, _ = record
            total += size
            while path is None and size:
                size -= len(self._take(min(size, _RAW_AT_ONCE)))
        return total

    def close(self) -> None:
        self._close_file()
        self._root.close()
        self._recipe.close()

    def _next(self) -> bool:
        """Go on to the next record."""
        self._close_file()
        record = self._record()
        if record is None:
            return False
        self._left, path, self._at = record
        if path is not None:
            self._fd = self._root.open(os.fsdecode(path), os.O_RDONLY, follow=False)
        return True

    def _record(self) -> tuple[int, bytes | None, int] | None:
        """(length, path or None for the archive's own bytes, offset)"""
        head = self._take(_RECORD.size)
        if not head:
            return None
        kind, size = _RECORD.unpack(head)
        if kind == _RAW:
            return size, None, 0
        length, offset = _PLACE.unpack(self._take(_PLACE.size))
        return size, self._take(length), offset

    def _take(self, size: int) -> bytes:
        data = self._unpacked(size, at_least=size)[:size]
        if data and len(data) < size:
            raise SystemFailure("a layer's recipe is cut off")
        self._pending = self._pending[size:]
        return data

    def _unpacked(self, size: int, at_least: int) -> bytes:
        while len(self._pending) < at_least and not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._recipe.read(1 << 14)
            data = self._unpacker.decompress(packed, max(size, 1 << 14))
            if not packed and not data:
                break
            self._pending += data
        return self._pending

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
