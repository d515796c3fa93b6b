"""The store alone: what is on the disk, what a next server finds, what a failing disk leaves behind."""

import asyncio
import errno
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from riverport.engine.registry import uploads
from riverport.engine.registry.digests import digest_of
from riverport.engine.registry.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    StorageFailed,
    StorageFull,
    TooLarge,
)
from riverport.engine.registry.index import Index
from riverport.engine.registry.names import parse_name
from riverport.engine.registry.store import REFRESH_S, Store
from riverport.engine.registry.uploads import BATCH_BYTES, Limits, Upload

T = TypeVar("T")
NAME = parse_name("team/app")
CONTENT = bytes(range(256)) * 1000


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    return asyncio.run(main())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(tmp_path, Limits(), clock)


def reopened(store: Store, clock: Clock, limits: Limits | None = None) -> Store:
    store.close()
    return Store(store.files.root, limits, clock)


def test_a_blob_is_a_file_by_its_digest(store: Store) -> None:
    digest = digest_of(CONTENT)

    async def work() -> None:
        await store.add_blob(NAME, digest, pieces(CONTENT[:1000], CONTENT[1000:]), len(CONTENT))
        found = await store.blob(NAME, digest, is_read=True)
        assert found.size == len(CONTENT)

    run(work)
    assert store.files.path(digest).read_bytes() == CONTENT
    assert list(store.files.uploads.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, uploads.INLINE_BYTES, BATCH_BYTES - 1, BATCH_BYTES, 3 * BATCH_BYTES + 7])
def test_batches_add_up_whatever_the_pieces(store: Store, size: int) -> None:
    content = os.urandom(size)

    async def work() -> None:
        for step in (60_000, 700_000, size + 1):
            parts = [content[at : at + step] for at in range(0, size, step)]
            upload = store.uploads.begin(NAME)
            async with upload.lock:
                await store.append(upload, pieces(*parts))
                assert upload.offset == size
                await store.commit(upload, digest_of(content))

    run(work)
    assert store.files.path(digest_of(content)).read_bytes() == content


def test_an_upload_goes_on_in_the_next_server(store: Store, clock: Clock) -> None:
    async def first() -> Upload:
        upload = store.uploads.begin(NAME, "sha512")
        await store.append(upload, pieces(CONTENT[:70_000]))
        return upload

    begun = run(first)
    after = reopened(store, clock)

    async def second() -> None:
        found = after.uploads.get(NAME, begun.id)
        assert (found.offset, found.algorithm) == (70_000, "sha512")
        await after.append(found, pieces(CONTENT[70_000:]))
        await after.commit(found, digest_of(CONTENT, "sha512"))

    run(second)
    assert after.files.path(digest_of(CONTENT, "sha512")).read_bytes() == CONTENT


def test_what_nobody_can_go_on_with_is_removed_at_the_start(store: Store, clock: Clock) -> None:
    async def work() -> None:
        one_request = store.uploads.begin(NAME, resumable=False)
        await store.append(one_request, pieces(CONTENT))
        spoiled = store.uploads.begin(NAME)
        spoiled.note.write_text("{")
        hostile = store.uploads.begin(NAME)
        hostile.note.write_text(json.dumps({"repository": "../..", "algorithm": "sha256"}))

    run(work)
    (store.files.uploads / "stray.txt").write_text("x")
    after = reopened(store, clock)
    assert list(after.files.uploads.iterdir()) == []
    assert len(after.uploads) == 0


def test_uploads_that_nobody_writes_to_expire(store: Store, clock: Clock) -> None:
    async def work() -> None:
        old = store.uploads.begin(NAME)
        clock.now += Limits().expiry_s - 1
        young = store.uploads.begin(NAME)
        clock.now += 2
        assert store.uploads.expire() == 1
        with pytest.raises(BlobUploadUnknown):
            store.uploads.get(NAME, old.id)
        assert store.uploads.get(NAME, young.id) is young

    run(work)


def test_an_upload_that_is_being_written_does_not_expire(store: Store, clock: Clock) -> None:
    async def work() -> None:
        upload = store.uploads.begin(NAME)
        async with upload.lock:
            clock.now += 10 * Limits().expiry_s
            assert store.uploads.expire() == 0

    run(work)


def test_what_came_before_a_client_went_away_stays(store: Store) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield CONTENT[:100_000]
        raise ConnectionResetError

    async def work() -> None:
        upload = store.uploads.begin(NAME)
        with pytest.raises(ConnectionResetError):
            await store.append(upload, broken())
        assert upload.offset == 100_000
        await store.append(upload, pieces(CONTENT[100_000:]))
        await store.commit(upload, digest_of(CONTENT))

    run(work)


def test_a_cancelled_append_leaves_file_and_hash_agreed(store: Store) -> None:
    content = os.urandom(5 * BATCH_BYTES)

    async def endless(started: asyncio.Event) -> AsyncIterator[bytes]:
        for at in range(0, 2 * BATCH_BYTES, 100_000):
            yield content[at : at + 100_000]
        started.set()
        await asyncio.Event().wait()

    async def work() -> None:
        upload = store.uploads.begin(NAME)
        started = asyncio.Event()
        task = asyncio.create_task(store.append(upload, endless(started)))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert upload.path.stat().st_size == upload.offset
        await store.append(upload, pieces(content[upload.offset :]))
        await store.commit(upload, digest_of(content))

    run(work)
    assert store.files.path(digest_of(content)).read_bytes() == content


