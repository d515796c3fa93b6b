"""The short way of followers' fetches is taken while a session goes on, and answers as the general way does."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.paper_brokers import CONFIG, Follower, Topic, make_topic, register
from tests.kafka.server.wire import Wire, batch, frame, produce, produced, values_of

from riverport.kafka.server.follower_lane import FollowerLane
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(config=CONFIG) as broker:
        yield broker


@pytest.fixture(scope="module")
def epochs(broker: Broker) -> dict[int, int]:
    return register(broker, 2)


@pytest.fixture
def topic(broker: Broker, epochs: dict[int, int]) -> Topic:
    return make_topic(broker, [1, 2], [1, 2])


@pytest.fixture
def follower(broker: Broker, epochs: dict[int, int]) -> Iterator[Follower]:
    with Follower(broker, 2, epochs[2]) as follower:
        yield follower


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each fetch, whether it went the short way."""
    found: list[bool] = []
    serve = FollowerLane.serve

    def watched(self: FollowerLane, *given: Any) -> bytes | None:
        answer = serve(self, *given)
        found.append(answer is not None)
        return answer

    monkeypatch.setattr(FollowerLane, "serve", watched)
    return found


@pytest.fixture(params=[True, False], ids=["short", "general"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(FollowerLane, "serve", lambda self, *given: None)
    return bool(request.param)


async def log_end(node: Any, topic: Topic) -> int:
    return int(node.partitions[topic[0], 0].log.log_end_offset)


def write(broker: Broker, topic: Topic, *values: bytes) -> None:
    with Wire(address_of(broker)) as wire:
        assert produced(wire.ask(produce(topic, batch(*values), acks=1))).error_code == 0


def test_session_that_goes_on_takes_the_short_way(
    broker: Broker, topic: Topic, follower: Follower, taken: list[bool]
) -> None:
    follower.fetch(topic, p0=0)
    write(broker, topic, b"v")
    assert values_of(follower.fetch()[0].records) == [b"v"]
    follower.fetch(topic, p0=1)
    follower.fetch(topic, p1=0)  # which is new to the session
    follower.fetch(topic, p1=0)
    # The very first fetch of a broker is before there is a lane.
    assert taken[-4:] == [True, True, False, True]


def test_both_ways_tell_the_same(broker: Broker, topic: Topic, follower: Follower, way: bool) -> None:
    told = [follower.fetch(topic, p0=0, p1=0)]
    write(broker, topic, b"v")
    told.append(follower.fetch())
    told.append(follower.fetch(topic, p0=1))
    told.append(follower.fetch())
    follower.begin()
    write(broker, topic, b"w")
    told.append(follower.end())
    shown = [
        {index: (entry.error_code, entry.high_watermark, values_of(entry.records)) for index, entry in each.items()}
        for each in told
    ]
    assert shown == [
        {0: (0, 0, []), 1: (0, 0, [])},
        {0: (0, 0, [b"v"])},
        {0: (0, 1, [])},
        {},
        {0: (0, 1, [b"w"])},
    ]


def test_both_ways_tell_of_errors(broker: Broker, topic: Topic, follower: Follower, way: bool) -> None:
    follower.fetch(topic, p0=0, p1=0)
    write(broker, topic, b"v")
    told = follower.fetch(topic, p1=7)
    assert told[1].error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    assert (told[0].error_code, values_of(told[0].records)) == (0, [b"v"])


def test_fetch_that_waits_is_answered_when_another_stands_behind_it(
    broker: Broker, topic: Topic, follower: Follower, way: bool
) -> None:
    follower.fetch(topic, p0=0)
    follower.begin()
    assert follower.wire.is_silent(0.1)
    follower.session_epoch += 1
    follower.begin(topic, p1=0, max_wait_ms=0)
    follower.session_epoch -= 1
    assert follower.end() == {}
    assert set(follower.end()) == {1}


def test_produce_behind_produce_is_acknowledged_in_order(broker: Broker, topic: Topic, follower: Follower) -> None:
    with Wire(address_of(broker)) as wire:
        for value in (b"a", b"b", b"c"):
            wire.send(frame(produce(topic, batch(value))))
        while broker.run(lambda node: log_end(node, topic)) < 3:
            pass
        follower.fetch(topic, p0=0)
        follower.fetch(topic, p0=2)
        offsets = [produced(wire.next_answer(ApiKey.PRODUCE, 13)[1]).base_offset for _ in range(2)]
        assert wire.is_silent(0.1)
        follower.fetch(topic, p0=3)
        offsets.append(produced(wire.next_answer(ApiKey.PRODUCE, 13)[1]).base_offset)
    assert offsets == [0, 1, 2]


def test_late_request_of_an_earlier_session_is_outlived_by_the_session_that_followed(
    broker: Broker, topic: Topic, follower: Follower, epochs: dict[int, int], way: bool
) -> None:
    async def known_end(node: Any) -> int:
        return int(node.partitions[topic[0], 0].leadership.followers[2].end_offset)

    follower.fetch(topic, p0=0)
    write(broker, topic, b"a")
    with Follower(broker, 2, epochs[2]) as again:
        again.fetch(topic, p0=1)
        assert broker.run(known_end) == 1
        follower.fetch(topic, p0=0)  # it was long on its way
        assert broker.run(known_end) == 0
        again.fetch()  # nothing has moved: nothing is named
        assert broker.run(known_end) == 1
