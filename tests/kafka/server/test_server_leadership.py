"""Requests to a broker that does not lead, leads in another epoch, or has lost the log."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import Wire, asked, batch, fetch, fetched, frame, make_topic, produce, produced, values_of

from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker

Topic = tuple[str, bytes]

NOT_LEADER, FENCED, UNKNOWN = (
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.UNKNOWN_LEADER_EPOCH,
)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def topic(broker: Broker) -> Topic:
    topic = make_topic(address_of(broker))
    with Wire(address_of(broker)) as wire:
        assert produced(wire.ask(produce(topic, batch(b"first")))).error_code == 0
    return topic


def give_away(broker: Broker, topic: Topic) -> None:
    """Let the broker learn, as from the metadata of a larger cluster, that broker 2 leads in epoch 5."""

    async def learn(node: Any) -> None:
        partition = node.partitions[topic[0], 0]
        partition.follow_metadata(2, 5, partition.partition_epoch + 1, [1, 2], [2], 0)
        node.wake(partition)

    broker.run(learn)


def offsets(topic: Topic, epoch: int) -> m.ListOffsetsRequest:
    made = m.ListOffsetsRequest
    return made(-1, 0, [made.ListOffsetsTopic(topic[0], [made.ListOffsetsPartition(0, epoch, -1)])])


def test_broker_that_does_not_lead_names_the_leader(broker: Broker, topic: Topic) -> None:
    give_away(broker, topic)
    with Wire(address_of(broker)) as wire:
        entry = produced(wire.ask(produce(topic, batch(b"v"))))
        assert (entry.error_code, entry.base_offset) == (NOT_LEADER, -1)
        assert (entry.current_leader.leader_id, entry.current_leader.leader_epoch) == (2, 5)
        known = asked(0, 0, current_leader_epoch=0)
        entry = fetched(wire.ask(fetch([(topic, [known])], max_wait_ms=60_000)))
        assert (entry.error_code, entry.high_watermark, len(entry.records)) == (FENCED, -1, 0)
        assert (entry.current_leader.leader_id, entry.current_leader.leader_epoch) == (2, 5)
        assert wire.ask(offsets(topic, -1)).topics[0].partitions[0].error_code == NOT_LEADER


def test_clients_too_old_for_a_leaders_name_are_told_the_error_all_the_same(broker: Broker, topic: Topic) -> None:
    give_away(broker, topic)
    with Wire(address_of(broker)) as wire:
        for version in range(3, 14):
            assert produced(wire.ask(produce(topic, batch(b"v")), version)).error_code == NOT_LEADER
        for version in range(4, 11):
            assert fetched(wire.ask(fetch([(topic, [asked()])]), version)).error_code == NOT_LEADER


def test_follower_serves_consumers_that_know_of_that(broker: Broker, topic: Topic) -> None:
    give_away(broker, topic)
    with Wire(address_of(broker)) as wire:
        for version in range(11, 19):
            entry = fetched(wire.ask(fetch([(topic, [asked()])]), version))
            assert (entry.error_code, values_of(entry.records)) == (0, [b"first"])


def test_producer_without_answers_is_disconnected_from_who_does_not_lead(broker: Broker, topic: Topic) -> None:
    give_away(broker, topic)
    with Wire(address_of(broker)) as wire:
        wire.send(frame(produce(topic, batch(b"v"), acks=0)))
        assert wire.is_closed()


def test_lost_leadership_ends_the_wait_of_a_fetch(broker: Broker, topic: Topic) -> None:
    with Wire(address_of(broker)) as wire:
        wire.send(frame(fetch([(topic, [asked(0, 1, current_leader_epoch=0)])], max_wait_ms=60_000)))
        assert wire.is_silent()
        give_away(broker, topic)
        assert fetched(wire.next_answer(ApiKey.FETCH, 18)[1]).error_code == FENCED


def test_restart_begins_an_epoch_and_fences_the_one_before(broker: Broker, topic: Topic) -> None:
    broker.restart()
    with Wire(address_of(broker)) as wire:
        assert produced(wire.ask(produce(topic, batch(b"second")))).error_code == 0

        async def epoch_of(node: Any) -> int:
            return int(node.partitions[topic[0], 0].leader_epoch)

        epoch = broker.run(epoch_of)
        assert epoch > 0
        for asked_epoch, code in ((epoch - 1, FENCED), (epoch, 0), (-1, 0), (epoch + 1, UNKNOWN)):
            answer = wire.ask(fetch([(topic, [asked(0, 0, current_leader_epoch=asked_epoch)])]))
            entry = fetched(answer)
            assert entry.error_code == code
            assert wire.ask(offsets(topic, asked_epoch)).topics[0].partitions[0].error_code == code
            if code == FENCED:
                (endpoint,) = answer.node_endpoints
                assert (endpoint.node_id, endpoint.host, endpoint.port) == (1, *address_of(broker))
                assert (entry.current_leader.leader_id, entry.current_leader.leader_epoch) == (1, epoch)
        diverging = asked(0, 2, last_fetched_epoch=0)
        entry = fetched(wire.ask(fetch([(topic, [diverging])])))
        assert (entry.diverging_epoch.epoch, entry.diverging_epoch.end_offset) == (0, 1)


def test_too_few_in_sync_replicas_refuse_acks_all_only(broker: Broker) -> None:
    topic = make_topic(address_of(broker), min_insync_replicas=1)

    async def shrink(node: Any) -> None:
        partition = node.partitions[topic[0], 0]
        partition.replicas, partition.isr = [1, 2], [1]
        partition.log.update_config(node.configs.log_config(topic[0]))

    with Wire(address_of(broker)) as wire:
        made = m.IncrementalAlterConfigsRequest
        entry = made.AlterableConfig("min.insync.replicas", 0, "2")
        wire.ask(made([made.AlterConfigsResource(2, topic[0], [entry])]))
        broker.run(shrink)
        assert produced(wire.ask(produce(topic, batch(b"v")))).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
        assert produced(wire.ask(produce(topic, batch(b"v"), acks=1))).error_code == 0
        assert produced(wire.ask(produce(topic, batch(b"v", timestamp=1)))).error_code == ErrorCode.NOT_ENOUGH_REPLICAS


@pytest.mark.parametrize(("version", "code"), [(4, NOT_LEADER), (5, NOT_LEADER), (6, 56), (18, 56)])
def test_partition_whose_directory_is_lost(broker: Broker, topic: Topic, version: int, code: int) -> None:
    """Clients of Fetch v5 and older do not know KAFKA_STORAGE_ERROR: they are told to look for the leader."""

    async def lose(node: Any) -> Any:
        partition = node.partitions[topic[0], 0]
        lost, partition.log = partition.log, None
        return lost

    lost = broker.run(lose)
    with Wire(address_of(broker)) as wire:
        assert fetched(wire.ask(fetch([(topic, [asked()])]), version)).error_code == code
        assert produced(wire.ask(produce(topic, batch(b"v")))).error_code == ErrorCode.KAFKA_STORAGE_ERROR

    async def find(node: Any) -> None:
        node.partitions[topic[0], 0].log = lost

    broker.run(find)


def test_more_sessions_than_slots_are_served_without_one() -> None:
    with Broker({"max.incremental.fetch.session.cache.slots": 2}) as broker:
        topic = make_topic(address_of(broker))
        with Wire(address_of(broker)) as wire:
            opened = [wire.ask(fetch([(topic, [asked()])], session_epoch=0)) for _ in range(3)]
            assert [answer.session_id > 0 for answer in opened] == [True, True, False]
            assert [answer.error_code for answer in opened] == [0, 0, 0]
            wire.ask(fetch([(topic, [asked()])], session_id=opened[0].session_id, session_epoch=-1))
            assert wire.ask(fetch([(topic, [asked()])], session_epoch=0)).session_id > 0
