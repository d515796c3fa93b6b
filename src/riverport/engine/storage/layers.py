"""Layers by chain id: where their files are, and who uses them.

                 stage()          register()                       last release()
    (nothing) ──────────▶ staged ───────────▶ registered, used ≥ 1 ──────────────▶ removed
                             └── discard() ──▶ removed

`register` gives its caller one use of the layer; a layer uses the one below it. What was staged when the daemon was
killed is in no table and is removed at the next start. A power cut finds each recorded layer whole, too: files reach
the disk before the table does, and a layer that goes is renamed before its first file is removed.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NewType

from riverport.base.logging import get_logger
from riverport.engine.errors import NotFound, SystemFailure
from riverport.engine.state import State
from riverport.engine.storage import trees
from riverport.engine.storage.disk import Disk
from riverport.engine.storage.lowers import Lowers
from riverport.engine.storage.recipe import RecipeReader
from riverport.engine.storage.threads import on_thread, to_its_end
from riverport.engine.storage.unpack import Unpacked

log = get_logger(__name__)

ChainId = NewType("ChainId", str)
"""`sha256:…` of a layer and all below it; not the id of an image, which looks alike."""

_KIND: Final = "layers"
_SHORT_BYTES: Final = 6


def chain_of(diff_ids: Iterable[str]) -> ChainId | None:
    """The chain of layers from the lowest up; None of no layers (OCI image specification, "Layer ChainID")."""
    chain: ChainId | None = None
    for diff_id in diff_ids:
        chain = next_chain(chain, diff_id)
    return chain


def next_chain(parent: ChainId | None, diff_id: str) -> ChainId:
    if parent is None:
        return ChainId(diff_id)
    return ChainId("sha256:" + hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest())


@dataclass(slots=True)
class Layer:
    """Registered: its files never change. `size` counts the bytes of its regular files."""

    chain: ChainId
    diff_id: str
    parent: ChainId | None
    directory: Path
    size: int
    uses: int = 0

    @property
    def diff(self) -> Path:
        return self.directory / "diff"

    @property
    def recipe(self) -> Path:
        return self.directory / "recipe"


@dataclass(slots=True)
class Staged:
    """A directory for a layer that is on its way."""

    directory: Path
    failures: int
    """Of the disk, before the first byte was written."""

    @property
    def diff(self) -> Path:
        return self.directory / "diff"

    @property
    def recipe(self) -> Path:
        return self.directory / "recipe"


class Directories:
    """`overlay2/`: one directory for each layer and each container, and short links to their diffs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.links = root / "l"

    def prepare(self) -> None:
        self.links.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o710)

    def make(self) -> Path:
        """A new directory with an empty diff; its name is the short link's, too."""
        name = secrets.token_hex(16)
        directory = self.root / name
        (directory / "diff").mkdir(parents=True)
        (directory / "diff").chmod(0o755)
        self.link(directory).symlink_to(f"../{name}/diff")
        return directory

    def link(self, directory: Path) -> Path:
        return self.links / directory.name[: 2 * _SHORT_BYTES]

    def remove(self, directory: Path) -> None:
        """Absent is fine. The name goes first: half a directory must not be there under a name that a table has.

        A power cut may undo what the state has forgotten, and file systems keep the order of names.
        """
        self.link(directory).unlink(missing_ok=True)
        going = directory.with_name(directory.name + ".removed")
        try:
            directory.rename(going)
        except FileNotFoundError:
            return
        trees.remove(going)

    def remove_others(self, known: Iterable[Path]) -> list[Path]:
        """Remove what is none of `known`, which is how a killed daemon leaves things; says what went."""
        kept = {directory.name for directory in known}
        others = [entry for entry in self.root.iterdir() if entry.name not in kept and entry != self.links]
        for directory in others:
            trees.remove(directory)
        links = {name[: 2 * _SHORT_BYTES] for name in kept}
        for link in self.links.iterdir():
            if link.name not in links:
                link.unlink()
        return others


