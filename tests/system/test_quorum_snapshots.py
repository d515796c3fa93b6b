"""Nodes that lost everything come back from snapshots of the metadata (after kafkatest's snapshot_test)."""

import itertools
from collections.abc import Callable

import pytest
from tests.system.cluster import Cluster
from tests.system.delivery import wait_and_check_delivery
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

SMALL = {
    "metadata.log.segment.ms": 2000,
    "metadata.max.retention.bytes": 2048,
    "metadata.log.max.record.bytes.between.snapshots": 2048,
}


@pytest.mark.parametrize("combined", [False, True], ids=["isolated", "combined"])
def test_nodes_come_back_from_snapshots(
    combined: bool, make_cluster: Callable[..., Cluster], make_clients: Callable[..., Clients]
) -> None:
    cluster = make_cluster(brokers=3, controllers=3, combined=combined, config=SMALL).start()
    controllers = [node for node in cluster.nodes.values() if node.controller]
    names = (f"topic-{i}" for i in itertools.count())

    def create(count: int) -> str:
        made = [cluster.create_topic(next(names), partitions=3, replication_factor=3) for _ in range(count)]
        return made[-1]

    def works(topic: str) -> None:
        clients = make_clients(cluster)
        producer, consumer = clients.producer(topic, max_messages=200), clients.consumer(topic, group=topic)
        producer.wait_until(lambda: len(producer.acked) == 200, "every record")
        wait_and_check_delivery(producer, consumer)

    create(10)
    for node in controllers:
        first = node.metadata_dir / f"{0:020d}.log"
        cluster.wait_until(lambda first=first: not first.exists(), f"{first} to be deleted")
        assert list(node.metadata_dir.glob("*.checkpoint"))

    broker = cluster.nodes[3]
    cluster.kill(broker.id)
    cluster.wipe(broker.id)
    create(5)  # while it is away: a snapshot alone does not do
    cluster.start(broker.id)
    assert list(broker.metadata_dir.glob("*-*.checkpoint"))
    topic = cluster.create_topic(next(names), assignment=[[broker.id]])
    works(topic)

    for node in controllers:
        cluster.kill(node.id)
        cluster.wipe(node.id)
        cluster.wait_until(lambda: cluster.quorum().leader > 0, "a leader of those that are left")
        last = create(3)
        cluster.start(node.id)
        voters = {n.id for n in controllers}
        cluster.wait_until(lambda voters=voters: set(cluster.quorum().voters) == voters, "all voters")
    cluster.wait_in_sync(last)
    works(create(1))
