"""An image store with nothing in it that pulls from a faulty registry; both live in one event loop.

    world.pull("team/app")        the image; or `world.refused("team/app")`, the error, of which nothing is left

Pauses between tries are written down (`pauses`), not waited for.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from tests.engine.images.faulty import USER, FaultyRegistry

from riverport.engine.errors import EngineError, InvalidParameter
from riverport.engine.events import Events
from riverport.engine.images.credentials import Credentials
from riverport.engine.images.image import Image
from riverport.engine.images.manifests import OCI_MANIFEST
from riverport.engine.images.progress import Progress
from riverport.engine.images.pull import pull
from riverport.engine.images.reference import parse
from riverport.engine.images.session import Session
from riverport.engine.images.store import ImageStore
from riverport.engine.settings import Settings
from riverport.engine.state import State
from riverport.engine.storage.store import Storage

LIMIT_S: Final = 20.0
"""Nothing here waits; a test that hangs ends all the same."""
TABLES: Final = ("images", "image_names", "manifests", "blobs", "layers")

Result = TypeVar("Result")


class _Heard(Progress):
    def __init__(self, described: asyncio.Event | None) -> None:
        super().__init__()
        self._described = described

    def put(self, item: dict[str, Any]) -> None:
        if self._described is not None and str(item["status"]).startswith("Pulling from"):
            self._described.set()
        super().put(item)


class World:
    """A registry and an image store with nothing in it."""

    def __init__(self, root: Path, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.root = root
        self.pauses: list[float] = []
        self.state = State(Path(":memory:"))
        self.images = ImageStore(
            Settings(root, root / "run"), self.state, Storage(root, self.state), Events(), lambda: 1
        )
        self.registry = FaultyRegistry()
        self.closing = [self.registry]
        """Registries that end with it."""

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(asyncio.wait_for(work, LIMIT_S))

    async def start(self) -> None:
        await self.registry.__aenter__()
        await self.images.storage.start()
        await self.images.start()

    async def stop(self) -> None:
        for registry in self.closing:
            await registry.__aexit__()
        self.state.close()

    async def pulling(
        self, path: str, credentials: Credentials = USER, described: asyncio.Event | None = None
    ) -> Image:
        """`described` is set when the manifest and the config are here, and the layers come next."""
        reference = parse(path if path.startswith("127.") else f"{self.registry.host}/{path}").or_latest()
        return await pull(self.images, reference, credentials, _Heard(described))

    def pull(self, path: str, credentials: Credentials = USER) -> Image:
        return self.run(self.pulling(path, credentials))

    def refused(self, path: str, credentials: Credentials = USER) -> EngineError:
        """The error of a pull, of which nothing is left."""
        with pytest.raises(EngineError) as caught:
            self.pull(path, credentials)
        self.assert_nothing_left()
        return caught.value

    def refused_manifest(self, body: bytes, media_type: str = OCI_MANIFEST) -> str:
        """What is said of a manifest that is none; nothing it names is asked for."""
        self.registry.publish_bytes("team/app", body, media_type)
        error = self.refused("team/app")
        assert isinstance(error, InvalidParameter), error
        assert self.registry.targets("/blobs/") == []
        return str(error)

    def tried(self, path: str) -> tuple[EngineError | None, Image | None]:
        """Either; nothing else may come of a pull."""
        try:
            return None, self.pull(path)
        except EngineError as error:
            return error, None

    def files(self, image: Image) -> dict[str, bytes]:
        """What is in the layers of an image, by name."""
        stack = self.images.layers.stack(image.chain)
        return {path.name: path.read_bytes() for layer in stack for path in layer.diff.iterdir()}

    def left(self) -> list[str]:
        """Every file, directory and row that there is because of images."""
        overlay = self.root / "overlay2"
        places = [overlay / "l", self.root / "blobs" / "arriving", self.root / "blobs" / "sha256"]
        found = [str(entry) for place in places for entry in place.iterdir()]
        found += [str(entry) for entry in overlay.iterdir() if entry.name != "l"]
        found += [f"{kind} {key}" for kind in TABLES for key in self.state.load(kind)]
        return found + ["a layer that arrives"] * len(self.images.arriving)

    def assert_nothing_left(self) -> None:
        assert self.left() == []
        assert self.images.count() == 0
        assert len(self.images.layers) == 0


@contextmanager
def made_world(root: Path, patch: pytest.MonkeyPatch) -> Iterator[World]:
    with asyncio.Runner() as runner:
        world = World(root, runner)

        def pause(session: Session, seconds: float) -> None:
            world.pauses.append(seconds)
            session.check()

        patch.setattr(Session, "pause", pause)
        world.run(world.start())
        try:
            yield world
        finally:
            world.run(world.stop())
