"""Hostile layers at the engine's storage: `python fuzz/fuzz_layer.py --seconds 60 [--seed N] [--first CASE]`.

Needs root. Archives are made header by header (ustar, pax, GNU) of names, links, whiteouts, devices, sizes and sparse
maps that want out or want too much, on top of one sound layer; then bytes are damaged, packed by any codec, damaged
again and cut. Each goes the way of a pulled layer: unpacked, registered, written again, removed. A case passes if it
becomes a layer whose archive is written again to the byte, or is refused with InvalidArchive; and if nothing next to
the layer's directory has changed, no descriptor, file or table row is left, and time, memory and disk stay bounded.
The first that does not is described and ends the run with exit code 1; `--seed` and `--first` bring it back.
"""

import argparse
import asyncio
import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path

import zstandard

from riverport.engine.images.importing import unpack_staged
from riverport.engine.state import State
from riverport.engine.storage import compression, trees
from riverport.engine.storage.disk import Disk
from riverport.engine.storage.layers import Directories, Layer, LayerStore
from riverport.engine.storage.tar_reader import BLOCK, InvalidArchive

SECONDS_PER_CASE = 10.0
MEMORY_BYTES = 3 << 30  # of addresses; codecs' windows and the interpreter need a fraction
RESIDENT_KILOBYTES = 700 << 10
DISK_BYTES = 128 << 20
FREE_BYTES = 4 << 20  # instead of the store's GiB, so that bombs go off at a size that can be tried often
BOMB_BYTES = 64 << 20

TYPES = [b"0", b"0", b"0", b"\0", b"1", b"2", b"2", b"5", b"5", b"5", b"6", b"7", b"S", b"1", b"3", b"4", b"V", b"\xff"]
PARTS = [
    b"a", b"b", b"c", b"d", b"e", b"up", b"out", b"etc", b"..", b".", b"", b".wh.a", b".wh.b", b".wh..wh..opq",
    b".wh..", b".wh.", b".wh...", b".wh..wh.plnk", b"\xff\xfe", b"n" * 255, b"n" * 256, b"\xc3\xa9", b" ", b"\n",
]  # fmt: skip
NUMBERS = [0, 0, 1, 7, 511, 512, 513, -1, -512, 0o777, 0o7777, 1 << 16, (1 << 32) - 1, 1 << 32, 1 << 62, -(1 << 62),
           (1 << 63) - 1, 1 << 63]  # fmt: skip
PAX_KEYS = [
    b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"SCHILY.xattr.user.a", b"hdrcharset",
    b"SCHILY.xattr.security.capability", b"SCHILY.xattr.trusted.overlay.opaque",
    b"SCHILY.xattr.trusted.overlay.redirect",
    b"SCHILY.xattr.", b"SCHILY.xattr.nonsense", b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.name",
    b"GNU.sparse.realsize", b"GNU.sparse.map", b"GNU.sparse.size",
]  # fmt: skip


class Wrong(Exception):
    """A case that did not pass."""


