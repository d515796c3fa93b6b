"""The layers of an image that arrives: each fetched, checked and unpacked by one thread in one pass, several at once.

    source ─ hash ─ tee to a file ─ decompress ─ hash ─ unpack
             │ blob's digest                      │ diff id

A layer is registered when those below it are. When anything fails, all that was registered for this image is released
again, and with it removed.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from riverport.engine.errors import SystemFailure
from riverport.engine.images.importing import unpack_staged
from riverport.engine.images.manifests import Descriptor, InvalidManifest
from riverport.engine.images.progress import Metered, Progress
from riverport.engine.images.store import ImageStore
from riverport.engine.images.workers import Workers, all_or_none
from riverport.engine.storage.compression import Hashed
from riverport.engine.storage.layers import ChainId, Layer, Staged, next_chain
from riverport.engine.storage.tar_reader import InvalidArchive, Source
from riverport.engine.storage.threads import to_its_end
from riverport.engine.storage.unpack import Unpacked


class ClosingSource(Source, Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A layer and where its bytes come from; `open` is called on a thread."""

    name: str
    """What it is called on the screen."""
    diff_id: str
    size: int
    open: Callable[[], ClosingSource]
    blob: Descriptor | None = None
    """Its digest is compared; None of an archive that names none."""
    keep: bool = False
    """Whether the bytes are kept as they are, as the files do not tell them. Needs `blob`."""
    file: Path | None = None
    """Where the bytes lie already; then nothing is copied, and what is kept is this file."""


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of a layer; nothing where the word is empty."""

    known: str = "Already exists"
    begins: str = "Pulling fs layer"
    arrives: str = "Downloading"
    checked: str = "Verifying Checksum"
    arrived: str = "Download complete"
    settles: str = "Extracting"
    done: str = "Pull complete"


PULL = Words()
LOAD = Words(known="", begins="", arrives="Loading layer", checked="", arrived="", settles="", done="")


class Fetch:
    """One image's layers; use it as `async with`, so that they are held until the image holds them."""

    def __init__(self, images: ImageStore, workers: Workers, progress: Progress, words: Words = PULL) -> None:
        self._images = images
        self._workers = workers
        self._progress = progress
        self._words = words
        self._held: list[ChainId] = []
        self.fetched = 0
        """Layers that were not here before."""

    async def __aenter__(self) -> "Fetch":
        return self

    async def __aexit__(self, *_: object) -> None:
        await to_its_end(self._release())

    async def _release(self) -> None:
        for chain in self._held:
            await self._images.layers.release(chain)

    async def layers(self, wanted: Sequence[Wanted]) -> None:
        """All of them, from the lowest up. Raises what the first failure was.

        Given up, it goes on as long as others wait for one of them; given up again, it ends at once.
        """
        chains: list[ChainId] = []
        for one in wanted:
            chains.append(next_chain(chains[-1] if chains else None, one.diff_id))
        tasks: list[asyncio.Task[Layer]] = []
        for one, chain in zip(wanted, chains, strict=True):
            below = tasks[-1] if tasks else None
            tasks.append(asyncio.create_task(self._layer(one, chain, below)))
        arriving = asyncio.ensure_future(all_or_none(tasks))
        try:
            await asyncio.wait({arriving})
        except asyncio.CancelledError:
            await self._serve(arriving)
            raise
        finally:
            arriving.cancel()
            await to_its_end(asyncio.gather(arriving, return_exceptions=True))
        arriving.result()

    async def _serve(self, arriving: "asyncio.Future[list[Layer]]") -> None:
        """Until others have what they wait for, or have to try themselves, or have given up as well."""
        served = asyncio.ensure_future(self._images.arriving.served(self._held, self))
        either: set[asyncio.Future[Any]] = {arriving, served}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if arriving.done() and not arriving.exception():
                await asyncio.wait({served})  # they must have their own use of a layer before this one's ends
        finally:
            served.cancel()

    async def _layer(self, wanted: Wanted, chain: ChainId, below: "asyncio.Task[Layer] | None") -> Layer:
        async with self._images.arriving.of(chain, self):
            if (known := self._images.layers.get(chain)) is not None:
                self._hold(self._images.layers.use(chain))
                self._say(self._words.known, wanted)
                return known
            self._say(self._words.begins, wanted)
            return await self._arrive(wanted, below)

    async def _arrive(self, wanted: Wanted, below: "asyncio.Task[Layer] | None") -> Layer:
        file = wanted.file or self._images.blobs.new_file()
        try:
            layer = await self._unpacked(wanted, file, below)
            blob = wanted.blob
            if wanted.keep and blob is not None:
                self._images.blobs.keep(blob.digest, wanted.diff_id, blob.media_type, blob.size, file)
        finally:
            if wanted.file is None:
                file.unlink(missing_ok=True)
        self.fetched += 1
        self._say(self._words.done, wanted)
        return layer

    async def _unpacked(self, wanted: Wanted, file: Path, below: "asyncio.Task[Layer] | None") -> Layer:
        """The layer, held. What fails later must leave its directory alone: others may use it already."""
        staged = self._images.layers.stage()
        try:
            unpacked = await self._workers.run(self._fetch, wanted, staged, file)
            parent = await asyncio.shield(below) if below is not None else None
            self._say(self._words.settles, wanted)
            chain = parent.chain if parent is not None else None
            layer = await self._images.layers.register(chain, staged, wanted.diff_id, unpacked)
        except BaseException:
            await self._images.layers.discard(staged)
            raise
        self._hold(layer)
        return layer

    def _hold(self, layer: Layer) -> None:
        self._held.append(layer.chain)

    def _say(self, word: str, wanted: Wanted) -> None:
        if word:
            self._progress.say(word, wanted.name)

    def _fetch(self, wanted: Wanted, staged: Staged, file: Path) -> Unpacked:
        def tell(count: int) -> None:
            self._progress.reached(self._words.arrives, wanted.name, count, wanted.size)

        expected = wanted.blob.digest if wanted.blob is not None else ""
        opened = wanted.open()
        try:
            with ExitStack() as stack:
                source: Source = Metered(opened, tell)
                if wanted.keep and wanted.file is None:
                    source = _Tee(source, stack.enter_context(file.open("wb", buffering=0)))
                packed = Hashed(source, expected.partition(":")[0] or "sha256")
                try:
                    diff_id, unpacked = unpack_staged(packed, staged, wanted.diff_id.partition(":")[0])
                except InvalidArchive as error:
                    if not expected:
                        raise
                    _verify(packed, expected)
                    raise InvalidArchive(f"failed to register layer: {error}") from error
                self._say(self._words.checked, wanted)
                _verify(packed, expected)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SystemFailure(f"failed to register layer: {reason}") from error
        finally:
            opened.close()
        self._say(self._words.arrived, wanted)
        if diff_id != wanted.diff_id:
            raise InvalidManifest(
                f"layers from manifest don't match image configuration: {diff_id} != {wanted.diff_id}"
            )
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


def _verify(packed: Hashed, expected: str) -> None:
    """Compare the digest of all of it; what is another blob is called that, whatever archive it may be."""
    while packed.read(1 << 16):
        continue
    if expected and packed.digest != expected:
        raise InvalidManifest(f"filesystem layer verification failed for digest {expected}")
