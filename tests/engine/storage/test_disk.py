"""Layers reach the disk before the state speaks of them."""

import asyncio
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from tests.engine.storage.archives import NEEDS_ROOT, Archive

from riverport.engine.errors import SystemFailure
from riverport.engine.images.importing import unpack_staged
from riverport.engine.state import State
from riverport.engine.storage import trees
from riverport.engine.storage.disk import Disk, sync_file_system
from riverport.engine.storage.layers import ChainId, Layer
from riverport.engine.storage.store import Storage

pytestmark = NEEDS_ROOT


class FakeSync:
    """Notes at each sync which layers are written and which are recorded; fails as told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.error = 0
        self.seen: list[tuple[set[str], set[str]]] = []

    def __call__(self, fd: int) -> None:
        assert os.fstat(fd).st_ino == self.root.stat().st_ino
        written = {path.name for path in (self.root / "overlay2").glob("*/diff/*")}
        recorded = {document["diff_id"] for document in State(self.root / "engine.db").load("layers").values()}
        self.seen.append((written, recorded))
        if self.error:
            raise OSError(self.error, os.strerror(self.error))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def sync(tmp_path: Path) -> FakeSync:
    return FakeSync(tmp_path)


async def opened(root: Path, sync: FakeSync) -> Storage:
    storage = Storage(root, State(root / "engine.db"), sync)
    storage.chain_of_image = lambda image: ChainId(image)
    await storage.start()
    return storage


async def added(storage: Storage, name: str, parent: Layer | None = None) -> Layer:
    staged = storage.layers.stage()
    archive = Archive().file(name, name.encode()).bytes()
    try:
        diff_id, unpacked = await asyncio.to_thread(unpack_staged, io.BytesIO(archive), staged)
        return await storage.layers.register(parent.chain if parent else None, staged, diff_id, unpacked)
    except BaseException:
        await storage.layers.discard(staged)
        raise


def left(root: Path) -> set[str]:
    return {entry.name for entry in (root / "overlay2").iterdir()} - {"l"} | set(os.listdir(root / "overlay2" / "l"))


def test_a_layer_is_recorded_after_its_files_were_synced(
    tmp_path: Path, runner: asyncio.Runner, sync: FakeSync
) -> None:
    async def scenario() -> None:
        storage = await opened(tmp_path, sync)
        base = await added(storage, "a")
        top = await added(storage, "b", base)
        assert sync.seen == [({"a"}, set()), ({"a", "b"}, {base.diff_id})]
        assert State(tmp_path / "engine.db").load("layers").keys() == {base.chain, top.chain}

    runner.run(scenario())


@pytest.mark.parametrize("consume", [False, True])
def test_a_commit_is_recorded_after_its_files_were_synced(
    tmp_path: Path, runner: asyncio.Runner, sync: FakeSync, consume: bool
) -> None:
    async def scenario() -> None:
        storage = await opened(tmp_path, sync)
        base = await added(storage, "a")
        rootfs = await storage.create_rootfs("c", base.chain)
        (rootfs.upper / "made").write_bytes(b"x")
        await storage.commit("c", consume=consume)
        written, recorded = sync.seen[-1]
        assert "made" in written
        assert recorded == {base.diff_id}

    runner.run(scenario())


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_fails_refuses_the_layer(tmp_path: Path, runner: asyncio.Runner, sync: FakeSync, code: int) -> None:
    async def scenario() -> None:
        storage = await opened(tmp_path, sync)
        sync.error = code
        with pytest.raises(SystemFailure, match=f"failed to register layer sha256:.*{os.strerror(code).lower()}"):
            await added(storage, "a")
        assert (len(storage.layers), State(tmp_path / "engine.db").load("layers"), left(tmp_path)) == (0, {}, set())
        sync.error = 0
        assert (await added(storage, "a")).uses == 1, "what is written anew is taken"

    runner.run(scenario())


@pytest.mark.parametrize("consume", [False, True])
def test_a_commit_whose_sync_fails_leaves_nothing(
    tmp_path: Path, runner: asyncio.Runner, sync: FakeSync, consume: bool
) -> None:
    async def scenario() -> None:
        storage = await opened(tmp_path, sync)
        base = await added(storage, "a")
        rootfs = await storage.create_rootfs("c", base.chain)
        (rootfs.upper / "made").write_bytes(b"x")
        sync.error = errno.EIO
        with pytest.raises(SystemFailure, match="input/output error"):
            await storage.commit("c", consume=consume)
        await storage.remove_rootfs("c")
        assert base.uses == 1
        assert list(State(tmp_path / "engine.db").load("layers")) == [base.chain]
        assert left(tmp_path) == {base.directory.name, base.directory.name[:12]}

    runner.run(scenario())


def test_a_sync_that_succeeds_proves_nothing_about_what_was_written_before_a_failure(
    tmp_path: Path, runner: asyncio.Runner, sync: FakeSync
) -> None:
    async def scenario() -> None:
        storage = await opened(tmp_path, sync)
        early = storage.layers.stage()
        diff_id, unpacked = await asyncio.to_thread(unpack_staged, io.BytesIO(Archive().file("early").bytes()), early)
        sync.error = errno.EIO
        with pytest.raises(SystemFailure):
            await added(storage, "a")
        sync.error = 0
        with pytest.raises(SystemFailure, match="could not be synced while this was written"):
            await storage.layers.register(None, early, diff_id, unpacked)
        assert len(storage.layers) == 0

    runner.run(scenario())


def test_who_comes_during_a_sync_shares_the_next(tmp_path: Path, runner: asyncio.Runner) -> None:
    begun, go_on = Event(), Event()
    syncs: list[int] = []

    def sync(fd: int) -> None:
        syncs.append(fd)
        begun.set()
        go_on.wait()

    async def scenario() -> None:
        disk = Disk(tmp_path, sync)
        first = asyncio.create_task(disk.reached(0))
        await asyncio.to_thread(begun.wait)
        others = [asyncio.create_task(disk.reached(0)) for _ in range(5)]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, *others)
        assert len(syncs) == 2
        disk.close()

    runner.run(scenario())


def test_where_syncfs_is_not_let_through_everything_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    synced: list[bool] = []
    monkeypatch.setattr("riverport.engine.linux.syscalls.syncfs", refused)
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    code = errno.ENOSYS
    sync_file_system(0)
    assert synced == [True]
    code = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        sync_file_system(0)


def test_a_layer_that_is_removed_loses_its_name_before_its_files(
    tmp_path: Path, runner: asyncio.Runner, sync: FakeSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the state may know it again: then it is whole, or its directory is gone."""

    def cut(path: Path) -> None:
        raise InterruptedError

    async def scenario() -> None:
        storage = await opened(tmp_path, sync)
        layer = await added(storage, "a")
        documents = State(tmp_path / "engine.db").load("layers")
        with monkeypatch.context() as patched:
            patched.setattr(trees, "remove", cut)
            with pytest.raises(InterruptedError):
                await storage.layers.release(layer.chain)
        assert not layer.directory.exists()
        State(tmp_path / "engine.db").save("layers", layer.chain, documents[layer.chain])
        again = await opened(tmp_path, sync)
        assert (len(again.layers), left(tmp_path)) == (0, set())

    runner.run(scenario())
