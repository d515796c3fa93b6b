"""What a follower names in its fetches, and what it makes of errors (KIP-227)."""

import pytest
from tests.kafka.replica.pair import (
    Leader,
    ask,
    batches,
    catch_up,
    exchange,
    fetcher_of,
    led_by,
    log_of,
    perform,
    replica,
    write,
)

from riverport.kafka.replica.fetcher import Refused, Take
from riverport.kafka.replica.partition import Partition
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode


def replicas(count: int) -> tuple[list[Partition], list[Partition]]:
    """Of the leader, of the follower."""
    leaders, followers = [[replica(id_, index) for index in range(count)] for id_ in (1, 2)]
    for partition in (*leaders, *followers):
        led_by(partition, 1, 1)
    return leaders, followers


def named(request: m.FetchRequest) -> list[tuple[int, int]]:
    """(index, offset) of the partitions in a request."""
    return [(p.partition, p.fetch_offset) for topic in request.topics for p in topic.partitions]


def forgotten(request: m.FetchRequest) -> list[int]:
    return [index for topic in request.forgotten_topics_data for index in topic.partitions]


def test_partitions_are_named_again_only_where_their_position_has_moved() -> None:
    leaders, followers = replicas(3)
    fetcher, leader = fetcher_of(*followers), Leader(*leaders)
    exchange(fetcher, leader)
    write(leaders[1], b"a")
    exchange(fetcher, leader)
    exchange(fetcher, leader)
    exchange(fetcher, leader)
    assert [named(request) for request in leader.requests] == [[(0, 0), (1, 0), (2, 0)], [], [(1, 1)], []]
    assert [request.session_epoch for request in leader.requests] == [0, 1, 2, 3]
    assert [request.max_wait_ms for request in leader.requests] == [0, 500, 500, 500], "a session comes at once"


def test_the_high_watermark_is_the_leader_s_and_never_beyond_our_end() -> None:
    (leading,), (own,) = replicas(1)
    fetcher, leader = fetcher_of(own), Leader(leading)
    leader.high_watermarks[leading.topic_id, 0] = 40
    write(leading, b"a", b"b")
    exchange(fetcher, leader)
    assert log_of(own).high_watermark == 2
    leader.high_watermarks[leading.topic_id, 0] = 1
    exchange(fetcher, leader)
    assert log_of(own).high_watermark == 2, "a new leader learns it later than we"


def test_a_leader_without_the_session_is_told_everything_again() -> None:
    leaders, followers = replicas(2)
    fetcher, leader = fetcher_of(*followers), Leader(*leaders)
    catch_up(fetcher, leader)
    leader.session = None
    assert exchange(fetcher, leader) == []
    write(leaders[0], b"a")
    exchange(fetcher, leader)
    assert named(leader.requests[-1]) == [(0, 0), (1, 0)]
    assert log_of(followers[0]).log_end_offset == 1


def test_a_leader_without_room_for_sessions_is_told_everything_each_time() -> None:
    leaders, followers = replicas(2)
    fetcher, leader = fetcher_of(*followers), Leader(*leaders)
    leader.has_sessions = False
    for _ in range(3):
        write(leaders[1], b"a")
        exchange(fetcher, leader)
    assert [named(request) for request in leader.requests] == [[(0, 0), (1, n)] for n in range(3)]
    assert [request.max_wait_ms for request in leader.requests] == [0, 500, 500]
    assert log_of(followers[1]).log_end_offset == 3


def test_a_leader_that_fails_as_a_whole_is_left_alone_for_a_while() -> None:
    _, (own,) = replicas(1)
    fetcher = fetcher_of(own)
    for now_ms in (0, 20, 60):
        assert (
            fetcher.answered(ask(fetcher, now_ms), m.FetchResponse(error_code=ErrorCode.UNKNOWN_SERVER_ERROR), now_ms)
            == []
        )
        assert fetcher.next_request(now_ms + 1, 7) is None
    assert fetcher.wake_ms() == 140


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.KAFKA_STORAGE_ERROR,
    ],
)
def test_a_refused_partition_waits_and_the_others_go_on(code: ErrorCode) -> None:
    leaders, followers = replicas(2)
    fetcher, leader = fetcher_of(*followers), Leader(*leaders)
    exchange(fetcher, leader)
    leader.errors[0] = code
    waits = [effect for effect in exchange(fetcher, leader, 100) if isinstance(effect, Refused)]
    assert [(w.followed.partition.index, w.code, w.again_ms) for w in waits] == [(0, code, 20)]
    write(leaders[1], b"a")
    exchange(fetcher, leader, 110)
    assert forgotten(leader.requests[-1]) == [0]
    assert log_of(followers[1]).log_end_offset == 1
    assert fetcher.wake_ms() == 120
    (again,) = [effect for effect in exchange(fetcher, leader, 120) if isinstance(effect, Refused)]
    assert again.again_ms == 40
    del leader.errors[0]
    write(leaders[0], b"b")
    exchange(fetcher, leader, 160)
    assert batches(log_of(followers[0])) == batches(log_of(leaders[0]))


