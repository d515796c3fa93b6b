"""What a refused connection proves of a broker, and what it does not."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.registrations import BrokerRegistration, Endpoint
from riverport.kafka.server import broker_watch
from riverport.kafka.server.broker_watch import BrokerWatch

EPOCH = 50


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_watch, "ATTEMPTS_AFTER_MS", (0, 1, 2))
    monkeypatch.setattr(broker_watch, "SILENCE_MS", 5)


def connection(host: str = "127.0.0.1") -> Any:
    return SimpleNamespace(peer_host=host, closed=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Scene:
    """A controller that watches broker 1, whose listeners are at `ports` of `host`."""

    def __init__(self, *ports: int, host: str = "127.0.0.1", fenced: bool = False, session_ms: int = 3_600_000) -> None:
        self.image = MetadataImage()
        endpoints = tuple(Endpoint(f"L{port}", host, port, 0) for port in ports)
        self.image.brokers[1] = BrokerRegistration(1, EPOCH, bytes(16), endpoints, {}, None, fenced, False, ())
        self.fenced: list[tuple[int, int]] = []
        loop = asyncio.get_running_loop()
        self.dropped: set[int] = set()
        self.watch = BrokerWatch(
            loop,
            self.image,
            9,
            session_ms,
            lambda id_, epoch: self.fenced.append((id_, epoch)),
            lambda id_: id_ in self.dropped,
        )
        self.link = connection()
        self.watch.heard(1, EPOCH, self.link)

    async def lose(self) -> list[tuple[int, int]]:
        """The heartbeat connection ends; whom that fenced."""
        self.link.closed = True
        self.watch.connection_closed(self.link)
        return await self.settle()

    async def settle(self) -> list[tuple[int, int]]:
        await asyncio.gather(*self.watch._tasks, return_exceptions=True)
        return self.fenced


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(cast(Any, work()))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.001)


async def serving() -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    return server, int(server.sockets[0].getsockname()[1])


def test_a_broker_whose_listeners_all_refuse_is_fenced_in_its_incarnation() -> None:
    async def work() -> None:
        scene = Scene(free_port(), free_port())
        assert scene.watch.is_connected(1, EPOCH)
        assert not scene.watch.is_connected(1, EPOCH + 1)
        assert await scene.lose() == [(1, EPOCH)]
        assert not scene.watch.is_connected(1, EPOCH)

    run(work)


def test_a_broker_that_answers_on_one_listener_is_left_to_its_session() -> None:
    async def work() -> None:
        server, port = await serving()
        scene = Scene(free_port(), port)
        assert await scene.lose() == []
        server.close()

    run(work)


def test_a_broker_that_is_heard_again_is_alive() -> None:
    async def work() -> None:
        scene = Scene(free_port())
        scene.watch.connection_closed(scene.link)
        scene.watch.heard(1, EPOCH, connection())
        assert await scene.settle() == []
        assert scene.watch.is_connected(1, EPOCH)

    run(work)


def test_a_listener_elsewhere_than_the_heartbeats_proves_nothing() -> None:
    async def work() -> None:
        assert await Scene(free_port(), host="127.0.0.2").lose() == []
        assert await Scene(free_port(), host="no.such.host.invalid").lose() == []

    run(work)


def test_a_name_of_where_the_heartbeats_came_from_will_do() -> None:
    async def work() -> None:
        assert await Scene(free_port(), host="localhost").lose() == [(1, EPOCH)]
        both_families = Scene(free_port())
        both_families.link.peer_host = "::ffff:127.0.0.1"
        assert await both_families.lose() == [(1, EPOCH)]

    run(work)


def test_who_is_fenced_or_has_a_later_incarnation_is_not_tried() -> None:
    async def work() -> None:
        assert await Scene(free_port(), fenced=True).lose() == []
        scene = Scene(free_port())
        scene.watch.heard(1, EPOCH - 1, scene.link)
        assert await scene.lose() == []

    run(work)


def test_a_broker_that_lived_although_it_refused_is_not_given_up_again() -> None:
    async def work() -> None:
        scene = Scene(free_port())
        assert await scene.lose() == [(1, EPOCH)]
        scene.link = connection()
        scene.watch.heard(1, EPOCH, scene.link)
        scene.fenced.clear()
        assert await scene.lose() == []

    run(work)


def test_a_new_controller_gives_up_who_refuses_and_stays_silent() -> None:
    async def work() -> None:
        for host in ("127.0.0.1", "localhost"):
            scene = Scene(free_port(), host=host)
            scene.watch.begin()
            assert await scene.settle() == [(1, EPOCH)]
        nowhere = Scene(free_port(), host="no.such.host.invalid")
        nowhere.watch.begin()
        assert await nowhere.settle() == []

    run(work)


def test_a_new_controller_gives_up_at_once_who_refuses_and_dropped_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker_watch, "SILENCE_MS", 3_600_000)

    async def work() -> None:
        scene = Scene(free_port())
        scene.dropped.add(1)
        scene.watch.begin()
        assert await scene.settle() == [(1, EPOCH)]

    run(work)


def test_a_new_controller_leaves_alone_who_answers_or_is_heard() -> None:
    async def work() -> None:
        server, port = await serving()
        answers = Scene(port)
        answers.watch.begin()
        assert await answers.settle() == []
        server.close()
        heard = Scene(free_port())
        heard.watch.begin()
        heard.watch.heard(1, EPOCH, connection())
        assert await heard.settle() == []

    run(work)


class Process:
    """A broker's process: it takes connections, and all of them end with it."""

    def __init__(self) -> None:
        self.connections: list[asyncio.StreamWriter] = []
        self.seen = 0

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen += 1
        self.connections.append(writer)
        await reader.read()  # until the other side goes
        self.connections.remove(writer)
        writer.close()

    async def watched(self) -> None:
        """Until the controller has looked whether it runs, and keeps a connection since."""
        await until(lambda: self.seen == 2 and len(self.connections) == 1)

    async def die(self) -> None:
        self._server.close()
        for writer in self.connections:
            writer.transport.abort()


