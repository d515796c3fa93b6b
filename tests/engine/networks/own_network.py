"""Networks under test in a network namespace of their own, and processes that stand for containers."""

import asyncio
import ipaddress
import os
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from riverport.engine.events import Events
from riverport.engine.linux import netlink
from riverport.engine.linux.netlink import Netlink
from riverport.engine.linux.netns import inside
from riverport.engine.linux.syscalls import unshare
from riverport.engine.networks.member import Joined, Member
from riverport.engine.networks.networks import Networks
from riverport.engine.networks.settings import NetworkSettings
from riverport.engine.state import State
from riverport.testing import isolation

_CLONE_NEWNET = 0x40000000
T = TypeVar("T")


def missing() -> str:
    """What this machine lacks, in words; empty if nothing."""
    lacking = isolation.missing()
    if lacking:
        return lacking
    try:
        from riverport.engine.linux.nft import Nft, NftError

        try:
            Nft().close()
        except NftError as error:
            return str(error)
    except OSError as error:
        return str(error)
    return ""


def alone(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` on an event loop of a thread that has a network namespace to itself; threads it starts have it too."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            unshare(_CLONE_NEWNET)
            with Netlink() as here:
                here.do([netlink.link_up("lo")])
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="own network")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


class Box:
    """A process with a network namespace of its own, as a container's shim has one."""

    def __init__(self) -> None:
        own = os.readlink("/proc/thread-self/ns/net")
        self._process = subprocess.Popen(["unshare", "--net", "sleep", "60"], stdin=subprocess.DEVNULL)
        self.path = f"/proc/{self._process.pid}/ns/net"
        while os.readlink(self.path) == own:
            time.sleep(0.001)
        self.namespace = os.open(self.path, os.O_RDONLY)

    def __enter__(self) -> "Box":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self.namespace)

    def do(self, work: Callable[[], T]) -> T:
        return inside(self.namespace, work)

    def addresses(self) -> dict[str, list[str]]:
        """By link, without loopback and link-local ones."""

        def look() -> dict[str, list[str]]:
            with Netlink() as there:
                return {
                    link.name: [str(found) for found in there.addresses(link.index) if not found.ip.is_link_local]
                    for link in there.links()
                    if link.name != "lo"
                }

        return self.do(look)

    def listen(self, port: int, kind: int = socket.SOCK_STREAM, address: str = "0.0.0.0") -> socket.socket:
        def work() -> socket.socket:
            opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((address, port))
            if kind == socket.SOCK_STREAM:
                opened.listen()
            return opened

        return self.do(work)


class Host:
    """The networks and what they are made of; `restart` is a daemon that was killed and comes again."""

    def __init__(self, directory: Path, settings: NetworkSettings) -> None:
        self.settings = settings
        self._path = directory / "engine.db"
        self.open()

    def open(self) -> None:
        self.state = State(self._path)
        self.events = Events()
        self.networks = Networks(self.settings, self.state, self.events)

    async def start(self, *living: tuple[Member, str | None]) -> None:
        await self.networks.start()
        await self.networks.recover(living)

    async def restart(self, *living: tuple[Member, str | None]) -> None:
        await self.networks.stop()
        self.state.close()
        self.open()
        await self.start(*living)

    async def join(self, box: Box, name: str, mode: str = "bridge", **given: Any) -> Joined:
        """And wait until the link carries frames: a container's process starts later still."""
        joined = await self.networks.join(member(name, mode, **given), box.path)
        await asyncio.sleep(0.02)
        return joined


@asynccontextmanager
async def host(directory: Path, **settings: Any) -> AsyncIterator[Host]:
    resolv_conf = directory / "resolv.conf"
    if not resolv_conf.exists():
        resolv_conf.write_text("")
    made = Host(directory, NetworkSettings(resolv_conf=str(resolv_conf), **settings))
    await made.start()
    try:
        yield made
    finally:
        await made.networks.stop()
        made.state.close()


def member(name: str, mode: str = "bridge", **given: Any) -> Member:
    """`ports={"80/tcp": "8080"}`, `endpoints`, and anything else of HostConfig."""
    ports = {key: [{"HostIp": "", "HostPort": value}] for key, value in given.pop("ports", {}).items()}
    endpoints = given.pop("endpoints", None)
    host_config = {"NetworkMode": mode, "PortBindings": ports, **given}
    return Member(container_id(name), name, {"Hostname": name}, host_config, endpoints)


def container_id(name: str) -> str:
    return name.encode().hex().ljust(64, "0")


def talk(listener: socket.socket, address: str, port: int, seconds: float = 1.0) -> str:
    """Connect to `address` from the calling thread's namespace; who the listener sees."""
    with socket.create_connection((address, port), timeout=seconds) as client:
        listener.settimeout(seconds)
        accepted, peer = listener.accept()
        with accepted:
            accepted.sendall(b"hello")
            assert client.recv(5) == b"hello"
    return str(peer[0])


def reaches(address: str, port: int, seconds: float = 0.3) -> bool:
    """Whether anything answers there, a refusal included."""
    try:
        socket.create_connection((address, port), timeout=seconds).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def wire_to_outside(box: Box, inner: str, outer: str) -> None:
    """Another machine: a link "wan" of this namespace to a box, with addresses at both ends, the host its gateway."""
    ours, theirs = ipaddress.ip_interface(inner), ipaddress.ip_interface(outer)
    with Netlink() as here:
        here.do([netlink.bridge("wan", 1500, "02:00:00:00:00:01")])
        link = here.link("wan")
        assert link is not None
        here.do(
            [
                netlink.link_up("wan", link_local=False),
                netlink.address(link.index, ours),
                netlink.address(link.index, ipaddress.ip_interface("fe80::1/64")),
                *netlink.veth(
                    "wan0", link.index, "eth0", box.namespace, "02:00:00:00:00:02", 1500, hairpin=False, isolated=False
                ),
            ]
        )

    def settle() -> None:
        with Netlink() as there:
            peer = there.link("eth0")
            assert peer is not None
            there.do([netlink.link_up("lo"), netlink.address(peer.index, theirs), netlink.link_up("eth0")])
            there.do([netlink.default_route(peer.index, ours.ip, ours.version)])

    box.do(settle)
