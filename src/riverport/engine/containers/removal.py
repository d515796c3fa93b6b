"""Taking containers away, one by one or all that do not run."""

import asyncio
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from riverport.base.logging import get_logger
from riverport.engine.api.filters import Filters
from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.collaborators import Collaborators
from riverport.engine.containers.container import Container
from riverport.engine.containers.directory import ContainerDirectory
from riverport.engine.containers.lifecycle import SIGKILL
from riverport.engine.containers.times import parse_time
from riverport.engine.errors import Conflict, EngineError, NotFound

if TYPE_CHECKING:
    from riverport.engine.containers.execs import Execs
    from riverport.engine.containers.lifecycle import Lifecycle

log = get_logger(__name__)

PRUNE_FILTERS = ("label", "label!", "until")


class Removal:
    def __init__(self, catalogue: Catalogue, collaborators: Collaborators) -> None:
        self._catalogue = catalogue
        self._with = collaborators
        self._pruning = asyncio.Lock()
        # Set once by whoever makes all of them: each knows the other.
        self.lifecycle: Lifecycle
        self.execs: Execs

    async def remove(self, container: Container, reference: str, *, force: bool, volumes: bool) -> None:
        """Raises Conflict while it runs (unless `force`), or while somebody else removes it."""
        state = container.state
        if state.removing:
            raise Conflict(f"removal of container {reference} is already in progress")
        state.removing = True
        try:
            if state.running:
                await self._stop(container, force)
            async with container.lock:
                await self._take_away(container, volumes)
        finally:
            state.removing = False

    async def _stop(self, container: Container, force: bool) -> None:
        if not force:
            status = container.state.status.value
            if container.state.paused:
                reason = "container is paused and must be unpaused first"
            else:
                reason = f"container is {status}: stop the container before removing or force remove"
            raise Conflict(f'cannot remove container "/{container.name}": {reason}')
        await self.lifecycle.end(container, SIGKILL, None)

    async def remove_after_exit(self, container: Container) -> None:
        """AutoRemove: with its anonymous volumes."""
        if not container.state.removing and self._catalogue.has(container.id):
            with suppress(EngineError):
                await self.remove(container, container.name, force=True, volumes=True)

    async def _take_away(self, container: Container, volumes: bool) -> None:
        """Under the lock. A kill in between leaves a dead container, which the next start of the daemon takes away."""
        if not self._catalogue.has(container.id):
            raise NotFound(f"No such container: {container.id}")
        container.state.dead = True
        self._catalogue.note(container)
        await self.clear(container, volumes)
        for order in container.orders:
            if not order.streams.done():
                order.streams.set_result(None)
        self.execs.forget_container(container)
        self._catalogue.forget(container)
        self._catalogue.publish(container, "destroy")
        container.waiters.removed(container.outcome())

    async def clear(self, container: Container, volumes: bool) -> None:
        """Files and claims; doing it twice is fine."""
        directory = ContainerDirectory(self._with.settings.data_root, container.id).path
        await asyncio.gather(
            self._with.storage.remove_rootfs(container.id),
            self._with.volumes.drop(container.id, container.mounts, remove_anonymous=volumes),
            asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True),
        )

    async def prune(self, filters: Filters) -> tuple[list[str], int]:
        """All that do not run and fit: their ids, and the bytes they held."""
        if self._pruning.locked():
            raise Conflict("a prune operation is already running")
        now_ns = self._catalogue.clock_ns()
        until = [parse_time(text, now_ns) for text in filters.get("until")]
        removed: list[str] = []
        reclaimed = 0
        async with self._pruning:
            for container in self._catalogue:
                fits = filters.labels(container.config["Labels"]) and all(
                    container.created_at_ns <= limit for limit in until
                )
                if container.state.running or container.state.removing or not fits:
                    continue
                try:
                    size = await self._with.storage.size(container.id)
                    await self.remove(container, container.id, force=False, volumes=False)
                except EngineError as error:
                    log.warning("a container was not pruned", container=container.id, reason=str(error))
                    continue
                removed.append(container.id)
                reclaimed += size
        self._catalogue.publish_prune(reclaimed)
        return removed, reclaimed
