"""The simulated network behaves as TCP does, as far as programs can tell."""

import asyncio
import contextlib
from random import Random
from typing import Any

import pytest

from riverport.sim.loop import SimLoop, World
from riverport.sim.network import Network

SERVER, CLIENT = "10.0.0.1", "10.0.0.2"


class Pair:
    """Two hosts; the server answers each line with itself."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World()
        self.network = Network(self.world, Random(seed))
        self.server = SimLoop(self.world, self.network, SERVER, Random(seed), 1)
        self.client = SimLoop(self.world, self.network, CLIENT, Random(seed + 1), 2)
        self.heard: list[bytes] = []

    def listen(self) -> None:
        self.done(self.server.create_task(self._listen()))

    async def _listen(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                self.heard.append(line)
                writer.write(line)
                await writer.drain()

        loop = asyncio.get_running_loop()
        sock = self.network.bind(self.server, SERVER, 9)

        def factory() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), serve, loop=loop)

        await loop.create_server(factory, sock=sock)  # type: ignore[call-overload]

    def done(self, task: "asyncio.Task[Any]", seconds: float = 60.0) -> Any:
        self.world.run(self.world.now + seconds, task.done)
        return task.result()

    async def ask(self, lines: list[bytes]) -> list[bytes]:
        reader, writer = await asyncio.open_connection(SERVER, 9)
        writer.writelines(lines)
        return [await reader.readline() for _ in lines]


def test_bytes_come_in_their_order_whatever_the_link_does() -> None:
    pair = Pair()
    pair.listen()
    pair.network.link(CLIENT, SERVER).loss = 0.5
    lines = [b"%d\n" % number for number in range(50)]
    assert pair.done(pair.client.create_task(pair.ask(lines))) == lines
    assert pair.heard == lines


def test_who_does_not_listen_refuses() -> None:
    pair = Pair()
    with pytest.raises(ConnectionRefusedError):
        pair.done(pair.client.create_task(pair.ask([b"x\n"])))


def test_a_killed_process_ends_its_connections() -> None:
    pair = Pair()
    pair.listen()

    async def hold() -> bytes:
        reader, writer = await asyncio.open_connection(SERVER, 9)
        writer.write(b"x\n")
        assert await reader.readline() == b"x\n"
        return await reader.readline()

    task = pair.client.create_task(hold())
    pair.world.run(1.0)
    pair.server.kill()
    pair.network.process_died(pair.server)
    with contextlib.suppress(ConnectionResetError):
        assert pair.done(task) == b""
    with pytest.raises(ConnectionRefusedError):
        pair.done(pair.client.create_task(pair.ask([b"x\n"])))


def test_a_host_without_power_is_silent_and_knows_nothing_afterwards() -> None:
    pair = Pair()
    pair.listen()

    async def hold() -> bytes:
        reader, writer = await asyncio.open_connection(SERVER, 9)
        writer.write(b"x\n")
        await reader.readline()
        await asyncio.sleep(2)
        writer.write(b"y\n")
        return await reader.readline()

    task = pair.client.create_task(hold())
    pair.world.run(1.0)
    pair.server.kill()
    pair.network.power_off(pair.server)
    pair.world.run(30.0)
    assert not task.done()
    pair.network.power_on(SERVER)
    with pytest.raises(ConnectionResetError):
        pair.done(task)


def test_a_link_cut_in_one_direction_lets_the_other_through() -> None:
    pair = Pair()
    pair.listen()

    async def hold() -> bytes:
        reader, writer = await asyncio.open_connection(SERVER, 9)
        await asyncio.sleep(1)
        writer.write(b"x\n")
        return await reader.readline()

    task = pair.client.create_task(hold())
    pair.world.run(0.5)
    pair.network.cut(SERVER, CLIENT)
    pair.world.run(5.0)
    assert pair.heard == [b"x\n"]
    assert not task.done()
    pair.network.mend(SERVER, CLIENT)
    assert pair.done(task) == b"x\n"


def test_connecting_over_a_cut_link_times_out() -> None:
    pair = Pair()
    pair.listen()
    pair.network.cut(CLIENT, SERVER)
    with pytest.raises(TimeoutError):
        pair.done(pair.client.create_task(pair.ask([b"x\n"])), 300.0)


def test_a_writer_is_held_up_by_a_reader_that_does_not_read() -> None:
    pair = Pair()
    pair.listen()

    async def flood() -> int:
        _reader, writer = await asyncio.open_connection(SERVER, 9)
        for number in range(1000):
            writer.write(b"x" * 999 + b"\n")
            try:
                async with asyncio.timeout(5):
                    await writer.drain()
            except TimeoutError:
                return number
        return -1

    pair.server.pause()
    assert 0 < pair.done(pair.client.create_task(flood())) < 1000


def test_a_paused_process_gets_everything_when_it_goes_on() -> None:
    pair = Pair()
    pair.listen()
    pair.server.pause()
    task = pair.client.create_task(pair.ask([b"a\n", b"b\n"]))
    pair.world.run(5.0)
    assert not task.done()
    pair.server.resume()
    assert pair.done(task) == [b"a\n", b"b\n"]


@pytest.mark.parametrize("seed", range(5))
def test_what_a_cut_link_has_held_comes_in_its_order_and_before_what_is_sent_later(seed: int) -> None:
    pair = Pair(seed)
    pair.listen()
    lines = [b"%d\n" % number for number in range(20)]

    async def send() -> list[bytes]:
        reader, writer = await asyncio.open_connection(SERVER, 9)
        pair.network.cut(CLIENT, SERVER)
        for at, line in enumerate(lines):
            if at == 15:
                pair.network.mend(CLIENT, SERVER)
            writer.write(line)
            await asyncio.sleep(0.0002)
        return [await reader.readline() for _ in lines]

    assert pair.done(pair.client.create_task(send())) == lines
    assert pair.heard == lines
