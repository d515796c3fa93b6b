"""AlterReplicaLogDirs v1-2 (KIP-113): in which of its directories a broker keeps a replica.

The answer tells that a move has begun; DescribeLogDirs shows how far it is.
"""

from typing import TYPE_CHECKING

from riverport.base.files import StorageError
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

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
        known = broker.metadata.image.topics.get(topic)
        if known is None or index not in known.partitions:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if directory.failed is None:
            # A replica that is on its way here is made in that directory.
            broker.logs.preferred[topic, index] = path
        return ErrorCode.REPLICA_NOT_AVAILABLE
    if partition.log is None or directory.failed is not None:
        return ErrorCode.KAFKA_STORAGE_ERROR
    if path in broker.logs.cordoned:
        return ErrorCode.INVALID_REPLICA_ASSIGNMENT
    try:
        broker.replica_moves.start(partition, path)
    except StorageError as error:
        broker.logs.fail(path, error)
        return ErrorCode.KAFKA_STORAGE_ERROR
    return ErrorCode.NONE
