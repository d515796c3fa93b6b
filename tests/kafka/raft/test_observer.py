"""A replica without a vote: whom it asks, and what an answer makes it do."""

from typing import Any

from riverport.kafka.raft.observer import (
    Address,
    Append,
    Committed,
    FetchSnapshot,
    Observer,
    Truncate,
    Wait,
)
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

FIRST, SECOND, LEADER = Address("a", 1), Address("b", 2), Address("l", 9)
_Of = m.FetchResponse


def observer() -> Observer:
    return Observer(5, bytes(16), "cluster", (FIRST, SECOND), max_bytes=1000, retry_backoff_ms=20)


def answer(*, leader: int = 9, epoch: int = 4, error: int = 0, **partition: Any) -> m.FetchResponse:
    data = _Of.PartitionData(
        0,
        error,
        current_leader=_Of.LeaderIdAndEpoch(leader, epoch),
        **{"records": b"", "high_watermark": 0, **partition},
    )
    endpoints = [_Of.NodeEndpoint(9, LEADER.host, LEADER.port)]
    return _Of(
        responses=[_Of.FetchableTopicResponse("__cluster_metadata", partitions=[data])], node_endpoints=endpoints
    )


def test_bootstrap_servers_are_asked_in_turn_until_one_names_the_leader() -> None:
    asking = observer()
    assert asking.target == FIRST
    assert asking.failed("refused") == [Wait(20, "refused")]
    assert asking.target == SECOND
    assert asking.answered(answer(error=ErrorCode.NOT_LEADER_OR_FOLLOWER), 0) == []
    assert (asking.target, asking.epoch, asking.leader_id) == (LEADER, 4, 9)


def test_news_are_appended_before_they_are_committed() -> None:
    asking = observer()
    effects = asking.answered(answer(records=b"batch", high_watermark=3), 0)
    assert effects == [Append(b"batch"), Committed(3)]
    assert asking.answered(answer(high_watermark=3), 3) == []


def test_a_diverging_log_is_cut_to_where_the_leader_s_epoch_ends() -> None:
    effects = observer().answered(answer(diverging_epoch=_Of.EpochEndOffset(2, 17)), 20)
    assert effects == [Truncate(2, 17)]


def test_a_log_that_is_too_far_behind_asks_for_the_snapshot() -> None:
    effects = observer().answered(answer(snapshot_id=_Of.SnapshotId(100, 3)), 0)
    assert effects == [FetchSnapshot(100, 3)]


def test_an_older_leader_is_not_followed() -> None:
    asking = observer()
    asking.answered(answer(epoch=4), 0)
    asking.answered(answer(leader=8, epoch=3), 0)
    assert (asking.leader_id, asking.epoch) == (9, 4)


def test_a_lost_leader_sends_the_observer_back_to_the_bootstrap_servers() -> None:
    asking = observer()
    asking.answered(answer(), 0)
    assert asking.target == LEADER
    asking.failed("gone")
    assert asking.target in (FIRST, SECOND)
    assert asking.epoch == 4


def test_the_request_tells_where_the_log_ends() -> None:
    asking = observer()
    asking.answered(answer(high_watermark=7), 0)
    (topic,) = asking.request(30, 4).topics
    (partition,) = topic.partitions
    assert (partition.fetch_offset, partition.last_fetched_epoch, partition.current_leader_epoch) == (30, 4, 4)
    assert partition.high_watermark == 7
