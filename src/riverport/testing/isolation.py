"""A network and a mount namespace for something under test, so that it cannot reach the machine's own.

A process holds them and ends with this one, however this one ends: it reads a pipe that only this one writes to. When
the last process inside has gone, bridges, firewall rules and mounts go with the namespaces.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_HOLD = "ip link set lo up && echo ready && exec cat >/dev/null"


def missing() -> str:
    """What this machine lacks for namespaces, in words; empty if nothing."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("unshare", "nsenter", "setpriv", "ip"):
        if shutil.which(tool) is None:
            return f"needs {tool}: scripts/setup-debian installs it"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"needs namespaces: {tried.stderr.strip()}"


class Isolation:
    """A context: leaving it lets go of the namespaces."""

    def __init__(self) -> None:
        words = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _HOLD]
        self._holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            _, why = self._holder.communicate()
            raise OSError(f"no namespaces: {why.decode(errors='replace').strip()}")

    def __enter__(self) -> "Isolation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._holder.pid

    @property
    def network(self) -> Path:
        return Path(f"/proc/{self.pid}/ns/net")

    def command(self, words: Sequence[str]) -> list[str]:
        """The command that runs `words` inside, and ends when the thread that started it does."""
        enter = ["nsenter", "--target", str(self.pid), "--net", "--mount", "--"]
        return [*enter, "setpriv", "--pdeathsig", "KILL", *words]

    def run(self, words: Sequence[str], timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self.command(words), capture_output=True, text=True, timeout=timeout)

    def connect(self, host: str, port: int, timeout: float = 10) -> socket.socket:
        """A TCP connection from inside, usable here: a socket stays in the namespace it was made in."""
        found: list[socket.socket | OSError] = []

        def connect() -> None:  # setns changes the calling thread alone, so the thread ends after it
            try:
                _enter_network(self.network)
                found.append(socket.create_connection((host, port), timeout))
            except OSError as error:
                found.append(error)

        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        if isinstance(found[0], OSError):
            raise found[0]
        return found[0]

    def processes(self) -> list[int]:
        """Who is inside the network namespace, beside the holder."""
        own = os.readlink(self.network)
        return [pid for pid in _pids() if pid != self.pid and _link(f"/proc/{pid}/ns/net") == own]

    def close(self) -> None:
        self._holder.communicate()


def _enter_network(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # it has ended since
        return ""
