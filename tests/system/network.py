"""A network of hosts on one machine: a namespace for each of them, joined by a bridge, each cable of which can be cut.

Needs root and iproute2, as `available` says. The clients of a test are on a host of their own.
"""

import contextlib
import ctypes
import itertools
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

CLONE_NEWNET = 0x40000000
CLIENTS = "clients"
SUBNET = "10.213.77"

Result = TypeVar("Result")


def available() -> str:
    """Why there can be no namespaces here; empty where there can."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return "needs root and iproute2 for network namespaces"
    name = f"rvprobe{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if done.returncode:
        return f"no network namespaces here: {done.stderr.strip()}"
    try:
        link = ["link", "add", "rvprobe0", "type", "bridge"]
        done = subprocess.run(["ip", "-n", name, *link], capture_output=True, text=True)
        return f"no network bridges here: {done.stderr.strip()}" if done.returncode else ""
    finally:
        _ip("netns", "del", name)


class Network:
    """Hosts that reach each other; made empty but for the clients' one. `close` takes it away."""

    def __init__(self) -> None:
        self._name = f"rv{os.getpid()}"
        self._numbers = itertools.count(1)
        self._hosts: dict[str, str] = {}
        self._hub = f"{self._name}-hub"
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "br0", "up")
        self.add_host(CLIENTS)
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="clients' host", daemon=True)
        self._thread.start()

    def add_host(self, name: str) -> str:
        """Another host; its address."""
        number = next(self._numbers)
        namespace, cable, address = f"{self._name}-{name}", f"c{number}", f"{SUBNET}.{number}"
        _ip("netns", "add", namespace)
        _ip("-n", self._hub, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self._hub, "link", "set", cable, "master", "br0", "up")
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        self._hosts[name] = cable
        return address

    def prefix(self, name: str = CLIENTS) -> list[str]:
        """The words that run a command on that host."""
        return ["ip", "netns", "exec", f"{self._name}-{name}"]

    def cut(self, name: str) -> None:
        """Nothing comes to this host nor from it any more; connections are not told."""
        _ip("-n", self._hub, "link", "set", self._hosts[name], "nomaster")

    def mend(self, name: str) -> None:
        _ip("-n", self._hub, "link", "set", self._hosts[name], "master", "br0")

    def slow(self, name: str, kbit: int) -> None:
        """What the host sends is held to this rate, and so is what it is sent; up to 400 ms of it waits."""
        rate = ["root", "tbf", "rate", f"{kbit}kbit", "burst", "16kb", "latency", "400ms"]
        for words in (["-n", f"{self._name}-{name}", "qdisc", "replace", "dev", "eth0"],
                      ["-n", self._hub, "qdisc", "replace", "dev", self._hosts[name]]):  # fmt: skip
            subprocess.run(["tc", *words, *rate], check=True, capture_output=True)

    def call(self, function: Callable[[], Result]) -> Result:
        """Call it in a thread that is on the clients' host: sockets that it makes are there."""
        future: Future[Result] = Future()
        self._work.put((function, future))
        return future.result()

    def close(self) -> None:
        self._work.put(None)
        self._thread.join()
        for name in self._hosts:
            _ip("netns", "del", f"{self._name}-{name}")
        _ip("netns", "del", self._hub)

    def _serve(self) -> None:
        with open(f"/run/netns/{self._name}-{CLIENTS}") as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            failed = libc.setns(namespace.fileno(), CLONE_NEWNET)  # this thread alone
        error = OSError(ctypes.get_errno(), "setns") if failed else None
        while (item := self._work.get()) is not None:
            function, future = item
            try:
                if error:
                    raise error
                future.set_result(function())
            except BaseException as raised:
                future.set_exception(raised)


@contextlib.contextmanager
def network() -> "Any":
    made = Network()
    try:
        yield made
    finally:
        made.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
