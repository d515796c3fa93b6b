"""One container's shim as the daemon sees it."""

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from riverport.engine.errors import Conflict, SystemFailure
from riverport.engine.linux import cgroups
from riverport.engine.runtime import resources, stats, top
from riverport.engine.runtime.attach import AttachStream
from riverport.engine.runtime.driver import ENVIRONMENT, Driver
from riverport.engine.runtime.failures import failure_of
from riverport.engine.runtime.link import Link, ShimGone, connect
from riverport.engine.runtime.model import ExitStatus, StdioSettings
from riverport.engine.runtime.shim import EXIT_FILE, MAIN, PID_FILE

GONE = ".gone-"
KILLED = 128 + signal.SIGKILL
_DISCARD_SECONDS = 10.0
_CLEARING_PAUSE = 0.002
_FREEZE_TRIES = 2000
_FREEZE_PAUSE = 0.001


class ExecHandle:
    """A further process in a running container."""

    def __init__(self, exec_id: str, pid: int, exited: "asyncio.Future[int]") -> None:
        self.exec_id = exec_id
        self.pid = pid
        self.exited = exited  # the exit code, after the last byte of output is on its way to the attached


class Shim:
    """Everything one started container hangs on. Made by `Runtime.prepare` or `Runtime.recover`."""

    def __init__(self, container_id: str, directory: Path, driver: Driver, layout: cgroups.Layout) -> None:
        self.container_id = container_id
        self.directory = directory
        self.pid = 0
        self.netns_path = ""  # /proc/<pid>/ns/net; the host's where the container has no private network
        self.root = Path()  # /proc/<pid>/root/<merged>: the container's files as image and overlay have them
        self.container_pid: int | None = None  # the first process, while it runs
        self.on_oom: Callable[[], None] | None = None
        loop = asyncio.get_running_loop()
        # Done after the last byte of output is in the log and on its way to the attached.
        self.exited: asyncio.Future[ExitStatus] = loop.create_future()
        self.driver = driver
        self.merged = ""  # where the root file system is mounted, in the shim's mount namespace
        self.spec: dict[str, Any] = {}  # what `run` was given
        self._layout = layout
        self._cgroup_path = ""
        self._pidfd = -1
        self._link: Link | None = None
        self._ready: asyncio.Future[int] = loop.create_future()
        # Its exception counts as seen where nobody waits any more.
        self._ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._execs: dict[str, asyncio.Future[int]] = {}
        self._streams: set[AttachStream] = set()
        self._clearing: asyncio.Future[None] | None = None  # after a shim that was killed
        self._console = asyncio.Lock()  # one terminal is handed over at a time
        self._discarded = False  # or left to another daemon: no end of the connection is a surprise any more

    # ---- stdio

    async def attach(self, *, stdin: bool, stdout: bool, stderr: bool) -> AttachStream:
        """Before `run`: nothing of the output is lost. After it: from now on."""
        return await self._attach(MAIN, stdin, stdout, stderr)

    async def attach_exec(self, exec_id: str, *, stdin: bool, stdout: bool, stderr: bool) -> AttachStream:
        """Attach to an exec that is about to start: nothing of its output is lost."""
        return await self._attach(exec_id, stdin, stdout, stderr)

    async def resize(self, height: int, width: int, exec_id: str = MAIN) -> None:
        answer = await self._call("resize", exec=exec_id, height=height, width=width)
        if "error" in answer:
            raise SystemFailure(answer["error"])

    # ---- processes

    async def run(self, spec: dict[str, Any], io: StdioSettings) -> int:
        """Start the container; its first process' id on the host.

        Raises CommandFailure with runc's words where the command cannot be run, SystemFailure for all else. The shim
        is then good for `discard` only.
        """
        self.spec = spec
        self._cgroup_path = spec["linux"]["cgroupsPath"]
        sysctls = spec["linux"].get("sysctl", {})
        own = {key: value for key, value in sysctls.items() if self.has_private_network and key.startswith("net.")}
        if own:
            # The shim sets these: runc, started from the very namespace that it is to join, takes it for the host's.
            rest = {key: value for key, value in sysctls.items() if key not in own}
            spec = {**spec, "linux": {**spec["linux"], "sysctl": rest}}
        limits, weights = resources.split_weights(self._layout, spec["linux"].get("resources", {}))
        if limits is not spec["linux"].get("resources"):
            spec = {**spec, "linux": {**spec["linux"], "resources": limits}}
        (self.directory / "config.json").write_text(json.dumps(spec))
        resources.apply_weights(self._layout, self._cgroup_path, weights)
        argv = self.driver.run(self.container_id, tty=io.tty, log="run.log", pid_file=PID_FILE)
        answer = await self._call(
            "run",
            argv=argv,
            env=ENVIRONMENT,
            io=_stdio(io),
            log="run.log",
            pid_file=PID_FILE,
            sysctls=own,
            console=self.driver.console,
            cgroups=self._groups(),
            memory=self._layout.directory("memory", self._cgroup_path),
        )
        if "error" in answer:
            raise failure_of(answer["error"], spec["process"]["args"], is_exec=False)
        self._running(answer["pid"])
        return int(answer["pid"])

    async def exec(self, exec_id: str, process: dict[str, Any], io: StdioSettings) -> ExecHandle:
        """Run `process` (an OCI process object) in the container. Errors as in `run`."""
        if self.exited.done():
            raise Conflict(f"container {self.container_id} is not running")
        name = f"exec-{exec_id}"
        file = self.directory / f"{name}.json"
        file.write_text(json.dumps(process))
        exited = self._execs[exec_id] = asyncio.get_running_loop().create_future()
        argv = self.driver.exec(
            self.container_id, tty=io.tty, log=f"{name}.log", pid_file=f"{name}.pid", process=file.name
        )
        request = {"argv": argv, "env": ENVIRONMENT, "io": _stdio(io), "console": self.driver.console}
        try:
            if io.tty:
                async with self._console:
                    answer = await self._exec(exec_id, name, request)
            else:
                answer = await self._exec(exec_id, name, request)
        finally:
            for suffix in ("json", "log", "pid"):
                (self.directory / f"{name}.{suffix}").unlink(missing_ok=True)
        if "error" in answer:
            del self._execs[exec_id]
            if self.exited.done():
                raise Conflict(f"container {self.container_id} is not running")
            raise failure_of(answer["error"], process["args"], is_exec=True)
        return ExecHandle(exec_id, answer["pid"], exited)

    def signal(self, number: int) -> None:
        """To the container's first process. Raises Conflict if it has ended."""
        if self._pidfd < 0:
            raise Conflict(f"Container {self.container_id} is not running")
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            raise Conflict(f"Container {self.container_id} is not running") from None
        if number == signal.SIGKILL:
            for group in self._groups():
                cgroups.thaw(group)  # a frozen process of version 1 does not die

    async def pause(self) -> None:
        """Returns when every process has stopped."""
        if not cgroups.freeze(self._groups()):
            raise SystemFailure("cannot pause: no freezer control group")
        for _ in range(_FREEZE_TRIES):
            if all(cgroups.is_frozen(group) in (True, None) for group in self._groups()):
                return
            await asyncio.sleep(_FREEZE_PAUSE)
        for group in self._groups():
            cgroups.thaw(group)
        raise SystemFailure("cannot pause: the processes do not freeze")

    async def unpause(self) -> None:
        for group in self._groups():
            cgroups.thaw(group)

    async def update(self, changes: dict[str, Any]) -> None:
        """Write limits (Docker's HostConfig keys, those present) into the running container's cgroup."""
        resources.apply(self._layout, self._cgroup_path, resources.plan_update(self._layout.version, changes))

    async def stats(self) -> dict[str, Any]:
        """`cpu_stats`, `memory_stats`, `blkio_stats`, `pids_stats`, `networks`, `num_procs` as Docker has them."""
        return stats.read(self._layout, self._cgroup_path, self.pid if self.has_private_network else None)

    async def top(self, ps_args: str) -> tuple[list[str], list[list[str]]]:
        """(titles, rows) of `ps <ps_args>`, this container's processes only."""
        return await top.processes(ps_args, self.processes())

    def processes(self) -> list[int]:
        """Ids on the host of all the container's processes."""
        groups = self._groups()
        return sorted(set(cgroups.processes(groups[0]))) if groups else []

    @property
    def has_private_network(self) -> bool:
        return self.netns_path.startswith(f"/proc/{self.pid}/")

    # ---- the end

    async def discard(self) -> None:
        """Let the shim go, and with it mounts, namespaces and what still runs; idempotent. Forget its files."""
        if self._link is not None and not self._discarded:
            self._discarded = True
            may_run = bool(self._cgroup_path) and not self.exited.done()
            ahead = [asyncio.create_task(stream.read_ahead()) for stream in self._streams]
            self._link.tell("discard")
            try:
                await asyncio.wait_for(self._link.ended.wait(), _DISCARD_SECONDS)
            except TimeoutError:
                self._kill()
                await self._link.ended.wait()
                may_run = True
            if may_run:  # somebody may have killed the shim before it could do what it was told
                await asyncio.to_thread(clear_up, self.directory, self._groups())
            if ahead:
                await asyncio.wait(ahead)
        if self._clearing is not None:  # it knows what is left by the directory's name
            await asyncio.wait([self._clearing])
        self._streams.clear()
        forget_directory(self.directory)

    def _kill(self) -> None:
        """The shim itself. Never process 0, which would mean this daemon and whoever shares its process group."""
        pid = self.pid or (self._ready.result() if self._ready.done() and not self._ready.exception() else 0)
        if pid > 0:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        else:  # it has never said who it is; without its daemon it ends by itself
            assert self._link is not None
            self._link.close()

    def leave(self) -> None:
        """This daemon stops; the shim, and the container on it, go on."""
        if self._link is not None:
            self._discarded = True
            self._link.close()

    # ---- for Runtime

    def connected(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._link = Link(streams, self._event, self._shim_ended)

    async def ready(self, merged: str, private_network: bool) -> None:
        """Raises SystemFailure if the shim could not be made."""
        # Shielded: a cancelled start must still hear of the shim's id, or nobody could end it.
        self._prepared(await asyncio.shield(self._ready), merged, private_network)

    async def recovered(self, record: dict[str, Any]) -> None:
        """After `connected`: learn what goes on. `record` is what `prepare` left in the directory."""
        self._ready.set_result(record["pid"])
        self._prepared(record["pid"], record["merged"], record["private_network"])
        config = self.directory / "config.json"
        if config.exists():
            self.spec = json.loads(config.read_text())
            self._cgroup_path = self.spec["linux"]["cgroupsPath"]
        answer = await self._call("hello")
        if answer["end"] is not None:
            self._ended(ExitStatus(answer["end"]["code"], answer["end"]["oom"], answer["end"]["finished_at"]))
        elif answer["pid"] is not None:
            self._running(answer["pid"])

    def _prepared(self, pid: int, merged: str, private_network: bool) -> None:
        self.pid = pid
        self.merged = merged
        self.root = Path(f"/proc/{pid}/root{merged}")
        self.netns_path = f"/proc/{pid}/ns/net" if private_network else "/proc/self/ns/net"

    def _running(self, pid: int) -> None:
        if self.exited.done():
            return
        self.container_pid = pid
        with suppress(ProcessLookupError):  # it was quick
            self._pidfd = os.pidfd_open(pid)

    def _event(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "ready":
                self._ready.set_result(message["pid"])
            case "failed":
                self._ready.set_exception(SystemFailure(message["error"]))
            case "exit":
                self._ended(ExitStatus(message["code"], message["oom"], message["finished_at"]))
            case "exec_exit":
                exited = self._execs.pop(message["exec"], None)
                if exited is not None and not exited.done():
                    exited.set_result(message["code"])
            case "oom" if self.on_oom is not None:
                self.on_oom()

    def _shim_ended(self) -> None:
        """The connection is gone. If the container had not ended, somebody has killed the shim: clear up after it."""
        if not self._ready.done():
            self._ready.set_exception(SystemFailure("the container's shim ended before it was ready"))
        if not self.exited.done() and not self._discarded and self._cgroup_path:
            status = read_exit_file(self.directory) or ExitStatus(KILLED, False, time.time())
            self._clearing = asyncio.get_running_loop().run_in_executor(None, clear_up, self.directory, self._groups())
            self._clearing.add_done_callback(lambda _: self._ended(status))
        elif not self.exited.done():
            self.exited.cancel()
        for exited in self._execs.values():
            if not exited.done():
                exited.set_result(KILLED)
        self._execs.clear()

    def _ended(self, status: ExitStatus) -> None:
        self.container_pid = None
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if not self.exited.done():
            self.exited.set_result(status)

    def _groups(self) -> list[str]:
        return self._layout.directories(self._cgroup_path) if self._cgroup_path else []

    async def _exec(self, exec_id: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        return await self._call("exec", exec=exec_id, log=f"{name}.log", pid_file=f"{name}.pid", **request)

    async def _attach(self, key: str, stdin: bool, stdout: bool, stderr: bool) -> AttachStream:
        try:
            reader, writer = await connect(self.directory)
            request = {"attach": key, "stdin": stdin, "stdout": stdout, "stderr": stderr}
            writer.write(json.dumps(request).encode() + b"\n")
            await reader.readexactly(1)
        except (OSError, EOFError) as error:
            raise Conflict(f"container {self.container_id} is not running") from error
        stream = AttachStream(reader, writer)
        self._streams = {other for other in self._streams if not other.is_over} | {stream}
        return stream

    async def _call(self, do: str, **fields: Any) -> dict[str, Any]:
        if self._link is None:
            raise ShimGone("the container's shim has gone")
        return await self._link.call(do, **fields)


def clear_up(directory: Path, groups: list[str]) -> None:
    """End what a killed shim has left: its container, and a runtime that may be just making one. Blocks.

    The runtime's working directory is the container's directory, as the shim's was; what it has made by then is in the
    groups. (Ids of namespaces would be no sign: the kernel gives them out again.)
    """
    while left := _working_in(str(directory)):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_CLEARING_PAUSE)
    cgroups.remove(groups)


def _working_in(directory: str) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):  # it has ended since
            if name.isdecimal() and os.readlink(f"/proc/{name}/cwd") == directory:
                found.append(int(name))
    return found


def forget_directory(directory: Path) -> None:
    """Gone by one rename, so that nobody waits; the files follow in a thread, or when the next daemon starts."""
    grave = directory.parent / f"{GONE}{directory.name}-{time.monotonic_ns()}"
    with suppress(FileNotFoundError):
        directory.rename(grave)
        asyncio.get_running_loop().run_in_executor(None, lambda: shutil.rmtree(grave, ignore_errors=True))


def read_exit_file(directory: Path) -> ExitStatus | None:
    try:
        document = json.loads((directory / EXIT_FILE).read_text())
    except OSError:
        return None
    return ExitStatus(document["code"], document["oom"], document["finished_at"])


def _stdio(io: StdioSettings) -> dict[str, Any]:
    log = None
    if io.log is not None:
        log = {
            "driver": io.log.driver,
            "path": str(io.log.path),
            "options": dict(io.log.options),
            "attributes": dict(io.log.attributes),
        }
    return {"tty": io.tty, "open_stdin": io.open_stdin, "stdin_once": io.stdin_once, "log": log}
