"""A consumer reads from the replica in its own rack (after kafkatest's fetch_from_follower_test; KIP-392)."""

import re
from collections.abc import Callable

import pytest
from tests.system.cluster import Cluster
from tests.system.delivery import wait_and_check_delivery
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"
COLLECTOR = "org.apache.kafka.clients.consumer.internals.FetchCollector"


def test_a_consumer_reads_from_its_own_rack(
    make_cluster: Callable[..., Cluster], make_clients: Callable[..., Clients]
) -> None:
    cluster = make_cluster(
        brokers=3,
        controllers=1,
        config={"replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector"},
        node_config={1: {"broker.rack": "a"}, 2: {"broker.rack": "b"}, 3: {"broker.rack": "c"}},
    ).start()
    cluster.create_topic(TOPIC, assignment=[[1, 2, 3]])
    clients = make_clients(cluster)
    producer = clients.producer(TOPIC)
    consumer = clients.consumer(TOPIC, properties={"client.rack": "b"}, logged=[COLLECTOR])
    producer.wait_acked(500)
    consumer.wait_read(500)
    wait_and_check_delivery(producer, consumer)
    chosen = re.findall(r"Updating preferred read replica for partition \S+ to (\d+)", consumer.log.read_text())
    assert set(chosen) == {"2"}
