"""Processes that are started in a container that runs already.

An exec ends with its container. Its record can be inspected for five minutes more, since clients ask for the exit code
after the stream has ended.
"""

import asyncio
import base64
import os
import secrets
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from riverport.base.http.messages import ClientGone, Duplex
from riverport.engine.containers.attach import Session, frame, translation
from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.container import Container
from riverport.engine.containers.detach_keys import parse_keys
from riverport.engine.containers.fields import BOOL, COMMAND, SIZE, TEXT, TEXTS, Field, Table
from riverport.engine.containers.lifecycle import Tasks
from riverport.engine.containers.times import SECOND_NS
from riverport.engine.errors import Conflict, EngineError, InvalidParameter, NotFound
from riverport.engine.runtime.attach import STDOUT, Frames
from riverport.engine.runtime.failures import NOT_RUNNABLE, CommandFailure
from riverport.engine.runtime.model import StdioSettings

if TYPE_CHECKING:
    from riverport.engine.containers.processes import Processes
    from riverport.engine.runtime.attach import AttachStream
    from riverport.engine.runtime.handle import ExecHandle, Shim

KEPT_NS = 5 * 60 * SECOND_NS

EXEC_CONFIG = Table(
    "ExecOptions",
    Field("User", TEXT, ""),
    Field("Privileged", BOOL, False),
    Field("Tty", BOOL, False),
    Field("ConsoleSize", SIZE),
    Field("AttachStdin", BOOL, False),
    Field("AttachStderr", BOOL, False),
    Field("AttachStdout", BOOL, False),
    Field("DetachKeys", TEXT, ""),
    Field("Env", TEXTS),
    Field("WorkingDir", TEXT, ""),
    Field("Cmd", COMMAND),
)


@dataclass(slots=True, eq=False)
class Exec:
    id: str
    container: Container
    config: dict[str, Any]  # EXEC_CONFIG
    keys: bytes
    running: bool = False
    exit_code: int | None = None
    pid: int = 0
    ended_at_ns: int = 0
    begun: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def command_text(self) -> str:
        return " ".join(self.config["Cmd"])

    def document(self) -> dict[str, Any]:
        command = self.config["Cmd"]
        process = {
            "tty": self.config["Tty"],
            "entrypoint": command[0],
            "arguments": command[1:],
            "privileged": self.config["Privileged"],
        }
        if self.config["User"]:
            process["user"] = self.config["User"]
        return {
            "ID": self.id,
            "Running": self.running,
            "ExitCode": self.exit_code,
            "ProcessConfig": process,
            "OpenStdin": self.config["AttachStdin"],
            "OpenStderr": self.config["AttachStderr"],
            "OpenStdout": self.config["AttachStdout"],
            "CanRemove": False,
            "ContainerID": self.container.id,
            "DetachKeys": base64.b64encode(self.keys if self.config["DetachKeys"] else b"").decode(),
            "Pid": self.pid,
        }


