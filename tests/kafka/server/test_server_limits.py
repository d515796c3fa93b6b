"""What bounds a server: connections, their idleness, slow readers and senders, memory."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import (
    CLOSED,
    NO_ID,
    Wire,
    asked,
    batch,
    fetch,
    fetched,
    frame,
    make_topic,
    produce,
    produced,
)

from riverport.kafka.server import listener
from riverport.kafka.server.connection import RECEIVE_BUFFER
from riverport.kafka.server.connection_limits import BURST_SECONDS, _Rate
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.testing import Broker

PING = m.DescribeClusterRequest()
MB = 1 << 20

Make = Callable[..., Broker]
Connect = Callable[[Broker], Wire]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections, and closes them at the end."""
    with ExitStack() as opened:
        yield lambda broker: opened.enter_context(Wire(address_of(broker)))


@pytest.fixture
def make() -> Iterator[Make]:
    with ExitStack() as running:
        yield lambda **config: running.enter_context(Broker({key.replace("_", "."): v for key, v in config.items()}))


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_served(wire: Wire) -> bool:
    return wire.ask(PING) != CLOSED


def is_waiting(wire: Wire) -> bool:
    """Whether a request gets no answer; `is_served_at_last` takes it later."""
    wire.send(frame(PING))
    return wire.is_silent()


def is_served_at_last(wire: Wire) -> bool:
    return bool(wire.next_answer(ApiKey.DESCRIBE_CLUSTER, 2) != CLOSED)


def configure(wire: Wire, **config: object) -> None:
    made = m.IncrementalAlterConfigsRequest
    entries = [made.AlterableConfig(key.replace("_", "."), 0, str(value)) for key, value in config.items()]
    (answer,) = wire.ask(made([made.AlterConfigsResource(4, "", entries)])).responses
    assert answer.error_code == 0, answer


def test_connections_over_the_limit_wait_for_their_turn(make: Make, connect: Connect) -> None:
    broker = make(max_connections=2)
    first, second, third, fourth = (connect(broker) for _ in range(4))
    assert is_served(first)
    assert is_served(second)
    assert is_waiting(third)
    assert is_waiting(fourth)
    first.close()
    assert is_served_at_last(third)
    assert fourth.is_silent()
    second.close()
    assert is_served_at_last(fourth)


def test_listener_may_have_a_limit_of_its_own(make: Make, connect: Connect) -> None:
    broker = make(**{"listener.name.plaintext.max.connections": 1})
    first, second = connect(broker), connect(broker)
    assert is_served(first)
    assert is_waiting(second)


def test_raised_limit_lets_in_who_waits(make: Make, connect: Connect) -> None:
    broker = make(max_connections=1)
    first, second = connect(broker), connect(broker)
    assert is_served(first)
    assert is_waiting(second)
    configure(first, max_connections=5)
    assert is_served_at_last(second)


def test_lowered_limit_closes_the_least_active(make: Make, connect: Connect) -> None:
    broker = make(max_connections=3)
    wires = [connect(broker) for _ in range(3)]
    for wire in wires:
        assert is_served(wire)
    configure(wires[1], max_connections=2)
    assert wires[0].is_closed()
    assert is_served(wires[2])


def test_only_so_many_wait_as_the_backlog_says(make: Make, connect: Connect) -> None:
    broker = make(max_connections=1, socket_listen_backlog_size=2)
    first, *waiting = (connect(broker) for _ in range(3))
    assert is_served(first)
    assert all(is_waiting(wire) for wire in waiting)
    assert connect(broker).is_closed()
    first.close()
    assert is_served_at_last(waiting[0])


TWO_LISTENERS = {
    "listeners": "ONE://127.0.0.1:0,TWO://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
    "listener.security.protocol.map": "ONE:PLAINTEXT,TWO:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "TWO",
}


def addresses(broker: Broker) -> list[tuple[str, int]]:
    """Of the two listeners."""

    async def ports(node: Any) -> dict[str, int]:
        return dict(node.ports)

    return [("127.0.0.1", broker.run(ports)[name]) for name in ("ONE", "TWO")]


def test_listener_that_is_full_keeps_nobody_from_another(make: Make) -> None:
    broker = make(**TWO_LISTENERS, **{"listener.name.one.max.connections": 1, "socket.listen.backlog.size": 1})
    one, two = addresses(broker)
    with Wire(one) as first, Wire(one) as second, Wire(two) as other:
        assert is_served(first)
        assert is_waiting(second)
        assert is_served(other)
        with Wire(one) as third:
            assert third.is_closed()


