"""`riverport.testing.Simulation`: what a test of somebody's client does with a simulated cluster."""

import asyncio

import pytest

from riverport.kafka.client.consumer import Consumer
from riverport.kafka.client.errors import ClientError
from riverport.kafka.client.producer import Producer
from riverport.sim.plan import Shape
from riverport.testing import Simulation

RECORDS = 30


async def place(cluster: Simulation, count: int = RECORDS) -> list[int]:
    offsets = []
    async with cluster.client() as client, Producer(client, acks=-1, idempotent=True) as producer:
        for number in range(count):
            offsets.append((await (await producer.send("orders", value=b"%d" % number, partition=0))).offset)
            await asyncio.sleep(0.1)
    return offsets


async def read(cluster: Simulation, count: int = RECORDS) -> list[bytes | None]:
    values: list[bytes | None] = []
    async with cluster.client() as client, Consumer(client) as consumer:
        consumer.assign([("orders", 0)])
        while len(values) < count:
            values += [record.value for record in await consumer.poll()]
    return values


@pytest.mark.parametrize("node", [1, 2, 3])
def test_a_producer_goes_on_when_any_node_dies(node: int) -> None:
    with Simulation(seed=node) as cluster:
        cluster.create_topic("orders")
        placing = cluster.begin(place(cluster))
        cluster.sleep(1)
        cluster.kill(node)
        assert cluster.wait(placing) == list(range(RECORDS))
        cluster.start(node)
        cluster.wait_in_sync()
        assert cluster.run(read(cluster)) == [b"%d" % number for number in range(RECORDS)]


def test_a_node_that_is_cut_off_catches_up_again() -> None:
    with Simulation(seed=5) as cluster:
        cluster.create_topic("orders")
        cluster.isolate(2, seconds=3)
        assert len(cluster.run(place(cluster))) == RECORDS
        cluster.wait_in_sync()


def test_a_cluster_without_a_majority_acknowledges_nothing() -> None:
    with Simulation(seed=6) as cluster:
        cluster.create_topic("orders")
        cluster.kill(1)
        cluster.kill(2)
        with pytest.raises((ClientError, TimeoutError)):
            cluster.run(place(cluster, 1), seconds=60)
        cluster.heal()
        cluster.wait_in_sync()
        assert len(cluster.run(place(cluster, 2))) == 2


@pytest.mark.parametrize("shape", list(Shape))
def test_a_quiet_cluster_keeps_its_connections(shape: Shape) -> None:
    with Simulation(seed=7, shape=shape) as cluster:
        cluster.create_topic("orders")
        cluster.wait_in_sync()
        cluster.sleep(2)
        before = cluster.connections()
        cluster.sleep(10)
        assert cluster.connections() == before


def test_time_passes_only_when_it_is_told_to() -> None:
    with Simulation() as cluster:
        before = cluster.now
        cluster.sleep(10)
        assert cluster.now == pytest.approx(before + 10)
        cluster.run(asyncio.sleep(5))
        assert cluster.now == pytest.approx(before + 15, abs=0.1)
