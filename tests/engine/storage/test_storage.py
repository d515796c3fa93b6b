"""Layers and root file systems: made, changed, committed, lost and found."""

import asyncio
import io
import os
import shutil
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engine.storage.archives import NEEDS_ROOT, Archive, tree

from riverport.engine.errors import NotFound
from riverport.engine.images.importing import unpack_staged
from riverport.engine.state import State
from riverport.engine.storage import layers as layers_module
from riverport.engine.storage import store as store_module
from riverport.engine.storage import trees
from riverport.engine.storage.layers import ChainId, Layer, chain_of
from riverport.engine.storage.lowers import Lowers
from riverport.engine.storage.store import Storage
from riverport.engine.storage.tar_reader import InvalidArchive

pytestmark = NEEDS_ROOT


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def opened(root: Path) -> Storage:
    storage = Storage(root, State(root / "engine.db"))
    storage.chain_of_image = lambda image: ChainId(image)
    return storage


async def added(storage: Storage, archive: Archive, parent: Layer | None = None) -> Layer:
    staged = storage.layers.stage()
    diff_id, unpacked = await asyncio.to_thread(unpack_staged, io.BytesIO(archive.bytes()), staged)
    return await storage.layers.register(parent.chain if parent else None, staged, diff_id, unpacked)


def directories(root: Path) -> int:
    return len([path for path in (root / "overlay2").iterdir() if path.name != "l"])


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def test_a_chain_is_the_digest_of_all_its_layers() -> None:
    """The example of the OCI image specification's formula, by hand."""
    import hashlib

    first, second = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    assert chain_of([]) is None
    assert chain_of([first]) == first
    assert chain_of([first, second]) == "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()


def test_a_layer_lives_as_long_as_somebody_uses_it(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().file("a", b"1"))
        top = await added(storage, Archive().file("b", b"22"), base)
        same = await added(storage, Archive().file("b", b"22"), base)
        assert same is top
        assert directories(tmp_path) == 2
        assert await storage.layers.release(base.chain) == []
        assert await storage.layers.release(top.chain) == []
        assert await storage.layers.release(top.chain) == [top, base]
        assert directories(tmp_path) == 0
        assert list((tmp_path / "overlay2/l").iterdir()) == []

    runner.run(scenario())


def test_a_container_sees_its_image_and_keeps_its_changes(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().dir("d").file("d/old", b"1").file("f", b"abc").dir("etc", mode=0o700))
        rootfs = await storage.create_rootfs("c1", base.chain)
        async with storage.mounted("c1") as root:
            assert (root / "f").read_bytes() == b"abc"
            assert (root / "etc").stat().st_mode & 0o777 == 0o700, "the places made for the runtime resemble the image"
            assert (root / "etc/hosts").exists()
            shutil.rmtree(root / "d")
            (root / "d").mkdir()
            (root / "d/new").write_text("2")
            (root / "f").chmod(0o600)
        assert await storage.changes("c1") == [
            {"Path": "/d", "Kind": 0},
            {"Path": "/d/new", "Kind": 1},
            {"Path": "/d/old", "Kind": 2},
            {"Path": "/f", "Kind": 0},
        ]
        assert (await storage.size("c1"), storage.base_size("c1")) == (4, 4)
        assert rootfs.driver_data()["UpperDir"].endswith("/diff")
        await storage.remove_rootfs("c1")
        await storage.remove_rootfs("c1")
        with pytest.raises(NotFound):
            storage.rootfs("c1")
        assert directories(tmp_path) == 1

    runner.run(scenario())


def test_containers_of_an_image_share_what_the_runtime_mounts_upon(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().file("f", b"1"))
        roots = await asyncio.gather(*(storage.create_rootfs(f"c{number}", base.chain) for number in range(8)))
        assert len({root.lowers for root in roots}) == 1
        places = roots[0].lowers[0]
        before = tree(places)
        layer = await storage.commit("c0", consume=True)
        await storage.remove_rootfs("c1")
        assert tree(places) == before, "others use them"
        above = await storage.create_rootfs("above", layer.chain)
        assert above.lowers[0] != places
        assert (await storage.create_rootfs("none", None)).lowers[0].parent == storage.rootfs("none").directory

    runner.run(scenario())


def test_a_daemon_killed_while_it_made_places_leaves_none_that_lack_something(
    tmp_path: Path, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().file("f", b"1"))
        (base.directory / "places.new/etc").mkdir(parents=True)
        rootfs = await storage.create_rootfs("c", base.chain)
        assert (rootfs.lowers[0] / "etc/hosts").is_file()
        assert not (base.directory / "places.new").exists()

    runner.run(scenario())


def test_a_root_with_places_of_its_own_keeps_them(tmp_path: Path, runner: asyncio.Runner) -> None:
    """As earlier releases made them: the daemon is another one, the data root the same."""

    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().file("f", b"1"))
        rootfs = await storage.create_rootfs("c", base.chain)
        own = rootfs.lowers[0].rename(rootfs.directory / "places")
        again = opened(tmp_path)
        await again.start()
        assert again.rootfs("c").lowers == (own, base.diff)

    runner.run(scenario())