def test_clients_cannot_shut_out_the_brokers_own_listener(make: Make) -> None:
    broker = make(**TWO_LISTENERS, max_connections=1)
    one, two = addresses(broker)
    with Wire(one) as client, Wire(two) as peer:
        assert is_served(client)
        assert is_served(peer)


@pytest.mark.parametrize(
    "config",
    [{"max_connections_per_ip": 2}, {"max_connections_per_ip": 9, "max_connections_per_ip_overrides": "127.0.0.1:2"}],
    ids=["default", "override"],
)
def test_address_with_too_many_connections_gets_no_more(make: Make, connect: Connect, config: dict[str, Any]) -> None:
    broker = make(**config)
    first, second, third = (connect(broker) for _ in range(3))
    assert is_served(first)
    assert is_served(second)
    assert third.is_closed()
    first.close()
    assert eventually(lambda: is_served(connect(broker)))


def test_connections_that_come_too_fast_wait(make: Make, connect: Connect) -> None:
    broker = make(max_connection_creation_rate=2)
    before = time.monotonic()
    wires = [connect(broker) for _ in range(2 * BURST_SECONDS + 1)]
    assert all(is_served(wire) for wire in wires)
    # The last one has waited for half a second since the first; the machine may take longer, never less.
    assert time.monotonic() - before >= 0.4


def test_address_that_comes_too_fast_is_closed_after_a_while(make: Make, connect: Connect) -> None:
    broker = make()
    made = m.AlterClientQuotasRequest
    entity = [made.EntityData("ip", "127.0.0.1")]
    with Wire(address_of(broker)) as wire:
        (answer,) = wire.ask(made([made.EntryData(entity, [made.OpData("connection_creation_rate", 1.0)])])).entries
        assert answer.error_code == 0
    allowed = [connect(broker)]
    while is_served(allowed[-1]):
        allowed.append(connect(broker))
    allowed.pop()
    assert len(allowed) >= BURST_SECONDS
    assert all(is_served(wire) for wire in allowed)


def test_quota_of_every_address_is_that_of_those_without_their_own(make: Make, connect: Connect) -> None:
    broker = make()
    made = m.AlterClientQuotasRequest
    with Wire(address_of(broker)) as wire:
        for name, rate in ((None, 1.0), ("127.0.0.1", 1000.0)):
            quota = made.EntryData([made.EntityData("ip", name)], [made.OpData("connection_creation_rate", rate)])
            assert wire.ask(made([quota])).entries[0].error_code == 0
    wires = [connect(broker) for _ in range(3 * BURST_SECONDS)]
    assert all(is_served(wire) for wire in wires)


def test_rate_fills_with_time_up_to_its_burst() -> None:
    rate = _Rate(4, now_ms=0.0)
    for _ in range(4 * BURST_SECONDS):
        assert rate.wait_ms(0.0) == 0
        rate.take()
    assert rate.wait_ms(0.0) == 250
    assert rate.wait_ms(100.0) == pytest.approx(150)
    assert rate.wait_ms(250.0) == 0
    rate.take()
    assert rate.wait_ms(250.0) == 250
    assert rate.wait_ms(10_000_000.0) == 0
    for _ in range(4 * BURST_SECONDS):
        rate.take()
    assert rate.wait_ms(10_000_000.0) == 250
    assert _Rate(0, now_ms=0.0).wait_ms(0.0) == 1000


def test_idle_connection_is_closed_and_a_waiting_one_is_not(make: Make, connect: Connect) -> None:
    broker = make(connections_max_idle_ms=200)
    topic = make_topic(address_of(broker))
    idle, waiting = connect(broker), connect(broker)
    waiting.send(frame(fetch([(topic, [asked()])], max_wait_ms=60_000)))
    assert idle.is_closed()
    assert waiting.is_silent()


# --- memory


def large_request(size: int) -> bytes:
    """Produce to a topic that there is not, in a frame of about that size."""
    return frame(produce(("nowhere", NO_ID), b"\1" * size), 9)


def used(broker: Broker) -> int:
    async def look(node: Any) -> int:
        return int(node.server.budget.used)

    return broker.run(look)


