"""A runtime under test: its own directories and control group, a busybox root, a count of what is left at the end."""

import asyncio
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.engine.leftovers import leftovers

from riverport.engine.bootstrap import busybox
from riverport.engine.linux import cgroups
from riverport.engine.linux.inroot import Root
from riverport.engine.runtime.attach import STDERR, STDOUT, AttachStream, Frames
from riverport.engine.runtime.handle import Shim
from riverport.engine.runtime.model import ExitStatus, LogSettings, StdioSettings
from riverport.engine.runtime.runtime import Runtime, RuntimeSettings
from riverport.engine.runtime.users import look_up

PATIENCE_S = 30


@cache
def _busybox_tar() -> bytes:
    program = busybox.find()
    return busybox.image_tar(program.read_bytes(), busybox.applets(program))


@dataclass
class Overlay:
    lowers: list[Path]
    upper: Path
    work: Path
    merged: Path


class Bench:
    """`async with`: a started runtime; leaving it ends everything and asserts that nothing is left."""

    def __init__(self, driver: str = "crun") -> None:
        self.place = Path(tempfile.mkdtemp(prefix="rp-rt-"))
        self.cgroup_parent = f"/{self.place.name}"
        self.settings = RuntimeSettings(
            exec_root=self.place / "x", cache=self.place / "seccomp", cgroup_parent=self.cgroup_parent, driver=driver
        )
        self.runtime = Runtime(self.settings)
        self.shims: list[Shim] = []
        with tarfile.open(fileobj=io.BytesIO(_busybox_tar())) as tar:
            tar.extractall(self.place / "image", filter="fully_trusted")

    async def __aenter__(self) -> "Bench":
        await self.runtime.start()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, at: object) -> None:
        for shim in self.shims:
            await shim.discard()
        await self.runtime.stop()
        left = leftovers(self.place, self.cgroup_parent)
        log = self.settings.exec_root / "zygote.log"
        complaints = log.read_text() if log.exists() else ""
        self._clear_away()
        if error is None:
            assert not left, left
            assert not complaints, complaints

    def rootfs(self, name: str) -> Overlay:
        made = [self.place / "overlays" / name / part for part in ("upper", "work", "merged")]
        for path in made:
            path.mkdir(parents=True, exist_ok=True)
        return Overlay([self.place / "image"], *made)

    async def prepare(self, name: str, *, private_network: bool = True) -> Shim:
        shim = await self.runtime.prepare(name, self.rootfs(name), private_network)
        self.shims.append(shim)
        return shim

    def spec(self, shim: Shim, *arguments: str, config: Any = None, host_config: Any = None, **more: Any) -> Any:
        config, host_config = config or {}, host_config or {}
        with Root(shim.root) as root:
            user = look_up(root, config.get("User", ""), host_config.get("GroupAdd") or ())
        network = shim.netns_path if shim.has_private_network else None
        given = {"hostname": "box", "network": network, **more}
        return self.runtime.spec(shim, config, host_config, user, arguments, **given)

    async def run(
        self, name: str, *arguments: str, io: StdioSettings | None = None, config: Any = None, host_config: Any = None
    ) -> Shim:
        """Started, with the log at `self.log(name)` unless `io` says something else."""
        shim = await self.prepare(name)
        spec = self.spec(shim, *arguments, config=config, host_config=host_config)
        await shim.run(spec, io or StdioSettings(log=LogSettings("json-file", self.log(name))))
        return shim

    async def output(self, name: str, *arguments: str, **settings: Any) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of a run to the end."""
        shim = await self.prepare(name)
        stream = await shim.attach(stdin=False, stdout=True, stderr=True)
        await shim.run(self.spec(shim, *arguments, **settings), StdioSettings())
        out, err = await everything(stream)
        return (await soon(shim.exited)).code, out, err

    def log(self, name: str) -> Path:
        return self.place / f"{name}.log"

    def _clear_away(self) -> None:
        layout = cgroups.detect()
        cgroups.remove(layout.directories(self.cgroup_parent))
        shutil.rmtree(self.place, ignore_errors=True)


async def soon(what: Awaitable[Any]) -> Any:
    """A hang is a failure, not a time-out of the whole run. A future stays as it is."""
    return await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(what)), PATIENCE_S)


async def raw(stream: AttachStream) -> bytes:
    chunks = []
    while data := await soon(stream.read()):
        chunks.append(data)
    return b"".join(chunks)


async def everything(stream: AttachStream) -> tuple[str, str]:
    """(stdout, stderr) of a framed stream, to its end."""
    found: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
    for number, data in Frames().feed(await raw(stream)):
        found[number].append(data)
    return b"".join(found[STDOUT]).decode(), b"".join(found[STDERR]).decode()


async def until(condition: Callable[[], object]) -> None:
    async def wait() -> None:
        while not condition():  # noqa: ASYNC110 (what is waited for happens in another process)
            await asyncio.sleep(0.005)

    await soon(wait())


def missing() -> str:
    """What this machine lacks for running containers, in words; empty if nothing."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("crun", "busybox", "ps"):
        if shutil.which(tool) is None:
            return f"needs {tool}: scripts/setup-debian installs it"
    try:
        busybox.find()
    except busybox.NoBusybox as problem:
        return f"needs a static busybox ({problem}): scripts/setup-debian installs it"
    layout = cgroups.detect()
    if not layout.mounts or not all(os.access(top, os.W_OK) for top in layout.mounts.values()):
        return "needs writable control groups"
    return ""


__all__ = ["Bench", "ExitStatus", "Overlay", "everything", "missing", "raw", "soon", "until"]
