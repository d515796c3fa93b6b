"""What brokers of a cluster answer as its members, each for itself."""

from typing import Any

import pytest
from tests.kafka.server.wire import Wire, batch, produce, produced

from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire import messages as m
from riverport.testing import Cluster


def wire_to(cluster: Cluster, broker: int) -> Wire:
    host, port = cluster.nodes[broker].bootstrap.rsplit(":", 1)
    return Wire((host, int(port)))


def topic_of(cluster: Cluster, name: str) -> Any:
    async def found(node: Node) -> Any:
        return node.metadata.image.topics[name]

    return cluster.run(1, found)


@pytest.mark.parametrize(("own", "partitions"), [({"num.partitions": 5}, 5), ({}, 2)], ids=["own", "controller's"])
def test_a_topic_made_for_the_asking_has_as_many_partitions_as_its_broker_says(
    own: dict[str, object], partitions: int
) -> None:
    with (
        Cluster(1, 1, combined=False, node_config={101: {"num.partitions": 2}, 1: own}) as cluster,
        wire_to(cluster, 1) as wire,
    ):
        of = m.MetadataRequest
        wire.ask(of([of.MetadataRequestTopic(name="wanted")], allow_auto_topic_creation=True))
        cluster.wait_in_sync("wanted")
        assert len(topic_of(cluster, "wanted").partitions) == partitions


def test_a_follower_tells_of_the_producers_that_it_remembers() -> None:
    with Cluster(brokers=2) as cluster:
        cluster.create_topic("orders", assignment=[[1, 2]])
        with wire_to(cluster, 1) as leader, wire_to(cluster, 2) as follower:
            sent = batch(b"v", producer_id=7, producer_epoch=1, base_sequence=0)
            request = produce(("orders", topic_of(cluster, "orders").id), sent, acks=-1)
            assert produced(leader.ask(request)).error_code == 0
            asked = m.DescribeProducersRequest([m.DescribeProducersRequest.TopicRequest("orders", [0])])
            (found,) = follower.ask(asked).topics[0].partitions
            assert (found.error_code, [p.producer_id for p in found.active_producers]) == (0, [7])