def test_nothing_is_mounted_anywhere_while_a_container_is_looked_into(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        await storage.create_rootfs("c1", None)
        before = mounts()
        async with storage.mounted("c1") as root:
            (root / "x").touch()
            assert mounts() == before

    runner.run(scenario())


@pytest.mark.parametrize("consume", [False, True])
def test_a_commit_is_a_layer_that_can_be_packed_again(tmp_path: Path, runner: asyncio.Runner, consume: bool) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().dir("d").file("d/x", b"1").file("keep", b"1"))
        await storage.create_rootfs("c1", base.chain)
        async with storage.mounted("c1") as root:
            (root / "d/x").unlink()
            (root / "new").write_bytes(os.urandom(100_000))
        expected = b"".join(storage.diff_tar("c1"))
        layer = await storage.commit("c1", consume=consume)
        assert layer.parent == base.chain
        assert layer.size == 100_000
        assert tree(layer.diff)["d/x"] == (0, 0)
        reader = storage.layers.open_tar(layer.chain)
        pieces = []
        while data := reader.read(1 << 16):
            pieces.append(data)
        reader.close()
        assert b"".join(pieces) == expected
        async with storage.viewed(layer.chain) as root:
            assert sorted(os.listdir(root)) == ["d", "keep", "new"]
            assert os.listdir(root / "d") == []
        if consume:
            with pytest.raises(NotFound):
                storage.rootfs("c1")
        else:
            await storage.remove_rootfs("c1")
        await storage.layers.release(layer.chain)
        await storage.layers.release(base.chain)
        assert directories(tmp_path) == 0

    runner.run(scenario())


def test_the_same_commit_twice_is_one_layer(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        await storage.create_rootfs("c1", None)
        async with storage.mounted("c1") as root:
            (root / "f").write_text("1")
        first = await storage.commit("c1")
        second = await storage.commit("c1", consume=True)
        assert first is second
        assert directories(tmp_path) == 1

    runner.run(scenario())


def test_a_layer_fits_on_those_below_it(tmp_path: Path, runner: asyncio.Runner) -> None:
    """What the archive does not say of a directory is as it was; an opaque root hides everything."""

    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().dir("d", mode=0o700, uid=5).dir("d/e", mode=0o1777).file("f").file("d/g"))
        implied = await added(storage, Archive().file("d/e/new"), base)
        async with storage.viewed(implied.chain) as root:
            assert ((root / "d").stat().st_mode & 0o7777, (root / "d").stat().st_uid) == (0o700, 5)
            assert (root / "d/e").stat().st_mode & 0o7777 == 0o1777
        opaque = await added(storage, Archive().file(".wh..wh..opq").file("d/only"), base)
        async with storage.viewed(opaque.chain) as root:
            assert sorted(os.listdir(root)) == ["d"]
            assert os.listdir(root / "d") == ["only"]

    runner.run(scenario())


