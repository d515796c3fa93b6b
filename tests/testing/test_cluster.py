"""Clusters in the test process: the life of their nodes, their topics, and what they say when something is wrong."""

import os
from pathlib import Path

import pytest
from confluent_kafka import Producer

from riverport.testing import BrokerError, Cluster, ConfigError, disconnect


def produce(bootstrap: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": 1})
    failures: list[object] = []
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(20) == 0
    assert failures == [None] * len(values)


def test_three_brokers_are_one_cluster_and_its_quorum() -> None:
    with Cluster() as cluster:
        assert cluster.running == (1, 2, 3)
        assert cluster.controller in (1, 2, 3)
        assert len(set(cluster.bootstrap.split(","))) == 3
        cluster.create_topic("orders", assignment=[[2], [3], [1]])
        assert [cluster.leader_of("orders", partition) for partition in range(3)] == [2, 3, 1]
        produce(cluster.bootstrap, "orders", b"a", b"b")
        assert [record.value for record in cluster.records("orders")] == [b"a", b"b"]


def test_controllers_may_have_nodes_of_their_own() -> None:
    with Cluster(brokers=1, controllers=2) as cluster:
        assert cluster.running == (1, 101, 102)
        assert cluster.controller in (101, 102)
    with Cluster(brokers=1, combined=False) as cluster:
        assert (cluster.running, cluster.controller) == ((1, 101), 101)


@pytest.mark.parametrize("clean", [True, False])
def test_leaders_and_controller_move_when_their_node_goes_and_it_catches_up(clean: bool) -> None:
    with Cluster() as cluster:
        cluster.create_topic("orders", assignment=[[1, 2], [2, 3], [3, 1]])
        gone = cluster.controller
        (cluster.stop if clean else cluster.kill)(gone)
        led = [partition for partition in range(3) if gone in cluster.partition("orders", partition).replicas]
        for partition in led:
            assert cluster.wait_for_leader("orders", partition, other_than=gone) != gone
        cluster.wait_until(lambda: cluster._controller() not in (-1, gone), "another controller")
        produce(cluster.bootstrap, "orders", b"a", b"b")
        cluster.start(gone)
        cluster.wait_in_sync("orders")
        assert [record.value for record in cluster.records("orders")] == [b"a", b"b"]


def test_replicas_are_on_as_many_brokers_as_asked() -> None:
    with Cluster() as cluster:
        cluster.create_topic("orders", partitions=2, replication_factor=3)
        for partition in range(2):
            assert set(cluster.partition("orders", partition).replicas) == {1, 2, 3}
        cluster.wait_in_sync("orders")


def test_one_node_restarts_on_its_port_with_its_data() -> None:
    with Cluster(brokers=2) as cluster:
        cluster.create_topic("orders", assignment=[[2]])
        before = cluster.nodes[2].bootstrap
        produce(cluster.bootstrap, "orders", b"a")
        cluster.restart(2)
        assert cluster.nodes[2].bootstrap == before
        cluster.wait_for_leader("orders")
        assert [record.value for record in cluster.records("orders")] == [b"a"]


def test_killed_node_tells_nobody_and_leaves_its_logs_as_they_lie() -> None:
    with Cluster(brokers=2) as cluster:
        cluster.create_topic("orders", assignment=[[2]])
        produce(cluster.bootstrap, "orders", b"a")
        cluster.kill(2)
        assert cluster.running == (1,)
        assert not os.path.exists(f"{cluster.dir}/node-2/.kafka_cleanshutdown")
        with pytest.raises(BrokerError, match="node 2 is not running"):
            cluster.records("orders", node=2)
        cluster.start(2)
        cluster.wait_for_leader("orders")
        assert [record.value for record in cluster.records("orders")] == [b"a"]


def test_whole_cluster_restarts_from_its_directory(tmp_path: Path) -> None:
    with Cluster(brokers=2, dir=tmp_path) as cluster:
        cluster.create_topic("orders", assignment=[[2]])
        produce(cluster.bootstrap, "orders", b"a")
        cluster.restart()
        cluster.wait_for_leader("orders")
        assert [record.value for record in cluster.records("orders")] == [b"a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["node-1", "node-2"]


def test_temporary_data_goes_with_the_cluster() -> None:
    with Cluster(brokers=1) as cluster:
        assert os.path.isdir(cluster.dir)
    assert not os.path.exists(cluster.dir)


def test_faults_are_put_on_the_wire_of_one_node() -> None:
    with Cluster(brokers=2) as cluster:
        cluster.create_topic("orders", assignment=[[2]])
        elsewhere = cluster.nodes[1].faults.add(api="Produce", action=disconnect())
        struck = cluster.nodes[2].faults.add(api="Produce", nth=1, action=disconnect())
        produce(cluster.bootstrap, "orders", b"a")
        assert (elsewhere.hits, struck.hits) == (0, 1)


def test_settings_of_all_nodes_and_of_one() -> None:
    with Cluster(brokers=2, config={"num.partitions": 5}, node_config={2: {"broker.rack": "b"}}) as cluster:

        async def settings(node: object) -> tuple[object, object]:
            return node.config["num.partitions"], node.config.rack  # type: ignore[attr-defined]

        assert cluster.run(1, settings) == (5, None)
        assert cluster.run(2, settings) == (5, "b")


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ConfigError, match=r"did you mean num\.partitions"):
        Cluster(config={"num.partition": 1})
    with pytest.raises(ValueError, match=r"node_config\[7\]: the nodes are 1, 2, 3"):
        Cluster(node_config={7: {}})
    cluster = Cluster(brokers=1)
    with pytest.raises(BrokerError, match="no broker is running"):
        cluster.create_topic("orders")
    with cluster:
        with pytest.raises(BrokerError, match="there is no node 9: the nodes are 1"):
            cluster.kill(9)
        with pytest.raises(BrokerError, match="orders: INVALID_REPLICATION_FACTOR"):
            cluster.create_topic("orders", replication_factor=2)
        with pytest.raises(BrokerError, match="orders-0: there is no such partition"):
            cluster.leader_of("orders")
        with pytest.raises(TimeoutError, match="in vain for a miracle"):
            cluster.wait_until(lambda: False, "a miracle", timeout=0.05)
