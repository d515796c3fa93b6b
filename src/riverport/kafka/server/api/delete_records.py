"""DeleteRecords v0-2 (KIP-107): move a partition's log start, for good.

-1 stands for the high watermark. Internal topics and topics that are only compacted refuse. The answer waits until
every live replica has deleted as much.
"""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.acknowledgements import Part, WaitingRequest
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Answer = m.DeleteRecordsResponse.DeleteRecordsPartitionResult


def handle(broker: "Broker", request: Request) -> m.DeleteRecordsResponse | asyncio.Future[m.DeleteRecordsResponse]:
    body: m.DeleteRecordsRequest = request.body
    topics = []
    waiting: list[Part] = []
    for topic in body.topics:
        answers = []
        for wanted in topic.partitions:
            try:
                answers.append(_delete(broker, topic.name, wanted.partition_index, wanted.offset, waiting))
            except ApiError as error:
                answers.append(_Answer(wanted.partition_index, -1, error.code))
        topics.append(m.DeleteRecordsResponse.DeleteRecordsTopicResult(topic.name, answers))
    response = m.DeleteRecordsResponse(topics=topics)
    return WaitingRequest(broker.loop, waiting, body.timeout_ms, lambda: response).future if waiting else response


def _delete(broker: "Broker", topic: str, index: int, offset: int, waiting: list[Part]) -> _Answer:
    partition = broker.partition(topic, index)
    if topic in broker.internal_topics:
        raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"{topic} is an internal topic")
    log = partition.leader_log()
    if log.config.compact and not log.config.delete:
        raise ApiError(ErrorCode.POLICY_VIOLATION, f"{topic} is only compacted")
    wanted = log.high_watermark if offset == -1 else offset
    if not 0 <= wanted <= log.high_watermark:
        raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE)
    log.delete_records(wanted)
    broker.wake(partition)
    answer = _Answer(index, partition.low_watermark)
    if answer.low_watermark < wanted:
        waiting.append((partition.deletions, wanted, answer))
    return answer
