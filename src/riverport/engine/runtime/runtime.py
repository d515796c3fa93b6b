"""The zygote and the shims: making them, finding them again."""

import asyncio
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import riverport
from riverport.engine.errors import SystemFailure
from riverport.engine.linux import cgroups
from riverport.engine.runtime import capabilities
from riverport.engine.runtime.driver import ENVIRONMENT, Driver, find_driver
from riverport.engine.runtime.handle import GONE, KILLED, Shim, clear_up, forget_directory, read_exit_file
from riverport.engine.runtime.link import ShimGone, adopt_socket, connect
from riverport.engine.runtime.model import ExitStatus, RootfsLike
from riverport.engine.runtime.seccomp import Filters
from riverport.engine.runtime.shim import PID_FILE
from riverport.engine.runtime.spec import Place, add_seccomp, build_spec, exec_process, host_limits, oom_score_floor
from riverport.engine.runtime.users import User

_INITS = ("docker-init", "tini-static", "tini", "catatonit")
_RECORD = "shim.json"
_SEND_PAUSE = 0.001
_ZYGOTE = "import sys; sys.path.insert(0, sys.argv[1]); from riverport.engine.runtime.zygote import main; main({fd})"


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    exec_root: Path  # <exec_root>/<container id>/: socket, bundle, exit file; on a tmpfs if possible
    cache: Path  # compiled seccomp filters
    cgroup_parent: str = "/docker"
    driver: str = "crun"  # crun | runc
    init_path: str | None = None  # tini or catatonit for --init; None: looked for


