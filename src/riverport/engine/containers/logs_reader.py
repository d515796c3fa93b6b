"""Reading a container's log: rotated files, the last lines, and what is still to come.

The shim turns files over while they are read. An open file stays readable whatever it is called by then, so a reader
keeps it until its end and only then looks for the one that follows. Files are read on threads: a slow disk holds up
its reader, nobody else.
"""

import asyncio
import gzip
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from riverport.engine.containers.file_watch import DirectoryWatch
from riverport.engine.containers.log_records import LogQuery, LogRecord, decoder, tail_of_json, tail_of_local

CHUNK_BYTES = 256 << 10
_TAIL_STEP_BYTES = 64 << 10


@dataclass(slots=True, frozen=True)
class Piece:
    """A file from an offset on."""

    path: Path
    offset: int = 0

    def open(self) -> BinaryIO:
        file = cast(BinaryIO, gzip.GzipFile(self.path)) if self.path.suffix == ".gz" else self.path.open("rb")
        file.seek(self.offset)
        return file


def log_files(path: Path) -> list[Path]:
    """What there is of a log, oldest first."""
    files = [path] if path.exists() else []
    for number in itertools.count(1):
        older = [name for suffix in ("", ".gz") if (name := path.with_name(f"{path.name}.{number}{suffix}")).exists()]
        if not older:
            return files[::-1]
        files.append(older[0])
    raise AssertionError("unreachable")


def plan_tail(files: list[Path], driver: str, count: int) -> list[Piece]:
    """Where the last `count` records begin; a file vanishing in between is as if it had never been."""
    pieces: list[Piece] = []
    for path in reversed(files):
        if count <= 0:
            break
        try:
            offset, found = _tail_of_file(path, driver, count)
        except FileNotFoundError:
            continue
        pieces.append(Piece(path, offset))
        count -= found
    return pieces[::-1]


def _tail_of_file(path: Path, driver: str, count: int) -> tuple[int, int]:
    """Reads from the end in growing steps, since a log may be large and a tail seldom is."""
    tail = tail_of_local if driver == "local" else tail_of_json
    if path.suffix == ".gz":
        with gzip.open(path, "rb") as packed:
            return tail(packed.read(), count)
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        step = _TAIL_STEP_BYTES
        while True:
            start = max(0, size - step)
            file.seek(start)
            offset, found = tail(file.read(size - start), count)
            # A record that begins before `start` looks like a whole one in json, hence the second condition.
            if start == 0 or (found == count and offset > 0):
                return start + offset, found
            step *= 4


class _Past:
    """The records that are there now, chunk by chunk; leaves the newest file open for a follower."""

    def __init__(self, path: Path, driver: str, query: LogQuery) -> None:
        files = log_files(path)
        tail = query.tail
        self._pieces = [Piece(file) for file in files] if tail is None else plan_tail(files, driver, tail)
        if tail == 0 and files:
            self._pieces = [Piece(files[-1], files[-1].stat().st_size)] if files[-1] == path else []
        self._driver = driver
        self.current: BinaryIO | None = None
        self.decoder = decoder(driver)

    def __iter__(self) -> Iterator[list[LogRecord]]:
        for piece in self._pieces:
            self.close()
            self.decoder = decoder(self._driver)
            try:
                self.current = piece.open()
            except FileNotFoundError:
                continue
            while data := self.current.read(CHUNK_BYTES):
                yield list(self.decoder.feed(data))
        if self.current is not None and self._pieces[-1].path.suffix == ".gz":
            self.close()  # nothing is ever added to it

    def close(self) -> None:
        if self.current is not None:
            self.current.close()
            self.current = None


class _Follower:
    """The records that come after the past."""

    def __init__(self, path: Path, driver: str, past: _Past) -> None:
        self._path = path
        self._driver = driver
        self._past = past

    def more(self) -> list[LogRecord]:
        """All that has come since the last call."""
        records: list[LogRecord] = []
        while True:
            file = self._past.current or self._open(self._path)
            if file is None:
                return records
            if os.fstat(file.fileno()).st_size < file.tell():  # the only file is emptied when it is full
                file.seek(0)
            while data := file.read(CHUNK_BYTES):
                records.extend(self._past.decoder.feed(data))
            following = self._following(file)
            if following is None or self._open(following) is None:
                return records

    def _open(self, path: Path) -> BinaryIO | None:
        try:
            opened = path.open("rb")
        except FileNotFoundError:
            return None
        self._past.close()
        self._past.current, self._past.decoder = opened, decoder(self._driver)
        return opened

    def _following(self, file: BinaryIO) -> Path | None:
        """The file after this one; None if this is the newest."""
        inode = os.fstat(file.fileno()).st_ino
        files = [name for name in log_files(self._path) if name.suffix != ".gz"]
        places = [place for place, name in enumerate(files) if _inode(name) == inode]
        if not places:
            return files[-1] if files else None
        return files[places[0] + 1] if places[0] + 1 < len(files) else None


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


async def read_log(
    path: Path, driver: str, query: LogQuery, ended: "asyncio.Future[Any] | None" = None
) -> AsyncIterator[list[LogRecord]]:
    """Batches of records. `ended` is done when nothing more will be written; without it nothing is followed."""
    if query.follow and ended is not None:
        with DirectoryWatch(path.parent) as watch:  # before the past is read, so that no change goes unseen
            async for batch in _read(path, driver, query, watch, ended):
                yield batch
    else:
        async for batch in _read(path, driver, query, None, None):
            yield batch


async def _read(
    path: Path, driver: str, query: LogQuery, watch: DirectoryWatch | None, ended: "asyncio.Future[Any] | None"
) -> AsyncIterator[list[LogRecord]]:
    past = await asyncio.to_thread(_Past, path, driver, query)
    try:
        chunks = iter(past)
        while (records := await asyncio.to_thread(next, chunks, None)) is not None:
            wanted, over = _select(records, query)
            if wanted:
                yield wanted
            if over:
                return
        if watch is None or ended is None:
            return
        ended.add_done_callback(lambda _: watch.notify())
        follower = _Follower(path, driver, past)
        while True:
            last = ended.done()  # asked before reading: what was written before the end is read after it
            wanted, over = _select(await asyncio.to_thread(follower.more), query)
            if wanted:
                yield wanted
            left_s = None if query.until_ns is None else (query.until_ns - time.time_ns()) / 1e9
            if last or over or (left_s is not None and left_s <= 0):
                return
            await watch.changed(left_s)
    finally:
        past.close()


def _select(records: list[LogRecord], query: LogQuery) -> tuple[list[LogRecord], bool]:
    """(the records that are wanted, whether one came that is too late)."""
    wanted: list[LogRecord] = []
    for record in records:
        if query.until_ns is not None and record.time_ns > query.until_ns:
            return wanted, True
        if query.takes(record):
            wanted.append(record)
    return wanted, False