class LayerStore:
    """All layers. Its tables change on the event loop only; files are read and removed on threads."""

    def __init__(self, directories: Directories, state: State, disk: Disk) -> None:
        self._directories = directories
        self._state = state
        self._disk = disk
        self._layers: dict[ChainId, Layer] = {}
        self.left_behind: Callable[[Layer], Sequence[Path]] = lambda layer: ()
        """Told of each layer that goes; says which files elsewhere are of no use without it."""

    def load(self) -> None:
        """Read the table; a layer whose directory is gone goes, with all above it. Uses are counted by `use`."""
        documents = self._state.load(_KIND)
        for chain, document in documents.items():
            layer = _layer_of(ChainId(chain), document, self._directories.root)
            if layer.diff.is_dir():
                self._layers[layer.chain] = layer
            else:
                log.error("a layer's directory is gone", chain=chain, directory=layer.directory)
        while orphans := [one for one in self._layers.values() if one.parent and one.parent not in self._layers]:
            for layer in orphans:
                del self._layers[layer.chain]
        self._state.delete(_KIND, documents.keys() - self._layers.keys())
        for layer in self._layers.values():
            if layer.parent is not None:
                self._layers[layer.parent].uses += 1

    def __iter__(self) -> Iterator[Layer]:
        return iter(list(self._layers.values()))

    def __len__(self) -> int:
        return len(self._layers)

    def get(self, chain: ChainId) -> Layer | None:
        return self._layers.get(chain)

    def need(self, chain: ChainId) -> Layer:
        layer = self._layers.get(chain)
        if layer is None:
            raise NotFound(f"layer does not exist: {chain}")
        return layer

    def stack(self, chain: ChainId | None) -> list[Layer]:
        """A chain's layers, topmost first."""
        layers = []
        while chain is not None:
            layers.append(self.need(chain))
            chain = layers[-1].parent
        return layers

    def diffs(self, chain: ChainId | None) -> list[Path]:
        return [layer.diff for layer in self.stack(chain)]

    # ---- coming

    def stage(self) -> Staged:
        return Staged(self._directories.make(), self._disk.failures)

    def adopt(self, directory: Path) -> Staged:
        """What was made by `Directories.make` for something else becomes a layer that is on its way."""
        return Staged(directory, self._disk.failures)

    async def discard(self, staged: Staged) -> None:
        await on_thread(self._directories.remove, staged.directory)

    async def register(self, parent: ChainId | None, staged: Staged, diff_id: str, unpacked: Unpacked) -> Layer:
        """The layer that `staged` has become, or the one that was there before; the caller has one use of it.

        The caller has a use of `parent`, too, for the time of the call. What it wrote elsewhere on the same file
        system (the archive as it came) is on the disk afterwards, too. Raises SystemFailure if the files may not have
        reached the disk; then nothing is recorded.
        """
        chain = next_chain(parent, diff_id)
        if unpacked.implied or unpacked.opaque_root:  # also if it is there: it may go before this has its turn
            await on_thread(_fit, staged.diff, self.diffs(parent), unpacked)
        try:
            await self._disk.reached(staged.failures)
        except SystemFailure as error:
            raise SystemFailure(f"failed to register layer {diff_id}: {error}") from error
        existing = self._layers.get(chain)  # somebody may have been faster
        if existing is not None:
            existing.uses += 1
            try:
                await self.discard(staged)
            except BaseException:
                await self.release(chain)
                raise
            return existing
        layer = Layer(chain, diff_id, parent, staged.directory, unpacked.size, uses=1)
        self._state.save(_KIND, chain, _document_of(layer))
        self._layers[chain] = layer
        if parent is not None:
            self.use(parent)
        return layer

    # ---- being used

    def use(self, chain: ChainId) -> Layer:
        layer = self.need(chain)
        layer.uses += 1
        return layer

    async def release(self, chain: ChainId) -> list[Layer]:
        """One use less; returns the layers that went because nobody uses them any more, topmost first."""
        gone = self._unuse(chain)
        if gone:
            await to_its_end(self._remove(gone))
        return gone

    def has_diff(self, diff_id: str) -> bool:
        return any(layer.diff_id == diff_id for layer in self._layers.values())

    async def sweep(self) -> None:
        """Remove what nobody uses, once everybody has said at the start what they use."""
        gone = []
        for layer in list(self._layers.values()):
            if layer.uses == 0 and layer.chain in self._layers:
                layer.uses = 1
                gone += self._unuse(layer.chain)
        await to_its_end(self._remove(gone))

    def _unuse(self, chain: ChainId | None) -> list[Layer]:
        gone: list[Layer] = []
        while chain is not None:
            layer = self.need(chain)
            assert layer.uses > 0, f"layer {chain} is released more often than it is used"
            layer.uses -= 1
            if layer.uses:
                break
            del self._layers[chain]
            gone.append(layer)
            chain = layer.parent
        self._state.delete(_KIND, [layer.chain for layer in gone])
        return gone

    async def _remove(self, layers: list[Layer]) -> None:
        for layer in layers:
            files = self.left_behind(layer)
            await on_thread(self._directories.remove, layer.directory)
            for file in files:
                await on_thread(file.unlink, missing_ok=True)

    # ---- being read

    def open_tar(self, chain: ChainId) -> RecipeReader:
        """The layer's archive as it was; the reader of it closes it, and compares its digest."""
        layer = self.need(chain)
        if not layer.recipe.exists():
            raise SystemFailure(f"layer {layer.diff_id} cannot be written again")
        return RecipeReader(layer.recipe, layer.diff)


def _fit(diff: Path, lowers: list[Path], unpacked: Unpacked) -> None:
    """Make a layer that was unpacked on its own fit on those below it.

    Directories that the archive does not speak of look as they do below; an opaque root hides name by name.
    """
    view = Lowers.of(lowers)
    top = os.fsencode(diff)
    absent: set[bytes] = set()
    for path in unpacked.implied:  # a directory stands before those in it
        directory, _, name = path.rpartition(b"/")
        if directory in absent:  # asking again costs the square of a path's depth
            absent.add(path)
            continue
        found = view.descend(directory).find(name)
        if found is not None:
            _resemble(top + b"/" + path, *found)
        else:
            absent.add(path)
    if unpacked.opaque_root:
        present = {os.fsencode(name) for name in os.listdir(diff)}
        for name in view.names():
            here = top + b"/" + name
            if name not in present:
                os.mknod(here, 0o020000, 0)
            elif not os.path.islink(here) and os.path.isdir(here):
                os.setxattr(here, trees.OPAQUE, b"y")


def _resemble(path: bytes, status: os.stat_result, model: bytes) -> None:
    if not os.path.isdir(model) or os.path.islink(path):
        return
    os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, status.st_mode & 0o7777)
    for name, value in trees.read_xattrs(model).items():
        if not name.startswith(trees.OVERLAY_XATTRS):
            os.setxattr(path, name, value)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _document_of(layer: Layer) -> dict[str, Any]:
    return {
        "diff_id": layer.diff_id,
        "parent": layer.parent,
        "directory": layer.directory.name,
        "size": layer.size,
    }


def _layer_of(chain: ChainId, document: dict[str, Any], root: Path) -> Layer:
    return Layer(chain, document["diff_id"], document["parent"], root / document["directory"], document["size"])
