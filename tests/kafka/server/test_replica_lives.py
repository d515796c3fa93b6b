"""Replicas through what happens to brokers: killed leaders, reassignments, lost and full directories, deletions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from tests.kafka.log.kit import NOW_MS, batch
from tests.kafka.server.test_replication_clusters import copies, produce

from riverport.base.files import StorageError
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire import messages as m
from riverport.testing import BrokerError, Cluster

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Each broker has two directories."""
    dirs = {
        id_: {"log.dirs": f"{tmp_path}/{id_}/a,{tmp_path}/{id_}/b", "metadata.log.dir": f"{tmp_path}/{id_}/meta"}
        for id_ in (1, 2, 3)
    }
    config = {"replica.fetch.wait.max.ms": 20_000, "offsets.topic.num.partitions": 1, "log.segment.delete.delay.ms": 0}
    with Cluster(brokers=3, controllers=1, combined=False, config=config, node_config=dirs) as cluster:
        yield cluster


def level(cluster: Cluster, topic: str, partition: int = 0) -> None:
    """Until every replica's log is the leader's."""
    cluster.wait_in_sync(topic)

    def ends() -> set[int]:
        return {
            found.log.log_end_offset
            for node in cluster.nodes.values()
            if node.host.node is not None
            and (found := node.host.node.partitions.get((topic, partition))) is not None
            and found.log is not None
        }

    cluster.wait_until(lambda: len(ends()) == 1, "equal logs")
    first, *others = copies(cluster, topic, partition)
    assert others == [first] * len(others)


def log_dir(cluster: Cluster, id_: int, topic: str) -> str:
    async def found(node: Node) -> str:
        log = node.partitions[topic, 0].log
        return "" if log is None else log.dir.rpartition("/")[0]

    return cluster.run(id_, found)


def ask(cluster: Cluster, request: Any) -> Any:
    """Of the controller, by a broker."""
    return cluster.run(cluster.running[0], lambda node: node.channel.send(request))


def test_a_killed_leader_comes_back_and_catches_up(cluster: Cluster) -> None:
    cluster.create_topic("t", replication_factor=3)
    produce(cluster, "t", *(b"%d" % n for n in range(50)))
    leader = cluster.leader_of("t")
    cluster.kill(leader)
    cluster.wait_for_leader("t", other_than=leader)
    produce(cluster, "t", *(b"%d" % n for n in range(50, 80)))
    cluster.start(leader)
    level(cluster, "t")
    assert [record.value for record in cluster.records("t")] == [b"%d" % n for n in range(80)]


def test_what_only_the_killed_leader_had_is_cut_when_it_comes_back(cluster: Cluster) -> None:
    cluster.create_topic("t", replication_factor=3)
    produce(cluster, "t", b"acknowledged")
    leader = cluster.leader_of("t")

    async def write_unseen(node: Node) -> None:
        partition = node.partitions["t", 0]
        assert partition.log is not None
        partition.log.append_as_leader(batch(b"unseen", b"too"), partition.leader_epoch, NOW_MS)

    cluster.run(leader, write_unseen)
    cluster.kill(leader)
    cluster.wait_for_leader("t", other_than=leader)
    produce(cluster, "t", b"later")
    cluster.start(leader)
    level(cluster, "t")
    assert [record.value for record in cluster.records("t", node=leader)] == [b"acknowledged", b"later"]


def test_all_brokers_are_killed_and_nothing_acknowledged_is_lost(cluster: Cluster) -> None:
    cluster.create_topic("t", replication_factor=3)
    produce(cluster, "t", *(b"%d" % n for n in range(30)))
    cluster.kill(1, 2, 3)
    cluster.start(1, 2, 3)
    cluster.wait_for_leader("t")
    produce(cluster, "t", b"30")
    level(cluster, "t")
    assert [record.value for record in cluster.records("t")] == [b"%d" % n for n in range(31)]


def test_a_group_s_offsets_survive_its_coordinator(cluster: Cluster) -> None:
    cluster.create_topic("t", replication_factor=3)
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "g"})
    try:
        consumer.commit(offsets=[TopicPartition("t", 0, 7)], asynchronous=False)
        coordinator = cluster.leader_of("__consumer_offsets")
        cluster.kill(coordinator)
        cluster.wait_for_leader("__consumer_offsets", other_than=coordinator)
        assert consumer.committed([TopicPartition("t", 0)], 20)[0].offset == 7
        consumer.commit(offsets=[TopicPartition("t", 0, 9)], asynchronous=False)
        cluster.start(coordinator)
        level(cluster, "__consumer_offsets")
        assert consumer.committed([TopicPartition("t", 0)], 20)[0].offset == 9
    finally:
        consumer.close()


