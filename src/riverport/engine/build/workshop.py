"""What the stages of one build share, and the deeds of their steps."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riverport.engine.build import copy_step, run_step
from riverport.engine.build.cache import BuildCache
from riverport.engine.build.caches import CacheMounts
from riverport.engine.build.dockerfile import Stage
from riverport.engine.build.documents import Step
from riverport.engine.build.instructions import Copy, Run
from riverport.engine.build.options import BuildOptions
from riverport.engine.build.run_mounts import TreeAndLayers
from riverport.engine.build.running import Runs
from riverport.engine.build.sources import Tree
from riverport.engine.build.stages import find_stage
from riverport.engine.build.transcript import Part
from riverport.engine.errors import EngineError, InvalidParameter
from riverport.engine.images.platform import Platform
from riverport.engine.linux.inroot import Root

if TYPE_CHECKING:
    from riverport.engine.build.base_images import BaseImages
    from riverport.engine.build.stage import StageRun
    from riverport.engine.images.image import Image
    from riverport.engine.images.store import ImageStore
    from riverport.engine.storage.layers import Layer
    from riverport.engine.storage.store import Storage

Json = dict[str, Any]


@dataclass(slots=True)
class Workshop:
    """`directory` is this build's own; `context` is None where the Dockerfile came without one.

    `turns`: how many stages may be at work. `held`: images that must stay until the build ends.
    """

    options: BuildOptions
    directory: Path
    context: Path | None
    escape: str
    platform: Platform
    release: str
    stages: list[Stage]
    images: "ImageStore"
    storage: "Storage"
    bases: "BaseImages"
    cache: BuildCache
    runs: Runs
    caches: CacheMounts
    turns: asyncio.Semaphore
    held: set[str]
    now: Callable[[], str]
    total: int = 0
    built: dict[int, "Image"] = field(default_factory=dict)
    _context_tree: Tree | None = None

    def tell_step(self, part: Part, number: int, code: str) -> None:
        part.say(f"Step {number}/{self.total} : {code}")
        part.say("\n")

    # ---- trees of files

    def context_tree(self) -> Tree:
        """The context's; its digests are computed once for all steps."""
        if self.context is None:
            raise InvalidParameter("missing build context")
        if self._context_tree is None:
            self._context_tree = Tree(Root(self.context))
        return self._context_tree

    async def origin(self, name: str, stage: Stage, part: Part) -> "Image | None":
        """The image that `from=name` in `stage` means; None for scratch."""
        number = find_stage(self.stages, name, stage.number)
        if number is not None:
            return self.built[number]
        return await self.bases.get(name, part)

    @asynccontextmanager
    async def tree(self, name: str, stage: Stage, part: Part) -> AsyncIterator[TreeAndLayers]:
        """What `from=name` means in `stage`; the context for an empty name."""
        if name:
            async with self.image_tree(await self.origin(name, stage, part)) as found:
                yield found
        else:
            root = self.context_tree().root
            assert self.context is not None
            yield root, (self.context,)

    @asynccontextmanager
    async def image_tree(self, image: "Image | None") -> AsyncIterator[TreeAndLayers]:
        """The files of an image, as one root and as its layers."""
        if image is None:
            raise InvalidParameter("scratch has no files")
        async with self.storage.viewed(image.id) as path:
            with Root(path) as root:
                yield root, tuple(self.storage.layers.diffs(image.chain))

    def close(self) -> None:
        if self._context_tree is not None:
            self._context_tree.root.close()

    # ---- steps

    async def configure(self, run: "StageRun", step: Step, is_workdir: bool) -> None:
        """A step that changes no file, unless it is a WORKDIR that is not there yet."""
        container_id = os.urandom(32).hex()
        run.part.say(f" ---> Running in {container_id[:12]}\n")
        layer = None
        if is_workdir:
            directory = step.draft.config["WorkingDir"]
            layer = await self.changed(run, container_id, lambda root: _make_directory(root, directory))
        if self.options.keeps_done:
            await self.runs.keep_unstarted(container_id, run.image_id, step.command, step.draft.config)
        await self.finish(run, step, layer, container_id)

    async def finish(self, run: "StageRun", step: Step, layer: "Layer | None", container_id: str) -> None:
        await run.take(step, layer)
        if not self.options.keeps_done:
            run.part.say(f" ---> Removed intermediate container {container_id[:12]}\n")

    async def changed(self, run: "StageRun", container_id: str, change: Callable[[Root], None]) -> "Layer | None":
        """The layer that `change` makes of the stage's files (on a thread); None if it changed none.

        The caller has one use of the layer.
        """
        async with self.runs.root(container_id, run.image_id, []) as rootfs:
            async with self.storage.mounted(container_id) as path:
                await asyncio.to_thread(_change, path, change)
            if not os.listdir(rootfs.upper):
                return None
            return await self.storage.commit(container_id, consume=True)

    async def copy(self, run: "StageRun", instruction: Copy) -> None:
        await copy_step.perform(self, run, instruction)

    async def run(self, run: "StageRun", instruction: Run, variables: Mapping[str, str]) -> None:
        await run_step.perform(self, run, instruction, variables)


def _change(path: Path, change: Callable[[Root], None]) -> None:
    with Root(path) as root:
        change(root)


def _make_directory(root: Root, directory: str) -> None:
    try:
        root.make_dirs(directory)
        os.close(root.open(directory, os.O_PATH | os.O_DIRECTORY))
    except NotADirectoryError as error:
        raise EngineError(f"Cannot mkdir: {directory} is not a directory") from error
