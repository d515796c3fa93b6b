"""Leaders that may have died a moment ago: clients are told that there is none, for as long as an election may take."""

from collections.abc import Iterator
from typing import Any

import pytest

from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.server.leader_doubts import DOUBT_SECONDS, LeaderDoubts
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Cluster


class Loop:
    """Timers that are rung by hand."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Any, tuple[Any, ...]]] = []

    def call_later(self, seconds: float, act: Any, *given: Any) -> "Timer":
        self.timers.append((seconds, act, given))
        return Timer(self, len(self.timers) - 1)

    def ring(self) -> None:
        timers, self.timers = self.timers, []
        for _, act, given in timers:
            act(*given)


class Timer:
    def __init__(self, loop: Loop, at: int) -> None:
        self._loop, self._entry = loop, loop.timers[at]

    def cancel(self) -> None:
        self._loop.timers = [timer for timer in self._loop.timers if timer is not self._entry]


@pytest.fixture
def changes() -> list[list[int]]:
    """Who was in doubt at each change, of leaders 1 to 3."""
    return []


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def doubts(loop: Loop, changes: list[list[int]]) -> LeaderDoubts:
    made: LeaderDoubts
    made = LeaderDoubts(loop, lambda: changes.append([id_ for id_ in (1, 2, 3) if id_ in made]))  # type: ignore[arg-type]
    return made


def test_a_leader_is_in_doubt_until_it_answers(doubts: LeaderDoubts, changes: list[list[int]], loop: Loop) -> None:
    doubts.connection_lost(2)
    doubts.connection_lost(2)
    doubts.connection_lost(3)
    doubts.settled(2)
    doubts.settled(2)
    assert changes == [[2], [2, 3], [3]]
    assert len(loop.timers) == 1


def test_a_doubt_ends_by_itself(doubts: LeaderDoubts, changes: list[list[int]], loop: Loop) -> None:
    doubts.connection_lost(1)
    assert loop.timers[0][0] == DOUBT_SECONDS
    loop.ring()
    assert changes == [[1], []]


def test_nothing_is_left_behind(doubts: LeaderDoubts, loop: Loop) -> None:
    doubts.connection_lost(1)
    doubts.close()
    assert loop.timers == []


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(brokers=3, controllers=1, combined=False) as cluster:
        yield cluster


def shown_by(node: Node | None) -> tuple[int, int]:
    """(leader, error code) that a node tells of the topic's partition. In the cluster's thread."""
    assert node is not None
    (partition,) = node.view.topic_metadata("t", "PLAINTEXT").partitions
    return partition.leader_id, partition.error_code


def shown(cluster: Cluster, id_: int) -> tuple[int, int]:
    async def look(node: Node) -> tuple[int, int]:
        return shown_by(node)

    return cluster.run(id_, look)


def test_a_leader_in_doubt_is_not_named(cluster: Cluster) -> None:
    cluster.create_topic("t", replication_factor=3)
    leader = cluster.leader_of("t")
    other = leader % 3 + 1
    assert shown(cluster, other) == (leader, 0)

    async def doubt(node: Node) -> None:
        node.replica_fetchers._doubts.connection_lost(leader)

    async def trust(node: Node) -> None:
        node.replica_fetchers._doubts.settled(leader)

    cluster.run(other, doubt)
    assert shown(cluster, other) == (-1, ErrorCode.LEADER_NOT_AVAILABLE)
    cluster.run(other, trust)
    assert shown(cluster, other) == (leader, 0)


def test_followers_of_a_leader_that_dies_doubt_it_until_there_is_another(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def watched(self: LeaderDoubts, leader_id: int) -> None:
        lost(self, leader_id)
        seen.append((leader_id, leader_id in self))

    lost = LeaderDoubts.connection_lost
    monkeypatch.setattr(LeaderDoubts, "connection_lost", watched)
    cluster.create_topic("t", replication_factor=3)
    cluster.wait_in_sync("t")
    leader = cluster.leader_of("t")
    assert seen == []
    cluster.kill(leader)
    successor = cluster.wait_for_leader("t", other_than=leader)
    cluster.wait_until(lambda: seen == [(leader, True)] * 2, "both followers have doubts")
    nodes = [cluster.nodes[id_].host for id_ in (1, 2, 3) if id_ != leader]
    cluster.wait_until(lambda: all(shown_by(host.node) == (successor, 0) for host in nodes), "the successor is shown")