class Maker:
    """One case's archive."""

    def __init__(self, rng: random.Random, outside: bytes) -> None:
        self._rng = rng
        self._outside = outside

    def packed(self) -> bytes:
        rng = self._rng
        plain = b"".join(self._member() for _ in range(rng.choice((1, 2, 3, 4, 8, 20))))
        plain += bytes(rng.choice((0, BLOCK, 2 * BLOCK, 2 * BLOCK, 20 * BLOCK)))
        if rng.random() < 0.25:
            plain = self._damaged(plain)
        if rng.random() < 0.02:
            plain = _header(b"bomb", b"0", BOMB_BYTES) + bytes(BOMB_BYTES)
        packed = self._compressed(plain)
        return self._damaged(packed) if rng.random() < 0.2 else packed

    def _compressed(self, plain: bytes) -> bytes:
        match self._rng.randrange(8):
            case 0:
                return gzip.compress(plain, 1)
            case 1:
                half = len(plain) // 2  # members on end, and padding
                return gzip.compress(plain[:half], 1) + gzip.compress(plain[half:], 1) + bytes(self._rng.randrange(20))
            case 2:
                return bz2.compress(plain, 1)
            case 3:
                return lzma.compress(plain, preset=0)
            case 4:
                return zstandard.ZstdCompressor(level=1).compress(plain)
            case 5:
                skippable = struct.pack("<II", 0x184D2A50, 3) + b"abc"
                return skippable + zstandard.ZstdCompressor(level=1).compress(plain)
        return plain

    def _damaged(self, data: bytes) -> bytes:
        rng = self._rng
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randint(0, len(data))
            match rng.randrange(5):
                case 0:
                    data = data[:at]
                case 1:
                    data = data[:at] + rng.randbytes(rng.randint(1, 8)) + data[at + rng.randint(0, 8) :]
                case 2:
                    at -= at % BLOCK
                    data = data[:at] + data[at + BLOCK :]
                case 3:
                    at -= at % BLOCK
                    block = bytearray(data[at : at + BLOCK])
                    if len(block) == BLOCK:  # a header's field becomes another, and the sum is right
                        start, size = rng.choice(
                            ((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (345, 155))
                        )
                        block[start : start + size] = rng.randbytes(size)
                        data = data[:at] + _summed(bytes(block)) + data[at + BLOCK :]
                case _:
                    data = data[:at] + data[at : at + BLOCK * rng.randint(1, 4)] + data[at:]
        return data

    def _name(self) -> bytes:
        rng = self._rng
        name = b"/".join(
            rng.choice(PARTS[:8] if rng.random() < 0.93 else PARTS) for _ in range(rng.choice((1, 1, 2, 3)))
        )
        match rng.randrange(24):
            case 0:
                return self._outside + b"/" + name
            case 1:
                return b"../" * rng.randint(1, 12) + self._outside.lstrip(b"/") + b"/" + name
            case 2:
                return b"d/" * rng.choice((3, 30, 90, 2500 if rng.random() < 0.1 else 9)) + name
            case 3:
                return name + b"/"
        return name

    def _number(self) -> int:
        return self._rng.choice(NUMBERS) if self._rng.random() < 0.8 else self._rng.getrandbits(64)

    def _member(self) -> bytes:
        """Extensions as the dice fall, the header, and as much data as it says, or not."""
        rng = self._rng
        kind, name, link = rng.choice(TYPES if rng.random() < 0.5 else TYPES[:13]), self._name(), self._name()
        if kind == b"1" and rng.random() < 0.5:
            link = rng.choice((b"a", b"b", b"c/d", b"e"))
        data = rng.randbytes(rng.choice((0, 1, 511, 512, 513, 5000))) if kind in (b"0", b"\0", b"7", b"S") else b""
        front = b""
        if kind == b"S":
            return self._old_sparse(name)
        if rng.random() < 0.1:
            return self._pax_sparse(name)
        if len(name) > 100 or rng.random() < 0.2:
            front += _extension(b"L", name + b"\0") if rng.random() < 0.5 else _pax([(b"path", name)])
        if len(link) > 100 or rng.random() < 0.2:
            front += _extension(b"K", link + b"\0") if rng.random() < 0.5 else _pax([(b"linkpath", link)])
        if rng.random() < 0.2:
            front += self._records()
        if rng.random() < 0.02:
            front += _header(b"x", rng.choice((b"x", b"L", b"g")), rng.choice((1 << 20, (1 << 20) + 1, 1 << 40)))
        size = self._number() if rng.random() < 0.04 else len(data)
        fields = {}
        if rng.random() < 0.06:
            fields[rng.choice(("mode", "uid", "gid", "mtime", "major", "minor"))] = self._number()
        if kind in (b"3", b"4") and rng.random() < 0.7:
            fields |= {"major": rng.choice((0, 1, 5)), "minor": rng.choice((0, 3, 5))}
        return front + _header(name[:100], kind, size, link[:100], **fields) + _padded(data)

    def _records(self) -> bytes:
        rng = self._rng
        records = []
        for _ in range(rng.choice((1, 2, 5))):
            key = rng.choice(PAX_KEYS)
            value = rng.choice(
                (b"%d" % self._number(), self._name(), rng.randbytes(9), b"", b"1.5", b"-1.999999999999")
            )
            records.append((key, value))
        return _pax(records, rng.choice((b"x", b"x", b"x", b"g")))

    def _segments(self) -> list[tuple[int, int]]:
        rng = self._rng
        at, segments = 0, []
        for _ in range(rng.choice((0, 1, 2, 5, 40))):
            at += rng.choice((0, 1, 4096, 1 << 20, 1 << 40))
            length = rng.choice((0, 1, 512, 700))
            segments.append((at, length) if rng.random() < 0.97 else (self._number(), self._number()))
            at += length
        return segments

    def _old_sparse(self, name: bytes) -> bytes:
        segments = self._segments()
        stored = sum(length for _, length in segments if 0 <= length <= 700)
        real = max([offset + length for offset, length in segments], default=0) + self._rng.choice((0, 0, 5, -1))
        numbers = b"".join(_numeric(offset, 12) + _numeric(length, 12) for offset, length in segments)
        block = bytearray(_header(name[:100], b"S", stored))
        block[386:482] = numbers[:96].ljust(96, b"\0")
        block[482] = len(numbers) > 96
        block[483:495] = _numeric(real, 12)
        more = b""
        for at in range(96, len(numbers), 504):
            last = at + 504 >= len(numbers) and self._rng.random() < 0.95
            more += numbers[at : at + 504].ljust(504, b"\0") + (b"\0" if last else b"\1") + bytes(7)
        return _summed(bytes(block)) + more + _padded(self._rng.randbytes(stored))

    def _pax_sparse(self, name: bytes) -> bytes:
        segments = self._segments()
        stored = sum(length for _, length in segments if 0 <= length <= 700)
        real = max([offset + length for offset, length in segments], default=0) + self._rng.choice((0, 0, 5, -1))
        count = len(segments) if self._rng.random() < 0.95 else self._number()
        lines = b"%d\n" % count + b"".join(b"%d\n%d\n" % segment for segment in segments)
        data = _padded(lines) + self._rng.randbytes(stored)
        records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name),
                   (b"GNU.sparse.realsize", b"%d" % real)]  # fmt: skip
        return _pax(records) + _header(b"GNUSparseFile.0/x", b"0", len(data)) + _padded(data)