def test_a_reassigned_partition_is_copied_and_its_old_log_goes(cluster: Cluster) -> None:
    cluster.create_topic("t", assignment=[[1, 2]])
    produce(cluster, "t", *(b"%d" % n for n in range(40)))
    of = m.AlterPartitionReassignmentsRequest
    ask(cluster, of(topics=[of.ReassignableTopic("t", [of.ReassignablePartition(0, [3, 2])])]))
    cluster.wait_until(lambda: set(cluster._partition("t", 0).replicas) == {2, 3}, "the end of the reassignment")
    cluster.wait_in_sync("t")
    assert [len(log) for log in copies(cluster, "t")] == [40, 40]
    nodes = cluster.nodes
    cluster.wait_until(lambda: ("t", 0) not in nodes[1].host.node.partitions, "the old log's end")  # type: ignore[union-attr]
    produce(cluster, "t", b"40")
    level(cluster, "t")


def test_a_deleted_topic_goes_from_every_directory(cluster: Cluster, tmp_path: Path) -> None:
    cluster.create_topic("t", partitions=4, replication_factor=3)
    assert len(list(tmp_path.glob("*/*/t-[0-3]"))) == 12
    ask(cluster, m.DeleteTopicsRequest([m.DeleteTopicsRequest.DeleteTopicState("t", bytes(16))]))
    cluster.wait_until(lambda: not list(tmp_path.glob("*/*/t-*")), "removed logs")


def test_deleted_records_go_from_every_replica(cluster: Cluster) -> None:
    cluster.create_topic("t", replication_factor=3)
    produce(cluster, "t", *(b"%d" % n for n in range(20)))

    async def delete(node: Node) -> None:
        log = node.partitions["t", 0].log
        assert log is not None
        log.delete_records(15)
        node.wake(node.partitions["t", 0])

    cluster.run(cluster.leader_of("t"), delete)

    def starts() -> set[int]:
        logs = [n.host.node.partitions["t", 0].log for n in cluster.nodes.values() if n.is_broker and n.host.node]
        return {log.log_start_offset for log in logs if log is not None}

    cluster.wait_until(lambda: starts() == {15}, "the log start everywhere")


def test_a_broker_tells_where_its_replicas_lie(cluster: Cluster) -> None:
    cluster.create_topic("t", replication_factor=3)

    def told() -> bool:
        registration = cluster._partition("t", 0)
        for id_, directory in zip(registration.replicas, registration.directories, strict=True):
            node = cluster.nodes[id_].host.node
            assert node is not None
            log = node.partitions["t", 0].log
            if log is None or node.directories.id_of(log.dir.rpartition("/")[0]) != directory:
                return False
        return True

    cluster.wait_until(told, "directories in the metadata")
    before = log_dir(cluster, 2, "t")
    target = before[:-1] + ("b" if before.endswith("a") else "a")

    async def move(node: Node) -> None:
        node.replica_moves.start(node.partitions["t", 0], target)

    cluster.run(2, move)
    produce(cluster, "t", b"while it moves")
    cluster.wait_until(lambda: told() and log_dir_now(cluster, 2) == target, "the move, told")
    level(cluster, "t")


def log_dir_now(cluster: Cluster, id_: int) -> str:
    node = cluster.nodes[id_].host.node
    log = None if node is None else node.partitions["t", 0].log
    return "" if log is None else log.dir.rpartition("/")[0]


def test_a_lost_directory_moves_its_leaders_and_nothing_else(cluster: Cluster) -> None:
    cluster.create_topic("t", replication_factor=3)
    cluster.create_topic("other", replication_factor=3)
    produce(cluster, "t", b"before")
    leader = cluster.leader_of("t")
    lost = log_dir(cluster, leader, "t")

    async def lose(node: Node) -> None:
        node.logs.fail(lost, StorageError("write", lost, 5, "Input/output error"))

    # What it has elsewhere goes on.
    has_other = log_dir(cluster, leader, "other") != lost
    cluster.run(leader, lose)
    cluster.wait_for_leader("t", other_than=leader)
    produce(cluster, "t", b"after")
    cluster.wait_until(lambda: leader not in cluster._partition("t", 0).isr, "the lost replica's leave")
    assert has_other == (leader in cluster.partition("other").isr)
    produce(cluster, "other", b"goes on")
    assert [record.value for record in cluster.records("t")] == [b"before", b"after"]
    with pytest.raises(BrokerError, match="a log directory is offline"):
        cluster.check()
