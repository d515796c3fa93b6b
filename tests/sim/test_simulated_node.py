"""One node and one client of the production code, in simulated time."""

import asyncio
import os
from random import Random

import pytest
from tests.sim.other_process import printed

from riverport.base.ids import SeededIds, uuid_text
from riverport.kafka.client.consumer import ConsumedRecord, Consumer
from riverport.kafka.client.errors import Unreachable
from riverport.kafka.client.producer import Producer
from riverport.sim.loop import World
from riverport.sim.network import Network
from riverport.sim.process import SimClient, SimNode

HOST = "10.0.0.1"
CONFIG = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listeners": f"PLAINTEXT://{HOST}:9092,CONTROLLER://{HOST}:9093",
    "controller.listener.names": "CONTROLLER",
    "controller.quorum.voters": f"1@{HOST}:9093",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "log.dirs": "/data",
}
RECORDS = 20


class Run:
    """A node that has started, and a client."""

    def __init__(self, seed: int) -> None:
        self.world = World()
        self.network = Network(self.world, Random(seed))
        self.node = SimNode(self.world, self.network, 1, HOST, CONFIG, seed)
        self.node.format(uuid_text(SeededIds(seed).uuid()))
        self.client = SimClient(self.world, self.network, 100, "10.0.1.1", seed)
        self.done(self.node.start())

    def done(self, task: "asyncio.Task[object]", seconds: float = 60.0) -> object:
        assert self.world.run(self.world.now + seconds, task.done), "it takes longer"
        return task.result()

    async def produce(self) -> list[int]:
        async with self.client.client([f"{HOST}:9092"]) as client, Producer(client, acks=-1) as producer:
            waiting = [await producer.send("orders", value=b"%d" % number) for number in range(RECORDS)]
            await producer.flush()
            return [(await each).offset for each in waiting]

    async def consume(self, group: str | None = None) -> list[ConsumedRecord]:
        records: list[ConsumedRecord] = []
        async with self.client.client([f"{HOST}:9092"]) as client, Consumer(client, group=group) as consumer:
            if group is None:
                consumer.assign([("orders", 0)])
            else:
                consumer.subscribe(["orders"])
            while len(records) < RECORDS:
                records += await consumer.poll()
        return records


def hash_of(seed: int) -> int:
    run = Run(seed)
    run.done(run.client.run(run.produce()))
    run.done(run.client.run(run.consume("readers")))
    assert not run.node.failures
    return run.world.hash


def test_what_was_produced_is_consumed() -> None:
    run = Run(1)
    assert run.done(run.client.run(run.produce())) == list(range(RECORDS))
    records = run.done(run.client.run(run.consume("readers")))
    assert [record.value for record in records] == [b"%d" % number for number in range(RECORDS)]  # type: ignore[attr-defined]
    assert not run.node.failures
    assert not run.client.loop.failures


def test_a_killed_node_has_after_its_restart_what_it_acknowledged() -> None:
    run = Run(2)
    run.done(run.client.run(run.produce()))
    run.node.kill()
    with pytest.raises(Unreachable):
        run.done(run.client.run(run.consume()))
    run.done(run.node.start())
    assert len(run.done(run.client.run(run.consume()))) == RECORDS  # type: ignore[arg-type]


def test_a_paused_node_answers_late() -> None:
    run = Run(3)
    assert run.node.loop is not None
    run.node.loop.pause()
    task = run.client.run(run.produce())
    assert not run.world.run(run.world.now + 5, task.done)
    run.node.loop.resume()
    assert run.done(task) == list(range(RECORDS))


def test_a_cut_link_holds_what_is_sent_until_it_is_whole() -> None:
    run = Run(4)
    run.network.cut(HOST, run.client.loop.host)
    task = run.client.run(run.produce())
    assert not run.world.run(run.world.now + 2, task.done)
    run.network.heal()
    assert run.done(task) == list(range(RECORDS))


def test_a_seed_decides_everything() -> None:
    assert hash_of(7) == hash_of(7)
    assert hash_of(7) != hash_of(8)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_decides_everything_in_another_process_too(hash_seed: str) -> None:
    module = __name__.rpartition(".")[2]
    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import {module} as t; print(t.hash_of(7))"
    assert printed(code, hash_seed) == hash_of(7)