def _numeric(value: int, width: int) -> bytes:
    """Octal where it fits, base 256 where not, as GNU tar writes; too large ones lose their front."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    bits = 8 * width - 1
    return ((value & ((1 << bits) - 1)) | (1 << bits)).to_bytes(width, "big")


def _header(name: bytes, kind: bytes, size: int, link: bytes = b"", **fields: int) -> bytes:
    number = {"mode": 0o755, "uid": 0, "gid": 0, "mtime": 1_700_000_000, "major": 0, "minor": 0} | fields
    return _summed(
        name.ljust(100, b"\0") + _numeric(number["mode"], 8) + _numeric(number["uid"], 8) + _numeric(number["gid"], 8)
        + _numeric(size, 12) + _numeric(number["mtime"], 12) + bytes(8) + kind + link.ljust(100, b"\0")
        + b"ustar\x0000" + bytes(64) + _numeric(number["major"], 8) + _numeric(number["minor"], 8) + bytes(167)
    )  # fmt: skip


def _summed(block: bytes) -> bytes:
    plain = block[:148] + b" " * 8 + block[156:]
    return plain[:148] + b"%06o\0 " % sum(plain) + plain[156:]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _extension(kind: bytes, data: bytes) -> bytes:
    return _header(b"././@LongLink", kind, len(data)) + _padded(data)


def _pax(records: list[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    text = b""
    for key, value in records:
        rest = b" " + key + b"=" + value + b"\n"
        length = len(rest) + 1
        while len(b"%d" % length) + len(rest) != length:
            length = len(b"%d" % length) + len(rest)
        text += b"%d" % length + rest
    return _extension(kind, text)


class Target:
    """A layer store in a temporary directory, with one sound layer in it and something to lose next to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outside = root / "outside"
        (self.outside / "a" / "b").mkdir(parents=True)
        (self.outside / "etc").write_bytes(b"precious")
        self._directories = Directories(root / "overlay2")
        self._directories.prepare()
        self._state = State(root / "engine.db")
        self.layers = LayerStore(self._directories, self._state, Disk(root, lambda fd: None))

    async def start(self) -> None:
        out = os.fsencode(self.outside)
        sound = (
            _header(b"a", b"5", 0) + _header(b"b", b"0", 3) + _padded(b"abc") + _header(b"c", b"5", 0)
            + _header(b"c/d", b"0", 0) + _header(b"up", b"2", 0, b"../" * 9) + _header(b"out", b"2", 0, out[:100])
        )  # fmt: skip
        self.base = await self._arrive(sound + bytes(2 * BLOCK), None)
        self._before = self._surroundings()
        self._open = len(os.listdir("/proc/self/fd"))

    async def check(self, packed: bytes) -> bool:
        """Whether it became a layer. Raises what should not have been raised."""
        began = time.process_time()
        accepted = True
        try:
            layer = await self._arrive(packed, self.base)
            self._write_again(layer)
            await self.layers.release(layer.chain)
        except InvalidArchive:
            accepted = False
        if len(self._state.load("layers")) != 1 or self.base.uses != 1:
            raise Wrong("a layer is left in the table")
        if (now := self._surroundings()) != self._before:
            raise Wrong(f"outside of the layer it changed: {set(now.items()) ^ set(self._before.items())}")
        if len(os.listdir("/proc/self/fd")) != self._open:
            raise Wrong("descriptors stay open")
        if time.process_time() - began > SECONDS_PER_CASE:
            raise Wrong("it took too long")
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > RESIDENT_KILOBYTES:
            raise Wrong("it took too much memory")
        return accepted

    async def _arrive(self, packed: bytes, parent: Layer | None) -> Layer:
        staged = self.layers.stage()
        try:
            source = io.BytesIO(packed)
            diff_id, unpacked = await asyncio.to_thread(unpack_staged, source, staged)
            return await self.layers.register(parent.chain if parent else None, staged, diff_id, unpacked)
        except BaseException:
            if (used := _disk_bytes(staged.directory)) > DISK_BYTES:
                raise Wrong(f"it took {used} bytes of the disk") from None
            await self.layers.discard(staged)
            raise

    def _write_again(self, layer: Layer) -> None:
        if (used := _disk_bytes(layer.directory)) > DISK_BYTES:
            raise Wrong(f"it took {used} bytes of the disk")
        if not layer.recipe.exists():
            return  # entries took others' places
        hashed = hashlib.sha256()
        reader = self.layers.open_tar(layer.chain)
        try:
            while piece := reader.read(1 << 20):
                hashed.update(piece)
        finally:
            reader.close()
        if layer.diff_id != "sha256:" + hashed.hexdigest():
            raise Wrong("its archive is written again with other bytes")

    def _surroundings(self) -> dict[str, tuple[object, ...]]:
        """All in the root but the database: it and its journal are written all the time."""
        found: dict[str, tuple[object, ...]] = {}
        for directory, directories, files in os.walk(self.root):
            for name in (*directories, *files):
                path = os.path.join(directory, name)
                if name.startswith("engine.db") or (directory == str(self.root) and name == "overlay2"):
                    continue
                status = os.lstat(path)
                # The layer below gets a link count and a changed time from nothing but a link into it.
                time_ns = (
                    0 if path in (str(self._directories.root), str(self._directories.links)) else status.st_mtime_ns
                )
                found[path] = (status.st_mode, status.st_uid, status.st_gid, status.st_size, time_ns)
        return found


