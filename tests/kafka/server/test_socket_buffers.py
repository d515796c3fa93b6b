"""Socket buffers are of a fixed size only where somebody gave one: a fixed size ends the system's own sizing."""

import socket
from typing import Any

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import Wire

from riverport.kafka.wire import messages as m
from riverport.testing import Broker

SIZES = (("socket.send.buffer.bytes", socket.SO_SNDBUF), ("socket.receive.buffer.bytes", socket.SO_RCVBUF))


def sizes_of_a_connection(given: dict[str, object]) -> list[int]:
    """(send, receive) as the system tells them: Linux doubles what is asked for."""

    async def look(node: Any) -> list[int]:
        (connection,) = [each for each in node.server.connections if each.listener.dispatch.kind == "broker"]
        wrapped = connection._transport.get_extra_info("socket")
        return [wrapped.getsockopt(socket.SOL_SOCKET, option) for _, option in SIZES]

    with Broker(given) as broker, Wire(address_of(broker)) as wire:
        wire.ask(m.ApiVersionsRequest(), 0)
        return broker.run(look)


def test_given_sizes_are_set() -> None:
    assert sizes_of_a_connection({key: 50_000 for key, _ in SIZES}) == [100_000, 100_000]


@pytest.mark.parametrize("given", [{}, {key: -1 for key, _ in SIZES}], ids=["nothing", "minus one"])
def test_without_sizes_the_system_decides(given: dict[str, object]) -> None:
    assert not {100_000, 204_800} & set(sizes_of_a_connection(given))
