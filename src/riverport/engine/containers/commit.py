"""A container becomes an image: its changes a layer, its configuration the image's."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.collaborators import Collaborators
from riverport.engine.containers.config import merge_image
from riverport.engine.containers.container import Container
from riverport.engine.containers.fields import CONFIG
from riverport.engine.errors import Conflict, SystemFailure
from riverport.engine.images.compose import composed
from riverport.engine.images.image import Image
from riverport.engine.images.reference import Reference

if TYPE_CHECKING:
    from riverport.engine.containers.lifecycle import Lifecycle

Json = dict[str, Any]

_OF_IMAGES = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
              "Healthcheck", "Shell", "OnBuild", "ArgsEscaped")  # fmt: skip
"""What of a container's configuration says how others like it run, rather than how this one does."""


_ENDING_S = 1.0
"""From the last process' end, which is what the control group goes with, to the shim's word of it."""


class Committer:
    def __init__(self, catalogue: Catalogue, collaborators: Collaborators, lifecycle: "Lifecycle") -> None:
        self._catalogue = catalogue
        self._with = collaborators
        self._lifecycle = lifecycle

    async def commit(
        self,
        container: Container,
        *,
        reference: Reference | None,
        config: Json | None,
        changes: Sequence[str],
        comment: str,
        author: str,
        pause: bool,
    ) -> Image:
        """Raises InvalidParameter for changes that are no instructions, Conflict for what is being removed."""
        from riverport.engine.build.config import apply_changes  # the whole of Dockerfiles comes with it

        if container.state.dead or container.state.removing:
            raise Conflict(f"You cannot commit container {container.id} which is being removed")
        merged = merge_image(CONFIG.read(apply_changes(config or container.config, changes)), container.config)
        paused = pause and container.state.running and not container.state.paused and not container.state.restarting
        if paused:
            paused = await self._pause(container)
        try:
            image = await self._make(container, {name: merged[name] for name in _OF_IMAGES}, comment, author)
        finally:
            if paused:
                await asyncio.shield(self._unpause(container))
        if reference is not None:
            self._with.images.name(image, reference.or_latest())
        named = reference.or_latest().familiar if reference is not None else ""
        self._catalogue.publish(container, "commit", {"comment": comment, "imageID": image.id, "imageRef": named})
        return image

    async def _pause(self, container: Container) -> bool:
        """False if it has just ended, which nobody may have heard of yet. Raises SystemFailure."""
        shim = container.running_shim()
        try:
            await self._lifecycle.pause(container)
        except (Conflict, SystemFailure):
            ended, _ = await asyncio.wait([shim.exited], timeout=_ENDING_S)
            if not ended:
                raise
            return False
        return True

    async def _unpause(self, container: Container) -> None:
        """Nothing to do for one that has ended; its end may be recorded while this waits for its turn."""
        try:
            await self._lifecycle.unpause(container)
        except (Conflict, SystemFailure):
            if container.state.paused:
                raise

    async def _make(self, container: Container, config: Json, comment: str, author: str) -> Image:
        images = self._with.images
        parent = images.resolve(container.image_id) if container.image_id else None
        layer = await self._with.storage.commit(container.id)
        try:
            raw = composed(
                parent,
                config,
                created_ns=self._catalogue.clock_ns(),
                diff_id=layer.diff_id,
                created_by=container.command,
                comment=comment,
                author=author,
            )
            return images.create(raw, parent.id if parent is not None else None)
        finally:
            await images.layers.release(layer.chain)
