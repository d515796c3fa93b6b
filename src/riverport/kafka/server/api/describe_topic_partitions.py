"""DescribeTopicPartitions v0 (KIP-966): topics page by page, with eligible leader replicas.

Topics come in name order. The answer stops at `response_partition_limit` partitions (or the broker's own limit) and
says in `next_cursor` where to go on.
"""

from typing import TYPE_CHECKING

from riverport.base.ids import ZERO_UUID
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Topic = m.DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic
_Partition = m.DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponsePartition


def handle(broker: "Broker", request: Request) -> m.DescribeTopicPartitionsResponse:
    body: m.DescribeTopicPartitionsRequest = request.body
    listener = request.connection.listener.name
    names = sorted({topic.name for topic in body.topics} or set(broker.view.topic_names()))
    first_index = 0
    if body.cursor is not None:
        names = [name for name in names if name >= body.cursor.topic_name]
        if names and names[0] == body.cursor.topic_name:
            first_index = body.cursor.partition_index
        elif body.topics:
            wanted = f"topic list should contain the cursor topic: {body.cursor.topic_name}"
            raise ApiError(ErrorCode.INVALID_REQUEST, f"DescribeTopicPartitionsRequest {wanted}")
        if body.cursor.partition_index < 0:
            raise ApiError(ErrorCode.INVALID_REQUEST)
    left = max(min(body.response_partition_limit, broker.config["max.request.partition.size.limit"]), 1)
    response = m.DescribeTopicPartitionsResponse()
    for name in names:
        if left <= 0:
            response.next_cursor = m.DescribeTopicPartitionsResponse.Cursor(name, 0)
            break
        topic, more = _describe(broker, name, first_index, left, listener)
        response.topics.append(topic)
        left -= len(topic.partitions)
        if more:
            next_index = topic.partitions[-1].partition_index + 1
            response.next_cursor = m.DescribeTopicPartitionsResponse.Cursor(name, next_index)
            break
        first_index = 0
    return response


def _describe(broker: "Broker", name: str, first_index: int, limit: int, listener: str) -> tuple[_Topic, bool]:
    view = broker.view
    if not broker.has_topic(name):
        code = broker.auto_creation.missing(name, may_create=False)
        operations = view.topic_operations()
        return _Topic(code, name, ZERO_UUID, view.is_internal(name), topic_authorized_operations=operations), False
    shown = view.topic_metadata(name, listener)
    assert shown.partitions is not None
    page = [partition for partition in shown.partitions if partition.partition_index >= first_index]
    topic = _Topic(0, name, shown.topic_id, shown.is_internal, topic_authorized_operations=view.topic_operations())
    for partition in page[:limit]:
        eligible, last_known = view.eligible_leaders(name, partition.partition_index)
        topic.partitions.append(
            _Partition(
                partition.error_code,
                partition.partition_index,
                partition.leader_id,
                partition.leader_epoch,
                partition.replica_nodes,
                partition.isr_nodes,
                eligible,
                last_known,
                partition.offline_replicas,
            )
        )
    return topic, len(page) > limit