def _disk_bytes(directory: Path) -> int:
    total = 0
    waiting = [os.fsencode(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # a path that deep has room for no more than directories
                raise
    return total


async def run(seconds: float, seed: int, first: int) -> int:
    end = time.monotonic() + seconds
    root = Path(tempfile.mkdtemp(prefix="fuzz-layer-"))
    try:
        target = Target(root)
        await target.start()
        case, accepted = first, 0
        while time.monotonic() < end:
            packed = Maker(random.Random(f"{seed}:{case}"), os.fsencode(target.outside)).packed()
            try:
                accepted += await target.check(packed)
            except Exception:
                traceback.print_exc()
                shown = packed if len(packed) < 1 << 14 else packed[: 1 << 12]
                print(f"fuzz_layer: --seed {seed} --first {case}, {len(packed)} bytes\n{shown!r}", file=sys.stderr)
                return 1
            case += 1
    finally:
        trees.remove(root)  # which, other than shutil's, goes down any number of directories
    print(f"fuzz_layer: {case - first:,} archives, {accepted:,} of them became layers (seed {seed})")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    compression.FREE_BYTES = FREE_BYTES  # type: ignore[misc]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    return asyncio.run(run(given.seconds, given.seed, given.first))


if __name__ == "__main__":
    sys.exit(main())
