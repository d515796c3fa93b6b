"""OffsetDelete v0: forget offsets of topics that the group does not consume (KIP-496)."""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Topic = m.OffsetDeleteResponse.OffsetDeleteResponseTopic
_Partition = m.OffsetDeleteResponse.OffsetDeleteResponsePartition


async def _when_done(answer: "asyncio.Future[m.OffsetDeleteResponse]", missing: list[Any]) -> Any:
    return _with(await answer, missing)


def handle(broker: "Broker", request: Request) -> Any:
    body: m.OffsetDeleteRequest = request.body
    known, missing = _split(broker, body)
    try:
        answer = broker.groups.ask(body.group_id, lambda coordinator, now: coordinator.delete_offsets(now, known))
    except ApiError as error:
        return m.OffsetDeleteResponse(error.code)
    if isinstance(answer, asyncio.Future):
        return broker.loop.create_task(_when_done(answer, missing))
    return _with(answer, missing)


def _split(broker: "Broker", body: m.OffsetDeleteRequest) -> tuple[m.OffsetDeleteRequest, list[Any]]:
    """The part of the request about partitions that exist, and the answers for the rest."""
    known = m.OffsetDeleteRequest(body.group_id)
    missing = []
    for topic in body.topics:
        image = broker.metadata.image.topics.get(topic.name)
        there = {} if image is None else image.partitions
        rest = [
            _Partition(one.partition_index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            for one in topic.partitions
            if one.partition_index not in there
        ]
        if rest:
            missing.append(_Topic(topic.name, rest))
        topic.partitions = [one for one in topic.partitions if one.partition_index in there]
        if topic.partitions:
            known.topics.append(topic)
    return known, missing


def _with(response: m.OffsetDeleteResponse, missing: list[Any]) -> m.OffsetDeleteResponse:
    """Both parts of the answer, one entry for each topic; what is missing comes first, as from Apache Kafka."""
    entries = {topic.name: topic for topic in missing}
    for topic in response.topics:
        if topic.name in entries:
            entries[topic.name].partitions += topic.partitions
        else:
            entries[topic.name] = topic
    response.topics = list(entries.values())
    return response
