"""A follower that is cut off leaves the ISR and returns (after kafkatest's replication_replica_failure_test)."""

from collections.abc import Callable

import pytest
from tests.system.cluster import Cluster
from tests.system.delivery import wait_and_check_delivery
from tests.system.network import Network
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"


def test_a_follower_that_is_cut_off_leaves_the_isr_and_returns(
    network: Network, make_cluster: Callable[..., Cluster], make_clients: Callable[..., Clients]
) -> None:
    lag = {"replica.lag.time.max.ms": 3000, "broker.session.timeout.ms": 60_000, "replica.socket.timeout.ms": 3000}
    cluster = make_cluster(brokers=3, controllers=1, network=network, config=lag).start()
    cluster.create_topic(TOPIC, assignment=[[1, 2, 3]], config={"min.insync.replicas": 2})
    clients = make_clients(cluster)
    producer, consumer = clients.producer(TOPIC), clients.consumer(TOPIC)
    consumer.wait_read(5)
    epoch = cluster.topic(TOPIC, asked=1)[0].leader_epoch

    network.cut("n2")
    # Its session would go on for a minute: the leader alone can notice.
    cluster.wait_until(lambda: set(cluster.topic(TOPIC, asked=1)[0].isr) == {1, 3}, "the ISR to shrink")
    producer.wait_acked(500)
    network.mend("n2")
    cluster.wait_until(lambda: set(cluster.topic(TOPIC, asked=1)[0].isr) == {1, 2, 3}, "the ISR to expand")
    producer.wait_acked(1000)
    wait_and_check_delivery(producer, consumer)
    assert cluster.topic(TOPIC, asked=1)[0].leader_epoch == epoch, "nobody else had to lead"
    assert not producer.errors, producer.errors[:3]
