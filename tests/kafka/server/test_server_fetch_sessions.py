"""Incremental fetch sessions (KIP-227).

The whole file agrees with Apache Kafka 4.3.1 but for the tests marked as our own, see conftest.py.
"""

from collections.abc import Callable
from typing import Any

import pytest
from tests.kafka.server.wire import NO_ID, Wire, asked, batch, fetch, frame, make_topic, produce, values_of

from riverport.kafka.server import fetch_session
from riverport.kafka.server.fetch_session import EVICTION_MS, Fetched, Refused, Session, SessionCache
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode

Address = tuple[str, int]
Topic = tuple[str, bytes]

NOT_FOUND, WRONG_EPOCH = ErrorCode.FETCH_SESSION_ID_NOT_FOUND, ErrorCode.INVALID_FETCH_SESSION_EPOCH


@pytest.fixture
def topic(address: Address) -> Topic:
    return make_topic(address, partitions=3)


def open_session(wire: Wire, topic: Topic, *indexes: int, version: int | None = None) -> int:
    answer = wire.ask(fetch([(topic, [asked(index) for index in indexes])], session_epoch=0), version)
    assert (answer.error_code, sorted(told(answer))) == (0, sorted(indexes))
    assert answer.session_id > 0
    return int(answer.session_id)


def told(answer: m.FetchResponse) -> dict[int, Any]:
    return {entry.partition_index: entry for topic in answer.responses for entry in topic.partitions}


def test_session_tells_only_what_is_new(wire: Wire, topic: Topic) -> None:
    session = open_session(wire, topic, 0, 1, 2)
    answer = wire.ask(fetch(session_id=session, session_epoch=1))
    assert (answer.session_id, answer.error_code, told(answer)) == (session, 0, {})
    wire.ask(produce(topic, b"", batch(b"x")))
    answer = wire.ask(fetch(session_id=session, session_epoch=2))
    assert list(told(answer)) == [1]
    assert values_of(told(answer)[1].records) == [b"x"]
    again = told(wire.ask(fetch(session_id=session, session_epoch=3)))
    assert values_of(again[1].records) == [b"x"]  # the session has not been told that the consumer went on
    moved = fetch([(topic, [asked(1, 1)])], session_id=session, session_epoch=4)
    assert told(wire.ask(moved)) == {}


def test_moved_watermark_is_told_without_data(wire: Wire, topic: Topic) -> None:
    session = open_session(wire, topic, 0)
    wire.ask(produce(topic, batch(b"x")))
    at_end = fetch([(topic, [asked(0, 1)])], session_id=session, session_epoch=1)
    entry = told(wire.ask(at_end))[0]
    assert (entry.high_watermark, len(entry.records)) == (1, 0)
    assert told(wire.ask(fetch(session_id=session, session_epoch=2))) == {}


def test_moved_log_start_is_told_without_data(wire: Wire, topic: Topic) -> None:
    wire.ask(produce(topic, batch(b"x", b"y")))
    request = fetch([(topic, [asked(0, 2)])], session_epoch=0)
    session = wire.ask(request).session_id
    made = m.DeleteRecordsRequest
    deletion = made([made.DeleteRecordsTopic(topic[0], [made.DeleteRecordsPartition(0, 1)])], 10_000)
    assert wire.ask(deletion).topics[0].partitions[0].error_code == 0
    assert told(wire.ask(fetch(session_id=session, session_epoch=1)))[0].log_start_offset == 1
    assert told(wire.ask(fetch(session_id=session, session_epoch=2))) == {}


def test_partitions_are_added_changed_and_forgotten(wire: Wire, topic: Topic) -> None:
    session = open_session(wire, topic, 0)
    wire.ask(produce(topic, batch(b"a"), batch(b"b"), batch(b"c")))
    added = fetch([(topic, [asked(1), asked(2)])], session_id=session, session_epoch=1)
    assert sorted(told(wire.ask(added))) == [0, 1, 2]
    changed = fetch([(topic, [asked(0, 1), asked(2, 1)])], session_id=session, session_epoch=2)
    assert sorted(told(wire.ask(changed))) == [1]
    forgotten = fetch(session_id=session, session_epoch=3)
    forgotten.forgotten_topics_data = [m.FetchRequest.ForgottenTopic(topic[0], topic[1], [1])]
    assert told(wire.ask(forgotten)) == {}
    back = fetch([(topic, [asked(1)])], session_id=session, session_epoch=4)
    assert sorted(told(wire.ask(back))) == [1]