def test_more_layers_than_fit_into_a_page_of_mount_options(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        layer = None
        for number in range(200):
            layer = await added(storage, Archive().file(f"f{number}"), layer)
        assert layer is not None
        await storage.create_rootfs("c1", layer.chain)
        async with storage.mounted("c1") as root:
            assert len(list(root.glob("f*"))) == 200

    runner.run(scenario())


def test_a_start_finds_what_is_used_and_removes_the_rest(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().file("a", b"1"))
        top = await added(storage, Archive().file("b"), base)
        unused = await added(storage, Archive().file("c"), base)
        await storage.create_rootfs("c1", top.chain)
        storage.layers.stage()  # a pull that the kill interrupted
        (tmp_path / "overlay2/l/dangling").symlink_to("nowhere")

        again = opened(tmp_path)
        await again.start()
        await again.layers.sweep()
        assert again.layers.get(unused.chain) is None
        assert (again.layers.need(base.chain).uses, again.layers.need(top.chain).uses) == (1, 1)
        assert directories(tmp_path) == 3
        assert len(list((tmp_path / "overlay2/l").iterdir())) == 3
        async with again.mounted("c1") as root:
            assert (root / "a").read_bytes() == b"1"
        await again.remove_rootfs("c1")
        assert directories(tmp_path) == 0

    runner.run(scenario())


def test_a_start_gives_up_what_has_lost_its_files(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().file("a"))
        top = await added(storage, Archive().file("b"), base)
        await storage.create_rootfs("c1", top.chain)
        shutil.rmtree(base.directory)

        again = opened(tmp_path)
        await again.start()
        await again.layers.sweep()
        assert len(again.layers) == 0
        with pytest.raises(NotFound):
            again.rootfs("c1")
        assert directories(tmp_path) == 0

    runner.run(scenario())


def test_a_refused_archive_leaves_nothing_behind(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def body() -> None:
        from riverport.engine.images.importing import import_layer

        storage = opened(tmp_path)
        await storage.start()

        async def stream():  # type: ignore[no-untyped-def]
            yield Archive().dir("d").file("d/x", b"1" * 100_000).file("../evil").bytes()

        with pytest.raises(InvalidArchive):
            await import_layer(storage.layers, stream())
        assert directories(tmp_path) == 0

    runner.run(body())


def test_trees_of_any_depth_are_removed(tmp_path: Path) -> None:
    """A container nests directories deeper than a path can name and Python can recurse."""
    top = tmp_path / "top"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("deep", dir_fd=fd)
        below = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    (top / "link").symlink_to(tmp_path)
    trees.remove(top)
    assert not top.exists()
    trees.remove(top)
    assert tmp_path.exists()


def test_deep_directories_without_an_entry_are_looked_for_below_once(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is absent below has nothing in it: a path of 300 directories took 45,000 looks."""
    looks: list[bytes] = []
    enter = Lowers.enter

    def counted(view: Lowers, name: bytes) -> Lowers:
        looks.append(name)
        return enter(view, name)

    monkeypatch.setattr(Lowers, "enter", counted)

    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        base = await added(storage, Archive().dir("a", mode=0o700).dir("a/a", mode=0o711))
        top = await added(storage, Archive().file("a/" * 300 + "f"), base)
        assert (top.diff / "a").stat().st_mode & 0o777 == 0o700
        assert (top.diff / "a/a").stat().st_mode & 0o777 == 0o711
        assert (top.diff / "a/a/a").stat().st_mode & 0o777 == 0o755
        assert len(looks) < 10

    runner.run(scenario())


def held(monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[threading.Event, threading.Event]:
    """A function of `layers` or `store` waits on its thread: the events that it has begun, and that it may go on."""
    module = layers_module if hasattr(layers_module, name) else store_module
    begun, may_go_on = threading.Event(), threading.Event()
    original = getattr(module, name)

    def waiting(*arguments: Any) -> Any:
        begun.set()
        assert may_go_on.wait(20)
        return original(*arguments)

    monkeypatch.setattr(module, name, waiting)
    return begun, may_go_on


async def given_up(
    work: Coroutine[Any, Any, object], begun: threading.Event, may_go_on: threading.Event, times: int = 2
) -> None:
    """Cancel what waits for a thread; it must not end before the thread does, however often it is asked to."""
    task = asyncio.ensure_future(work)
    assert await asyncio.to_thread(begun.wait, 20)
    for _ in range(times):
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
    may_go_on.set()
    await asyncio.wait({task})
    assert task.cancelled()


def test_a_layer_is_not_discarded_under_the_thread_that_fits_it(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull that is given up while its layer is made to fit on those below: the thread still works on the files."""
    begun, may_go_on = held(monkeypatch, "_fit")

    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        below = await added(storage, Archive().dir("etc", mode=0o700))
        staged = storage.layers.stage()
        diff_id, unpacked = await asyncio.to_thread(
            unpack_staged, io.BytesIO(Archive().file("etc/passwd", b"x").bytes()), staged
        )
        assert unpacked.implied

        async def registered() -> None:
            try:
                await storage.layers.register(below.chain, staged, diff_id, unpacked)
            except BaseException:
                await storage.layers.discard(staged)
                raise

        await given_up(registered(), begun, may_go_on)
        assert directories(tmp_path) == len(storage.layers) == 1

    runner.run(scenario())


def test_a_root_that_nobody_waits_for_any_more_is_removed(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = held(monkeypatch, "have_places")

    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        layer = await added(storage, Archive().file("file", b"x"))
        await given_up(storage.create_rootfs("c", layer.chain), begun, may_go_on)
        assert (layer.uses, directories(tmp_path)) == (1, 1)

    runner.run(scenario())


def test_a_mount_that_nobody_waits_for_any_more_is_let_go(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = held(monkeypatch, "_open")

    async def looked_at(storage: Storage) -> None:
        async with storage.mounted("c"):
            raise AssertionError("it was given up before")

    async def scenario() -> None:
        storage = opened(tmp_path)
        await storage.start()
        await storage.create_rootfs("c", None)
        await asyncio.to_thread(int)  # the thread's own descriptors
        before = len(os.listdir("/proc/self/fd"))
        await given_up(looked_at(storage), begun, may_go_on)
        assert len(os.listdir("/proc/self/fd")) == before

    runner.run(scenario())


def test_a_layer_that_was_there_and_goes_meanwhile_is_registered_as_one_that_fits(
    tmp_path: Path, runner: asyncio.Runner
) -> None:
    """While it waits for the disk, the layer of the same chain is removed."""
    begun, may_go_on = threading.Event(), threading.Event()
    may_go_on.set()

    def sync(fd: int) -> None:
        begun.set()
        assert may_go_on.wait(20)

    async def scenario() -> None:
        storage = Storage(tmp_path, State(tmp_path / "engine.db"), sync)
        await storage.start()
        below = await added(storage, Archive().dir("etc", mode=0o700))
        archive = Archive().file("etc/passwd", b"x")
        first = await added(storage, archive, below)
        begun.clear()
        may_go_on.clear()
        second = asyncio.ensure_future(added(storage, archive, below))
        assert await asyncio.to_thread(begun.wait, 20)
        await storage.layers.release(first.chain)
        may_go_on.set()
        layer = await second
        assert (layer.diff / "etc").stat().st_mode & 0o777 == 0o700

    runner.run(scenario())