def test_a_commit_is_done_although_its_client_is_gone(store: Store) -> None:
    async def work() -> None:
        upload = store.uploads.begin(NAME)
        await store.append(upload, pieces(CONTENT))
        task = asyncio.create_task(store.commit(upload, digest_of(CONTENT)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The index is written by one thread, in order: what comes after is done after.
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        assert (await store.blob(NAME, digest_of(CONTENT), is_read=True)).size == len(CONTENT)

    run(work)


def test_a_wrong_digest_ends_the_upload(store: Store) -> None:
    async def work() -> None:
        upload = store.uploads.begin(NAME)
        await store.append(upload, pieces(CONTENT))
        with pytest.raises(DigestInvalid):
            await store.commit(upload, digest_of(b"other"))
        with pytest.raises(BlobUploadUnknown):
            await store.append(upload, pieces(b"x"))

    run(work)
    assert list(store.files.uploads.iterdir()) == []
    assert list(store.files.digests()) == []


def test_a_blob_beyond_the_limit_is_not_written(tmp_path: Path) -> None:
    store = Store(tmp_path, Limits(blob_bytes=1000))

    async def work() -> None:
        upload = store.uploads.begin(NAME)
        with pytest.raises(TooLarge):
            await store.append(upload, pieces(bytes(600), bytes(600)))
        assert upload.path.stat().st_size <= 1000

    run(work)


def full_after(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A disk with so many bytes left: the write that finds no more of it is cut short, the next one fails."""
    left = room
    write = os.pwrite

    def pwrite(fd: int, content: bytes, offset: int) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(fd, bytes(content)[:left], offset)
        left -= done
        return done

    monkeypatch.setattr(os, "pwrite", pwrite)


def test_a_full_disk_refuses_and_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(4 * BATCH_BYTES)

    async def work() -> None:
        await store.add_blob(NAME, digest_of(CONTENT), pieces(CONTENT), None)
        upload = store.uploads.begin(NAME)
        with monkeypatch.context() as patched:
            full_after(patched, BATCH_BYTES + BATCH_BYTES // 2)
            with pytest.raises(StorageFull):
                await store.append(upload, pieces(*(content[at : at + 65536] for at in range(0, len(content), 65536))))
        # The upload ends where the last whole batch does; with room again it goes on.
        assert upload.offset == upload.path.stat().st_size == BATCH_BYTES
        assert (await store.blob(NAME, digest_of(CONTENT), is_read=True)).size == len(CONTENT)
        await store.append(upload, pieces(content[upload.offset :]))
        await store.commit(upload, digest_of(content))

    run(work)
    assert store.files.path(digest_of(content)).read_bytes() == content


def test_a_full_index_refuses_and_keeps_what_it_had(store: Store) -> None:
    async def work() -> None:
        await store.add_blob(NAME, digest_of(CONTENT), pieces(CONTENT), None)

        def full() -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        with pytest.raises(StorageFull):
            await store.write(full)

        def broken() -> None:
            raise OSError(errno.EIO, "broken")

        with pytest.raises(StorageFailed):
            await store.write(store.index.add_blob, NAME, digest_of(b"x"), 1, broken, 0)
        with pytest.raises(BlobUnknown):
            await store.blob(NAME, digest_of(b"x"), is_read=True)

    run(work)


def test_telling_a_client_of_an_old_blob_makes_it_young(store: Store, clock: Clock) -> None:
    digest = digest_of(CONTENT)

    async def work() -> None:
        await store.add_blob(NAME, digest, pieces(CONTENT), None)
        begun = store.index.link(NAME, digest).touched
        clock.now += REFRESH_S
        await store.blob(NAME, digest, is_read=False)
        assert store.index.link(NAME, digest).touched == begun
        clock.now += 1
        await store.blob(NAME, digest, is_read=False)
        assert store.index.link(NAME, digest).touched == clock.now

    run(work)


def test_a_blob_is_placed_over_one_that_a_disk_has_spoiled(store: Store) -> None:
    digest = digest_of(CONTENT)

    async def work() -> None:
        await store.add_blob(NAME, digest, pieces(CONTENT), None)
        store.files.path(digest).write_bytes(b"spoiled")
        await store.add_blob(NAME, digest, pieces(CONTENT), None)

    run(work)
    assert store.files.path(digest).read_bytes() == CONTENT


def test_two_servers_do_not_share_a_directory(store: Store) -> None:
    with pytest.raises(BlockingIOError):
        Store(store.files.root)
    store.close()
    Store(store.files.root).close()


def test_an_index_of_another_release_is_not_touched(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    with index.transaction() as writer:
        writer.execute("PRAGMA user_version=99")
    index.close()
    with pytest.raises(ValueError, match="version 99"):
        Index(tmp_path / "index.db")
