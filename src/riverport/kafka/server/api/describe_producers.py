"""DescribeProducers v0 (KIP-664): the producers that a replica of a partition remembers, leader or not."""

from typing import TYPE_CHECKING

from riverport.kafka.controller.topics import UNKNOWN_PARTITION, name_problem
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Answer = m.DescribeProducersResponse.PartitionResponse
_Producer = m.DescribeProducersResponse.ProducerState


def handle(broker: "Broker", request: Request) -> m.DescribeProducersResponse:
    topics = []
    for topic in request.body.topics:
        answers = []
        for index in topic.partition_indexes:
            try:
                if (problem := name_problem(topic.name)) is not None:
                    raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
                if not broker.has_topic(topic.name):
                    raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_PARTITION)
                log = broker.partition(topic.name, index).local_log()
            except ApiError as error:
                answers.append(_Answer(index, error.code, error.message))
                continue
            producers = [
                _Producer(
                    producer_id=producer.producer_id,
                    producer_epoch=producer.producer_epoch,
                    last_sequence=producer.last_sequence,
                    last_timestamp=producer.last_timestamp,
                    coordinator_epoch=producer.coordinator_epoch,
                    current_txn_start_offset=producer.current_txn_first_offset,
                )
                for producer in log.active_producers()
            ]
            answers.append(_Answer(index, active_producers=producers))
        topics.append(m.DescribeProducersResponse.TopicResponse(topic.name, answers))
    return m.DescribeProducersResponse(topics=topics)
