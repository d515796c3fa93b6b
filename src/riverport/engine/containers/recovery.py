"""The daemon has started: what has become of the containers it knew?

A container that ran hangs on its shim and either runs still or has left an exit file; what was in the making, or half
removed, is cleared away. Only then do policies say what is started.
"""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from riverport.base.logging import get_logger
from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.collaborators import Collaborators
from riverport.engine.containers.container import Container, ContainerState
from riverport.engine.containers.launch import member_of
from riverport.engine.containers.lifecycle import Lifecycle
from riverport.engine.containers.removal import Removal
from riverport.engine.containers.restart import RestartPolicy, at_daemon_start
from riverport.engine.containers.times import SECOND_NS
from riverport.engine.errors import EngineError
from riverport.engine.networks.member import Member
from riverport.engine.runtime.handle import KILLED
from riverport.engine.runtime.model import ExitStatus

if TYPE_CHECKING:
    from riverport.engine.runtime.handle import Shim

log = get_logger(__name__)


class Recovery:
    def __init__(
        self, catalogue: Catalogue, collaborators: Collaborators, lifecycle: Lifecycle, removal: Removal
    ) -> None:
        self._catalogue = catalogue
        self._with = collaborators
        self._lifecycle = lifecycle
        self._removal = removal

    async def run(self) -> None:
        """Before the first request is answered."""
        self._catalogue.load()
        await self._clear_debris()
        containers = [container for container in self._catalogue if not container.state.dead]
        # Chosen now: what dies of AutoRemove while containers are settled is being taken away already.
        dead = [container for container in self._catalogue if container.state.dead]
        for container in containers:
            try:
                container.mounts = await self._with.volumes.claim(container.id, container.mounts)
            except EngineError as error:
                log.error("a container's volumes are gone", container=container.id, reason=str(error))
        found = await asyncio.gather(*(self._with.runtime.recover(container.id) for container in containers))
        living = [pair for pair in zip(containers, found) if pair[0].state.running and _is_alive(pair[1])]
        await self._with.networks.recover(self._members(living))
        for container, state in zip(containers, found):
            await self._settle(container, state)
        for container in containers:
            if _is_spent(container):
                await self._removal.remove_after_exit(container)
        for container in dead:
            container.state.removing = False
            await self._removal.remove(container, container.id, force=True, volumes=False)

    async def _clear_debris(self) -> None:
        """Shims, roots and directories of nobody: of a creation, a start, a removal or a build that was cut short."""
        for container_id in self._with.runtime.known():
            if not self._catalogue.has(container_id):
                state = await self._with.runtime.recover(container_id)
                if state is not None and not isinstance(state, ExitStatus):
                    await state.discard()
        for container_id in self._with.storage.roots():
            if not self._catalogue.has(container_id):
                await self._with.storage.remove_rootfs(container_id)
        directories = self._with.settings.data_root / "containers"
        if directories.is_dir():
            known = [path for path in directories.iterdir() if not self._catalogue.has(path.name)]
            await asyncio.to_thread(_remove_all, known)

    def _members(
        self, living: "Sequence[tuple[Container, Shim | ExitStatus | None]]"
    ) -> list[tuple[Member, str | None]]:
        members: list[tuple[Member, str | None]] = []
        for container, shim in living:
            member = member_of(container)
            assert shim is not None
            assert not isinstance(shim, ExitStatus)
            members.append((member, shim.netns_path if member.has_own_namespace else None))
        return members

    async def _settle(self, container: Container, found: "Shim | ExitStatus | None") -> None:
        state = container.state
        async with container.lock:
            if found is not None and not isinstance(found, ExitStatus):
                if found.container_pid is not None or found.exited.done():
                    await self._resume(container, found)
                    return
                await found.discard()  # the daemon was killed between the shim's making and the start
                found = None
            if isinstance(found, ExitStatus) and not state.running and _is_untold(found, state):
                # It was started and has ended, and the kill came before either was written down.
                state.set_running(0, round(found.finished_at * SECOND_NS))
                self._catalogue.publish(container, "start")
            if state.running and not state.restarting:
                await self._ended(container, self._end_of(state, found))
            elif state.restarting or self._starts(container):
                self._lifecycle.start_again(container)

    async def _resume(self, container: Container, shim: "Shim") -> None:
        """It runs, or has ended while nobody looked: then its end is dealt with as any other."""
        container.shim = shim
        state = container.state
        if not state.running or state.restarting:  # the kill came before the start was written down
            state.set_running(shim.container_pid or 0, self._catalogue.clock_ns())
            self._catalogue.publish(container, "start")
        state.pid = shim.container_pid or state.pid
        self._catalogue.note(container)
        self._with.volumes.resume(container.id, container.mounts, shim.root)
        self._lifecycle.watch(container, shim, resumes=True)

    async def _ended(self, container: Container, status: ExitStatus) -> None:
        """Under the lock. Nobody saw it end: the machine went down, or shim and daemon both did."""
        await self._lifecycle.ended(container, None, status)
        if not container.state.restarting and self._starts(container, was_running=True):
            self._lifecycle.start_again(container)

    def _end_of(self, state: ContainerState, found: ExitStatus | None) -> ExitStatus:
        """What is known of an end that was not dealt with, or not to its end."""
        if state.ending is not None:
            return ExitStatus(**state.ending)
        return found or ExitStatus(KILLED, False, self._catalogue.clock_ns() / SECOND_NS)

    @staticmethod
    def _starts(container: Container, was_running: bool = False) -> bool:
        if not container.state.started_at_ns:
            return False
        policy = RestartPolicy.of(container.host_config)
        return at_daemon_start(policy, was_running, container.state.exit_code, container.stopped_by_hand)


def _is_spent(container: Container) -> bool:
    """Whether it has run, and would have removed itself had the daemon lived a moment longer."""
    state = container.state
    return bool(container.host_config["AutoRemove"] and state.started_at_ns and not state.running)


def _is_untold(status: ExitStatus, state: ContainerState) -> bool:
    """Whether this is another end than the one that is known.

    KILLED may be a guess: of a start that was cut short, or out of files half cleared away.
    """
    is_later = round(status.finished_at * SECOND_NS) > state.finished_at_ns
    return is_later and (status.code != KILLED or status.oom_killed)


def _is_alive(found: "Shim | ExitStatus | None") -> bool:
    return found is not None and not isinstance(found, ExitStatus) and not found.exited.done()


def _remove_all(paths: Sequence[Path]) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
