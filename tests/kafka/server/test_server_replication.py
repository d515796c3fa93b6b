"""A leader and its followers over the wire: acknowledgements, watermarks, in-sync replicas, waiting fetches."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.paper_brokers import (
    CONFIG,
    Follower,
    Topic,
    heartbeat,
    make_topic,
    register,
    registration,
    until,
    write,
)
from tests.kafka.server.wire import Wire, asked, batch, fetch, fetched, frame, produce, produced, values_of

from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(config=CONFIG) as broker:
        yield broker


@pytest.fixture(scope="module")
def epochs(broker: Broker) -> dict[int, int]:
    return register(broker, 2, 3)


@pytest.fixture
def topic(broker: Broker, epochs: dict[int, int]) -> Topic:
    return make_topic(broker, [1, 2, 3])


@pytest.fixture
def second(broker: Broker, epochs: dict[int, int]) -> Iterator[Follower]:
    with Follower(broker, 2, epochs[2]) as follower:
        yield follower


@pytest.fixture
def third(broker: Broker, epochs: dict[int, int]) -> Iterator[Follower]:
    with Follower(broker, 3, epochs[3]) as follower:
        yield follower


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(address_of(broker)) as wire:
        yield wire


def answered(wire: Wire) -> int:
    """The error code of the produce request that was sent last."""
    return int(produced(wire.next_answer(ApiKey.PRODUCE, 13)[1]).error_code)


def test_produce_with_acks_all_is_answered_once_every_replica_in_sync_has_the_record(
    wire: Wire, topic: Topic, second: Follower, third: Follower
) -> None:
    write(wire, topic, b"v")
    assert values_of(second.fetch(topic, p0=0)[0].records) == [b"v"]
    second.fetch(topic, p0=1)
    assert wire.is_silent()
    third.fetch(topic, p0=1)
    assert answered(wire) == 0


def test_consumer_sees_a_record_once_it_is_committed(
    broker: Broker, wire: Wire, topic: Topic, second: Follower, third: Follower
) -> None:
    assert produced(wire.ask(produce(topic, batch(b"v"), acks=1))).error_code == 0
    entry = fetched(wire.ask(fetch([(topic, [asked()])])))
    assert (entry.records, entry.high_watermark) == (b"", 0)
    with Wire(address_of(broker)) as consumer:
        consumer.send(frame(fetch([(topic, [asked()])], max_wait_ms=60_000)))
        second.fetch(topic, p0=1)
        assert consumer.is_silent()
        third.fetch(topic, p0=1)
        entry = fetched(consumer.next_answer(ApiKey.FETCH, 18)[1])
        assert (values_of(entry.records), entry.high_watermark) == ([b"v"], 1)


def test_waiting_fetch_of_a_follower_is_answered_by_an_append(wire: Wire, topic: Topic, second: Follower) -> None:
    second.fetch(topic, p0=0)
    second.begin()
    assert second.wire.is_silent()
    write(wire, topic, b"v")
    assert values_of(second.end()[0].records) == [b"v"]


def test_records_that_a_follower_did_not_take_are_sent_again(wire: Wire, topic: Topic, second: Follower) -> None:
    write(wire, topic, b"v", acks=1)
    second.fetch(topic, p0=0)
    assert values_of(second.fetch()[0].records) == [b"v"]


def test_watermark_travels_with_the_next_answer_and_answers_nobody(
    wire: Wire, topic: Topic, second: Follower, third: Follower
) -> None:
    write(wire, topic, b"v")
    assert second.fetch(topic, p0=0)[0].high_watermark == 0
    assert second.fetch(topic, p0=1) == {}
    second.begin()
    third.fetch(topic, p0=1)
    assert answered(wire) == 0
    assert second.wire.is_silent()
    write(wire, topic, b"w")
    assert second.end()[0].high_watermark == 1


def test_session_with_many_partitions_is_told_only_of_those_with_news(
    broker: Broker, wire: Wire, second: Follower
) -> None:
    topic = make_topic(broker, [1, 2], [1, 2], [1, 2], [1, 2])
    assert set(second.fetch(topic, p0=0, p1=0, p2=0, p3=0)) == {0, 1, 2, 3}
    assert second.fetch() == {}
    wire.ask(produce(topic, None, batch(b"a"), acks=1))
    assert set(second.fetch()) == {1}
    assert set(second.fetch(topic, p1=1)) == {1}  # the high watermark, which its own fetch has moved
    assert second.fetch() == {}


def test_follower_that_is_no_replica_is_to_come_again(broker: Broker, third: Follower) -> None:
    topic = make_topic(broker, [1, 2])
    assert third.fetch(topic, p0=0)[0].error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    request = third.request(topic, p0=0)
    request.topics[0].partitions[0].current_leader_epoch = 0
    assert fetched(third.wire.ask(request)).error_code == ErrorCode.UNKNOWN_LEADER_EPOCH


def test_fetch_of_an_earlier_incarnation_acknowledges_nothing(
    broker: Broker, wire: Wire, epochs: dict[int, int], third: Follower
) -> None:
    topic = make_topic(broker, [1, 2])
    write(wire, topic, b"v")
    with Follower(broker, 2, epochs[2] - 1) as ghost:
        assert ghost.fetch(topic, p0=1)[0].error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        assert wire.is_silent()
    with Follower(broker, 2, epochs[2]) as follower:
        follower.fetch(topic, p0=1)
    assert answered(wire) == 0


def test_produce_that_nobody_replicates_times_out(wire: Wire, topic: Topic, second: Follower) -> None:
    write(wire, topic, b"v", timeout_ms=50)
    entry = produced(wire.next_answer(ApiKey.PRODUCE, 13)[1])
    assert (entry.error_code, entry.base_offset) == (ErrorCode.REQUEST_TIMED_OUT, 0)


def test_replica_joins_again_once_it_has_caught_up(
    broker: Broker, wire: Wire, epochs: dict[int, int], second: Follower, third: Follower
) -> None:
    topic = make_topic(broker, [1, 2, 3], min_insync_replicas=2)
    heartbeat(broker, 3, epochs[3], want_fence=True)
    until(broker, lambda node: list(node.partitions[topic[0], 0].isr) == [1, 2])
    write(wire, topic, b"v")
    second.fetch(topic, p0=1)
    assert answered(wire) == 0
    third.fetch(topic, p0=1)
    assert list(registration(broker, topic).isr) == [1, 2]  # it is fenced, whatever it fetches
    write(wire, topic, b"w")
    second.fetch(topic, p0=2)
    assert answered(wire) == 0
    heartbeat(broker, 3, epochs[3], want_fence=False)
    until(broker, lambda node: not node.metadata.image.brokers[3].fenced)
    third.fetch(topic, p0=1)
    assert list(registration(broker, topic).isr) == [1, 2]
    third.fetch(topic, p0=2)
    until(broker, lambda node: sorted(node.partitions[topic[0], 0].isr) == [1, 2, 3])
    assert sorted(registration(broker, topic).isr) == [1, 2, 3]


def test_replica_that_was_fenced_while_it_was_level_joins_again_without_a_word(
    broker: Broker, wire: Wire, epochs: dict[int, int], second: Follower, third: Follower
) -> None:
    topic = make_topic(broker, [1, 2, 3], min_insync_replicas=2)
    second.fetch(topic, p0=0)
    third.fetch(topic, p0=0)
    heartbeat(broker, 3, epochs[3], want_fence=True)
    until(broker, lambda node: list(node.partitions[topic[0], 0].isr) == [1, 2])
    heartbeat(broker, 3, epochs[3], want_fence=False)
    until(broker, lambda node: sorted(node.partitions[topic[0], 0].isr) == [1, 2, 3])


def test_deleting_records_waits_until_live_replicas_have_deleted_them(
    broker: Broker, wire: Wire, epochs: dict[int, int], second: Follower
) -> None:
    topic = make_topic(broker, [1, 2])
    write(wire, topic, b"v")
    second.fetch(topic, p0=1)
    assert answered(wire) == 0
    second.fetch()
    second.begin()
    made = m.DeleteRecordsRequest
    partitions = [made.DeleteRecordsPartition(0, 1)]
    wire.send(frame(made([made.DeleteRecordsTopic(topic[0], partitions)], 60_000)))
    assert second.end()[0].log_start_offset == 1  # told at once
    assert wire.is_silent()
    request = second.request(topic, p0=1)
    request.topics[0].partitions[0].log_start_offset = 1
    second.wire.ask(request)
    (entry,) = wire.next_answer(ApiKey.DELETE_RECORDS, 2)[1].topics[0].partitions
    assert (entry.error_code, entry.low_watermark) == (0, 1)


def test_latest_offset_is_not_known_until_a_new_leader_s_watermark_has_reached_its_epoch(
    broker: Broker, wire: Wire, topic: Topic, second: Follower, third: Follower
) -> None:
    assert produced(wire.ask(produce(topic, batch(b"v"), acks=1))).error_code == 0
    lead_anew(broker, topic)

    def ask(timestamp: int, version: int, replica: int = -1) -> tuple[int, int]:
        made = m.ListOffsetsRequest
        request = made(replica, 0, [made.ListOffsetsTopic(topic[0], [made.ListOffsetsPartition(0, -1, timestamp)])])
        (entry,) = wire.ask(request, version).topics[0].partitions
        return entry.error_code, entry.offset

    assert ask(-1, 5) == (ErrorCode.OFFSET_NOT_AVAILABLE, -1)
    assert ask(-1, 4) == (ErrorCode.LEADER_NOT_AVAILABLE, -1)
    assert ask(0, 5) == (ErrorCode.OFFSET_NOT_AVAILABLE, -1)
    assert ask(-2, 5) == (0, 0)
    assert ask(-1, 5, replica=2) == ask(-1, 5, replica=-2) == (0, 1)
    second.fetch(topic, p0=1)
    third.fetch(topic, p0=1)
    assert ask(-1, 5) == (0, 1)


def lead_anew(broker: Broker, topic: Topic) -> None:
    """Let the broker learn that it leads in the next epoch, all replicas being in sync."""

    async def learn(node: Any) -> None:
        partition = node.partitions[topic[0], 0]
        epochs = partition.leader_epoch + 1, partition.partition_epoch + 1
        partition.follow_metadata(1, *epochs, partition.replicas, partition.isr, node.clock.mono_ms())

    broker.run(learn)


def test_producer_is_told_when_its_leader_is_replaced(
    broker: Broker, wire: Wire, topic: Topic, epochs: dict[int, int]
) -> None:
    write(wire, topic, b"v")

    async def lose(node: Any) -> None:
        partition = node.partitions[topic[0], 0]
        epochs = partition.leader_epoch + 1, partition.partition_epoch + 1
        partition.follow_metadata(2, *epochs, partition.replicas, partition.isr, node.clock.mono_ms())
        node.wake(partition)

    broker.run(lose)
    entry = produced(wire.next_answer(ApiKey.PRODUCE, 13)[1])
    assert (entry.error_code, entry.current_leader.leader_id) == (ErrorCode.NOT_LEADER_OR_FOLLOWER, 2)


def test_acks_all_needs_enough_replicas_before_and_after_the_append(
    broker: Broker, wire: Wire, epochs: dict[int, int], second: Follower
) -> None:
    topic = make_topic(broker, [1, 2], min_insync_replicas=2)
    write(wire, topic, b"v")
    heartbeat(broker, 2, epochs[2], want_fence=True)
    until(broker, lambda node: list(node.partitions[topic[0], 0].isr) == [1])
    assert wire.is_silent()  # under the least number of in-sync replicas nothing is committed
    with Wire(address_of(broker)) as other:
        entry = produced(other.ask(produce(topic, batch(b"w"))))
        assert (entry.error_code, entry.base_offset) == (ErrorCode.NOT_ENOUGH_REPLICAS, -1)
    heartbeat(broker, 2, epochs[2], want_fence=False)
    until(broker, lambda node: not node.metadata.image.brokers[2].fenced)
    second.fetch(topic, p0=1)
    assert answered(wire) == 0


def test_follower_out_of_sync_rests_while_the_quota_is_exceeded(
    broker: Broker, wire: Wire, epochs: dict[int, int], second: Follower
) -> None:
    replicas = {"leader.replication.throttled.replicas": "0:1"}
    topic = make_topic(broker, [1, 2], **replicas)
    made = m.IncrementalAlterConfigsRequest
    rate = made.AlterableConfig("leader.replication.throttled.rate", 0, "100")
    assert wire.ask(made([made.AlterConfigsResource(4, "1", [rate])])).responses[0].error_code == 0
    until(broker, lambda node: node.replication.leader_quota.is_active)
    assert produced(wire.ask(produce(topic, batch(b"x" * 10_000), acks=1))).error_code == 0
    assert len(second.fetch(topic, p0=0)[0].records) > 10_000
    assert len(second.fetch(topic, p0=0)[0].records) > 10_000  # it is in sync, and must stay so
    heartbeat(broker, 2, epochs[2], want_fence=True)
    until(broker, lambda node: 2 not in node.partitions[topic[0], 0].isr)
    told = second.fetch(topic, p0=0)
    assert 0 not in told or told[0].records == b""
    no_rate = made.AlterableConfig("leader.replication.throttled.rate", 1)
    assert wire.ask(made([made.AlterConfigsResource(4, "1", [no_rate])])).responses[0].error_code == 0
    until(broker, lambda node: not node.replication.leader_quota.is_active)
    assert len(second.fetch(topic, p0=0)[0].records) > 10_000
    heartbeat(broker, 2, epochs[2], want_fence=False)
