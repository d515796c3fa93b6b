"""An unclean leader has less; a consumer that was further on notices (after kafkatest's truncation_test; KIP-320)."""

from collections.abc import Callable

import pytest
from tests.kafka_tools import Tools
from tests.system.cluster import Cluster
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"


def test_a_consumer_follows_an_unclean_leader_and_reads_nothing_twice(
    make_cluster: Callable[..., Cluster], make_clients: Callable[..., Clients], kafka_tools: Tools
) -> None:
    cluster = make_cluster(brokers=3, controllers=1).start()
    # Nobody but broker 3, which holds no replica, coordinates.
    cluster.create_topic("__consumer_offsets", assignment=[[3]] * 3, config={"cleanup.policy": "compact"})
    cluster.create_topic(TOPIC, assignment=[[1, 2]])
    clients = make_clients(cluster)
    producer = clients.producer(TOPIC, throughput=50)
    consumer = clients.consumer(TOPIC, verify_offsets=False)
    consumer.wait_read(20)
    cluster.stop(2)
    cluster.wait_until(lambda: cluster.topic(TOPIC)[0].isr == (1,), "broker 2 to be out of sync")
    consumer.wait_read(50)
    cluster.stop(1)
    cluster.start(2)
    assert cluster.topic(TOPIC)[0].leader == -1, "who is not in sync is not elected"
    before = consumer.positions[0]

    kafka_tools.bootstrap = cluster.bootstrap
    changed = ["--entity-type", "topics", "--entity-name", TOPIC, "--alter", "--add-config"]
    kafka_tools("kafka-configs", *changed, "unclean.leader.election.enable=true")
    assert cluster.leader(TOPIC) == 2
    cluster.start(1)
    consumer.wait_until(lambda: consumer.positions.get(0, 0) >= before, "the consumer to be where it was")
    values = [value for _, value in consumer.read]
    assert len(values) == len(set(values)), "it has begun anew"
    cluster.wait_in_sync(TOPIC)
    producer.stop()
    consumer.stop()

    again = clients.consumer(TOPIC, group="others")
    again.wait_until(
        lambda: again.last_positions.get(0, 0) >= consumer.last_positions[0], "everything to be read again"
    )
    again.stop()
    assert set(values) - {value for _, value in again.read}, "nothing was truncated"
