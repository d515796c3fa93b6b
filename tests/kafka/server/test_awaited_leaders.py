"""Metadata requests wait for the next leader of a partition whose last one may just have died; but not for long."""

from collections.abc import Awaitable, Callable, Iterator

import pytest
from tests.kafka.server.wire import SECONDS, Wire, frame

from riverport.kafka.server import awaited_leaders, leader_doubts
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Cluster

NO_LEADER = (-1, ErrorCode.LEADER_NOT_AVAILABLE)
LONG = 3 * SECONDS  # who waits for that is given up first
VERSION = 12


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(awaited_leaders, "MOST_SECONDS", LONG)
    monkeypatch.setattr(leader_doubts, "DOUBT_SECONDS", LONG)
    with Cluster(brokers=3, controllers=1, combined=False) as cluster:
        cluster.create_topic("t", replication_factor=3)
        cluster.wait_in_sync("t")
        yield cluster


@pytest.fixture
def other(cluster: Cluster) -> int:
    """A broker that does not lead the topic."""
    return cluster.leader_of("t") % 3 + 1


@pytest.fixture
def wire(cluster: Cluster, other: int) -> Iterator[Wire]:
    host, port = cluster.nodes[other].bootstrap.split(":")
    with Wire((host, int(port))) as wire:
        yield wire


def doubt(leader: int) -> Callable[[Node], Awaitable[None]]:
    async def act(node: Node) -> None:
        node.replica_fetchers._doubts.connection_lost(leader)

    return act


def trust(leader: int) -> Callable[[Node], Awaitable[None]]:
    async def act(node: Node) -> None:
        node.replica_fetchers._doubts.settled(leader)

    return act


def question(*names: str) -> m.MetadataRequest:
    """About some topics; about all of them without a name."""
    return m.MetadataRequest(topics=[m.MetadataRequest.MetadataRequestTopic(name=name) for name in names] or None)


def ask(wire: Wire, *names: str) -> None:
    wire.send(frame(question(*names), VERSION))


def told(wire: Wire) -> tuple[int, int]:
    """(leader, error code) of the topic's partition in the next answer."""
    _, answer = wire.next_answer(ApiKey.METADATA, VERSION)
    (found,) = [topic.partitions[0] for topic in answer.topics if topic.name == "t"]
    return found.leader_id, found.error_code


def test_a_leader_that_lives_after_all_is_told_as_soon_as_that_is_known(
    cluster: Cluster, other: int, wire: Wire
) -> None:
    leader = cluster.leader_of("t")
    cluster.create_topic("elsewhere")
    for names in [("t",), ("elsewhere", "t"), ()]:
        cluster.run(other, doubt(leader))
        ask(wire, *names)
        assert wire.is_silent()
        cluster.run(other, trust(leader))
        assert told(wire) == (leader, 0)


def test_the_next_leader_is_told_as_soon_as_there_is_one(cluster: Cluster, other: int, wire: Wire) -> None:
    leader = cluster.leader_of("t")
    cluster.run(other, doubt(leader))
    ask(wire, "t")
    assert wire.is_silent()
    cluster.kill(leader)
    successor = cluster.wait_for_leader("t", other_than=leader)
    assert told(wire) == (successor, 0)


def test_by_its_id_a_topic_is_waited_for_as_well(cluster: Cluster, other: int, wire: Wire) -> None:
    leader = cluster.leader_of("t")
    answer = wire.ask(question("t"), VERSION)
    cluster.run(other, doubt(leader))
    by_id = m.MetadataRequest.MetadataRequestTopic(topic_id=answer.topics[0].topic_id, name=None)
    wire.send(frame(m.MetadataRequest(topics=[by_id]), VERSION))
    assert wire.is_silent()
    cluster.run(other, trust(leader))
    assert told(wire) == (leader, 0)


def test_who_asks_about_something_else_is_answered_at_once(cluster: Cluster, other: int, wire: Wire) -> None:
    leader = cluster.leader_of("t")
    names = [f"elsewhere-{number}" for number in range(3)]
    for name in names:
        cluster.create_topic(name)
    led_by_others = next(name for name in names if cluster.leader_of(name) != leader)
    cluster.run(other, doubt(leader))
    answer = wire.ask(question(led_by_others, "missing"), VERSION)
    assert [topic.error_code for topic in answer.topics] == [ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    assert wire.ask(m.MetadataRequest(topics=[]), VERSION).topics == []


def test_a_request_behind_it_ends_the_wait(cluster: Cluster, other: int, wire: Wire) -> None:
    """Nothing that a client has to say to a live leader is held up."""
    leader = cluster.leader_of("t")
    cluster.run(other, doubt(leader))
    ask(wire, "t")
    wire.send(frame(m.ApiVersionsRequest(), 0))
    assert told(wire) == NO_LEADER
    _, answer = wire.next_answer(ApiKey.API_VERSIONS, 0)
    assert answer.error_code == ErrorCode.NONE
    ask(wire, "t")
    ask(wire, "t")
    assert told(wire) == NO_LEADER
    assert wire.is_silent()
    cluster.run(other, trust(leader))
    assert told(wire) == (leader, 0)


def test_nobody_waits_for_longer_than_an_election_may_take(
    cluster: Cluster, other: int, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaited_leaders, "MOST_SECONDS", 0.05)
    cluster.run(other, doubt(cluster.leader_of("t")))
    assert wire.ask(question("t"), VERSION).topics[0].partitions[0].error_code == ErrorCode.LEADER_NOT_AVAILABLE


def test_who_has_gone_leaves_nothing_behind(cluster: Cluster, other: int, wire: Wire) -> None:
    leader = cluster.leader_of("t")
    cluster.run(other, doubt(leader))
    ask(wire, "t")
    assert wire.is_silent()
    wire.close()
    cluster.run(other, trust(leader))
    node = cluster.nodes[other].host.node
    assert node is not None
    cluster.wait_until(lambda: not node.awaited_leaders._waiting, "nobody waits")
