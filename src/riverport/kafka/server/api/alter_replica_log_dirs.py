"""AlterReplicaLogDirs v1-2 (KIP-113): in which of its directories a broker keeps a replica.

The answer tells that a move has begun; DescribeLogDirs shows how far it is. Logs of internal topics are not moved.
"""

from typing import TYPE_CHECKING

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

_Of = m.AlterReplicaLogDirsResponse


def handle(broker: "Broker", request: Request) -> m.AlterReplicaLogDirsResponse:
    answers: dict[str, dict[int, ErrorCode]] = {}
    for wanted in request.body.dirs:
        for topic in wanted.topics:
            for index in topic.partitions:
                answers.setdefault(topic.name, {})[index] = _verdict(broker, wanted.path, topic.name, index)
    return _Of(
        results=[
            _Of.AlterReplicaLogDirTopicResult(
                name, [_Of.AlterReplicaLogDirPartitionResult(index, code) for index, code in codes.items()]
            )
            for name, codes in answers.items()
        ]
    )


def _verdict(broker: "Broker", path: str, topic: str, index: int) -> ErrorCode:
    directory = broker.logs.directories.get(path)
    if directory is None:
        return ErrorCode.LOG_DIR_NOT_FOUND
    partition = broker.partitions.get((topic, index))
    if partition is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if partition.log is None or directory.failed is not None:
        return ErrorCode.KAFKA_STORAGE_ERROR
    if path in broker.logs.cordoned:
        return ErrorCode.INVALID_REPLICA_ASSIGNMENT
    if topic in broker.internal_topics and broker.logs.directory_of(partition.log) is not directory:
        # Its coordinator reads it at times that nothing here knows of.
        log.warning("a log of an internal topic is not moved", topic=topic, partition=index, to=path)
        return ErrorCode.KAFKA_STORAGE_ERROR
    try:
        broker.replica_moves.start(partition, path)
    except StorageError as error:
        broker.logs.fail(path, error)
        return ErrorCode.KAFKA_STORAGE_ERROR
    return ErrorCode.NONE