class Execs:
    def __init__(self, catalogue: Catalogue, processes: "Processes", tasks: Tasks) -> None:
        self._catalogue = catalogue
        self._processes = processes
        self._tasks = tasks
        self._execs: dict[str, Exec] = {}

    def get(self, exec_id: str) -> Exec:
        self._forget_old()
        found = self._execs.get(exec_id)
        if found is None or not self._catalogue.has(found.container.id):
            raise NotFound(f"No such exec instance: {exec_id}")
        return found

    async def create(self, reference: str, given: Mapping[str, Any], version: tuple[int, int]) -> Exec:
        """Raises InvalidParameter, NotFound, and Conflict where the container does not run."""
        config = EXEC_CONFIG.read(given)
        if not config["Cmd"]:
            raise InvalidParameter("No exec command specified")
        if version < (1, 42):
            config["ConsoleSize"] = None
        container = self._catalogue.get(reference)
        shim = _active(container, reference)
        self._processes.expect()
        if config["User"]:
            await self._processes.user(shim, config["User"], [])
        made = Exec(secrets.token_hex(32), container, config, parse_keys(config["DetachKeys"]))
        self._execs[made.id] = made
        self._tell(made, f"exec_create: {made.command_text}")
        return made

    def begin(self, exec_id: str) -> Exec:
        """An exec that is to be started now; raises Conflict where it was started before."""
        found = self.get(exec_id)
        _active(found.container, found.container.id)
        if found.exit_code is not None:
            raise Conflict(f"exec command {found.id} has already run")
        if found.begun:
            raise Conflict(f"exec command {found.id} is already running")
        found.begun = found.running = True
        return found

    async def run_detached(self, chosen: Exec, console_size: list[int] | None) -> None:
        await self._start(chosen, console_size)

    async def run_attached(self, chosen: Exec, duplex: Duplex, console_size: list[int] | None, *, framed: bool) -> None:
        """Until the exec has ended or the client has gone; a command that cannot be run is told in the stream.

        `framed`: the client wants frames, whether or not the exec has a terminal.
        """
        config = chosen.config
        shim = chosen.container.running_shim()
        stream = await shim.attach_exec(
            chosen.id, stdin=config["AttachStdin"], stdout=config["AttachStdout"], stderr=config["AttachStderr"]
        )
        try:
            await self._start(chosen, console_size)
        except EngineError as error:
            stream.close()
            await _tell_client(duplex, f"{error}\r\n", framed)
            return
        keys = chosen.keys if config["Tty"] or config["DetachKeys"] else None
        session = Session(duplex, keys, translation(framed=not config["Tty"], wanted_framed=framed))
        await session.run(stream, takes_input=config["AttachStdin"])
        if session.detached:
            self._tell(chosen, "exec_detach")
            return
        if stream.is_over:
            await chosen.ended.wait()  # the client asks for the exit code next

    async def run_collecting(self, container: Container, command: list[str], limit: int, timeout_s: float) -> "Probed":
        """Run `command` as the container's user; keeps up to `limit` bytes of what it says."""
        config = EXEC_CONFIG.read({"Cmd": command, "AttachStdout": True, "AttachStderr": True})
        chosen = Exec(secrets.token_hex(32), container, config, b"")
        chosen.begun = chosen.running = True
        self._execs[chosen.id] = chosen
        self._tell(chosen, f"exec_create: {chosen.command_text}")
        shim = container.running_shim()
        stream = await shim.attach_exec(chosen.id, stdin=False, stdout=True, stderr=True)
        output = bytearray()
        try:
            await self._start(chosen, None)
            async with asyncio.timeout(timeout_s):
                await _collect(stream, output, limit)
                await chosen.ended.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(chosen.pid, signal.SIGKILL)
            await chosen.ended.wait()
            return Probed(None, bytes(output))
        finally:
            stream.close()
        return Probed(chosen.exit_code, bytes(output))

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        chosen = self.get(exec_id)
        shim = _active(chosen.container, chosen.container.id)
        if not chosen.running:
            raise Conflict(f"exec command {chosen.id} is not running")
        await shim.resize(height, width, chosen.id)

    async def _start(self, chosen: Exec, console_size: list[int] | None) -> None:
        self._tell(chosen, f"exec_start: {chosen.command_text}")
        container = chosen.container
        container.exec_ids[chosen.id] = None
        try:
            shim = container.running_shim()
            process = await self._processes.of_exec(
                container, shim, chosen.config, console_size or chosen.config["ConsoleSize"]
            )
            io = StdioSettings(tty=chosen.config["Tty"], open_stdin=chosen.config["AttachStdin"], stdin_once=True)
            handle = await shim.exec(chosen.id, process, io)
        except EngineError as error:
            code = error.exit_code if isinstance(error, CommandFailure) else NOT_RUNNABLE
            self._over(chosen, code)
            raise
        chosen.pid = handle.pid
        self._tasks.spawn(self._until_end(chosen, shim, handle), f"exec {chosen.id[:12]}")

    async def _until_end(self, chosen: Exec, shim: "Shim", handle: "ExecHandle") -> None:
        await asyncio.wait({handle.exited})
        code = 137 if handle.exited.cancelled() else handle.exited.result()
        self._over(chosen, code)
        self._tell(chosen, "exec_die", {"exitCode": str(code)})

    def _over(self, chosen: Exec, code: int) -> None:
        chosen.running, chosen.exit_code = False, code
        chosen.ended_at_ns = self._catalogue.clock_ns()
        chosen.container.exec_ids.pop(chosen.id, None)
        chosen.ended.set()

    def _tell(self, chosen: Exec, action: str, attributes: Mapping[str, str] | None = None) -> None:
        self._catalogue.publish(chosen.container, action, {"execID": chosen.id, **(attributes or {})})

    def _forget_old(self) -> None:
        limit = self._catalogue.clock_ns() - KEPT_NS
        old = [found.id for found in self._execs.values() if found.exit_code is not None and found.ended_at_ns < limit]
        for exec_id in old:
            del self._execs[exec_id]

    def forget_container(self, container: Container) -> None:
        for found in [found for found in self._execs.values() if found.container is container]:
            del self._execs[found.id]


@dataclass(slots=True, frozen=True)
class Probed:
    exit_code: int | None  # None: it was killed because it took too long
    output: bytes


async def _collect(stream: "AttachStream", output: bytearray, limit: int) -> None:
    frames = Frames()
    while data := await stream.read():
        for _, piece in frames.feed(data):
            output += piece[: limit - len(output)]


def _active(container: Container, reference: str) -> "Shim":
    """The shim; raises Conflict unless the container runs and is not paused."""
    if container.state.running and container.state.paused:
        raise Conflict(f"Container {reference} is paused, unpause the container before exec")
    return container.running_shim()


async def _tell_client(duplex: Duplex, text: str, framed: bool) -> None:
    data = text.encode()
    with suppress(ClientGone):
        await duplex.write(frame(STDOUT, data) if framed else data)
