"""Consumers are sent to a replica of their own rack (KIP-392)."""

from collections.abc import Iterator

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.paper_brokers import CONFIG, Follower, Topic, heartbeat, make_topic, register, until
from tests.kafka.server.wire import Wire, asked, batch, fetch, fetched, produce, produced

from riverport.base.settings import ConfigError
from riverport.kafka.replica.selector import RACK_AWARE
from riverport.testing import Broker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(config={**CONFIG, "broker.rack": "here", "replica.selector.class": RACK_AWARE}) as broker:
        yield broker


@pytest.fixture(scope="module")
def epochs(broker: Broker) -> dict[int, int]:
    return {**register(broker, 2, rack="there"), **register(broker, 3, rack="elsewhere")}


@pytest.fixture
def topic(broker: Broker, epochs: dict[int, int]) -> Topic:
    topic = make_topic(broker, [1, 2, 3])
    with Wire(address_of(broker)) as wire:
        assert produced(wire.ask(produce(topic, batch(b"v"), acks=1))).error_code == 0
    return topic


def sent_to(broker: Broker, topic: Topic, rack: str, offset: int = 0, version: int = 18) -> int:
    with Wire(address_of(broker)) as wire:
        request = fetch([(topic, [asked(0, offset)])], rack_id=rack, max_wait_ms=60_000, min_bytes=0)
        return int(fetched(wire.ask(request, version)).preferred_read_replica)


def test_consumer_is_sent_to_the_follower_in_its_rack(broker: Broker, epochs: dict[int, int], topic: Topic) -> None:
    with Follower(broker, 2, epochs[2]) as second, Follower(broker, 3, epochs[3]) as third:
        second.fetch(topic, p0=1)
        third.fetch(topic, p0=1)
    assert sent_to(broker, topic, "there") == 2
    assert sent_to(broker, topic, "elsewhere") == 3
    assert sent_to(broker, topic, "here") == -1
    assert sent_to(broker, topic, "nowhere") == -1
    assert sent_to(broker, topic, "") == -1
    assert sent_to(broker, topic, "there", version=10) == -1  # consumers of that time say no rack


def test_follower_that_has_not_come_so_far_gets_no_consumer(
    broker: Broker, epochs: dict[int, int], topic: Topic
) -> None:
    assert sent_to(broker, topic, "there") == -1  # nobody knows where it is
    with Follower(broker, 2, epochs[2]) as second:
        second.fetch(topic, p0=0)
        assert sent_to(broker, topic, "there", offset=1) == -1
        second.fetch(topic, p0=1)
        assert sent_to(broker, topic, "there", offset=1) == 2


def test_follower_out_of_sync_gets_no_consumer(broker: Broker, epochs: dict[int, int], topic: Topic) -> None:
    with Follower(broker, 2, epochs[2]) as second:
        second.fetch(topic, p0=1)
        heartbeat(broker, 2, epochs[2], want_fence=True)
        until(broker, lambda node: 2 not in node.partitions[topic[0], 0].isr)
        assert sent_to(broker, topic, "there") == -1
        heartbeat(broker, 2, epochs[2], want_fence=False)
        until(broker, lambda node: 2 in node.partitions[topic[0], 0].isr)
        assert sent_to(broker, topic, "there") == 2


def test_class_that_there_is_not_keeps_the_broker_from_starting() -> None:
    with (
        pytest.raises(ConfigError, match=r"replica\.selector\.class"),
        Broker(config={"replica.selector.class": "my.Own"}),
    ):
        raise AssertionError("it has started")
