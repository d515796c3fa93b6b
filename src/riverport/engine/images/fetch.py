"""The layers of an image that arrives: each fetched, checked and unpacked by one thread in one pass, several at once.

    source ─ hash ─ tee to a file ─ decompress ─ hash ─ unpack
             │ blob's digest                      │ diff id

A layer is registered when those below it are. When anything fails, all that was registered for this image is released
again, and with it removed.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from riverport.engine.errors import EngineError
from riverport.engine.images.image import short
from riverport.engine.images.manifests import Descriptor, InvalidManifest
from riverport.engine.images.progress import Metered, Progress
from riverport.engine.images.store import ImageStore
from riverport.engine.images.workers import Workers, all_or_none
from riverport.engine.storage.compression import Hashed, decompressed
from riverport.engine.storage.layers import ChainId, Layer, Staged, next_chain
from riverport.engine.storage.recipe import RecipeWriter
from riverport.engine.storage.tar_reader import Source
from riverport.engine.storage.unpack import Unpacked, unpack


class ClosingSource(Source, Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A layer and where its bytes come from; `open` is called on a thread."""

    blob: Descriptor
    diff_id: str
    open: Callable[[], ClosingSource]
    keep: bool
    """Whether the bytes are kept as they are, or can be made again from the files."""


class Fetch:
    """One image's layers; use it as `async with`, so that they are held until the image holds them."""

    def __init__(self, images: ImageStore, workers: Workers, progress: Progress) -> None:
        self._images = images
        self._workers = workers
        self._progress = progress
        self._held: list[ChainId] = []
        self.fetched = 0
        """Layers that were not here before."""

    async def __aenter__(self) -> "Fetch":
        return self

    async def __aexit__(self, *_: object) -> None:
        for chain in self._held:
            await self._images.layers.release(chain)

    async def layers(self, wanted: Sequence[Wanted]) -> None:
        """All of them, from the lowest up. Raises what the first failure was."""
        chains: list[ChainId] = []
        for one in wanted:
            chains.append(next_chain(chains[-1] if chains else None, one.diff_id))
        tasks: list[asyncio.Task[Layer]] = []
        for one, chain in zip(wanted, chains, strict=True):
            below = tasks[-1] if tasks else None
            tasks.append(asyncio.create_task(self._layer(one, chain, below)))
        await all_or_none(tasks)

    async def _layer(self, wanted: Wanted, chain: ChainId, below: "asyncio.Task[Layer] | None") -> Layer:
        name = short(wanted.blob.digest)
        lock = self._images.arriving.setdefault(chain, asyncio.Lock())
        try:
            async with lock:
                if (known := self._images.layers.get(chain)) is not None:
                    self._hold(self._images.layers.use(chain))
                    self._progress.say("Already exists", name)
                    return known
                self._progress.say("Pulling fs layer", name)
                return await self._arrive(wanted, name, below)
        finally:
            if not lock.locked():
                self._images.arriving.pop(chain, None)

    async def _arrive(self, wanted: Wanted, name: str, below: "asyncio.Task[Layer] | None") -> Layer:
        staged = self._images.layers.stage()
        file = self._images.blobs.new_file()
        try:
            unpacked = await self._workers.run(self._fetch, wanted, staged, file, name)
            parent = await asyncio.shield(below) if below is not None else None
            self._progress.say("Extracting", name)
            chain = parent.chain if parent is not None else None
            layer = await self._images.layers.register(chain, staged, wanted.diff_id, unpacked)
        except BaseException:
            file.unlink(missing_ok=True)
            await self._images.layers.discard(staged)
            raise
        self._hold(layer)
        self.fetched += 1
        if wanted.keep:
            blob = wanted.blob
            self._images.blobs.keep(blob.digest, wanted.diff_id, blob.media_type, blob.size, file)
        else:
            file.unlink()
        self._progress.say("Pull complete", name)
        return layer

    def _hold(self, layer: Layer) -> None:
        self._held.append(layer.chain)

    def _fetch(self, wanted: Wanted, staged: Staged, file: Path, name: str) -> Unpacked:
        total = wanted.blob.size

        def tell(count: int) -> None:
            self._progress.reached("Downloading", name, count, total)

        algorithm = wanted.blob.digest.partition(":")[0]
        opened = wanted.open()
        try:
            with file.open("wb", buffering=0) as target:
                packed = Hashed(_Tee(Metered(opened, tell), target), algorithm)
                plain, unpacked = _unpack(packed, staged, wanted.diff_id.partition(":")[0])
                self._progress.say("Verifying Checksum", name)
                while packed.read(1 << 16):
                    continue
        finally:
            opened.close()
        if packed.digest != wanted.blob.digest:
            raise InvalidManifest(f"filesystem layer verification failed for digest {wanted.blob.digest}")
        self._progress.say("Download complete", name)
        if plain != wanted.diff_id:
            raise InvalidManifest(f"layers from manifest don't match image configuration: {plain} != {wanted.diff_id}")
        return unpacked


class _Tee:
    def __init__(self, source: Source, file: BinaryIO) -> None:
        self._source = source
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        return data


def _unpack(packed: Source, staged: Staged, algorithm: str) -> tuple[str, Unpacked]:
    writer = RecipeWriter(staged.recipe)
    try:
        plain = Hashed(decompressed(packed), algorithm)
        unpacked = unpack(plain, staged.diff, writer)
    except BaseException as error:
        writer.abandon()
        if isinstance(error, OSError) and not isinstance(error, EngineError):
            raise type(error)(error.errno, f"failed to register layer: {error.strerror}", error.filename) from error
        raise
    writer.close()
    return plain.digest, unpacked
