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


async def place_when_gone(cluster: Simulation, idempotent: bool) -> int:
    """Look at the topic, and send to it when its leader has been gone for a while."""
    async with cluster.client() as client, Producer(client, acks=-1, idempotent=idempotent) as producer:
        await client.topic("orders")
        await asyncio.sleep(3)
        await client.refresh(["orders"])
        delivery = await producer.send("orders", value=b"y", partition=0)
        return (await delivery).offset


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


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_producer_of_a_partition_without_a_leader_waits_until_there_is_one(idempotent: bool) -> None:
    with Simulation(seed=8) as cluster:
        cluster.create_topic("orders", replication_factor=1)

        async def leader() -> int:
            async with cluster.client() as client:
                return (await client.refresh(["orders"])).leader("orders", 0)

        async def place() -> int:
            async with cluster.client() as client, Producer(client, acks=-1, idempotent=idempotent) as producer:
                delivery = await producer.send("orders", value=b"x", partition=0)
                return (await delivery).offset

        holder = cluster.run(leader())
        process = cluster.begin(place())
        assert cluster.wait(process) == 0
        placing = cluster.begin(place_when_gone(cluster, idempotent))
        cluster.sleep(1)
        cluster.kill(holder)
        cluster.sleep(5)
        assert cluster.run(leader()) == -1
        cluster.start(holder)
        assert cluster.wait(placing) == 1


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
