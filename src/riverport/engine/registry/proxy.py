"""A pull-through cache: another registry's content, kept here when somebody has asked for it.

    manifest by digest   kept for good once it is here
    manifest by tag      believed for `ttl_s`, then the upstream is asked what the tag points at
    blob                 fetched once, however many clients wait for it; they read it while it arrives

An upstream that does not answer is no reason to answer nothing: what is here is served. What the upstream says is not
there is not there.

A blob that is still arriving is sent along except for its last byte, which waits for the digest to have been
compared: a client never gets a whole blob that is not the one it asked for.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

from riverport.base.http.messages import ClientGone
from riverport.base.logging import get_logger
from riverport.engine.registry.digests import Digest, algorithm_of
from riverport.engine.registry.errors import (
    BlobUnknown,
    ManifestUnknown,
    NameUnknown,
    NotFound,
    RegistryError,
    UpstreamFailed,
)
from riverport.engine.registry.index import Push, StoredManifest
from riverport.engine.registry.manifests import parse_manifest
from riverport.engine.registry.names import Reference, RepositoryName, Tag, is_digest, referrers_tag
from riverport.engine.registry.ranges import Span
from riverport.engine.registry.store import Content, Page, Store
from riverport.engine.registry.uploads import Upload

log = get_logger(__name__)

FETCH_ATTEMPTS = 4
"""Of a blob: each goes on where the one before broke off."""
REFERRERS_MAX = 10_000
PAGES_MAX = 200
"""Pages of a list that one request follows."""
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_READ_BYTES = 256 << 10
_CHECKED_MAX = 100_000


class RemoteManifest(NamedTuple):
    digest: Digest
    media_type: str
    content: bytes


class RemoteBlob(NamedTuple):
    """`size` is that of the whole blob, None if the upstream does not say."""

    size: int | None
    pieces: AsyncIterator[bytes]


class Upstream(Protocol):
    """What is asked of the other registry; `upstream.py` asks it over HTTP."""

    async def digest(self, repository: RepositoryName, reference: Reference) -> Digest | None: ...
    async def manifest(self, repository: RepositoryName, reference: Reference) -> RemoteManifest: ...
    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int: ...
    def blob(
        self, repository: RepositoryName, digest: Digest, start: int
    ) -> AbstractAsyncContextManager[RemoteBlob]: ...
    async def document(self, path: str, repository: RepositoryName, query: Mapping[str, str]) -> tuple[Any, str]: ...
    async def close(self) -> None: ...


class Proxy:
    """Reads like the store, and fills it."""

    def __init__(self, store: Store, upstream: Upstream, ttl_s: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._upstream = upstream
        self._ttl_s = ttl_s
        self._clock = clock
        self._checked: dict[tuple[RepositoryName, Tag], float] = {}
        self._asking: dict[tuple[RepositoryName, Reference], asyncio.Task[StoredManifest]] = {}
        self._fetches: dict[tuple[RepositoryName, Digest], Fetch] = {}

    async def close(self) -> None:
        running = [*self._asking.values(), *(fetch.task for fetch in self._fetches.values())]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._upstream.close()

    # --- manifests

    async def manifest(self, repository: RepositoryName, reference: Reference) -> StoredManifest:
        """Raises ManifestUnknown, UpstreamFailed."""
        known = self._known(repository, reference)
        if known is not None and self._is_current(repository, reference):
            return known
        key = (repository, reference)
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(repository, reference, known))
            asking.add_done_callback(partial(self._is_answered, key))
        return await asyncio.shield(asking)

    def _known(self, repository: RepositoryName, reference: Reference) -> StoredManifest | None:
        try:
            return self._store.index.manifest(repository, reference)
        except ManifestUnknown:
            return None

    def _is_current(self, repository: RepositoryName, reference: Reference) -> bool:
        if is_digest(reference):
            return True
        return self._clock() < self._checked.get((repository, Tag(reference)), float("-inf")) + self._ttl_s

    async def _ask(
        self, repository: RepositoryName, reference: Reference, known: StoredManifest | None
    ) -> StoredManifest:
        try:
            # Registries count GETs against their limits, and not HEADs.
            if known is None or await self._upstream.digest(repository, reference) != known.digest:
                known = await self._fetched(repository, reference)
        except UpstreamFailed as error:
            if known is None:
                raise
            log.warning("upstream failed, serving what is here", name=repository, reference=reference, error=error)
            return known
        if not is_digest(reference):
            if len(self._checked) >= _CHECKED_MAX:
                self._checked.clear()
            self._checked[repository, Tag(reference)] = self._clock()
        return known

    async def _fetched(self, repository: RepositoryName, reference: Reference) -> StoredManifest:
        found = await self._upstream.manifest(repository, reference)
        manifest = parse_manifest(found.content, found.media_type)
        tags = () if is_digest(reference) else (Tag(reference),)
        await self._store.put_manifest(repository, Push(found.digest, found.content, manifest, tags, is_checked=False))
        return StoredManifest(found.digest, manifest.media_type, found.content)

    # --- blobs

    async def blob(self, repository: RepositoryName, digest: Digest, *, is_read: bool) -> Content:
        """Raises BlobUnknown, UpstreamFailed. One that is only asked about is not fetched."""
        try:
            return await self._store.blob(repository, digest, is_read=is_read)
        except BlobUnknown:
            # Another repository's blob is this one's too if the upstream has said so: in a manifest.
            if self._store.index.is_named(repository, digest) and await self._store.mount(repository, digest, None):
                return await self._store.blob(repository, digest, is_read=is_read)
        fetch = self._fetches.get((repository, digest))
        if fetch is None and not is_read:
            return Content(digest, await self._upstream.blob_size(repository, digest), _unread)
        if fetch is None:
            fetch = self._fetches[repository, digest] = Fetch(self._store, self._upstream, repository, digest)
            fetch.task.add_done_callback(partial(self._fetch_is_over, repository, digest))
        size = await asyncio.shield(fetch.size)
        if size is None:
            # No length to tell clients before all is here.
            await asyncio.shield(fetch.task)
            return await self._store.blob(repository, digest, is_read=is_read)
        return Content(digest, size, fetch.read)

    # Whoever waited for one of these may be gone: its failure is looked at here.

    def _is_answered(self, key: tuple[RepositoryName, Reference], asking: asyncio.Task[StoredManifest]) -> None:
        self._asking.pop(key, None)
        if not asking.cancelled():
            asking.exception()

    def _fetch_is_over(self, repository: RepositoryName, digest: Digest, task: asyncio.Task[None]) -> None:
        self._fetches.pop((repository, digest), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a blob was not fetched", name=repository, digest=digest, error=error)

    # --- lists

    async def tags(self, repository: RepositoryName, page: Page) -> list[str]:
        """Raises NameUnknown, UpstreamFailed."""
        query = {"n": str(page.limit), **({"last": page.after} if page.after else {})}
        try:
            found = await self._listed(f"/v2/{repository}/tags/list", repository, "tags", query, page.limit)
        except NotFound as error:
            raise NameUnknown({"name": repository}) from error
        except UpstreamFailed:
            if not self._store.index.has_repository(repository):
                raise
            return await self._store.tags(repository, page)
        return [tag for tag in found if isinstance(tag, str)][: page.limit]

    async def referrers(
        self, repository: RepositoryName, subject: Digest, artifact_type: str, page: Page
    ) -> list[dict[str, Any]]:
        """The upstream's own list; where it has none, the one that clients keep at a tag."""
        try:
            try:
                path = f"/v2/{repository}/referrers/{subject}"
                found = await self._listed(path, repository, "manifests", {}, REFERRERS_MAX)
            except NotFound:
                found = await self._tagged_referrers(repository, subject)
        except UpstreamFailed:
            return await self._store.referrers(repository, subject, artifact_type, page)
        entries = [entry for entry in found if isinstance(entry, dict)]
        wanted = [entry for entry in entries if not artifact_type or entry.get("artifactType") == artifact_type]
        ordered = sorted(wanted, key=lambda entry: str(entry.get("digest")))
        return [entry for entry in ordered if str(entry.get("digest")) > page.after][: page.limit]

    async def _listed(
        self, path: str, repository: RepositoryName, field: str, query: Mapping[str, str], limit: int
    ) -> list[Any]:
        """What stands in `field` of the upstream's pages, up to about `limit` entries."""
        found: list[Any] = []
        for _ in range(PAGES_MAX):
            document, link = await self._upstream.document(path, repository, query)
            found += (document.get(field) if isinstance(document, dict) else None) or []
            following = _following(link)
            if following is None or len(found) >= limit:
                break
            query = following
        return found

    async def _tagged_referrers(self, repository: RepositoryName, subject: Digest) -> list[Any]:
        try:
            document = json.loads((await self.manifest(repository, referrers_tag(subject))).content)
        except ManifestUnknown:
            return []
        return list(document.get("manifests") or [])


