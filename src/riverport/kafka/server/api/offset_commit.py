"""OffsetCommit v2-10 (KIP-211 no retention from v5, KIP-320 leader epochs from v6, KIP-848 topic ids from v10)."""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.kafka.groups.commits import TopicCommit
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

TOPIC_ID_SINCE = 10

_Topic = m.OffsetCommitResponse.OffsetCommitResponseTopic
_Partition = m.OffsetCommitResponse.OffsetCommitResponsePartition


def handle(broker: "Broker", request: Request) -> Any:
    body: m.OffsetCommitRequest = request.body
    response = m.OffsetCommitResponse()
    commits: list[TopicCommit] = []
    for topic in body.topics:
        answers: list[Any] = []
        known = _known(broker, topic, answers, by_id=request.version >= TOPIC_ID_SINCE)
        if known is not None and not topic.partitions:
            continue  # a topic without partitions has no answer
        response.topics.append(_Topic(topic.name, topic.topic_id, answers))
        if known is not None and known.partitions:
            commits.append(known)
    if not commits:
        return response
    try:
        answer = broker.groups.ask(
            body.group_id,
            lambda coordinator, now: coordinator.commit_offsets(now, body, request.version, commits, response),
        )
    except ApiError as error:
        return _refused(response, commits, error)
    return _guarded(broker, answer, response, commits) if isinstance(answer, asyncio.Future) else answer


def _known(broker: "Broker", topic: Any, answers: list[Any], *, by_id: bool) -> TopicCommit | None:
    """The part of a topic's commit that is about partitions which exist; the rest is answered."""
    name = broker.topic_names.get(topic.topic_id) if by_id else topic.name
    image = None if name is None else broker.metadata.image.topics.get(name)
    if name is None or image is None:
        code = ErrorCode.UNKNOWN_TOPIC_ID if by_id else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        answers += [_Partition(one.partition_index, code) for one in topic.partitions]
        return None
    partitions = topic.partitions
    for one in partitions:
        if one.partition_index not in image.partitions:
            missing = [p for p in partitions if p.partition_index not in image.partitions]
            answers += [_Partition(p.partition_index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) for p in missing]
            partitions = [p for p in partitions if p.partition_index in image.partitions]
            break
    return TopicCommit(name, image.id, partitions, answers)


def _refused(response: m.OffsetCommitResponse, commits: list[TopicCommit], error: ApiError) -> m.OffsetCommitResponse:
    """Nothing of the commit counts."""
    for commit in commits:
        indexes = {one.partition_index for one in commit.partitions}
        commit.answers[:] = [one for one in commit.answers if one.partition_index not in indexes]
        commit.answers += [_Partition(one.partition_index, error.code) for one in commit.partitions]
    return response


def _guarded(
    broker: "Broker", answer: "asyncio.Future[Any]", response: m.OffsetCommitResponse, commits: list[TopicCommit]
) -> "asyncio.Future[m.OffsetCommitResponse]":
    """The answer, where an error has to go into every partition."""
    guarded: asyncio.Future[m.OffsetCommitResponse] = broker.loop.create_future()

    def done(answer: "asyncio.Future[Any]") -> None:
        error = answer.exception()
        if isinstance(error, ApiError):
            guarded.set_result(_refused(response, commits, error))
        elif error is not None:
            guarded.set_exception(error)
        else:
            guarded.set_result(response)

    answer.add_done_callback(done)
    return guarded
