"""`Storage`: the layers, and the root file systems of containers on top of them."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

from riverport.base.logging import get_logger
from riverport.engine.errors import NotFound
from riverport.engine.state import State
from riverport.engine.storage import overlay, trees
from riverport.engine.storage.changes import changes
from riverport.engine.storage.compression import Hashed
from riverport.engine.storage.disk import Disk
from riverport.engine.storage.layers import ChainId, Directories, Layer, LayerStore
from riverport.engine.storage.pack import Packer, Pieces
from riverport.engine.storage.recipe import RecipeWriter
from riverport.engine.storage.rootfs import Rootfs, have_places, places_in
from riverport.engine.storage.threads import acquired, on_thread
from riverport.engine.storage.unpack import Unpacked, unpack

log = get_logger(__name__)

DRIVER: Final = "overlay2"
_KIND: Final = "rootfs"
_READ: Final = 1 << 20


class Storage:
    """Call `start` first, then let every user of layers say what it uses, then `layers.sweep()`."""

    def __init__(self, data_root: Path, state: State, sync: Callable[[int], None] | None = None) -> None:
        """`sync` takes the place of syncfs."""
        self._directories = Directories(data_root / DRIVER)
        self._state = state
        self._roots: dict[str, Rootfs] = {}
        self._making_places = Lock()
        self.chain_of_image: Callable[[str], ChainId | None] = _no_images
        """Set by the images, which are made of layers and made later."""
        self._disk = Disk(data_root, sync)
        self.layers = LayerStore(self._directories, state, self._disk)

    async def start(self) -> None:
        """Compare the tables with the directories: what is in one of them only is removed."""
        self._directories.prepare()
        self.layers.load()
        lost = []
        for container_id, document in self._state.load(_KIND).items():
            chain = ChainId(document["chain"]) if document["chain"] else None
            directory = self._directories.root / document["directory"]
            if not directory.is_dir() or (chain is not None and self.layers.get(chain) is None):
                log.error("a container's files are gone", container=container_id)
                lost.append(container_id)
                continue
            if chain is not None:
                self.layers.use(chain)
            self._roots[container_id] = self._rootfs(container_id, chain, directory)
        self._state.delete(_KIND, lost)
        known = [layer.directory for layer in self.layers] + [rootfs.directory for rootfs in self._roots.values()]
        removed = await asyncio.to_thread(self._directories.remove_others, known)
        if removed:
            log.warning("removed directories that nothing refers to", count=len(removed))

    async def stop(self) -> None:
        """Mounts are left alone: those of containers hang on their shims, others on descriptors."""
        self._disk.close()

    # ---- containers

    def roots(self) -> list[str]:
        """Containers that have a root, by id."""
        return list(self._roots)

    async def create_rootfs(self, container_id: str, image_id: str | None) -> Rootfs:
        """A new root on an image, whose layers it uses until it is removed; on nothing without one."""
        assert container_id not in self._roots, f"container {container_id} has a root already"
        chain = self.chain_of_image(image_id) if image_id is not None else None
        if chain is not None:
            self.layers.use(chain)
        try:
            directory = await acquired(lambda: self._make_root(chain), self._directories.remove)
        except BaseException:
            if chain is not None:
                await self.layers.release(chain)
            raise
        rootfs = self._roots[container_id] = self._rootfs(container_id, chain, directory)
        self._state.save(_KIND, container_id, {"chain": chain, "directory": directory.name})
        return rootfs

    def _make_root(self, chain: ChainId | None) -> Path:
        directory = self._directories.make()
        try:
            for name in ("work", "merged"):
                (directory / name).mkdir(mode=0o700)
            layer = self.layers.get(chain) if chain is not None else None
            with self._making_places:
                have_places(directory if layer is None else layer.directory, self.layers.diffs(chain))
        except BaseException:
            self._directories.remove(directory)
            raise
        return directory

    def rootfs(self, container_id: str) -> Rootfs:
        rootfs = self._roots.get(container_id)
        if rootfs is None:
            raise NotFound(f"container {container_id} has no root file system")
        return rootfs

    async def remove_rootfs(self, container_id: str) -> None:
        """Nothing may be mounted on it any more; absent is fine."""
        rootfs = self._roots.pop(container_id, None)
        if rootfs is None:
            return
        self._state.delete(_KIND, [container_id])
        await on_thread(self._directories.remove, rootfs.directory)
        if rootfs.chain is not None:
            await self.layers.release(rootfs.chain)

    async def changes(self, container_id: str) -> list[dict[str, Any]]:
        """As the API tells them: Path and Kind."""
        rootfs = self.rootfs(container_id)
        found = await asyncio.to_thread(changes, rootfs.upper, rootfs.lowers)
        return [{"Path": os.fsdecode(change.path), "Kind": int(change.kind)} for change in found]

    def diff_tar(self, container_id: str) -> Iterator[bytes]:
        """What the container has changed, in the form of a layer; a thread iterates."""
        rootfs = self.rootfs(container_id)
        return iter(Packer(rootfs.upper, self.layers.diffs(rootfs.chain)))

    async def size(self, container_id: str) -> int:
        """Bytes that the container itself holds (`SizeRw`)."""
        return await asyncio.to_thread(_size_of, self.rootfs(container_id).upper)

    def base_size(self, container_id: str) -> int:
        """Bytes of the layers it stands on; with `size` that is `SizeRootFs`."""
        return sum(layer.size for layer in self.layers.stack(self.rootfs(container_id).chain))

    async def commit(self, container_id: str, *, consume: bool = False) -> Layer:
        """The container's changes as a layer on its image's; the caller has one use of it.

        With `consume` the files themselves become the layer, which costs no copy: the container (stopped, nothing
        mounted) has no root afterwards.
        """
        rootfs = self.rootfs(container_id)
        below = self.layers.diffs(rootfs.chain)
        if not consume:
            staged = self.layers.stage()
            try:
                diff_id, unpacked = await on_thread(_copy, rootfs.upper, below, staged.diff, staged.recipe)
                return await self.layers.register(rootfs.chain, staged, diff_id, unpacked)
            except BaseException:
                await self.layers.discard(staged)
                raise
        diff_id, unpacked = await on_thread(_describe, rootfs.upper, below, rootfs.directory / "recipe")
        for leftover in (rootfs.work, rootfs.merged, places_in(rootfs.directory)):
            await on_thread(trees.remove, leftover)
        with self._state.together():
            self._state.delete(_KIND, [container_id])
            del self._roots[container_id]
        staged = self.layers.adopt(rootfs.directory)
        try:
            return await self.layers.register(rootfs.chain, staged, diff_id, unpacked)
        except BaseException:
            await self.layers.discard(staged)
            raise
        finally:
            if rootfs.chain is not None:
                await self.layers.release(rootfs.chain)

    @asynccontextmanager
    async def mounted(self, container_id: str) -> AsyncIterator[Path]:
        """A stopped container's root, readable and writable below the path; gone afterwards, whatever happens."""
        rootfs = self.rootfs(container_id)
        fd = await acquired(lambda: _open(rootfs.lowers, rootfs.upper, rootfs.work, rootfs.merged), os.close)
        try:
            yield Path(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    @asynccontextmanager
    async def viewed(self, image_id: str) -> AsyncIterator[Path]:
        """An image's files, read-only."""
        diffs = self.layers.diffs(self.chain_of_image(image_id))
        staged = self.layers.stage()  # overlayfs wants two lowers, or an upper; and an image may have no layer
        try:
            lowers = [*diffs, staged.diff]
            place = staged.directory / "merged"
            place.mkdir()
            fd = await acquired(lambda: _open(lowers, None, None, place), os.close)
            try:
                yield Path(f"/proc/self/fd/{fd}")
            finally:
                os.close(fd)
        finally:
            await self.layers.discard(staged)

    def _rootfs(self, container_id: str, chain: ChainId | None, directory: Path) -> Rootfs:
        places = places_in(directory)
        layer = self.layers.get(chain) if chain is not None else None
        if layer is not None and not places.exists():  # earlier releases gave each container its own
            places = places_in(layer.directory)
        lowers = (places, *self.layers.diffs(chain))
        return Rootfs(container_id, chain, lowers, directory)


def _no_images(image_id: str) -> ChainId | None:
    raise NotFound(f"No such image: {image_id}")


def _open(lowers: "list[Path] | tuple[Path, ...]", upper: Path | None, work: Path | None, place: Path) -> int:
    try:
        return overlay.detached(lowers, upper, work)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        return overlay.attached_for_a_moment(lowers, upper, work, place)


def _copy(upper: Path, below: list[Path], target: Path, recipe: Path) -> tuple[str, Unpacked]:
    """Pack and unpack in one pass."""
    writer = RecipeWriter(recipe)
    try:
        source = Hashed(Pieces(iter(Packer(upper, below))))
        unpacked = unpack(source, target, writer)
    except BaseException:
        writer.abandon()
        raise
    writer.close()
    return source.digest, unpacked


def _describe(upper: Path, below: list[Path], recipe: Path) -> tuple[str, Unpacked]:
    """The digest and the recipe of what lies in `upper`."""
    writer = RecipeWriter(recipe)
    try:
        packer = Packer(upper, below, writer)
        source = Hashed(Pieces(iter(packer)))
        while source.read(_READ):
            pass
    except BaseException:
        writer.abandon()
        raise
    writer.close()
    return source.digest, Unpacked(packer.size)


def _size_of(directory: Path) -> int:
    """Bytes of regular files, each counted once."""
    total = 0
    linked: set[tuple[int, int]] = set()
    waiting = [os.fsencode(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        key = (status.st_dev, status.st_ino)
                        if status.st_nlink == 1 or key not in linked:
                            total += status.st_size
                        if status.st_nlink > 1:
                            linked.add(key)
        except FileNotFoundError:
            continue  # of a running container
    return total