class Runtime:
    """Makes shims by way of the zygote. Its methods may be called for many containers at once."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self.settings = settings
        self.layout = cgroups.detect()
        self._expecting = False
        self._filters = Filters(settings.cache)
        self._shims: WeakSet[Shim] = WeakSet()
        self._zygote: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bury what earlier daemons have left. The zygote comes with the first container: until then it is a quarter
        of the engine's memory for nothing."""
        self.settings.exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for grave in self.settings.exec_root.glob(f"{GONE}*"):
            shutil.rmtree(grave, ignore_errors=True)

    async def _have_zygote(self) -> None:
        """Started for the first container, and again when it has died."""
        if self._zygote is None or (self._process is not None and self._process.returncode is not None):
            if self._starting is None or self._starting.done():
                self._starting = asyncio.create_task(self._start_zygote(), name="zygote")
            await asyncio.shield(self._starting)  # whoever is cancelled leaves a whole zygote to the next

    async def stop(self) -> None:
        """End the zygote, let go of the shims. They, and the containers on them, stay."""
        for shim in self._shims:
            shim.leave()
        await self._stop_zygote()

    async def _stop_zygote(self) -> None:
        if self._starting is not None:
            await asyncio.wait([self._starting])
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.close()
        if self._process is not None:
            await self._process.wait()
            self._process = None

    def driver(self, name: str = "") -> Driver:
        """Raises InvalidParameter for a name that is not known."""
        return find_driver(name or self.settings.driver)

    def expect_process(self) -> None:
        """A process is about to be put into a group. What the kernel needs for that, it does beside other work."""
        if not self._expecting:
            self._expecting = True
            work = asyncio.get_running_loop().run_in_executor(None, cgroups.await_quiet, self.layout)
            work.add_done_callback(self._expected)

    def _expected(self, _: object) -> None:
        self._expecting = False

    async def prepare(
        self, container_id: str, rootfs: RootfsLike, private_network: bool, runtime_name: str = ""
    ) -> Shim:
        """A shim with the root file system mounted and its network namespace made (loopback is up)."""
        driver = self.driver(runtime_name)
        self.expect_process()
        directory = self.settings.exec_root / container_id
        forget_directory(directory)
        directory.mkdir(mode=0o700, parents=True)
        merged = str(rootfs.merged)
        job = {
            "directory": str(directory),
            "private_network": private_network,
            "sealed": driver.path if driver.copies_itself else None,
            "rootfs": {
                "lowers": [str(lower) for lower in rootfs.lowers],
                "upper": str(rootfs.upper),
                "work": str(rootfs.work),
                "merged": merged,
                "options": [],
            },
        }
        shim = Shim(container_id, directory, driver, self.layout)
        self._shims.add(shim)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with theirs:
                await self._send(json.dumps(job).encode(), theirs.fileno())
        except BaseException:
            ours.close()
            forget_directory(directory)
            raise
        shim.connected(await adopt_socket(ours))
        try:
            await shim.ready(merged, private_network)
        except BaseException:
            await shim.discard()
            raise
        record = {
            "pid": shim.pid,
            "merged": merged,
            "private_network": private_network,
            "driver": driver.name,
        }
        (directory / _RECORD).write_text(json.dumps(record))
        return shim

    def spec(
        self,
        shim: Shim,
        config: dict[str, Any],
        host_config: dict[str, Any],
        user: User,
        arguments: Sequence[str],
        *,
        hostname: str,
        network: str | None,
        mounts: Sequence[dict[str, Any]] = (),
        ipc: str | None = None,
        pid: str | None = None,
        shm: str | None = None,
    ) -> dict[str, Any]:
        """What `Shim.run` takes, with everything filled in that this machine decides.

        `network`, `ipc` and `pid` are paths of namespaces (/proc/<pid>/ns/…); None means the host's network, and one's
        own of the others unless the HostConfig says `host`. `shm` is another container's /dev/shm.
        Raises InvalidParameter for what the client cannot have.
        """
        held = capabilities.host_mask()
        parent = host_config.get("CgroupParent") or self.settings.cgroup_parent
        place = Place(
            container_id=shim.container_id,
            root=shim.merged,
            cgroup_path=f"/{parent.strip('/')}/{shim.container_id}",
            cgroup_version=self.layout.version,
            hostname=hostname,
            network=network,
            ipc=ipc,
            pid=pid,
            mounts=mounts,
            shm=shm,
            host_has_mqueue=os.path.isdir("/dev/mqueue"),
            init_path=self.init_path() if host_config.get("Init") else "",
            allowed_capabilities=held,
            allowed_limits=host_limits(held),
            oom_score_floor=oom_score_floor(held),
        )
        made = build_spec(config, host_config, user, place, arguments)
        add_seccomp(made, host_config, self._filters, held, shim.driver.takes_compiled_seccomp)
        return made

    def exec_process(
        self, shim: Shim, host_config: dict[str, Any], given: dict[str, Any], user: User | None
    ) -> dict[str, Any]:
        """What `Shim.exec` takes, from Docker's ExecConfig; `user` is None where the exec names none."""
        return exec_process(shim.spec, given, user, host_config, capabilities.host_mask())

    def init_path(self) -> str:
        """Of tini or its like on the host. Raises SystemFailure in Docker's words if there is none."""
        candidates = [self.settings.init_path] if self.settings.init_path else _INITS
        for candidate in candidates:
            if found := shutil.which(candidate, path=ENVIRONMENT["PATH"]):
                return found
        raise SystemFailure(f"exec: {_INITS[0]!r}: executable file not found in $PATH".replace("'", '"'))

    async def recover(self, container_id: str) -> Shim | ExitStatus | None:
        """What became of a container that was started before: its shim, how it ended, or None if never started.

        For None and ExitStatus nothing is left of it in the kernel or the exec root.
        """
        directory = self.settings.exec_root / container_id
        if not directory.exists():
            return None
        with suppress(OSError, ShimGone, KeyError, ValueError):
            record = json.loads((directory / _RECORD).read_text())
            shim = Shim(container_id, directory, self.driver(record["driver"]), self.layout)
            shim.connected(await connect(directory))
            self._shims.add(shim)
            await shim.recovered(record)
            return shim
        return await self._clear_up_after(directory)

    def known(self) -> Sequence[str]:
        """Ids of all containers that have left something in the exec root."""
        root = self.settings.exec_root
        if not root.exists():
            return []
        return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))

    async def _clear_up_after(self, directory: Path) -> ExitStatus | None:
        """The shim has gone. Either it wrote the exit file, or somebody has killed it and its container lives on."""
        status = read_exit_file(directory)
        started = (directory / PID_FILE).exists()
        with suppress(OSError, ValueError, KeyError):
            path = json.loads((directory / "config.json").read_text())["linux"]["cgroupsPath"]
            await asyncio.to_thread(clear_up, directory, self.layout.directories(path))
        if status is None and started:
            status = ExitStatus(KILLED, False, time.time())
        forget_directory(directory)
        return status

    async def _send(self, job: bytes, descriptor: int) -> None:
        for attempt in range(2):
            await self._have_zygote()
            assert self._zygote is not None
            try:
                while True:
                    try:
                        socket.send_fds(self._zygote, [job], [descriptor])
                        return
                    except BlockingIOError:
                        await asyncio.sleep(_SEND_PAUSE)
            except OSError as error:
                if attempt:
                    raise SystemFailure(f"the zygote does not answer: {error.strerror}") from error
                await self._stop_zygote()  # it has died: the next round starts another one

    async def _start_zygote(self) -> None:
        self.settings.exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        ours.setblocking(False)
        source = str(Path(riverport.__file__).parent.parent)
        code = _ZYGOTE.format(fd=theirs.fileno())
        # Its stderr is a file: shims inherit it, and would hold on to a terminal or a pipe of the daemon's.
        errors = os.open(self.settings.exec_root / "zygote.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", code, source, str(self.settings.exec_root)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(theirs.fileno(),),
            )
        finally:
            theirs.close()
            os.close(errors)
        ready: Any = await asyncio.get_running_loop().sock_recv(ours, 16)
        if ready != b"ready":
            ours.close()
            raise SystemFailure(f"the zygote does not start: see {self.settings.exec_root / 'zygote.log'}")
        self._zygote = ours