def test_partition_with_data_goes_behind_the_others(wire: Wire, topic: Topic) -> None:
    """A limit of size starves nobody: who was answered is last in the next round."""
    session = open_session(wire, topic, 0, 1, 2)
    wire.ask(produce(topic, batch(b"0" * 300), batch(b"1" * 300), batch(b"2" * 300)))
    rounds = []
    for epoch in range(1, 7):
        answer = wire.ask(fetch(session_id=session, session_epoch=epoch, max_bytes=1))
        rounds.append([index for index, entry in told(answer).items() if len(entry.records)])
    assert rounds == [[0], [1], [2], [0], [1], [2]]


def test_error_is_told_every_time_and_its_end_too(wire: Wire, topic: Topic) -> None:
    session = open_session(wire, topic, 0)
    outside = fetch([(topic, [asked(0, 9)])], session_id=session, session_epoch=1)
    assert told(wire.ask(outside))[0].error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    assert told(wire.ask(fetch(session_id=session, session_epoch=2)))[0].error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    inside = fetch([(topic, [asked(0, 0)])], session_id=session, session_epoch=3)
    assert told(wire.ask(inside))[0].error_code == 0
    assert told(wire.ask(fetch(session_id=session, session_epoch=4))) == {}


@pytest.mark.parametrize("session", [12345, -5, 2**30, 0], ids=str)
@pytest.mark.parametrize("epoch", [1, 7, -2])
def test_unknown_session_is_not_found(wire: Wire, session: int, epoch: int) -> None:
    answer = wire.ask(fetch(session_id=session, session_epoch=epoch))
    assert (answer.error_code, answer.session_id, answer.responses) == (NOT_FOUND, 0, [])


def test_epoch_that_is_not_the_next_is_refused(wire: Wire, topic: Topic) -> None:
    session = open_session(wire, topic, 0)
    for wrong in (2, 5, -2):
        answer = wire.ask(fetch(session_id=session, session_epoch=wrong))
        assert (answer.error_code, answer.session_id, answer.responses) == (WRONG_EPOCH, 0, [])
    assert wire.ask(fetch(session_id=session, session_epoch=1)).error_code == 0
    assert wire.ask(fetch(session_id=session, session_epoch=1)).error_code == WRONG_EPOCH
    assert wire.ask(fetch(session_id=session, session_epoch=2)).error_code == 0


def test_session_is_not_bound_to_its_connection(wire: Wire, topic: Topic, address: Address) -> None:
    session = open_session(wire, topic, 0)
    with Wire(address) as other:
        assert other.ask(fetch(session_id=session, session_epoch=1)).error_code == 0


@pytest.mark.parametrize("epoch", [0, -1])
def test_full_fetch_ends_the_session_it_names(wire: Wire, topic: Topic, epoch: int) -> None:
    session = open_session(wire, topic, 0)
    answer = wire.ask(fetch([(topic, [asked(0)])], session_id=session, session_epoch=epoch))
    assert sorted(told(answer)) == [0]
    assert answer.session_id == 0 if epoch == -1 else answer.session_id not in (0, session)
    assert wire.ask(fetch(session_id=session, session_epoch=1)).error_code == NOT_FOUND


def test_session_without_partitions_ends(wire: Wire, topic: Topic) -> None:
    session = open_session(wire, topic, 0)
    last = fetch(session_id=session, session_epoch=1, max_wait_ms=60_000)
    last.forgotten_topics_data = [m.FetchRequest.ForgottenTopic(topic[0], topic[1], [0])]
    answer = wire.ask(last)
    assert (answer.error_code, answer.session_id, answer.responses) == (0, 0, [])
    assert wire.ask(fetch(session_id=session, session_epoch=2)).error_code == NOT_FOUND


def test_session_may_begin_with_nothing(wire: Wire, topic: Topic) -> None:
    answer = wire.ask(fetch(session_epoch=0, max_wait_ms=60_000))
    assert answer.session_id > 0
    added = wire.ask(fetch([(topic, [asked(0)])], session_id=answer.session_id, session_epoch=1))
    assert (added.error_code, sorted(told(added))) == (0, [0])


def test_session_by_names_is_not_for_ids(wire: Wire, topic: Topic) -> None:
    by_name = open_session(wire, (topic[0], NO_ID), 0, version=12)
    assert wire.ask(fetch(session_id=by_name, session_epoch=1), 13).error_code == 106
    assert wire.ask(fetch(session_id=by_name, session_epoch=2), 13).error_code == WRONG_EPOCH
    assert wire.ask(fetch(session_id=by_name, session_epoch=1), 12).error_code == 0
    by_id = open_session(wire, topic, 0, version=13)
    assert wire.ask(fetch(session_id=by_id, session_epoch=1), 12).error_code == 106


