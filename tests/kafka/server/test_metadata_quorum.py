"""Three controllers and what they agree on: elections, kills, logs that went different ways, snapshots."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from riverport.base.ids import METADATA_TOPIC_ID
from riverport.kafka.client.connection import Connection
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server import metadata_replica, metadata_shell
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode
from riverport.testing.cluster import Cluster

QUICK = {
    "offsets.topic.replication.factor": 1,
    "controller.quorum.election.timeout.ms": 300,
    "controller.quorum.fetch.timeout.ms": 600,
    "controller.quorum.request.timeout.ms": 500,
}


@pytest.fixture
def controllers() -> Iterator[Cluster]:
    """Three voters without a broker: 101, 102, 103."""
    with Cluster(0, controllers=3, config=QUICK) as cluster:
        cluster.wait_until(lambda: leader_of(cluster) > 0, "a leader")
        yield cluster


def nodes(cluster: Cluster) -> dict[int, Node]:
    return {node.id: node.host.node for node in cluster.nodes.values() if node.host.node is not None}


def leader_of(cluster: Cluster, *, other_than: int = -1) -> int:
    """The active controller that most follow, -1 while there is none."""
    active = [id_ for id_, node in nodes(cluster).items() if node.metadata.is_active and id_ != other_than]
    return max(active, key=lambda id_: nodes(cluster)[id_].metadata.epoch, default=-1)


def wait_for_leader(cluster: Cluster, *, other_than: int = -1) -> int:
    cluster.wait_until(lambda: leader_of(cluster, other_than=other_than) > 0, "a leader")
    return leader_of(cluster, other_than=other_than)


def level(cluster: Cluster) -> bool:
    """Whether every node knows everything that the leader has."""
    leader = nodes(cluster).get(leader_of(cluster))
    if leader is None:
        return False
    return all(node.metadata.image.offset == leader.metadata.next_offset - 1 for node in nodes(cluster).values())


async def set_config(node: Node, name: str) -> None:
    record = m.ConfigRecord(16, name, "interval.ms", "1")
    await node.metadata.submit(lambda: Outcome(None, [record]))


def names(node: Node) -> set[str]:
    return {name for kind, name in node.metadata.image.configs if kind == 16}


def test_three_voters_elect_one_leader_and_have_the_same(controllers: Cluster) -> None:
    leader = leader_of(controllers)
    controllers.run(leader, lambda node: set_config(node, "a"))
    controllers.wait_until(lambda: level(controllers))
    found = nodes(controllers)
    assert {node.metadata.leader_id for node in found.values()} == {leader}
    assert len({node.metadata.epoch for node in found.values()}) == 1
    assert all(names(node) == {"a"} for node in found.values())
    assert sorted(node.metadata.quorum.role for node in found.values()) == ["follower", "follower", "leader"]


def test_a_killed_leader_is_replaced_and_what_was_committed_is_there(controllers: Cluster) -> None:
    first = leader_of(controllers)
    controllers.run(first, lambda node: set_config(node, "a"))
    controllers.kill(first)
    second = wait_for_leader(controllers)
    controllers.run(second, lambda node: set_config(node, "b"))
    assert names(nodes(controllers)[second]) == {"a", "b"}
    controllers.start(first)
    controllers.wait_until(lambda: level(controllers))
    assert nodes(controllers)[first].metadata.quorum.role == "follower"
    assert all(names(node) == {"a", "b"} for node in nodes(controllers).values())


def test_what_a_start_finds_gets_into_the_image_in_slices(
    controllers: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [f"c{n}" for n in range(12)]
    leader = leader_of(controllers)
    for name in written:
        controllers.run(leader, lambda node, name=name: set_config(node, name))
    controllers.wait_until(lambda: level(controllers))
    end = nodes(controllers)[leader].metadata.next_offset
    everybody = list(nodes(controllers))
    controllers.kill(*everybody)
    seen: dict[int, list[int]] = {id_: [] for id_ in everybody}
    published = metadata_shell.MetadataShell._published

    def note(shell: Any, delta: Any) -> None:
        seen[shell._node_id].append(shell.image.offset)
        published(shell, delta)

    monkeypatch.setattr(metadata_replica, "SLICE_RECORDS", 2)
    monkeypatch.setattr(metadata_shell.MetadataShell, "_published", note)
    controllers.start(*everybody)
    wait_for_leader(controllers)
    controllers.wait_until(lambda: level(controllers))
    for id_, node in nodes(controllers).items():
        assert names(node) == set(written)
        assert seen[id_] == sorted(set(seen[id_]))
        assert len([offset for offset in seen[id_] if offset < end - 1]) >= 4


def test_a_leader_that_stops_hands_over_before_it_goes(controllers: Cluster) -> None:
    first = leader_of(controllers)
    epoch = nodes(controllers)[first].metadata.epoch
    controllers.stop(first)
    second = wait_for_leader(controllers)
    assert nodes(controllers)[second].metadata.epoch > epoch


def test_what_only_a_lost_leader_had_is_cut_off_when_it_returns(controllers: Cluster) -> None:
    first = leader_of(controllers)
    others = [id_ for id_ in nodes(controllers) if id_ != first]
    controllers.wait_until(lambda: level(controllers))
    controllers.kill(*others)

    async def write(node: Node) -> None:
        with pytest.raises(ApiError) as refused:
            await set_config(node, "lost")
        assert refused.value.code == ErrorCode.NOT_CONTROLLER
        assert "lost" not in names(node)

    controllers.run(first, write)
    controllers.kill(first)
    controllers.start(*others)
    second = wait_for_leader(controllers)
    controllers.run(second, lambda node: set_config(node, "kept"))
    controllers.start(first)
    controllers.wait_until(lambda: level(controllers))
    returned = nodes(controllers)[first]
    assert names(returned) == {"kept"}
    theirs = nodes(controllers)[second].metadata.log.leader_epochs.entries
    assert returned.metadata.log.leader_epochs.entries == theirs


def test_only_the_leader_decides_and_describes(controllers: Cluster) -> None:
    leader = leader_of(controllers)
    other = next(id_ for id_ in nodes(controllers) if id_ != leader)

    async def refused(node: Node) -> None:
        with pytest.raises(ApiError) as error:
            await set_config(node, "a")
        assert error.value.code == ErrorCode.NOT_CONTROLLER
        assert (await described(node)).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        async with await Connection.open("127.0.0.1", node.ports["CONTROLLER"]) as connection:
            # The envelope itself is refused, so that the broker asks another controller and its client hears nothing.
            answer = await connection.request(m.EnvelopeRequest(b"", b"", bytes(4)))
        assert answer.error_code == ErrorCode.NOT_CONTROLLER

    controllers.run(other, refused)
    controllers.wait_until(lambda: level(controllers))
    told = controllers.run(leader, described)
    assert (told.error_code, told.leader_id) == (0, leader)
    assert [voter.replica_id for voter in told.current_voters] == [101, 102, 103]
    assert all(voter.last_caught_up_timestamp > 0 for voter in told.current_voters)


def test_a_leader_that_has_committed_nothing_yet_tells_nobody_how_much_is(controllers: Cluster) -> None:
    """It knows that as a follower, and others know more: an Apache Kafka voter that is told of less ends."""

    async def told(node: Node) -> tuple[int, int]:
        of = m.FetchRequest
        ask = of.FetchPartition(0, node.metadata.epoch, node.metadata.next_offset, node.metadata.epoch)
        fetch = of(topics=[of.FetchTopic("", METADATA_TOPIC_ID, [ask])], max_bytes=1000)
        async with await Connection.open("127.0.0.1", node.ports["CONTROLLER"]) as connection:
            answer = await connection.request(fetch)
        (partition,) = answer.responses[0].partitions
        assert partition.error_code == ErrorCode.NONE
        return partition.high_watermark, (await described(node)).high_watermark

    async def told_at_first(node: Node) -> tuple[int, int]:
        leading = node.metadata.quorum.leading
        assert leading is not None
        start, leading.epoch_start = leading.epoch_start, node.metadata.next_offset
        try:
            return await told(node)
        finally:
            leading.epoch_start = start

    controllers.wait_until(lambda: level(controllers))
    assert controllers.run(leader_of(controllers), told_at_first) == (-1, -1)
    assert min(controllers.run(leader_of(controllers), told)) > 0


async def described(node: Node) -> Any:
    """The metadata partition as DescribeQuorum tells of it at this node's own listener."""
    of = m.DescribeQuorumRequest
    async with await Connection.open("127.0.0.1", node.ports["CONTROLLER"]) as connection:
        answer = await connection.request(of([of.TopicData("__cluster_metadata", [of.PartitionData(0)])]))
    return answer.topics[0].partitions[0]


