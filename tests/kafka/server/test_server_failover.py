"""Brokers die, leave and come back, over real connections: no session is short enough to explain what happens here."""

from collections.abc import Iterator

import pytest

from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Cluster
from riverport.testing.actions import error

LONG = {"broker.session.timeout.ms": 600_000, "leader.imbalance.check.interval.seconds": 1}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One controller, three brokers."""
    with Cluster(3, 1, combined=False, config=LONG) as cluster:
        yield cluster


def leaders(cluster: Cluster, topic: str, count: int) -> list[int]:
    return [cluster.leader_of(topic, index) for index in range(count)]


def test_partitions_of_a_dead_broker_are_led_elsewhere_at_once_and_go_back(cluster: Cluster) -> None:
    cluster.create_topic("t", partitions=3, replication_factor=3)
    cluster.wait_in_sync("t")
    cluster.kill(2)
    for index in range(3):
        cluster.wait_for_leader("t", index, other_than=2)
    assert all(2 not in cluster.partition("t", index).isr for index in range(3))
    cluster.start(2)
    cluster.wait_in_sync("t")
    preferred = [cluster.partition("t", index).replicas[0] for index in range(3)]
    cluster.wait_until(lambda: leaders_now(cluster, 3) == preferred, "the preferred replicas to lead")


def leaders_now(cluster: Cluster, count: int) -> list[int]:
    """For conditions, which are asked in the cluster's own thread."""
    image = next(node.host.node for node in cluster.nodes.values() if node.host.node).metadata.image
    return [image.topics["t"].partitions[index].leader for index in range(count)]


def test_a_broker_that_was_killed_registers_again_without_waiting_for_its_session(cluster: Cluster) -> None:
    for clean in (True, False):
        before = cluster.run(1, epoch)
        cluster.restart(1, clean=clean)
        assert cluster.run(1, epoch) > before


async def epoch(node: Node) -> int:
    return node.broker_epoch


def test_a_broker_that_leaves_gives_up_its_leaderships_first(cluster: Cluster) -> None:
    cluster.create_topic("t", partitions=3, replication_factor=2)
    cluster.wait_in_sync("t")
    cluster.stop(3)
    assert 3 not in leaders(cluster, "t", 3)

    async def registered(node: Node) -> tuple[bool, bool]:
        found = node.metadata.image.brokers[3]
        return found.fenced, found.in_controlled_shutdown

    assert cluster.run(1, registered) == (True, True)


def test_a_broker_whose_heartbeats_stay_away_keeps_its_session_while_it_runs(cluster: Cluster) -> None:
    """Its connections break, but its listener answers: only its session may end it."""
    cluster.create_topic("t", partitions=3, replication_factor=3)
    cluster.wait_in_sync("t")
    before = [cluster.partition("t", index) for index in range(3)]

    async def cut(node: Node) -> None:
        assert node.controller is not None
        for id_ in (1, 2, 3):
            node.controller.watch._links[id_].connection.close()

    cluster.run(101, cut)
    cluster.create_topic("later", partitions=1, replication_factor=1)
    assert [cluster.partition("t", index) for index in range(3)] == before


def test_a_broker_that_is_not_heard_of_is_fenced_when_its_session_is_over_and_comes_back() -> None:
    config = {"broker.session.timeout.ms": 400, "broker.heartbeat.interval.ms": 50}
    with Cluster(3, 1, combined=False, config=config) as cluster:
        cluster.create_topic("t", partitions=3, replication_factor=3)
        cluster.wait_in_sync("t")
        before = cluster.run(1, epoch)
        cluster.nodes[101].faults.add(ApiKey.BROKER_HEARTBEAT, action=error(ErrorCode.REQUEST_TIMED_OUT))

        def fenced() -> bool:
            node = cluster.nodes[101].host.node
            assert node is not None
            return all(node.metadata.image.brokers[id_].fenced for id_ in (1, 2, 3))

        cluster.wait_until(fenced, "the brokers to be fenced")
        cluster.nodes[101].faults.clear()
        cluster.wait_in_sync("t")
        assert cluster.run(1, epoch) == before


def test_the_death_of_the_node_that_is_also_the_controller_is_noticed_at_once() -> None:
    with Cluster(3, 3, combined=True, config=LONG) as cluster:
        cluster.create_topic("t", partitions=3, replication_factor=3)
        cluster.wait_in_sync("t")
        dead = cluster.controller
        cluster.kill(dead)
        for index in range(3):
            cluster.wait_for_leader("t", index, other_than=dead)
        assert cluster.controller != dead
        cluster.start(dead)
        cluster.wait_in_sync("t")


def test_every_controller_registers_itself() -> None:
    with Cluster(1, 3, combined=False, config=LONG) as cluster:

        def registered() -> bool:
            node = cluster.nodes[1].host.node
            assert node is not None
            return sorted(node.metadata.image.controllers) == [101, 102, 103]

        cluster.wait_until(registered, "three controllers to be registered")


def test_a_node_that_is_back_before_anybody_missed_it_is_let_in() -> None:
    """Broker and controller at once, again and again: whoever leads then has heard of nobody yet."""
    with Cluster(3, 3, combined=True, config=LONG) as cluster:
        cluster.create_topic("t", partitions=3, replication_factor=3)
        for _ in range(3):
            cluster.restart(cluster.controller, clean=False)
            cluster.wait_in_sync("t")