def test_topic_that_was_made_anew_is_another(wire: Wire, topic: Topic, address: Address) -> None:
    session = open_session(wire, topic, 0)
    state = m.DeleteTopicsRequest.DeleteTopicState
    wire.ask(m.DeleteTopicsRequest([state(topic[0], NO_ID)], timeout_ms=10_000))
    made = m.CreateTopicsRequest
    while wire.ask(made([made.CreatableTopic(topic[0], 1, 1)])).topics[0].error_code:
        pass
    codes, epoch = {0}, 1
    while not codes - {0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.NOT_LEADER_OR_FOLLOWER}:
        codes |= {entry.error_code for entry in told(wire.ask(fetch(session_id=session, session_epoch=epoch))).values()}
        epoch += 1
    assert ErrorCode.INCONSISTENT_TOPIC_ID in codes


def test_topic_id_that_is_not_known_yet_is_found_later(wire: Wire, topic: Topic) -> None:
    answer = wire.ask(fetch([(("", bytes(range(16))), [asked(0)]), (topic, [asked(0)])], session_epoch=0))
    assert sorted(entry.error_code for t in answer.responses for entry in t.partitions) == [0, 100]
    again = wire.ask(fetch(session_id=answer.session_id, session_epoch=1))
    assert [(t.topic_id, t.partitions[0].error_code) for t in again.responses] == [(bytes(range(16)), 100)]


def test_fetch_of_a_session_waits_for_any_of_its_partitions(wire: Wire, topic: Topic, address: Address) -> None:
    session = open_session(wire, topic, 0, 1, 2)
    wire.send(frame(fetch(session_id=session, session_epoch=1, max_wait_ms=60_000)))
    assert wire.is_silent()
    with Wire(address) as other:
        other.ask(produce(topic, b"", b"", batch(b"x")))
    answer = wire.next_answer(ApiKey.FETCH, 18)[1]
    assert list(told(answer)) == [2]


# --- the cache, whose times no test can wait for


def of(count: int) -> list[Fetched]:
    return [Fetched("t", NO_ID, index, 0, 1, -1, -1, -1) for index in range(count)]


@pytest.fixture
def make() -> Callable[..., Session]:
    cache = SessionCache(2, seed=1)

    def make(size: int, now_ms: float) -> Any:
        session = cache.create(False, of(size), now_ms)
        return session, [known.id for known in cache]

    return make


def test_full_cache_gives_up_a_session_that_was_idle_for_long(make: Any) -> None:
    first, _ = make(5, 0)
    second, _ = make(5, 10)
    assert make(5, EVICTION_MS) == (None, [first.id, second.id])
    third, left = make(1, EVICTION_MS + 1)
    assert left == [second.id, third.id]


def test_full_cache_gives_up_the_smallest_old_session_for_a_larger_one() -> None:
    cache = SessionCache(2, seed=1)
    large, small = cache.create(False, of(5), 0), cache.create(False, of(3), 0)
    assert large is not None
    assert small is not None
    now_ms = EVICTION_MS + 10
    for session in (large, small):
        cache.touch(session, now_ms - 5)
    assert cache.create(False, of(3), now_ms) is None
    larger = cache.create(False, of(4), now_ms)
    assert larger is not None
    assert [known.id for known in cache] == [large.id, larger.id]
    assert cache.create(False, of(100), now_ms) is not None  # in the place of the first
    assert larger.id in [known.id for known in cache]


def test_partitions_of_all_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_session, "MAX_PARTITIONS", 10)
    cache = SessionCache(1000)
    first, second = cache.create(False, of(4), 0), cache.create(False, of(4), 0)
    assert first is not None
    assert second is not None
    assert cache.create(False, of(3), 0) is None  # its client is served without a session
    assert cache.grow(first, of(6)[4:]) is None
    assert cache.partitions == 10
    assert cache.grow(second, of(5)[4:]) == Refused(NOT_FOUND)
    assert [session.id for session in cache] == [first.id]
    assert cache.grow(first, []) is None


@pytest.mark.usefixtures("own_only")
def test_session_that_outgrows_the_cache_ends(wire: Wire, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session(wire, topic, 0)
    monkeypatch.setattr(fetch_session, "MAX_PARTITIONS", 1)
    answer = wire.ask(fetch([(topic, [asked(0), asked(1)])], session_id=session, session_epoch=1))
    assert (answer.error_code, answer.session_id) == (NOT_FOUND, 0)
    assert wire.ask(fetch(session_id=session, session_epoch=2)).error_code == NOT_FOUND


def test_cache_without_slots_has_no_sessions() -> None:
    assert SessionCache(0).create(False, of(1), 0) is None


def test_epoch_goes_round() -> None:
    cache = SessionCache(1)
    session = cache.create(False, of(1), 0)
    assert session is not None
    session.epoch = 2**31 - 1
    cache.touch(session, 1)
    assert session.epoch == 1
