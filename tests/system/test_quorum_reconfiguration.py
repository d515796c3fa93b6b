"""A controller joins the quorum and the active one leaves (after kafkatest's quorum_reconfiguration_test; KIP-853)."""

import re
from collections.abc import Callable

import pytest
from tests.kafka_tools import Tools
from tests.system.cluster import Cluster, Node
from tests.system.delivery import wait_and_check_delivery
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"


def directory_id(node: Node) -> str:
    (found,) = re.findall(r"^directory.id=(\S+)", (node.dir / "data0" / "meta.properties").read_text(), re.M)
    return str(found)


def wait_quorum(cluster: Cluster, leader: int, voters: set[int], observers: set[int]) -> None:
    def reached() -> bool:
        quorum = cluster.quorum()
        return (quorum.leader, set(quorum.voters), set(quorum.observers)) == (leader, voters, observers)

    cluster.wait_until(reached, f"leader {leader}, voters {voters}, observers {observers}, not {cluster.quorum()}")


@pytest.mark.parametrize("combined", [True, False], ids=["combined", "isolated"])
def test_one_controller_joins_and_another_leaves(
    combined: bool, make_cluster: Callable[..., Cluster], make_clients: Callable[..., Clients], kafka_tools: Tools
) -> None:
    cluster = make_cluster(brokers=4 if combined else 3, controllers=2, combined=combined, dynamic=True)
    first, second = (node.id for node in cluster.nodes.values() if node.controller)
    others = {id_ for id_ in cluster.nodes if id_ not in (first, second)}
    cluster.start(first, *others)
    kafka_tools.bootstrap = cluster.bootstrap
    cluster.create_topic(TOPIC, partitions=3, replication_factor=3)
    clients = make_clients(cluster)
    producer, consumer = clients.producer(TOPIC), clients.consumer(TOPIC)
    consumer.wait_read(5)

    wait_quorum(cluster, first, {first}, others)
    cluster.start(second)
    wait_quorum(cluster, first, {first}, others | {second})
    properties = ["--command-config", str(cluster.nodes[second].process.properties)]
    kafka_tools("kafka-metadata-quorum", *properties, "add-controller")
    wait_quorum(cluster, first, {first, second}, others)

    removed = ["--controller-id", str(first), "--controller-directory-id", directory_id(cluster.nodes[first])]
    kafka_tools("kafka-metadata-quorum", "remove-controller", *removed)
    wait_quorum(cluster, second, {second}, others | {first})
    cluster.create_topic("invoices", partitions=3)  # the new one decides
    producer.wait_acked(500)
    wait_and_check_delivery(producer, consumer)
    assert not producer.errors, producer.errors[:3]