def test_who_dies_before_a_new_controller_has_heard_of_it_is_noticed_at_once() -> None:
    """Its heartbeat was refused, as the controller was not active yet: no heartbeat connection ends."""

    async def work() -> None:
        process = Process()
        scene = Scene(await process.start())
        scene.watch.begin()
        await process.watched()
        await process.die()
        assert await scene.settle() == [(1, EPOCH)]

    run(work)


def test_a_new_controller_keeps_no_connection_to_whom_it_has_heard_of() -> None:
    async def work() -> None:
        process = Process()
        scene = Scene(await process.start())
        scene.watch.begin()
        await process.watched()
        scene.watch.heard(1, EPOCH, connection())
        assert await scene.settle() == []
        await until(lambda: not process.connections)
        await process.die()
        assert await scene.settle() == []

    run(work)


def test_a_new_controller_keeps_a_connection_for_a_session_at_most() -> None:
    """Who was not heard of by then is fenced for its silence."""

    async def work() -> None:
        process = Process()
        scene = Scene(await process.start(), session_ms=20)
        scene.watch.begin()
        assert await scene.settle() == []
        await until(lambda: not process.connections)
        assert process.seen >= 2
        await process.die()

    run(work)


def test_a_broker_that_only_drops_the_connection_of_a_new_controller_lives() -> None:
    async def work() -> None:
        process = Process()
        scene = Scene(await process.start())
        scene.dropped.add(1)
        scene.watch.begin()
        await process.watched()
        process.connections[0].transport.abort()
        assert await scene.settle() == []
        await process.die()

    run(work)


def test_an_earlier_office_watches_nobody_any_more() -> None:
    async def work() -> None:
        process = Process()
        scene = Scene(await process.start())
        scene.watch.begin()
        await process.watched()
        before = list(scene.watch._tasks)
        scene.image.brokers.clear()
        scene.watch.begin()
        await asyncio.gather(*before, return_exceptions=True)
        assert all(task.cancelled() for task in before)
        await process.die()
        assert await scene.settle() == []

    run(work)


def test_a_heartbeat_whose_connection_has_ended_while_it_waited_is_followed_up() -> None:
    async def work() -> None:
        scene = Scene(free_port())
        late = connection()
        late.closed = True
        scene.watch.heard(1, EPOCH, late)
        assert await scene.settle() == [(1, EPOCH)]

    run(work)
