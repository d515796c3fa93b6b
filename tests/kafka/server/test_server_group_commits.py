"""Offsets are committed once every replica in sync of the coordinator's partition has them."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.paper_brokers import CONFIG, Follower, Topic, register, until
from tests.kafka.server.wire import Wire, frame

from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker

OFFSETS = "__consumer_offsets"
VERSION = 9


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(config={**CONFIG, "offsets.commit.timeout.ms": 300, "offsets.topic.num.partitions": 1}) as broker:
        yield broker


@pytest.fixture
def topic(broker: Broker) -> Topic:
    """The coordinator's, replicated to a paper broker."""
    (epoch,) = register(broker, 2).values()
    made = m.CreateTopicsRequest
    with Wire(address_of(broker)) as wire:
        place = [made.CreatableReplicaAssignment(0, [1, 2])]
        (answer,) = wire.ask(made([made.CreatableTopic(OFFSETS, -1, -1, place)])).topics
        assert answer.error_code == 0, answer
    until(broker, lambda node: (OFFSETS, 0) in node.partitions)
    with Follower(broker, 2, epoch) as follower:
        follower.fetch((OFFSETS, answer.topic_id), p0=0)
    return OFFSETS, answer.topic_id


def commit(offset: int) -> m.OffsetCommitRequest:
    made = m.OffsetCommitRequest
    partition = made.OffsetCommitRequestPartition(0, offset)
    return made("group", -1, "", None, topics=[made.OffsetCommitRequestTopic(OFFSETS, partitions=[partition])])


def committed_code(wire: Wire) -> int:
    answer = wire.next_answer(ApiKey.OFFSET_COMMIT, VERSION)[1]
    return int(answer.topics[0].partitions[0].error_code)


def epoch_of(broker: Broker, id_: int) -> int:
    async def look(node: Any) -> int:
        return int(node.metadata.image.brokers[id_].epoch)

    return broker.run(look)


def test_commit_is_answered_once_the_replicas_have_it(broker: Broker, topic: Topic) -> None:
    with Wire(address_of(broker)) as wire, Follower(broker, 2, epoch_of(broker, 2)) as follower:
        wire.send(frame(commit(5), VERSION))
        assert wire.is_silent(0.1)
        follower.fetch(topic, p0=1)
        assert committed_code(wire) == 0


def test_commit_that_nobody_replicates_times_out_and_those_behind_it_are_served(broker: Broker, topic: Topic) -> None:
    with Wire(address_of(broker)) as wire, Follower(broker, 2, epoch_of(broker, 2)) as follower:
        wire.send(frame(commit(5), VERSION))
        assert committed_code(wire) == ErrorCode.COORDINATOR_NOT_AVAILABLE
        wire.send(frame(commit(6), VERSION))
        follower.fetch(topic, p0=2)
        assert committed_code(wire) == 0
