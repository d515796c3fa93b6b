"""DescribeLogDirs v1-5 (KIP-113, KIP-827 sizes, KIP-1066 cordoned directories): what lies in which directory."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Result = m.DescribeLogDirsResponse.DescribeLogDirsResult
_Topic = m.DescribeLogDirsResponse.DescribeLogDirsTopic
_Partition = m.DescribeLogDirsResponse.DescribeLogDirsPartition


def handle(broker: "Broker", request: Request) -> m.DescribeLogDirsResponse:
    body: m.DescribeLogDirsRequest = request.body
    wanted = None
    if body.topics is not None:
        wanted = {(topic.topic, index) for topic in body.topics for index in topic.partitions}
    results = []
    for directory in broker.config.log_dirs:
        if not broker.logs.is_online(directory):
            results.append(_Result(error_code=ErrorCode.KAFKA_STORAGE_ERROR, log_dir=directory))
            continue
        total, usable = broker.files.disk_usage(directory)
        result = _Result(
            log_dir=directory,
            topics=_topics(broker, directory, wanted),
            total_bytes=total,
            usable_bytes=usable,
            is_cordoned=directory in broker.logs.cordoned,
        )
        results.append(result)
    return m.DescribeLogDirsResponse(results=results)


def _topics(broker: "Broker", directory: str, wanted: set[tuple[str, int]] | None) -> list[_Topic]:
    topics: dict[str, _Topic] = {}
    for log in (*broker.logs.logs_in(directory), *broker.replica_moves.futures_in(directory)):
        if wanted is not None and (log.topic, log.partition) not in wanted:
            continue
        topic = topics.setdefault(log.topic, _Topic(name=log.topic))
        partition = broker.partitions.get((log.topic, log.partition))
        lag = 0
        if log.is_future and partition is not None and partition.log is not None:
            lag = max(partition.log.log_end_offset - log.log_end_offset, 0)
        elif not log.is_future:
            lag = max(log.high_watermark - log.log_end_offset, 0)
        topic.partitions.append(
            _Partition(
                partition_index=log.partition, partition_size=log.size, offset_lag=lag, is_future_key=log.is_future
            )
        )
    return list(topics.values())
