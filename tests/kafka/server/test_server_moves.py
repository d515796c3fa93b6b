"""Partitions move between brokers and elections are held, over real connections."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kafka.server.wire import Wire

from riverport.kafka.controller.registrations import PartitionRegistration
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Cluster

CONFIG = {"broker.session.timeout.ms": 600_000, "auto.leader.rebalance.enable": False}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(4, 1, combined=False, config=CONFIG) as cluster:
        yield cluster


def ask(cluster: Cluster, request: Any) -> Any:
    """Through a broker, which forwards it."""
    node = next(id_ for id_ in cluster.running if id_ != 101)
    host, port = cluster.nodes[node].bootstrap.rsplit(":", 1)
    with Wire((host, int(port))) as wire:
        return wire.ask(request)


def create(cluster: Cluster, *replicas: int) -> None:
    cluster.create_topic("t", assignment=[replicas])
    cluster.wait_in_sync("t")


def move(cluster: Cluster, target: list[int] | None) -> int:
    of = m.AlterPartitionReassignmentsRequest
    answer = ask(cluster, of(10_000, True, [of.ReassignableTopic("t", [of.ReassignablePartition(0, target)])]))
    return int(answer.responses[0].partitions[0].error_code)


def elect(cluster: Cluster, kind: int) -> int:
    of = m.ElectLeadersRequest
    answer = ask(cluster, of(kind, [of.TopicPartitions("t", [0])]))
    return int(answer.replica_election_results[0].partition_result[0].error_code)


def now(cluster: Cluster) -> PartitionRegistration:
    """For conditions, which are asked in the cluster's own thread."""
    node = next(node.host.node for node in cluster.nodes.values() if node.host.node and node.is_controller)
    return node.metadata.image.topics["t"].partitions[0]


def test_a_partition_moves_to_other_brokers_with_everything_in_it(cluster: Cluster) -> None:
    create(cluster, 1, 2)
    assert move(cluster, [3, 4]) == 0
    cluster.wait_until(lambda: now(cluster).replicas == (3, 4), "the move to be complete")
    found = cluster.partition("t")
    assert (found.leader, sorted(found.isr), found.adding, found.removing) == (3, [3, 4], (), ())
    assert move(cluster, None) == ErrorCode.NO_REASSIGNMENT_IN_PROGRESS


def test_a_move_to_a_broker_that_is_down_waits_for_it_and_can_be_called_off(cluster: Cluster) -> None:
    create(cluster, 1, 2)
    cluster.kill(4)
    assert move(cluster, [1, 4]) == 0
    moving = cluster.partition("t")
    assert (moving.replicas, moving.adding, moving.removing, moving.isr) == ((1, 4, 2), (4,), (2,), (1, 2))
    assert move(cluster, None) == 0
    assert cluster.partition("t").replicas == (1, 2)
    assert move(cluster, [1, 4]) == 0
    cluster.start(4)
    cluster.wait_until(lambda: now(cluster).replicas == (1, 4), "the move to be complete")


def test_the_preferred_replica_leads_again_when_it_is_asked_for(cluster: Cluster) -> None:
    create(cluster, 2, 3)
    cluster.restart(2)
    cluster.wait_in_sync("t")
    assert cluster.leader_of("t") == 3
    assert elect(cluster, 0) == 0
    cluster.wait_for_leader("t", other_than=3)
    assert elect(cluster, 0) == ErrorCode.ELECTION_NOT_NEEDED


def test_a_partition_without_its_last_leader_waits_unless_an_unclean_election_is_asked_for(cluster: Cluster) -> None:
    create(cluster, 1, 2)
    cluster.kill(2)
    cluster.wait_until(lambda: now(cluster).isr == (1,), "the follower to leave the ISR")
    cluster.kill(1)
    cluster.wait_until(lambda: now(cluster).leader == -1, "the leader to be gone")
    cluster.start(2)
    assert cluster.leader_of("t") == -1
    assert elect(cluster, 0) == ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
    assert elect(cluster, 1) == 0
    cluster.wait_until(lambda: now(cluster).leader == 2, "the other replica to lead")
    cluster.start(1)
    cluster.wait_in_sync("t")
    cluster.wait_until(lambda: now(cluster).recovering == 0, "the new leader to say that it has recovered")


def test_an_unclean_election_is_held_as_soon_as_the_topic_allows_it(cluster: Cluster) -> None:
    create(cluster, 1, 2)
    cluster.kill(2)
    cluster.wait_until(lambda: now(cluster).isr == (1,), "the follower to leave the ISR")
    cluster.kill(1)
    cluster.start(2)
    assert cluster.leader_of("t") == -1
    of = m.IncrementalAlterConfigsRequest
    allow = of.AlterableConfig("unclean.leader.election.enable", 0, "true")
    assert ask(cluster, of([of.AlterConfigsResource(2, "t", [allow])])).responses[0].error_code == 0
    cluster.wait_until(lambda: now(cluster).leader == 2, "the other replica to lead")


def test_the_last_leader_leads_again_when_it_is_back(cluster: Cluster) -> None:
    create(cluster, 1, 2)
    cluster.kill(2)
    cluster.wait_until(lambda: now(cluster).isr == (1,), "the follower to leave the ISR")
    cluster.kill(1)
    cluster.wait_until(lambda: now(cluster).leader == -1, "the leader to be gone")
    cluster.start(2)
    cluster.start(1)
    cluster.wait_in_sync("t")
    assert cluster.leader_of("t") == 1