def test_large_requests_share_a_budget_and_all_get_through(make: Make, connect: Connect) -> None:
    limit = 2 * MB + 20_000
    broker = make(queued_max_request_bytes=limit, socket_request_max_bytes=MB + 10_000)
    request, codes, seen = large_request(MB), [], []

    def send(wire: Wire) -> None:
        for _ in range(5):
            wire.send(request)
            codes.append(produced(wire.next_answer(ApiKey.PRODUCE, 9)[1]).error_code)

    senders = [threading.Thread(target=send, args=(connect(broker),)) for _ in range(12)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        seen.append(used(broker))
    assert codes == [3] * 60
    assert max(seen) <= limit
    assert used(broker) == 0


def test_connections_that_wait_for_memory_are_served_in_the_end(make: Make, connect: Connect) -> None:
    broker = make(queued_max_request_bytes=MB + 10_000, socket_request_max_bytes=MB + 10_000)
    holder, *others = (connect(broker) for _ in range(6))
    request = large_request(MB)
    holder.send(request[:-1])
    assert eventually(lambda: used(broker) >= MB)
    for wire in others:
        wire.send(request[:RECEIVE_BUFFER])
    assert all(wire.is_silent(0.02) for wire in others)
    others[0].close()  # while it waits: its turn passes on
    holder.send(request[-1:])
    for wire in (holder, *others[1:]):
        if wire is not holder:
            wire.send(request[RECEIVE_BUFFER:])
        assert produced(wire.next_answer(ApiKey.PRODUCE, 9)[1]).error_code == 3
    assert used(broker) == 0


def test_sender_that_stalls_gives_its_memory_to_those_who_wait(
    make: Make, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "STALLED_MS", 100)
    broker = make(
        queued_max_request_bytes=MB + 10_000, socket_request_max_bytes=MB + 10_000, connections_max_idle_ms=400
    )
    stalled, other = connect(broker), connect(broker)
    stalled.send(large_request(MB)[:-1])
    assert eventually(lambda: used(broker) >= MB)
    other.send(large_request(MB))
    assert produced(other.next_answer(ApiKey.PRODUCE, 9)[1]).error_code == 3


def test_reader_that_takes_nothing_costs_a_bounded_amount(make: Make) -> None:
    broker = make()
    topic = make_topic(address_of(broker))
    with Wire(address_of(broker)) as writer:
        for _ in range(4):
            assert produced(writer.ask(produce(topic, batch(b"v" * MB)))).error_code in (0, 10)
        for _ in range(4):
            assert produced(writer.ask(produce(topic, batch(b"v" * 900_000)))).error_code == 0
    with Wire(address_of(broker), receive_buffer=65536) as wire:
        request = frame(fetch([(topic, [asked(partition_max_bytes=4 * MB)])]))
        assert wire.send_some(request * 200_000, 0.3) < len(request) * 200_000  # it stops taking requests

        async def unsent(node: Any) -> int:
            return max(connection._transport.get_write_buffer_size() for connection in node.server.connections)

        assert broker.run(unsent) == 0  # what is not taken stays in the log's file
        with Wire(address_of(broker)) as other:
            assert is_served(other)
        for _ in range(3):  # and goes on once it reads
            assert len(fetched(wire.next_answer(ApiKey.FETCH, 18)[1]).records) > 3 * MB


def test_many_connections_leave_nothing_behind(make: Make) -> None:
    broker = make()
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        wires = [Wire(address_of(broker)) for _ in range(100)]
        for number, wire in enumerate(wires):
            if number % 3:
                wire.send(frame(PING)[: 10 * number])
        for wire in wires:
            wire.close()

    async def counts(node: Any) -> tuple[int, int, int]:
        limits = node.server.limits["broker"]
        return len(node.server.connections), len(limits._counted), len(limits._waiting)

    assert eventually(lambda: broker.run(counts) == (0, 0, 0))
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= files)


def test_connection_that_says_nothing_has_no_buffer_of_its_own(make: Make, connect: Connect) -> None:
    broker = make()
    wires = [connect(broker) for _ in range(20)]
    assert all(is_served(wire) for wire in wires)
    wires[0].send(frame(PING)[:7])  # only this one has something to keep

    async def own_buffers(node: Any) -> int:
        server = node.server
        return sum(connection._buffer is not server.receive_buffer for connection in server.connections)

    assert eventually(lambda: broker.run(own_buffers) == 1)
    wires[0].send(frame(PING)[7:])
    assert is_served_at_last(wires[0])
    assert broker.run(own_buffers) == 0