def test_a_fenced_partition_waits_for_the_metadata() -> None:
    leaders, followers = replicas(2)
    fetcher, leader = fetcher_of(*followers), Leader(*leaders)
    led_by(leaders[0], 1, 2)
    (refused,) = [effect for effect in exchange(fetcher, leader) if isinstance(effect, Refused)]
    assert (refused.code, refused.again_ms) == (ErrorCode.FENCED_LEADER_EPOCH, -1)
    assert fetcher.wake_ms() is None
    exchange(fetcher, leader, 1_000_000)
    assert forgotten(leader.requests[-1]) == [0]
    led_by(followers[0], 1, 2)
    fetcher.follow(followers[0])
    write(leaders[0], b"a")
    exchange(fetcher, leader)
    assert log_of(followers[0]).log_end_offset == 1


def test_nobody_is_asked_for_nothing() -> None:
    leaders, followers = replicas(1)
    fetcher, leader = fetcher_of(*followers), Leader(*leaders)
    exchange(fetcher, leader)
    fetcher.unfollow(followers[0])
    assert fetcher.next_request(0, 7) is None


def test_a_new_partition_is_asked_for_while_a_fetch_waits_at_the_leader() -> None:
    leaders, followers = replicas(2)
    fetcher, leader = fetcher_of(followers[0]), Leader(*leaders)
    exchange(fetcher, leader)
    waiting = ask(fetcher)
    assert fetcher.next_request(0, 7) is None
    fetcher.follow(followers[1])
    behind = ask(fetcher)
    assert named(behind.message) == [(1, 0)]
    assert fetcher.next_request(0, 7) is None, "two at a time"
    write(leaders[0], b"a")
    write(leaders[1], b"b")
    perform(fetcher.answered(waiting, leader.answer(waiting.message), 0))
    perform(fetcher.answered(behind, leader.answer(behind.message), 0))
    assert [log_of(partition).log_end_offset for partition in followers] == [1, 1]
    exchange(fetcher, leader)
    assert sorted(named(leader.requests[-1])) == [(0, 1), (1, 1)]


def test_an_answer_to_an_older_epoch_is_none_to_the_new_one() -> None:
    (leading,), (own,) = replicas(1)
    fetcher, leader = fetcher_of(own), Leader(leading)
    write(leading, b"a")
    late = ask(fetcher)
    answer = leader.answer(late.message)
    led_by(own, 1, 2)
    fetcher.follow(own)
    assert fetcher.answered(late, answer, 0) == []
    assert log_of(own).log_end_offset == 0
    led_by(leading, 1, 2)
    catch_up(fetcher, leader)
    assert batches(log_of(own)) == batches(log_of(leading))


def test_what_was_on_its_way_when_the_connection_broke_is_asked_for_again() -> None:
    leaders, followers = replicas(2)
    fetcher, leader = fetcher_of(*followers), Leader(*leaders)
    catch_up(fetcher, leader)
    write(leaders[0], b"a")
    ask(fetcher)
    fetcher.disconnected()
    effects = exchange(fetcher, leader)
    assert named(leader.requests[-1]) == [(0, 0), (1, 0)]
    assert leader.requests[-1].session_epoch == 0
    assert [bool(effect.records) for effect in effects if isinstance(effect, Take)] == [True, False]


def test_the_leader_hears_of_a_log_start_that_we_took_from_it() -> None:
    (leading,), (own,) = replicas(1)
    fetcher, leader = fetcher_of(own), Leader(leading)
    write(leading, b"a", b"b")
    log_of(leading).update_high_watermark(2)
    catch_up(fetcher, leader)
    log_of(leading).delete_records(1)
    exchange(fetcher, leader)
    exchange(fetcher, leader)
    (topic,) = leader.requests[-1].topics
    assert [partition.log_start_offset for partition in topic.partitions] == [1]


def test_a_partition_that_is_held_is_asked_for_again_when_its_time_has_come() -> None:
    leaders, followers = replicas(2)
    fetcher, leader = fetcher_of(*followers), Leader(*leaders)
    exchange(fetcher, leader)
    held = next(followed for followed in fetcher if followed.partition is followers[0])
    fetcher.hold(held, 700)
    write(leaders[0], b"a")
    exchange(fetcher, leader, 100)
    assert forgotten(leader.requests[-1]) == [0]
    assert fetcher.wake_ms() == 700
    exchange(fetcher, leader, 700)
    assert log_of(followers[0]).log_end_offset == 1


def test_all_waits_end_where_something_has_changed() -> None:
    leaders, followers = replicas(2)
    fetcher, leader = fetcher_of(*followers), Leader(*leaders)
    exchange(fetcher, leader)
    for followed in list(fetcher):
        fetcher.hold(followed, 10_000)
    assert fetcher.next_request(10, 7) is None
    fetcher.end_waits()
    exchange(fetcher, leader, 11)
    assert sorted(named(leader.requests[-1])) == [(0, 0), (1, 0)]
