"""Container engines, each in namespaces of its own, and the commands that people give them.

dockerd and Riverport are asked by the same `docker` command; podman by its own, which does the work itself. All
commands are started the same way, inside the engine's namespaces.
"""

import json
import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from benchmarks.nodes import NodeFailed
from riverport.engine.bootstrap import busybox
from riverport.testing import isolation
from riverport.testing.engines import HYBRID, EngineKind, EngineProcess, dockerd, riverport
from riverport.testing.isolation import Isolation

IMAGE = "busybox"
COMMAND_SECONDS = 120

CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""podman asks for more open files than some machines allow, and fails then."""

LIMIT = 16384

POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
REGISTRIES = '[[registry]]\nlocation = "127.0.0.1:5000"\ninsecure = true\n'


class Engine(ABC):
    """A container engine that has an image called busybox."""

    isolation: Isolation

    @abstractmethod
    def start(self) -> float:
        """Start the daemon; the seconds from exec until it answers."""

    @abstractmethod
    def words(self, *words: str) -> list[str]:
        """The command line of `docker WORDS`, to be started inside the namespaces."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]: ...

    @abstractmethod
    def processes(self) -> list[int]:
        """What runs for the engine itself: daemons, and what stands beside each container."""

    @abstractmethod
    def close(self) -> None: ...

    def begin(self, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.isolation.command(self.words(*words)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
        )

    def finish(self, running: "subprocess.Popen[bytes]", *words: str) -> str:
        """Raises NodeFailed with what the command said."""
        try:
            out, _ = running.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired as error:
            running.kill()
            running.communicate()
            raise NodeFailed(f"{' '.join(words)}: no end after {COMMAND_SECONDS} s") from error
        if running.returncode:
            raise NodeFailed(
                f"{' '.join(words)}: exit code {running.returncode}: {out.decode(errors='replace')[-400:]}"
            )
        return out.decode(errors="replace")

    def run(self, *words: str) -> str:
        return self.finish(self.begin(*words), *words)

    def time(self, *words: str) -> float:
        """Seconds that a command takes. Raises NodeFailed."""
        began = time.monotonic()
        self.run(*words)
        return time.monotonic() - began

    def memory(self) -> tuple[float, float]:
        """(RSS, PSS) of the engine's own processes, in MB."""
        rss = pss = 0.0
        for pid in self.processes():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:  # it has ended since
                continue
            found = {line.partition(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
            rss += int(found["Rss"]) * 1024 / 1e6
            pss += int(found["Pss"]) * 1024 / 1e6
        return rss, pss


class DockerEngine(Engine):
    """A daemon of the Docker API under the docker command."""

    def __init__(self, kind: EngineKind, root: Path) -> None:
        self._daemon = EngineProcess(kind, root, start=False)
        self.isolation = self._daemon.isolation

    def start(self) -> float:
        try:
            return self._daemon.start()
        except OSError as error:
            raise NodeFailed(str(error)) from error

    def words(self, *words: str) -> list[str]:
        return ["docker", *words]

    @property
    def environment(self) -> dict[str, str]:
        return {**self._daemon.environment, "DOCKER_BUILDKIT": "0"}

    def processes(self) -> list[int]:
        # Shims and the parts of dockerd name their directories; a command that is being run names none.
        return _naming(self._daemon.place.root)

    def close(self) -> None:
        try:
            self._daemon.stop()
        finally:
            _end(_naming(self._daemon.place.root))
            self.isolation.close()
            shutil.rmtree(self._daemon.place.root, ignore_errors=True)


class PodmanEngine(Engine):
    """podman, which needs no daemon for its command; `start` starts the service that speaks the Docker API."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._service: subprocess.Popen[bytes] | None = None
        self.isolation = Isolation()
        root.mkdir(parents=True, exist_ok=True)
        # crun refuses to run where controllers are on both versions of cgroups.
        self.isolation.run(["sh", "-c", f"! [ -d {HYBRID} ] || umount {HYBRID}"])
        limits = [str(value) for value in _hard_limits()]
        (root / "containers.conf").write_text(CONTAINERS_CONF.format(files=limits[0], processes=limits[1]))
        (root / "policy.json").write_text(json.dumps(POLICY))
        (root / "registries.conf").write_text(REGISTRIES)

    def words(self, *words: str) -> list[str]:
        places = ["--root", f"{self._root}/data", "--runroot", f"{self._root}/run", "--tmpdir", f"{self._root}/tmp"]
        made = ["podman", *places, "--storage-driver", "overlay", "--network-config-dir", f"{self._root}/net"]
        return [*made, *words]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CONTAINERS_CONF": f"{self._root}/containers.conf",
            "CONTAINERS_REGISTRIES_CONF": f"{self._root}/registries.conf",
            "XDG_RUNTIME_DIR": f"{self._root}/run",
        }

    def start(self) -> float:
        socket = self._root / "podman.sock"
        began = time.monotonic()
        words = self.isolation.command(self.words("system", "service", "--time=0", f"unix://{socket}"))
        with open(self._root / "service.log", "ab") as log:
            self._service = subprocess.Popen(words, stdout=log, stderr=log, env=self.environment)
        while not _answers(socket):
            if self._service.poll() is not None or time.monotonic() > began + COMMAND_SECONDS:
                raise NodeFailed(f"podman's service did not start: {(self._root / 'service.log').read_text()[-400:]}")
            time.sleep(0.005)
        return time.monotonic() - began

    def processes(self) -> list[int]:
        return _naming(self._root)

    def close(self) -> None:
        if self._service is not None:
            self._service.terminate()
            self._service.wait()
        _end(_naming(self._root))
        self.isolation.run(["sh", "-c", f"umount -R {self._root}/data/overlay || true"])
        self.isolation.close()
        shutil.rmtree(self._root, ignore_errors=True)


class EngineProduct:
    """A kind of engine, and how one is made in a directory."""

    def __init__(self, key: str, title: str) -> None:
        self.key, self.title = key, title

    def make(self, root: Path) -> Engine:
        if self.key == "podman":
            return PodmanEngine(root)
        return DockerEngine(riverport() if self.key == "riverport" else dockerd(), root)


def missing() -> str:
    """What this machine lacks for engines, in words; empty if nothing."""
    if shutil.which("docker") is None:
        return "needs docker's command: scripts/setup-debian installs it"
    return isolation.missing()


def products(*, alone: bool) -> list[EngineProduct]:
    """Raises NodeFailed where a peer is not installed."""
    from riverport import __version__

    ours = EngineProduct("riverport", f"Riverport {__version__}")
    if alone:
        return [ours]
    peers = []
    for key, words in (("dockerd", ["dockerd", "--version"]), ("podman", ["podman", "--version"])):
        if shutil.which(key) is None:
            raise NodeFailed(f"there is no {key}: apt-get install docker.io podman crun, or --alone")
        said = subprocess.run(words, capture_output=True, text=True).stdout
        version = said.partition(",")[0].split()[-1].partition("+")[0]
        peers.append(EngineProduct(key, f"{key} {version}"))
    return [*peers, ours]


def image_tar() -> bytes:
    """Raises NodeFailed."""
    try:
        program = busybox.find()
    except busybox.NoBusybox as error:
        raise NodeFailed(str(error)) from error
    return busybox.image_tar(program.read_bytes(), busybox.applets(program))


def _answers(path: Path) -> bool:
    from riverport.cli.unix_http import UnixConnection

    connection = UnixConnection(str(path), 5)
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _naming(root: Path) -> list[int]:
    """Processes whose command line names a directory."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.fsencode(root) in Path(f"/proc/{name}/cmdline").read_bytes() and int(name) != os.getpid():
                found.append(int(name))
        except OSError:
            continue
    return found


def _end(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue


def _hard_limits() -> tuple[int, int]:
    import resource

    found = [resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)]
    files, processes = (LIMIT if value < 0 else min(value, LIMIT) for value in found)
    return files, processes
