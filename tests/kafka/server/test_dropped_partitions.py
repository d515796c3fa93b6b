"""Producers that wait for replicas of a partition that its leader has to give up."""

from typing import Any

import pytest
from tests.kafka.server.wire import batch

from riverport.kafka.client.connection import Connection
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.sim.loop import EPOCH_S
from riverport.sim.plan import Shape
from riverport.testing import Simulation

TIMEOUT_MS = 100_000  # of a request: what ends sooner was ended by something else
LEADER, FOLLOWER, OTHER = 2, 3, 4  # node 1 is the controller


async def ask(address: str, request: Any, version: int | None = None) -> Any:
    host, port = address.rsplit(":", 1)
    connection = await Connection.open(host, int(port), client_id="c")
    try:
        return await connection.request(request, version=version, timeout_ms=2 * TIMEOUT_MS)
    finally:
        await connection.close()


async def make(address: str) -> None:
    of = m.CreateTopicsRequest
    place = of.CreatableReplicaAssignment(0, [LEADER, FOLLOWER])
    await ask(address, of([of.CreatableTopic("orders", -1, -1, [place])], timeout_ms=10_000))


async def produce(address: str) -> int:
    of = m.ProduceRequest
    records = batch(b"x", timestamp=EPOCH_S * 1000)
    data = of.TopicProduceData("orders", partition_data=[of.PartitionProduceData(0, records)])
    answer = await ask(address, of(None, -1, TIMEOUT_MS, [data]), version=9)
    return int(answer.responses[0].partition_responses[0].error_code)


async def delete(address: str) -> None:
    of = m.DeleteTopicsRequest
    await ask(address, of([of.DeleteTopicState("orders")], timeout_ms=10_000), version=6)


async def move_away(address: str) -> None:
    of = m.AlterPartitionReassignmentsRequest
    wanted = of.ReassignableTopic("orders", [of.ReassignablePartition(0, [FOLLOWER])])
    await ask(address, of(10_000, topics=[wanted]), version=0)


@pytest.mark.parametrize(
    ("change", "code"),
    [(delete, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), (move_away, ErrorCode.NOT_LEADER_OR_FOLLOWER)],
    ids=["deleted", "moved to others"],
)
def test_a_producer_is_told_at_once_when_its_partition_goes(change: Any, code: ErrorCode) -> None:
    with Simulation(seed=9, shape=Shape.SEPARATE) as cluster:
        leader, other = cluster.bootstrap[LEADER - 2], cluster.bootstrap[OTHER - 2]
        cluster.run(make(other))
        cluster.sleep(1)
        assert cluster.run(produce(leader)) == 0
        cluster.cut(LEADER, FOLLOWER, seconds=2)  # less than it takes to leave the in-sync replicas
        waiting = cluster.begin(produce(leader))
        cluster.sleep(0.5)
        assert not waiting.done()
        cluster.run(change(other))
        assert cluster.wait(waiting, seconds=1) == code