def test_a_follower_that_was_away_for_long_gets_the_leader_s_snapshot() -> None:
    often = {
        "metadata.log.max.record.bytes.between.snapshots": 2_000,
        "metadata.max.retention.bytes": 4_000,
        "metadata.log.segment.bytes": 8_388_608,
        "controller.quorum.fetch.snapshot.max.bytes": 700,
    }
    with Cluster(0, controllers=3, config={**QUICK, **often}) as cluster:
        leader = wait_for_leader(cluster)
        away = next(id_ for id_ in nodes(cluster) if id_ != leader)
        cluster.stop(away)

        async def write(node: Node) -> None:
            for n in range(150):
                await set_config(node, f"c{n}")

        cluster.run(leader, write)
        cluster.wait_until(lambda: nodes(cluster)[leader].metadata.log.log_start_offset > 20, "a shorter log")
        cluster.start(away)
        cluster.wait_until(lambda: level(cluster))
        returned = nodes(cluster)[away]
        assert returned.metadata.log.log_start_offset > 20
        assert len(names(returned)) == 150


def test_brokers_and_their_clients_follow_the_lead_and_a_voter_that_does_not_lead_hands_requests_on() -> None:
    with Cluster(3, controllers=3, combined=True, config=QUICK) as cluster:
        cluster.create_topic("before", partitions=3, replication_factor=3)
        first = wait_for_leader(cluster)
        cluster.kill(first)
        second = wait_for_leader(cluster)
        third = next(id_ for id_ in nodes(cluster) if id_ not in (first, second))

        async def create(node: Node) -> Any:
            host, port = "127.0.0.1", node.ports["PLAINTEXT"]
            of = m.CreateTopicsRequest
            async with await Connection.open(host, port) as connection:
                return await connection.request(of([of.CreatableTopic("after", 1, 2)]))

        answer = cluster.run(third, create)
        assert [(topic.name, topic.error_code) for topic in answer.topics] == [("after", 0)]
        cluster.wait_until(lambda: "after" in nodes(cluster)[third].metadata.image.topics)


def test_a_damaged_log_keeps_the_node_from_starting_with_a_word_about_where(tmp_path: Any) -> None:
    from riverport.base.files import StorageError

    with Cluster(1, controllers=1, combined=True, dir=tmp_path) as cluster:
        cluster.create_topic("t")
        log = nodes(cluster)[1].metadata.log
        path, size = log.active.path_of(".log"), log.size
    with open(path, "r+b") as file:
        file.seek(size // 2)
        file.write(bytes(64))
    with pytest.raises(StorageError, match="cluster_metadata"), Cluster(1, controllers=1, combined=True, dir=tmp_path):
        pass


def test_an_answer_of_a_stopping_node_is_an_error(controllers: Cluster) -> None:
    leader = leader_of(controllers)

    async def stopped(node: Node) -> None:
        await node.metadata.close()
        with pytest.raises(ApiError) as refused:
            node.metadata.answer(m.VoteRequest())
        assert refused.value.code == ErrorCode.BROKER_NOT_AVAILABLE
        await asyncio.sleep(0)

    controllers.run(leader, stopped)
