"""A broker that loses a log directory goes on with the others (after kafkatest's log_dir_failure_test).

A directory is lost as kafkatest's cannot be by root, who may write everything: a file stands in its place.
"""

from collections.abc import Callable

import pytest
from tests.system.cluster import Cluster
from tests.system.delivery import wait_and_check_delivery
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

KEPT, LOST = "kept", "lost"


def lose(cluster: Cluster, broker: int, topic: str) -> None:
    """The directory that has the topic's partition 0 on this broker can hold nothing any more."""
    (folder,) = cluster.nodes[broker].dir.glob(f"data*/{topic}-0")
    folder.parent.rename(folder.parent.with_suffix(".away"))
    folder.parent.write_text("not a directory")


@pytest.mark.parametrize("bounce", [False, True], ids=["running", "bounced"])
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_broker_goes_on_without_a_directory(
    role: str, bounce: bool, make_cluster: Callable[..., Cluster], make_clients: Callable[..., Clients]
) -> None:
    config = {
        # Who rolls a segment or writes a checkpoint needs the directory, not only the open file.
        "log.roll.ms": 1000,
        "log.flush.interval.messages": 5,
        "replica.high.watermark.checkpoint.interval.ms": 1000,
        "offsets.topic.num.partitions": 1,
    }
    cluster = make_cluster(brokers=3, controllers=1, dirs=2, config=config).start()
    cluster.create_topic("__consumer_offsets", assignment=[[1, 2, 3]], config={"cleanup.policy": "compact"})
    cluster.create_topic(LOST, assignment=[[1, 2, 3]], config={"min.insync.replicas": 2})
    broker = 1 if role == "leader" else 2
    offsets = next(cluster.nodes[broker].dir.glob("data*/__consumer_offsets-0")).parent
    lost = next(cluster.nodes[broker].dir.glob(f"data*/{LOST}-0")).parent
    assert offsets != lost, "each new log goes where the fewest are"
    clients = make_clients(cluster)
    producer, consumer = clients.producer(LOST), clients.consumer(LOST)
    consumer.wait_read(5)

    lose(cluster, broker, LOST)
    if bounce:
        cluster.restart(broker)

    def is_out() -> bool:
        partition = cluster.topic(LOST, asked=3)[0]
        return partition.leader not in (broker, -1) and broker not in partition.isr

    cluster.wait_until(is_out, f"the replica on {broker} to be out of sync and to lead no more")
    producer.wait_acked(500)
    wait_and_check_delivery(producer, consumer)
    assert not producer.errors, producer.errors[:3]
    # The broker itself is there, and what it makes from now on goes into the directory that is left.
    cluster.create_topic(KEPT, assignment=[[broker]])
    producer, consumer = clients.producer(KEPT, max_messages=100), clients.consumer(KEPT, group="others")
    producer.wait_until(lambda: len(producer.acked) == 100, "every record")
    wait_and_check_delivery(producer, consumer)
