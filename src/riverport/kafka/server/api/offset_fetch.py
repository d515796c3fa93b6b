"""OffsetFetch v1-10: how far groups have come (KIP-447 stable, KIP-709 several groups from v8, ids from v10)."""

from typing import TYPE_CHECKING, Any

from riverport.base.ids import ZERO_UUID
from riverport.kafka.groups.commits import WantedTopic, no_offset
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

TOP_LEVEL_ERROR_SINCE = 2
GROUPS_SINCE = 8
TOPIC_ID_SINCE = 10

_Group = m.OffsetFetchResponse.OffsetFetchResponseGroup
_GroupTopic = m.OffsetFetchResponse.OffsetFetchResponseTopics
_Topic = m.OffsetFetchResponse.OffsetFetchResponseTopic
_Partition = m.OffsetFetchResponse.OffsetFetchResponsePartition


def handle(broker: "Broker", request: Request) -> m.OffsetFetchResponse:
    body: m.OffsetFetchRequest = request.body
    if request.version < GROUPS_SINCE:
        return _single(broker, request)
    by_id = request.version >= TOPIC_ID_SINCE
    return m.OffsetFetchResponse(groups=[_of_group(broker, one, body.require_stable, by_id) for one in body.groups])


def _of_group(broker: "Broker", wanted: Any, require_stable: bool, by_id: bool) -> Any:
    unknown: list[Any] = []
    topics: list[WantedTopic] | None = None
    if wanted.topics is not None:
        topics = []
        for topic in wanted.topics:
            name = broker.topic_names.get(topic.topic_id) if by_id else topic.name
            if name is None:
                answers = [no_offset(index, ErrorCode.UNKNOWN_TOPIC_ID) for index in topic.partition_indexes]
                unknown.append(_GroupTopic("", topic.topic_id, answers))
            else:
                topics.append((name, topic.topic_id, topic.partition_indexes))
    try:
        found = _fetch(broker, wanted.group_id, topics, require_stable)
    except ApiError as error:
        return _Group(wanted.group_id, [], error.code)
    answers = []
    for name, partitions in found:
        topic_id = _id_of(broker, name) if by_id else ZERO_UUID
        # Who asks by ids cannot be told of a topic that has none any more.
        if not by_id or topic_id != ZERO_UUID:
            answers.append(_GroupTopic(name, topic_id, partitions))
    return _Group(wanted.group_id, answers + unknown, 0)


def _id_of(broker: "Broker", name: str) -> bytes:
    topic = broker.metadata.image.topics.get(name)
    return ZERO_UUID if topic is None else topic.id


def _single(broker: "Broker", request: Request) -> m.OffsetFetchResponse:
    """Before v8: one group, topics by name, None for all of them."""
    body: m.OffsetFetchRequest = request.body
    wanted = (
        None if body.topics is None else [(topic.name, ZERO_UUID, topic.partition_indexes) for topic in body.topics]
    )
    try:
        found = _fetch(broker, body.group_id, wanted, body.require_stable)
    except ApiError as error:
        if request.version >= TOP_LEVEL_ERROR_SINCE:
            return m.OffsetFetchResponse(error_code=error.code)
        found = [(topic, [no_offset(index, error.code) for index in indexes]) for topic, _, indexes in wanted or ()]
    return m.OffsetFetchResponse(
        topics=[
            _Topic(
                name,
                [
                    _Partition(
                        one.partition_index,
                        one.committed_offset,
                        one.committed_leader_epoch,
                        one.metadata,
                        one.error_code,
                    )
                    for one in partitions
                ],
            )
            for name, partitions in found
        ]
    )


def _fetch(
    broker: "Broker", group_id: str, wanted: list[WantedTopic] | None, require_stable: bool
) -> list[tuple[str, list[Any]]]:
    coordinator = broker.groups.shard_of(group_id).coordinator
    return coordinator.fetch_offsets(group_id, wanted, require_stable=require_stable)
