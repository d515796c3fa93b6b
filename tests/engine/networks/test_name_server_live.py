"""The embedded name server, asked from inside a container's namespace."""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import pytest
from tests.engine.networks.own_network import Box, alone, container_id, host, member

from riverport.engine.linux.netns import inside
from riverport.engine.networks import name_server, wire

pytestmark = pytest.mark.usefixtures("namespaces")

T = TypeVar("T")


def ask(name: str, kind: int = wire.A, *, tcp: bool = False, seconds: float = 5) -> bytes:
    head = struct.pack("!HHHHHH", 0x4242, 0x0100, 1, 0, 0, 0)
    question = head + wire.encode_name(name) + struct.pack("!HH", kind, wire.IN)
    with socket.socket(type=socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        client.connect(("127.0.0.11", 53))
        client.sendall(len(question).to_bytes(2, "big") + question if tcp else question)
        reply = client.recv(4096)
    return reply[2:] if tcp else reply


def code(reply: bytes) -> int:
    return reply[3] & 0xF


def addresses(reply: bytes) -> list[str]:
    """Of A records, which come last and are of 16 bytes each."""
    count = int.from_bytes(reply[6:8], "big")
    records = [reply[len(reply) - 16 * (number + 1) :][:16] for number in range(count)]
    return sorted(socket.inet_ntoa(record[-4:]) for record in records)


async def within(box: Box, work: Callable[[], T]) -> T:
    """The server answers on this event loop, so that who asks it must not block it."""
    return await asyncio.to_thread(inside, box.namespace, work)


class Outside(asyncio.DatagramProtocol):
    """A server of the host: answers every question with 192.0.2.53, or with nothing at all."""

    def __init__(self, silent: bool = False) -> None:
        self.asked: list[str] = []
        self._silent = silent
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self.reply(data)
        if not self._silent and self._transport is not None:
            self._transport.sendto(reply, addr)

    def reply(self, data: bytes) -> bytes:
        question = wire.read_question(data)
        self.asked.append(question.name)
        return question.reply([ipaddress.ip_address("192.0.2.53")])

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = self.reply(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        writer.write(len(reply).to_bytes(2, "big") + reply)
        writer.close()


async def serve_outside(address: str, silent: bool = False) -> Outside:
    made = Outside(silent)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: made, local_addr=(address, 53))
    await asyncio.start_server(made.converse, address, 53)
    return made


def test_names_aliases_and_short_ids_over_udp_and_tcp(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as one, Box() as two, Box() as three:
                joined = await engine.join(one, "one", "web")
                assert joined.resolv_conf == "nameserver 127.0.0.11\noptions ndots:0\n"
                await engine.join(two, "two", "web", endpoints={"web": {"Aliases": ["db"]}})
                await engine.join(three, "three", "web", endpoints={"web": {"Aliases": ["db"]}})
                for tcp in (False, True):
                    assert addresses(await within(one, lambda tcp=tcp: ask("two", tcp=tcp))) == ["172.18.0.3"]
                    reply = await within(one, lambda tcp=tcp: ask("two", wire.AAAA, tcp=tcp))
                    assert (code(reply), addresses(reply)) == (0, [])
                assert addresses(await within(one, lambda: ask(container_id("two")[:12]))) == ["172.18.0.3"]
                assert addresses(await within(one, lambda: ask("db"))) == ["172.18.0.3", "172.18.0.4"]
                engine.networks.rename(container_id("two"), "deux")
                assert addresses(await within(one, lambda: ask("deux"))) == ["172.18.0.3"]
                await engine.networks.leave(container_id("two"))
                assert addresses(await within(one, lambda: ask("db"))) == ["172.18.0.4"]

    alone(main)


def test_the_container_may_have_port_53_itself(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as one, Box() as two:
                await engine.join(one, "one", "web")
                await engine.join(two, "two", "web")
                with one.listen(53, socket.SOCK_DGRAM), one.listen(53):
                    assert addresses(await within(one, lambda: ask("two"))) == ["172.18.0.3"]
                    assert addresses(await within(one, lambda: ask("two", tcp=True))) == ["172.18.0.3"]

    alone(main)


def test_other_names_are_asked_outside_and_a_silent_server_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_server, "UPSTREAM_S", 0.2)

    async def main() -> None:
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.2\nnameserver 127.0.0.3\nsearch lan.example\n")
        silent = await serve_outside("127.0.0.2", silent=True)
        useful = await serve_outside("127.0.0.3")
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as box:
                joined = await engine.join(box, "one", "web")
                assert "search lan.example" in joined.resolv_conf
                for tcp in (False, True):
                    reply = await within(box, lambda tcp=tcp: ask("example.org", tcp=tcp))
                    assert reply[:2] == b"BB"
                    assert addresses(reply) == ["192.0.2.53"]
                assert "example.org" in silent.asked
                assert useful.asked[0] == "example.org"
                await within(box, lambda: ask("one"))
                assert "one" not in silent.asked + useful.asked

    alone(main)


def test_a_container_s_own_servers_are_asked_instead_of_the_host_s(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.2\n")
        hosts, own = await serve_outside("127.0.0.2"), await serve_outside("127.0.0.3")
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as box:
                await engine.join(box, "one", "web", Dns=["127.0.0.3"])
                assert addresses(await within(box, lambda: ask("example.org"))) == ["192.0.2.53"]
                assert (hosts.asked, own.asked) == ([], ["example.org"])

    alone(main)


def test_questions_do_not_leave_an_internal_network(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.2\n")
        outside = await serve_outside("127.0.0.2")
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "inner", "Internal": True})
            with Box() as box:
                await engine.join(box, "one", "inner")
                assert code(await within(box, lambda: ask("example.org"))) == wire.SERVER_FAILURE
                assert addresses(await within(box, lambda: ask("one"))) == ["172.18.0.2"]
                assert outside.asked == []

    alone(main)


def test_questions_that_wait_for_the_outside_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_server, "PENDING", 3)

    async def main() -> None:
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.2\n")
        await serve_outside("127.0.0.2", silent=True)
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as box:
                await engine.join(box, "one", "web")
                opened = await within(box, lambda: socket.socket(type=socket.SOCK_DGRAM))
                with opened:
                    opened.setblocking(False)
                    for number in range(8):
                        head = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0)
                        message = head + wire.encode_name("example.org") + struct.pack("!HH", wire.A, wire.IN)
                        opened.sendto(message, ("127.0.0.11", 53))
                    loop = asyncio.get_running_loop()
                    refused = [await asyncio.wait_for(loop.sock_recv(opened, 512), 5) for _ in range(5)]
                    assert [code(reply) for reply in refused] == [wire.SERVER_FAILURE] * 5
                assert addresses(await within(box, lambda: ask("one"))) == ["172.18.0.2"]

    alone(main)


def test_names_are_answered_again_after_a_kill(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as one, Box() as two:
                members = [(member("one", "web"), one.path), (member("two", "web"), two.path)]
                for entry, path in members:
                    await engine.networks.join(entry, path)
                await engine.restart(*members)
                assert addresses(await within(one, lambda: ask("two"))) == ["172.18.0.3"]
                assert addresses(await within(two, lambda: ask("one", tcp=True))) == ["172.18.0.2"]

    alone(main)


def test_connecting_brings_names_and_disconnecting_takes_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            await engine.networks.create({"Name": "back"})
            with Box() as one, Box() as two:
                await engine.join(one, "one", "web")
                await engine.join(two, "two", "back")
                assert code(await within(one, lambda: ask("two"))) == wire.SERVER_FAILURE
                links = {"Links": ["two:database"]}
                await engine.networks.connect(member("one", "web"), one.path, "back", links)
                assert addresses(await within(one, lambda: ask("two"))) == ["172.19.0.2"]
                assert addresses(await within(one, lambda: ask("database"))) == ["172.19.0.2"]
                await engine.networks.disconnect(container_id("one"), "back")
                assert code(await within(one, lambda: ask("two"))) == wire.SERVER_FAILURE

    alone(main)
