"""What is acknowledged outlives its leader (after kafkatest's replication_test)."""

from collections.abc import Callable

import pytest
from tests.system.cluster import Cluster
from tests.system.delivery import wait_and_check_delivery
from tests.system.workload import Client, Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"
BOUNCES = 3


def clean_shutdown(cluster: Cluster, node: Callable[[], int]) -> None:
    cluster.stop(node())


def hard_shutdown(cluster: Cluster, node: Callable[[], int]) -> None:
    cluster.kill(node())


def clean_bounce(cluster: Cluster, node: Callable[[], int]) -> None:
    for _ in range(BOUNCES):
        cluster.restart(node())


def hard_bounce(cluster: Cluster, node: Callable[[], int]) -> None:
    """Each has come back and caught up before the next: two of three replicas are always in sync."""
    for _ in range(BOUNCES):
        killed = node()
        cluster.kill(killed)
        if killed in (n.id for n in cluster.nodes.values() if n.broker):
            cluster.wait_until(
                lambda killed=killed: killed not in cluster.topic(TOPIC)[0].isr, f"{killed} to be fenced"
            )
        cluster.start(killed)
        cluster.wait_in_sync(TOPIC)


FAILURES = [clean_shutdown, hard_shutdown, clean_bounce, hard_bounce]


@pytest.mark.parametrize("client", ["java", "librdkafka"])
@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
def test_acknowledged_records_outlive_their_leader(
    fail: Callable[[Cluster, Callable[[], int]], None],
    client: Client,
    make_cluster: Callable[..., Cluster],
    make_clients: Callable[..., Clients],
) -> None:
    cluster = make_cluster(brokers=3, controllers=1).start()
    cluster.create_topic(TOPIC, partitions=3, replication_factor=3, config={"min.insync.replicas": 2})
    clients = make_clients(cluster, client)
    producer, consumer = clients.producer(TOPIC), clients.consumer(TOPIC)
    consumer.wait_read(5)
    fail(cluster, lambda: cluster.leader(TOPIC))
    producer.wait_acked(1000)
    wait_and_check_delivery(producer, consumer)
    assert not producer.errors, producer.errors[:3]


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
def test_acknowledged_records_outlive_the_active_controller(
    fail: Callable[[Cluster, Callable[[], int]], None],
    make_cluster: Callable[..., Cluster],
    make_clients: Callable[..., Clients],
) -> None:
    cluster = make_cluster(brokers=3, controllers=3).start()
    cluster.create_topic(TOPIC, partitions=3, replication_factor=3, config={"min.insync.replicas": 2})
    clients = make_clients(cluster)
    producer, consumer = clients.producer(TOPIC), clients.consumer(TOPIC)
    consumer.wait_read(5)
    fail(cluster, lambda: cluster.quorum().leader)
    cluster.create_topic("invoices", partitions=3)  # somebody decides
    producer.wait_acked(1000)
    wait_and_check_delivery(producer, consumer)
    assert not producer.errors, producer.errors[:3]
