"""The engine under test: a daemon in namespaces of its own, with clients on it, and a count of what is left at the end.

`RIVERPORT_TEST_ENGINE=dockerd` runs the same tests against dockerd, to see whether a test describes Docker at all.
"""

import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from riverport.engine.bootstrap import busybox
from riverport.testing import isolation
from riverport.testing.engines import EngineKind, EngineProcess, dockerd, riverport

if TYPE_CHECKING:
    from docker import DockerClient

IMAGES = ("busybox:latest", "alpine:latest", "alpine:3.10", "hello-world:latest")
"""Names of the one image that every test daemon has."""
USERS = {**busybox.USERS, "postgres": 70}


def missing() -> str:
    """What this machine lacks for running containers, in words; empty if nothing."""
    for tool in ("crun", "docker", "busybox"):
        if shutil.which(tool) is None:
            return f"needs {tool}: scripts/setup-debian installs it"
    try:
        busybox.find()
    except busybox.NoBusybox as problem:
        return f"needs a static busybox ({problem}): scripts/setup-debian installs it"
    return isolation.missing()


def kind_under_test() -> EngineKind:
    return {"dockerd": dockerd, "riverport": riverport}[os.environ.get("RIVERPORT_TEST_ENGINE", "riverport")]()


@cache
def image_tar() -> bytes:
    program = busybox.find()
    return busybox.image_tar(program.read_bytes(), busybox.applets(program), USERS)


class Engine(EngineProcess):
    """A daemon under test. Its root is a short path, since a unix socket's path has 107 bytes at the most."""

    def __init__(self, options: Sequence[str] = (), *, images: Sequence[str] = IMAGES) -> None:
        root = Path(tempfile.mkdtemp(prefix="rp-"))
        self._clients: list[DockerClient] = []
        super().__init__(kind_under_test(), root, options)
        try:
            for image in images:
                name, _, tag = image.partition(":")
                self.import_image(image_tar(), name, tag, busybox.CHANGES)
        except BaseException:
            super().close()
            raise

    def client(self, **settings: object) -> "DockerClient":
        """A docker-py client, closed with the daemon."""
        from docker import DockerClient

        made = DockerClient(base_url=f"unix://{self.place.socket}", **{"version": "auto", "timeout": 60, **settings})
        self._clients.append(made)
        return made

    def sweep(self) -> None:
        """Remove what a test has left to the next one: containers, volumes, networks of users."""
        for container in self.api("GET", "/containers/json?all=1")[1]:
            self.api("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        for volume in self.api("GET", "/volumes")[1]["Volumes"] or []:
            self.api("DELETE", f"/volumes/{volume['Name']}?force=1")
        for network in self.api("GET", "/networks")[1]:
            if network["Name"] not in ("bridge", "host", "none"):
                self.api("DELETE", f"/networks/{network['Id']}")

    def close(self) -> None:
        """Stop the daemon and remove everything. Raises AssertionError if containers have left something behind."""
        for client in self._clients:
            client.close()
        try:
            if self.is_running:
                self.sweep()
                self.stop()
            left = self.leftovers()
        finally:
            self._clear_away()
            self.isolation.close()
            shutil.rmtree(self.place.root, ignore_errors=True)
        assert not left, "left behind: " + "; ".join(left)

    def leftovers(self, seconds: float = 5) -> list[str]:
        """What is still there of containers once the daemon has stopped, in words. Ends take a moment."""
        deadline = time.monotonic() + seconds
        while (found := self._leftovers()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def _clear_away(self) -> None:
        """End what should have ended: a failed run must not burden the next one."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for path in (*self.cgroups(), *self._cgroup_parents()):
            with suppress(OSError):
                path.rmdir()

    def _leftovers(self) -> list[str]:
        found = [f"process {_command_line(pid)}" for pid in self._processes()]
        found += [f"cgroup {path}" for path in self.cgroups()]
        return found + [f"mount {path}" for path in self.mounts()]

    def _processes(self) -> list[int]:
        """Processes of this daemon: those in its network namespace, and those that name its directories."""
        root = str(self.place.root).encode()
        named = [pid for pid in _pids() if root in _read(f"/proc/{pid}/cmdline") and pid != os.getpid()]
        return sorted({*named, *self.isolation.processes()})

    def cgroups(self) -> list[Path]:
        """Control groups of containers below this daemon's parent, in any hierarchy."""
        return [path for parent in self._cgroup_parents() for path in parent.iterdir() if path.is_dir()]

    def _cgroup_parents(self) -> list[Path]:
        tops = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
        parents = [top / self.place.cgroup_parent.lstrip("/") for top in tops]
        return [path for path in parents if path.is_dir()]

    def mounts(self) -> list[str]:
        """Mount points of containers in the daemon's namespace: everything below its directories."""
        text = Path(f"/proc/{self.isolation.pid}/mountinfo").read_text()
        return re.findall(rf" ({re.escape(str(self.place.root))}/\S+) ", text)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # the process has ended since
        return b""


def _command_line(pid: int) -> str:
    return f"{pid} {_read(f'/proc/{pid}/cmdline').replace(bytes(1), b' ').decode(errors='replace').strip()}"
