"""RUN: one command in a container of its own, whose changes become a layer.

No document is kept of such a container: it lives as long as its step, and everything the kernel holds for it hangs on
its shim, which goes with the step whatever happens. It may become a container like others then
(`step_containers.py`).
"""

import asyncio
import codecs
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.engine.build.run_mounts import Prepared
from riverport.engine.build.step_containers import StepContainer, StepContainers
from riverport.engine.containers.container import ContainerState
from riverport.engine.errors import EngineError
from riverport.engine.linux.inroot import Root
from riverport.engine.networks.member import Member
from riverport.engine.runtime.attach import STDERR, Frames
from riverport.engine.runtime.model import ExitStatus, StdioSettings
from riverport.engine.runtime.users import look_up
from riverport.engine.storage import trees
from riverport.engine.volumes.plan import plan_mounts

if TYPE_CHECKING:
    from riverport.engine.networks.networks import Networks
    from riverport.engine.runtime.handle import Shim
    from riverport.engine.runtime.runtime import Runtime
    from riverport.engine.state import State
    from riverport.engine.storage.layers import Layer
    from riverport.engine.storage.rootfs import Rootfs
    from riverport.engine.storage.store import Storage
    from riverport.engine.volumes.mount_point import MountPoint
    from riverport.engine.volumes.volumes import Volumes

log = get_logger(__name__)

Json = dict[str, Any]
Say = Callable[[str], Awaitable[None]]

KIND = "build_containers"
_RED, _PLAIN = "\x1b[91m", "\x1b[0m"
_LIMIT_DEFAULTS: Json = {"ShmSize": 0, "Privileged": False, "CgroupParent": ""}


class StepFailed(EngineError):
    """A command's exit code is not zero; `code` becomes the client's own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Command:
    """`config` and `host_config` are Docker's; `config` has the step's variables, user and working directory."""

    words: tuple[str, ...]
    config: Json
    host_config: Json
    container_id: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def short_id(self) -> str:
        return self.container_id[:12]


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs commands; `directory` is for the few files that a container has mounted into its /etc."""

    directory: Path
    state: "State"
    storage: "Storage"
    runtime: "Runtime"
    networks: "Networks"
    volumes: "Volumes"
    containers: StepContainers

    async def recover(self) -> None:
        """What steps of a killed daemon have left: ends their processes and removes their files."""
        for container_id, document in self.state.load(KIND).items():
            if self.containers.has(container_id):
                self._forget(container_id, [])
                continue
            kept: list[BaseException] = []
            found = await self.runtime.recover(container_id)
            if not isinstance(found, ExitStatus | None):
                await found.discard()
            await _in_peace(kept, self.networks.leave, container_id)
            await self.storage.remove_rootfs(container_id)
            for name in document["volumes"]:
                await _in_peace(kept, self.volumes.remove, name, True)
            self._forget(container_id, kept)

    def _forget(self, container_id: str, kept: list[BaseException]) -> None:
        """Unless something of it could not be given back, as when the daemon ends meanwhile: the next start will."""
        if not kept:
            self.state.delete(KIND, [container_id])

    @asynccontextmanager
    async def root(self, container_id: str, image_id: str | None, kept: list[BaseException]) -> "AsyncIterator[Rootfs]":
        """The files that a step works on, gone afterwards unless a container has them by then.

        The next start removes those of a killed daemon.
        What could not be given back is put into `kept`, and then the next start sees to it too.
        """
        async with AsyncExitStack() as stack:
            self.state.save(KIND, container_id, {"volumes": []})
            stack.callback(self._forget, container_id, kept)
            rootfs = await self.storage.create_rootfs(container_id, image_id)
            stack.push_async_callback(_in_peace, kept, self._remove_root, container_id)
            yield rootfs

    async def _remove_root(self, container_id: str) -> None:
        if not self.containers.has(container_id):
            await self.storage.remove_rootfs(container_id)

    async def run(
        self,
        command: Command,
        image_id: str | None,
        mounts: Prepared,
        say: Say,
        *,
        keeps_done: bool,
        keeps_failed: bool,
    ) -> "Layer | None":
        """The layer, of which the caller has one use; None if the command changed nothing.

        With `keeps_done` it is a container afterwards. Raises StepFailed (with `keeps_failed` it is a container then),
        or what keeps the command from starting.
        """
        kept: list[BaseException] = []
        async with self.root(command.container_id, image_id, kept) as rootfs:
            started_at_ns = time.time_ns()
            try:
                places = await self._run_in(command, mounts, say, kept)
            except StepFailed as failed:
                if keeps_failed:
                    await self.containers.keep(_ended_step(command, image_id, failed.code, started_at_ns))
                raise
            await asyncio.to_thread(_remove_places, rootfs.upper, places)
            layer = None
            if await asyncio.to_thread(_is_changed, rootfs.upper):
                layer = await self.storage.commit(command.container_id, consume=not keeps_done)
            if keeps_done:
                # Last, as from then on others may remove it.
                try:
                    await self.containers.keep(_ended_step(command, image_id, 0, started_at_ns))
                except BaseException:
                    if layer is not None:
                        await asyncio.shield(self.storage.layers.release(layer.chain))
                    raise
            return layer

    async def keep_unstarted(
        self, container_id: str, image_id: str | None, words: tuple[str, ...], config: Json
    ) -> None:
        """A step that ran no command as a container: `words` say what it did."""
        async with self.root(container_id, image_id, []):
            await self.containers.keep(StepContainer(container_id, image_id, words, config, {}, ContainerState()))

    async def _run_in(self, command: Command, mounts: Prepared, say: Say, kept: list[BaseException]) -> list[str]:
        """Run it to its end; what was made in the root only to mount something there."""
        points = plan_mounts(command.config, command.host_config, _no_volumes_from)
        member = Member(command.container_id, command.short_id, command.config, command.host_config)
        async with AsyncExitStack() as stack:
            if points:
                points = await self.volumes.claim(command.container_id, points)
                self.state.save(KIND, command.container_id, {"volumes": [p.name for p in points if p.anonymous]})
                stack.push_async_callback(_in_peace, kept, self._drop_volumes, command.container_id, points)
                stack.push_async_callback(_in_peace, kept, self.volumes.release, command.container_id)
            rootfs = self.storage.rootfs(command.container_id)
            shim = await self.runtime.prepare(command.container_id, rootfs, member.has_own_namespace)
            stack.push_async_callback(_in_peace, kept, shim.discard)
            stack.push_async_callback(_in_peace, kept, self.networks.leave, command.container_id)
            network, directory = await self._network(member, shim, stack)
            volumes = await self.volumes.acquire(command.container_id, points, shim.root) if points else []
            places = await asyncio.to_thread(_make_ready, shim.root, command.config, mounts)
            entries = [*_file_mounts(directory), *volumes, *mounts.entries]
            hostname = (directory / "hostname").read_text().strip()
            code = await self._follow(command, shim, network, hostname, entries, say)
        if code:
            shown = " ".join(command.words)
            raise StepFailed(f"The command '{shown}' returned a non-zero code: {code}", code)
        return places

    async def _drop_volumes(self, container_id: str, points: "list[MountPoint]") -> None:
        await self.volumes.drop(container_id, points, remove_anonymous=True)

    async def _network(self, member: Member, shim: "Shim", stack: AsyncExitStack) -> tuple[str | None, Path]:
        """The path of the network namespace (None: the host's), and where the files of it are that /etc gets."""
        kind, colon, neighbour = member.mode.partition(":")
        if kind == "container" and colon:
            other = self.containers.neighbour(neighbour)
            return other.namespace, other.directory
        network = shim.netns_path if member.has_own_namespace else None
        joined = await self.networks.join(member, network)
        directory = self.directory / member.id
        directory.mkdir(parents=True)
        stack.callback(trees.remove, directory)
        hostname = os.uname().nodename if network is None else member.hostname
        texts = {"resolv.conf": joined.resolv_conf, "hostname": f"{hostname}\n", "hosts": joined.hosts}
        for name, text in texts.items():
            (directory / name).write_text(text)
        return network, directory

    async def _follow(
        self, command: Command, shim: "Shim", network: str | None, hostname: str, mounts: Sequence[Json], say: Say
    ) -> int:
        config, host_config = command.config, {**_LIMIT_DEFAULTS, **command.host_config}
        with Root(shim.root) as root:
            user = await asyncio.to_thread(look_up, root, config.get("User") or "")
        spec = self.runtime.spec(
            shim,
            config,
            host_config,
            user,
            command.words,
            hostname=hostname,
            network=network,
            mounts=mounts,
        )
        stream = await shim.attach(stdin=False, stdout=True, stderr=True)
        try:
            await shim.run(spec, StdioSettings())
            frames = Frames()
            decoders = {number: codecs.getincrementaldecoder("utf-8")("replace") for number in (1, 2)}
            while data := await stream.read():
                for number, piece in frames.feed(data):
                    if text := decoders[number].decode(piece):
                        await say(f"{_RED}{text}{_PLAIN}" if number == STDERR else text)
            return (await asyncio.shield(shim.exited)).code
        finally:
            stream.close()