def _following(link: str) -> dict[str, str] | None:
    """The query of the next page (RFC 8288)."""
    found = _NEXT.search(link)
    return dict(parse_qsl(urlsplit(found[1]).query)) if found else None


class Fetch:
    """One blob on its way here, and those who read along."""

    def __init__(self, store: Store, upstream: Upstream, repository: RepositoryName, digest: Digest) -> None:
        self._store = store
        self._upstream = upstream
        self._repository = repository
        self._digest = digest
        self._upload: Upload | None = None
        self._grown = asyncio.Event()
        self.size: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        upload = self._store.uploads.begin(self._repository, algorithm_of(self._digest), resumable=False)
        self._upload = upload
        try:
            async with upload.lock:
                await self._store.append(upload, self._pieces(upload))
                await self._store.commit(upload, self._digest)
        except BaseException as error:
            if not self.size.done():
                self.size.set_exception(error if isinstance(error, RegistryError) else UpstreamFailed())
            # Nobody may be left to look at either.
            self.size.exception()
            raise
        finally:
            if not upload.is_over:
                self._store.uploads.end(upload)
            self._grown.set()

    async def _pieces(self, upload: Upload) -> AsyncIterator[bytes]:
        """All bytes, also where the upstream breaks off between them."""
        received = 0
        for attempt in range(FETCH_ATTEMPTS):
            try:
                async with self._upstream.blob(self._repository, self._digest, received) as remote:
                    if not self.size.done():
                        self.size.set_result(remote.size)
                    async for piece in remote.pieces:
                        received += len(piece)
                        yield piece
                        self._grow()
                if remote.size in (None, received):
                    return
                raise UpstreamFailed(message="the upstream's blob ended early")
            except UpstreamFailed as error:
                if not received or attempt == FETCH_ATTEMPTS - 1:
                    raise
                log.warning("upstream broke off, going on", digest=self._digest, received=received, error=error)

    def _grow(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def read(self, span: Span) -> AsyncIterator[bytes]:
        """The bytes of `span` as they arrive; breaks off where the fetch fails."""
        upload = self._upload
        assert upload is not None, "a size is known once there is an upload"
        try:
            fd = os.open(upload.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # it has its second name by now, or is gone
            await asyncio.wait({self.task})
            fd = os.open(self._store.files.path(self._digest), os.O_RDONLY | os.O_CLOEXEC)
        size = self.size.result()
        assert size is not None
        at, end = span.start, span.start + span.length
        try:
            while at < end:
                grown = self._grown
                is_done = self.task.done()
                if is_done and self.task.exception() is not None:
                    # The head is out: all that can be said now is that this is not the whole blob.
                    raise ClientGone("the blob was not fetched")
                ready = end if is_done else min(end, upload.offset, size - 1)
                if at >= ready:
                    await grown.wait()
                    continue
                piece = os.pread(fd, min(_READ_BYTES, ready - at), at)
                if not piece:
                    raise ClientGone("the blob is shorter than the upstream said")
                at += len(piece)
                yield piece
        finally:
            os.close(fd)


def _unread(span: Span) -> AsyncIterator[bytes]:
    raise AssertionError("asked for the size alone")
