"""DeleteRecords v0-2 (KIP-107): move a partition's log start, for good.

-1 stands for the high watermark. Internal topics and topics that are only compacted refuse.
"""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Answer = m.DeleteRecordsResponse.DeleteRecordsPartitionResult


def handle(broker: "Broker", request: Request) -> m.DeleteRecordsResponse:
    body: m.DeleteRecordsRequest = request.body
    topics = []
    for topic in body.topics:
        answers = []
        for wanted in topic.partitions:
            try:
                low_watermark = _delete(broker, topic.name, wanted.partition_index, wanted.offset)
                answers.append(_Answer(wanted.partition_index, low_watermark))
            except ApiError as error:
                answers.append(_Answer(wanted.partition_index, -1, error.code))
        topics.append(m.DeleteRecordsResponse.DeleteRecordsTopicResult(topic.name, answers))
    return m.DeleteRecordsResponse(topics=topics)


def _delete(broker: "Broker", topic: str, index: int, offset: int) -> int:
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
    return log.log_start_offset