def _ended_step(command: Command, image_id: str | None, code: int, started_at_ns: int) -> StepContainer:
    state = ContainerState(exit_code=code, started_at_ns=started_at_ns, finished_at_ns=time.time_ns())
    return StepContainer(command.container_id, image_id, command.words, command.config, command.host_config, state)


def _file_mounts(directory: Path) -> list[Json]:
    options = ["rbind", "rprivate", "rw"]
    return [
        {"destination": f"/etc/{name}", "type": "bind", "source": str(directory / name), "options": options}
        for name in ("resolv.conf", "hostname", "hosts")
    ]


def _make_ready(root: Path, config: Json, mounts: Prepared) -> list[str]:
    """The working directory, which is the image's from now on; and the places of mounts, which are not."""
    with Root(root) as opened:
        if (directory := config.get("WorkingDir") or "/") != "/":
            opened.make_dirs(directory)
        return mounts.make_places(opened)


def _remove_places(upper: Path, places: Sequence[str]) -> None:
    """What is left of the places; whatever the command has put into one stays."""
    with Root(upper) as root:
        for place in reversed(places):
            try:
                with root.parent(place) as (directory, name):
                    _remove_if_empty(directory, name)
            except OSError:
                continue


def _remove_if_empty(directory: int, name: str) -> None:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        os.rmdir(name, dir_fd=directory)
    elif stat.S_ISREG(status.st_mode) and not status.st_size:
        os.unlink(name, dir_fd=directory)


def _is_changed(upper: Path) -> bool:
    return any(True for _ in upper.iterdir())


def _no_volumes_from(_: str) -> "list[MountPoint]":
    return []


async def _in_peace(kept: list[BaseException], deed: Callable[..., Awaitable[object]], *arguments: object) -> None:
    """Clearing away goes on while a cancelled build unwinds; one failure (put into `kept`) does not keep the rest."""
    try:
        await asyncio.shield(asyncio.ensure_future(deed(*arguments)))
    except Exception as error:
        kept.append(error)
        log.error("something of a step was not given back", error=error)
    except BaseException as error:
        kept.append(error)
        raise
