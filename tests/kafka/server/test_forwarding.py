"""Requests that only the controller may decide, while it is not there or says nothing (KIP-590)."""

import asyncio

import pytest

from riverport.kafka.client.connection import Connection
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.sim.plan import Shape
from riverport.testing import Simulation

CONTROLLER = 1  # of Shape.SEPARATE


async def make(address: str, name: str) -> int:
    """Ask one broker once to make a topic: the error code."""
    host, port = address.rsplit(":", 1)
    connection = await Connection.open(host, int(port), client_id="c")
    of = m.CreateTopicsRequest
    try:
        answer = await connection.request(of([of.CreatableTopic(name, 1, 1)], timeout_ms=60_000), timeout_ms=120_000)
    finally:
        await connection.close()
    return int(answer.topics[0].error_code)


@pytest.fixture
def separate() -> "Simulation":
    return Simulation(seed=3, shape=Shape.SEPARATE)


def test_a_request_waits_for_a_controller_that_is_being_started_again(separate: Simulation) -> None:
    with separate as cluster:
        cluster.kill(CONTROLLER)
        cluster.sleep(3)
        asked = cluster.begin(make(cluster.bootstrap[0], "orders"))
        cluster.sleep(20)
        assert not asked.done()
        cluster.start(CONTROLLER)
        assert cluster.wait(asked, seconds=15) == 0


def test_a_request_is_not_kept_for_ever_when_no_controller_comes(separate: Simulation) -> None:
    with separate as cluster:
        cluster.kill(CONTROLLER)
        cluster.sleep(3)
        asked = cluster.begin(make(cluster.bootstrap[0], "orders"))
        assert cluster.wait(asked, seconds=65) == ErrorCode.REQUEST_TIMED_OUT


def test_what_a_controller_does_slowly_is_asked_for_once(separate: Simulation) -> None:
    with separate as cluster:
        cluster.pause(CONTROLLER, seconds=5)
        assert cluster.run(make(cluster.bootstrap[0], "orders"), seconds=20) == 0


def test_a_request_goes_to_the_next_controller_when_the_one_that_has_it_is_cut_off() -> None:
    with Simulation(seed=4) as cluster:
        cluster.create_topic("first")
        leader = cluster.controller
        other = next(n for n in (1, 2, 3) if n != leader)
        cluster.isolate(leader, seconds=40)
        asked = cluster.begin(make(cluster.bootstrap[other - 1], "orders"))
        assert cluster.wait(asked, seconds=20) == 0
        cluster.heal()
        cluster.wait_in_sync()


def test_a_client_that_has_gone_leaves_nothing_waiting(separate: Simulation) -> None:
    with separate as cluster:
        cluster.kill(CONTROLLER)
        cluster.sleep(3)
        for number in range(120):  # more than may wait at a time
            gone = cluster.begin(make(cluster.bootstrap[0], f"t{number}"))
            cluster.sleep(0.1)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                cluster.wait(gone)
        asked = cluster.begin(make(cluster.bootstrap[0], "orders"))
        cluster.sleep(1)
        cluster.start(CONTROLLER)
        assert cluster.wait(asked, seconds=15) == 0


def test_requests_that_wait_for_a_connection_share_it(separate: Simulation) -> None:
    with separate as cluster:
        cluster.kill(CONTROLLER)
        cluster.sleep(3)
        names = [f"orders-{n}" for n in range(10)]
        asked = [cluster.begin(make(cluster.bootstrap[0], name)) for name in names]
        cluster.sleep(1)
        cluster.start(CONTROLLER)
        assert [cluster.wait(each, seconds=15) for each in asked] == [0] * len(names)

        broker = cluster.bootstrap[0].split(":")[0]
        opened = [own for own, other in cluster.connections() if own[0] == broker and other[1] == 9093]
        assert len(opened) == 3  # heartbeats, the clients' requests, the metadata log
