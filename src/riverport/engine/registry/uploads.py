"""Uploads: bytes that arrive in order, hashed while they are written.

An upload is a file that grows and, in memory, the hash of what it holds. The file is the truth: a server that starts
again finds the uploads of its predecessor, goes on where each file ends, and hashes once more what is there. Nobody
reads an upload until its digest has been compared and its bytes are on the disk (`blobs.py`).
"""

import asyncio
import json
import os
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from riverport.base.logging import get_logger
from riverport.engine.registry.blobs import disk_failures, pieces_of
from riverport.engine.registry.digests import CANONICAL, Digest, algorithm_of, finished, new_hash, parse_algorithm
from riverport.engine.registry.errors import BlobUploadUnknown, RegistryError, SizeInvalid, TooLarge, TooManyRequests
from riverport.engine.registry.names import RepositoryName, parse_name

if TYPE_CHECKING:
    from hashlib import _Hash

log = get_logger(__name__)

BATCH_BYTES = 1 << 20
"""As much is handed to a thread at once, while the next batch arrives: two batches an upload are in memory at most."""
INLINE_BYTES = 64 << 10
"""Less than this is written and hashed at once: a thread takes longer to wake."""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(slots=True)
class Upload:
    """One session. Whoever writes to it or ends it holds `lock`."""

    id: str
    repository: RepositoryName
    path: Path
    algorithm: str = CANONICAL
    offset: int = 0  # bytes that are in the file and in the hash
    hash: "_Hash | None" = None  # None: the file is to be hashed first
    touched: float = 0.0
    is_over: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def note(self) -> Path:
        """The file that tells the next server what this upload is for."""
        return self.path.with_suffix(".json")


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may use up."""

    sessions: int = 1000
    blob_bytes: int = 1 << 40
    expiry_s: float = 24 * 3600.0


class Uploads:
    """The sessions of one server, by id."""

    def __init__(self, directory: Path, limits: Limits, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._limits = limits
        self._clock = clock
        self._sessions: dict[str, Upload] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def recover(self) -> None:
        """Find what an earlier server has left; what nobody can go on with is removed."""
        names = sorted(os.listdir(self._directory))
        for name in names:
            path = self._directory / name
            if path.suffix == ".json":
                if path.stem not in names:
                    path.unlink(missing_ok=True)
            elif (found := self._recovered(path)) is not None:
                self._sessions[found.id] = found
            else:
                _remove(path, path.with_suffix(".json"))
        self.expire()

    def _recovered(self, path: Path) -> Upload | None:
        if _ID.fullmatch(path.name) is None:
            return None
        try:
            note = json.loads(path.with_suffix(".json").read_bytes())
            repository, algorithm = parse_name(note["repository"]), parse_algorithm(note["algorithm"])
        except (OSError, ValueError, KeyError, TypeError, RegistryError):
            return None
        stat = path.stat()
        return Upload(path.name, repository, path, algorithm, stat.st_size, None, stat.st_mtime)

    def expire(self) -> int:
        """End sessions that nobody has written to for a long time; how many."""
        before = self._clock() - self._limits.expiry_s
        old = [upload for upload in self._sessions.values() if upload.touched < before and not upload.lock.locked()]
        for upload in old:
            self.end(upload)
        if old:
            log.info("abandoned uploads removed", count=len(old))
        return len(old)

    def begin(self, repository: RepositoryName, algorithm: str = CANONICAL, *, resumable: bool = True) -> Upload:
        """A new session. Raises TooManyRequests.

        One that is not resumable lives in one request: there is no note, so the next server removes it.
        """
        if len(self._sessions) >= self._limits.sessions and not self.expire():
            raise TooManyRequests(message="too many uploads are under way", headers={"Retry-After": "10"})
        name = str(uuid.uuid4())
        upload = Upload(name, repository, self._directory / name, algorithm, 0, new_hash(algorithm), self._clock())
        # The note first: an upload whose note is missing is removed by the next server.
        with disk_failures():
            if resumable:
                upload.note.write_text(json.dumps({"repository": repository, "algorithm": algorithm}))
            upload.path.touch()
        self._sessions[name] = upload
        return upload

    def get(self, repository: RepositoryName, name: str) -> Upload:
        """Raises BlobUploadUnknown."""
        found = self._sessions.get(name)
        if found is None or found.repository != repository:
            raise BlobUploadUnknown({"name": repository, "upload": name[:100]})
        return found

    def end(self, upload: Upload) -> None:
        """The session is over: its file has become a blob, or is not wanted any more."""
        upload.is_over = True
        self._sessions.pop(upload.id, None)
        _remove(upload.path, upload.note)

    async def append(self, upload: Upload, stream: AsyncIterator[bytes], expected: int | None = None) -> None:
        """Write what arrives behind what is there; the caller holds the lock.

        What came before a client went away stays, so that it can resume. Raises TooLarge, StorageFull, StorageFailed;
        SizeInvalid where `expected` bytes were announced and others came.
        """
        writer = _Writer(upload, self._limits.blob_bytes)
        start = upload.offset
        try:
            async for piece in stream:
                await writer.take(piece)
        finally:
            # Also when this is cancelled: the hash must know all that the file holds before the lock is given back.
            await _completed(asyncio.ensure_future(writer.finish()))
            upload.touched = self._clock()
        if expected is not None and upload.offset - start != expected:
            raise SizeInvalid({"expected": expected, "received": upload.offset - start})

    async def digest(self, upload: Upload, wanted: Digest) -> Digest:
        """The digest of the whole upload by the algorithm of `wanted`; the caller holds the lock."""
        algorithm = algorithm_of(wanted)
        if upload.hash is None or upload.hash.name != algorithm:
            upload.hash = await asyncio.to_thread(_hashed, upload.path, upload.offset, algorithm)
            upload.algorithm = algorithm
        return finished(upload.hash)


class _Writer:
    """Collects pieces to batches; one batch is written and hashed in a thread while the next one is collected."""

    def __init__(self, upload: Upload, limit: int) -> None:
        self._upload = upload
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._arrived = upload.offset
        self._fd = -1
        self._running: asyncio.Future[None] | None = None

    async def take(self, piece: bytes) -> None:
        self._arrived += len(piece)
        if self._arrived > self._limit:
            raise TooLarge({"limit": self._limit})
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= BATCH_BYTES:
            await self._joined()
            batch, self._pieces, self._size = self._pieces, [], 0
            self._running = asyncio.ensure_future(asyncio.to_thread(self._write, batch))

    async def _joined(self) -> None:
        """Wait for the batch under way; what it raised is raised here, and again whenever somebody asks.

        So nothing is ever written behind a batch that failed, or beside one whose waiter was cancelled.
        """
        if self._running is not None:
            await asyncio.shield(self._running)
            self._running = None

    async def finish(self) -> None:
        try:
            await self._joined()
            if self._pieces and self._size < INLINE_BYTES:
                self._write(self._pieces)
            elif self._pieces:
                await asyncio.to_thread(self._write, self._pieces)
        finally:
            if self._fd >= 0:
                os.close(self._fd)

    def _write(self, batch: list[bytes]) -> None:
        upload = self._upload
        if upload.hash is None:
            upload.hash = _hashed(upload.path, upload.offset, upload.algorithm)
        if self._fd < 0:
            self._fd = os.open(upload.path, os.O_WRONLY | os.O_CLOEXEC)
        content = batch[0] if len(batch) == 1 else b"".join(batch)
        with disk_failures():
            try:
                _write_all(self._fd, content, upload.offset)
            except OSError:
                # A full disk took a part: the file ends again where the hash does.
                with suppress(OSError):
                    os.ftruncate(self._fd, upload.offset)
                raise
        upload.hash.update(content)
        upload.offset += len(content)


async def _completed(work: "asyncio.Future[None]") -> None:
    """Wait for `work` to its end, however often the caller is cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:
            break
    if cancelled is not None:
        if not work.cancelled():
            work.exception()  # looked at: the cancellation goes first
        raise cancelled
    work.result()


def _write_all(fd: int, content: bytes, offset: int) -> None:
    done = os.pwrite(fd, content, offset)
    left = memoryview(content)
    while done < len(content):
        done += os.pwrite(fd, left[done:], offset + done)


def _hashed(path: Path, size: int, algorithm: str) -> "_Hash":
    running = new_hash(algorithm)
    for piece in pieces_of(path, size):
        running.update(piece)
    return running


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
