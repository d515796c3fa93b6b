"""The registry's content: what handlers read, and the few deeds that change it.

Reading is direct. What changes the index runs on one thread, in order, each a transaction that is on the disk when it
returns; a deed that has begun is done to its end also if the client that asked for it goes.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from riverport.base.http.messages import FileRange
from riverport.engine.registry.blobs import BlobFiles, disk_failures, sync_file
from riverport.engine.registry.collector import Collected, Collector
from riverport.engine.registry.digests import Digest, algorithm_of
from riverport.engine.registry.errors import BlobUnknown, BlobUploadUnknown, DigestInvalid
from riverport.engine.registry.index import Index, Push, StoredManifest
from riverport.engine.registry.names import Reference, RepositoryName, Tag
from riverport.engine.registry.ranges import Span
from riverport.engine.registry.uploads import Limits, Upload, Uploads

P = ParamSpec("P")
T = TypeVar("T")

REFRESH_S = 600
"""A blob of which a client is told is touched if it has not been for so long; the collector's grace is longer."""


class Page(NamedTuple):
    """Of a list: at most `limit` entries behind the one that is called `after`."""

    after: str
    limit: int


@dataclass(frozen=True, slots=True)
class Content:
    """A blob that can be read. `read` may be called once."""

    digest: Digest
    size: int
    read: Callable[[Span], FileRange | AsyncIterator[bytes]]


class Store:
    """Opened by one server at a time; the collector of another process may work beside it."""

    def __init__(self, root: Path, limits: Limits | None = None, clock: Callable[[], float] = time.time) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(root / "lock")
        self.files = BlobFiles(root)
        self.index = Index(root / "index.db")
        self.uploads = Uploads(self.files.uploads, limits or Limits(), clock)
        self.uploads.recover()
        self._clock = clock
        self._writes = ThreadPoolExecutor(1, "registry-index")

    def close(self) -> None:
        self._writes.shutdown()
        self.index.close()
        os.close(self._lock)

    @property
    def now(self) -> int:
        return int(self._clock())

    async def write(self, deed: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run one of the index's writing methods. Raises also StorageFull and StorageFailed."""
        running = asyncio.get_running_loop().run_in_executor(self._writes, partial(deed, *arguments, **named))
        with disk_failures():
            return await asyncio.shield(running)

    # --- reading

    async def manifest(self, repository: RepositoryName, reference: Reference) -> StoredManifest:
        """Raises ManifestUnknown."""
        return self.index.manifest(repository, reference)

    async def tags(self, repository: RepositoryName, page: Page) -> list[str]:
        """Raises NameUnknown."""
        return self.index.tags(repository, page.after, page.limit)

    async def referrers(
        self, repository: RepositoryName, subject: Digest, artifact_type: str, page: Page
    ) -> list[dict[str, Any]]:
        return self.index.referrers(repository, subject, artifact_type, page.after, page.limit)

    async def blob(self, repository: RepositoryName, digest: Digest, *, is_read: bool) -> Content:
        """A blob that stays for as long as a client may take to push a manifest with it. Raises BlobUnknown."""
        link = self.index.link(repository, digest)
        if link.touched < self.now - REFRESH_S and not await self.write(self.index.touch, repository, digest, self.now):
            raise BlobUnknown({"name": repository, "digest": digest})
        path = self.files.path(digest)
        return Content(digest, link.size, lambda span: FileRange(path, span.start, span.length))

    # --- blobs

    async def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName | None) -> bool:
        return await self.write(self.index.mount, repository, digest, source, self.now)

    async def delete_blob(self, repository: RepositoryName, digest: Digest) -> None:
        """Raises BlobUnknown. The bytes go with the last repository that has them."""
        if await self.write(self.index.unlink_blob, repository, digest):
            await self.write(self.index.sweep, digest, partial(self.files.remove, digest))

    # --- uploads

    async def append(self, upload: Upload, stream: AsyncIterator[bytes], expected: int | None = None) -> None:
        """See `Uploads.append`. Raises also BlobUploadUnknown."""
        if upload.is_over:
            raise BlobUploadUnknown({"upload": upload.id})
        await self.uploads.append(upload, stream, expected)

    async def commit(self, upload: Upload, digest: Digest) -> None:
        """Make an upload, whose lock the caller holds, a blob of its repository.

        Raises DigestInvalid: then, and after every other failure, the upload is over and its bytes are gone, as in
        Docker's registry. A client that has gone away meanwhile changes nothing.
        """
        if upload.is_over:
            raise BlobUploadUnknown({"upload": upload.id})
        committing = asyncio.create_task(self._commit(upload, digest))
        committing.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(committing)

    async def _commit(self, upload: Upload, digest: Digest) -> None:
        upload.is_over = True
        try:
            with disk_failures():
                found = await self.uploads.digest(upload, digest)
                if found != digest:
                    raise DigestInvalid({"digest": digest, "uploaded": found})
                await asyncio.to_thread(sync_file, upload.path)
            place = partial(self.files.place, upload.path, digest)
            await self.write(self.index.add_blob, upload.repository, digest, upload.offset, place, self.now)
        finally:
            self.uploads.end(upload)

    async def add_blob(
        self, repository: RepositoryName, digest: Digest, stream: AsyncIterator[bytes], expected: int | None
    ) -> None:
        """Store a blob that comes in one piece."""
        upload = self.uploads.begin(repository, algorithm_of(digest), resumable=False)
        try:
            async with upload.lock:
                await self.append(upload, stream, expected)
                await self.commit(upload, digest)
        finally:
            if not upload.is_over:
                self.uploads.end(upload)

    async def collect(self, *, untagged: bool = False) -> Collected:
        """Free what nothing names; other deeds come in between its steps."""
        collector = Collector(self.index, self.files, self.now)
        steps = collector.steps(untagged=untagged)
        while await self.write(next, steps, self) is not self:
            pass
        return collector.collected

    # --- manifests

    async def put_manifest(self, repository: RepositoryName, push: Push) -> None:
        await self.write(self.index.put_manifest, repository, push, self.now)

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> None:
        await self.write(self.index.delete_manifest, repository, digest)

    async def delete_tag(self, repository: RepositoryName, tag: Tag) -> None:
        await self.write(self.index.delete_tag, repository, tag)


def _locked(path: Path) -> int:
    """Raises BlockingIOError: another server works here."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd
