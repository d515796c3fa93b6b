"""Followers over real connections: what the leaders of a cluster have, its other brokers have too."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from riverport.kafka.server import topics
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire import messages as m
from riverport.testing import Cluster
from riverport.testing.log_records import LogRecord

PATIENT = {"replica.fetch.wait.max.ms": 20_000, "replica.lag.time.max.ms": 60_000}
"""A follower's fetch waits longer than a test does: what comes sooner was not found by waiting."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(brokers=3, controllers=1, combined=False, config=PATIENT) as cluster:
        yield cluster


def produce(cluster: Cluster, topic: str, *values: bytes, partition: int = 0, acks: str = "all") -> None:
    """Returns once everything is acknowledged."""
    failures = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": acks, "linger.ms": 0})
    for value in values:
        producer.produce(
            topic, value, partition=partition, on_delivery=lambda error, _: failures.append(error) if error else None
        )
    assert producer.flush(20) == 0
    assert not failures


def copies(cluster: Cluster, topic: str, partition: int = 0) -> list[list[LogRecord]]:
    return [cluster.records(topic, partition, node=id_) for id_ in cluster.partition(topic, partition).replicas]


def test_what_is_acknowledged_by_all_lies_in_every_log(cluster: Cluster) -> None:
    cluster.create_topic("orders", partitions=3, replication_factor=3)
    for partition in range(3):
        produce(cluster, "orders", *(b"%d" % n for n in range(100)), partition=partition)
    for partition in range(3):
        first, *others = copies(cluster, "orders", partition)
        assert [record.value for record in first] == [b"%d" % n for n in range(100)]
        assert others == [first, first]


def test_a_topic_made_while_the_followers_fetches_wait_is_replicated_at_once(cluster: Cluster) -> None:
    for name in ("one", "two", "three"):
        cluster.create_topic(name, replication_factor=3)
        produce(cluster, name, b"at once")
        assert [len(log) for log in copies(cluster, name)] == [1, 1, 1]


def test_thousands_of_partitions_keep_no_broker_from_its_heartbeats(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "SLICE_MS", 0)
    cluster.create_topic("many", partitions=60, replication_factor=3)
    cluster.wait_until(
        lambda: all(
            len([p for p in node.host.node.partitions.values() if p.topic == "many"]) == 60
            for node in cluster.nodes.values()
            if node.is_broker and node.host.node is not None
        ),
        "logs of every partition",
    )
    for partition in (0, 59):
        produce(cluster, "many", b"v", partition=partition)
        assert [len(log) for log in copies(cluster, "many", partition)] == [1, 1, 1]


def test_the_number_of_fetchers_changes_while_they_work(cluster: Cluster) -> None:
    cluster.create_topic("orders", partitions=6, replication_factor=3)
    of = m.IncrementalAlterConfigsRequest
    entry = of.AlterableConfig("num.replica.fetchers", 0, "2")
    request = of(resources=[of.AlterConfigsResource(4, "", [entry])])
    for partition in range(6):
        produce(cluster, "orders", b"one", partition=partition)

    async def alter(node: Node) -> None:
        answer = await node.channel.send(request)
        assert answer.responses[0].error_code == 0

    cluster.run(1, alter)
    cluster.wait_until(
        lambda: all(
            node.host.node.config["num.replica.fetchers"] == 2
            for node in cluster.nodes.values()
            if node.host.node is not None
        ),
        "the setting everywhere",
    )
    for partition in range(6):
        produce(cluster, "orders", b"two", partition=partition)
        assert [[record.value for record in log] for log in copies(cluster, "orders", partition)] == [
            [b"one", b"two"]
        ] * 3
