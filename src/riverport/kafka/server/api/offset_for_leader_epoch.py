"""OffsetForLeaderEpoch v2-4 (KIP-101, KIP-279, KIP-320): where an epoch ends in the leader's log."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_End = m.OffsetForLeaderEpochResponse.EpochEndOffset


def handle(broker: "Broker", request: Request) -> m.OffsetForLeaderEpochResponse:
    topics = []
    for topic in request.body.topics:
        ends = []
        for wanted in topic.partitions:
            try:
                log = broker.partition(topic.topic, wanted.partition).leader_log(wanted.current_leader_epoch)
                epoch, end_offset = log.offset_for_leader_epoch(wanted.leader_epoch)
                ends.append(_End(partition=wanted.partition, leader_epoch=epoch, end_offset=end_offset))
            except ApiError as error:
                ends.append(_End(partition=wanted.partition, error_code=error.code))
        topics.append(m.OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult(topic=topic.topic, partitions=ends))
    return m.OffsetForLeaderEpochResponse(topics=topics)
