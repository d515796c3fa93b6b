"""Produce v3-13 (KIP-98 batches, KIP-467 record errors, KIP-516 topic ids from v13, KIP-951 leader hints from v10).

This is the hottest path of the broker: for each partition one look-up, one append, one small object. The answer waits
only where the topic asks for a flush before it (`flush.messages`) or in-sync followers have to have the records.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.kafka.records.batch import CODEC_MASK, CURRENT_MAGIC, iter_headers
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.errors import RecordError
from riverport.kafka.replica.partition import ACKS_ALL, Partition
from riverport.kafka.server.acknowledgements import Part, WaitingRequest
from riverport.kafka.server.leader_hints import leader_endpoints, leader_of
from riverport.kafka.server.request import Request
from riverport.kafka.server.waiting import appended
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_TopicAnswer = m.ProduceResponse.TopicProduceResponse
_Answer = m.ProduceResponse.PartitionProduceResponse
_RecordAnswer = m.ProduceResponse.BatchIndexAndErrorMessage

ADMIN_CLIENT = "__admin_client"
"""The client id that may write to internal topics, as in Apache Kafka."""
_ATTRIBUTES_AT = 22  # their low byte
_TRANSACTIONAL = 0x10
_HINTS_SINCE = 10  # the version whose answers say who leads instead (KIP-951)
_REFUSED_BY_LOG = frozenset(
    (
        ErrorCode.INVALID_RECORD,
        ErrorCode.INVALID_TIMESTAMP,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.INVALID_PRODUCER_EPOCH,
        ErrorCode.INVALID_TXN_STATE,
    )
)
"""Errors that come with the log's start."""


def handle(broker: "Broker", request: Request) -> m.ProduceResponse | asyncio.Future[m.ProduceResponse] | None:
    body: m.ProduceRequest = request.body
    acks, now_ms = body.acks, broker.clock.wall_ms()
    refusal = _refusal_of_all(body)
    by_id = request.version >= 13
    topics: list[_TopicAnswer] = []
    flushes: list[asyncio.Future[None]] = []
    unacknowledged: list[Part] = []
    failed = False
    for topic in body.topic_data:
        answers: list[_Answer] = []
        name = broker.topic_names.get(topic.topic_id) if by_id else topic.name
        for data in topic.partition_data:
            if refusal:
                answer = _Answer(data.index, refusal, -1)
            else:
                partition = broker.partitions.get((name, data.index)) if name is not None else None
                answer = _append(broker, request, partition, name, data, acks, now_ms, flushes, unacknowledged)
            failed = failed or answer.error_code != 0
            answers.append(answer)
        topics.append(_TopicAnswer(topic.name, topic.topic_id, answers))
    if acks == 0:
        if failed:
            # There is no answer to put the error in: closing makes the producer look at its metadata again.
            request.connection.finish()
        return None
    if unacknowledged:
        waiting = WaitingRequest(broker.loop, unacknowledged, body.timeout_ms, lambda: respond(broker, request, topics))
        return _after(flushes, waiting.future, broker.loop) if flushes else waiting.future
    response = respond(broker, request, topics) if failed else m.ProduceResponse(topics)
    return _after(flushes, response, broker.loop) if flushes else response


def respond(broker: "Broker", request: Request, topics: list[_TopicAnswer]) -> m.ProduceResponse:
    """The answer, with the leaders to turn to where this broker is none."""
    response = m.ProduceResponse(topics)
    if request.version < _HINTS_SINCE:
        return response
    hinted = set()
    for topic in topics:
        name = broker.topic_names.get(topic.topic_id) if request.version >= 13 else topic.name
        for answer in topic.partition_responses:
            if answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER and (
                leader := leader_of(broker, name, answer.index)
            ):
                answer.current_leader = m.ProduceResponse.LeaderIdAndEpoch(*leader)
                hinted.add(leader[0])
    response.node_endpoints = leader_endpoints(broker, request, hinted, m.ProduceResponse.NodeEndpoint)
    return response


def _refusal_of_all(body: m.ProduceRequest) -> int:
    """The error of a request of which nothing may be appended, 0 where there is none."""
    if body.transactional_id is None:
        for topic in body.topic_data:
            for data in topic.partition_data:
                records = data.records
                if records is not None and len(records) > _ATTRIBUTES_AT and records[_ATTRIBUTES_AT] & _TRANSACTIONAL:
                    return ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    return 0


def _append(
    broker: "Broker",
    request: Request,
    partition: Partition | None,
    topic: str | None,
    data: Any,
    acks: int,
    now_ms: int,
    flushes: "list[asyncio.Future[None]]",
    unacknowledged: list[Part],
) -> _Answer:
    index, records = data.index, data.records
    if partition is None:
        unknown = ErrorCode.UNKNOWN_TOPIC_ID if topic is None else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return _Answer(index, unknown, -1)
    try:
        if topic in broker.internal_topics and request.client_id != ADMIN_CLIENT:
            raise ApiError(
                ErrorCode.INVALID_TOPIC_EXCEPTION, f"The request attempted to write to internal topic {topic}"
            )
        _check_request(request, records)
        info = partition.append(records, acks, now_ms)
    except RecordError as error:
        rejected = [_RecordAnswer(at, message) for at, message in error.record_errors]
        start = _start_told(partition, error, records)
        return _Answer(index, error.code, -1, -1, start, record_errors=rejected, error_message=error.message)
    except ApiError as error:
        start = _start_told(partition, error, records)
        return _Answer(index, error.code, -1, -1, start, error_message=error.message)
    log = partition.log
    assert log is not None
    if log.needs_flush(now_ms):
        flushes.append(broker.flush(partition))
    if not info.duplicate and (partition.waiters or partition.watchers or partition.produces):
        appended(partition, len(records), broker.loop)
    answer = _Answer(index, 0, info.first_offset, info.log_append_time_ms, info.log_start_offset)
    if acks == ACKS_ALL and info.last_offset >= log.high_watermark:
        unacknowledged.append((partition.produces, info.last_offset + 1, answer))
    return answer


def _start_told(partition: Partition, error: ApiError, records: memoryview | None) -> int:
    """The log's start, where it was the log that refused a batch; -1 where none came so far."""
    if partition.log is None or records is None or error.code not in _REFUSED_BY_LOG:
        return -1
    if error.code == ErrorCode.INVALID_RECORD and [header.magic for header in iter_headers(records)] != [CURRENT_MAGIC]:
        return -1  # a request must hold one batch for a partition
    return partition.log.log_start_offset


def _check_request(request: Request, records: memoryview | None) -> None:
    """What depends on the request around a batch; the batch itself is the log's to check."""
    if records is None or len(records) == 0:
        raise ApiError(ErrorCode.INVALID_RECORD, "A produce request must have exactly one record batch per partition")
    if not -1 <= request.body.acks <= 1:
        raise ApiError(ErrorCode.INVALID_REQUIRED_ACKS)
    if request.version < 7 and len(records) > _ATTRIBUTES_AT and records[_ATTRIBUTES_AT] & CODEC_MASK == Codec.ZSTD:
        raise ApiError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, "Produce requests with version < 7 cannot use ZStandard")


def _after(
    flushes: "list[asyncio.Future[None]]",
    response: "m.ProduceResponse | asyncio.Future[m.ProduceResponse]",
    loop: asyncio.AbstractEventLoop,
) -> "asyncio.Future[m.ProduceResponse]":
    """The response, once everything that it acknowledges is on the disk."""
    answer: asyncio.Future[m.ProduceResponse] = loop.create_future()

    def done(flushed: "asyncio.Future[list[Any]]") -> None:
        error = flushed.exception()
        if error is None:
            answer.set_result(response if isinstance(response, m.ProduceResponse) else response.result())
        else:
            answer.set_exception(error)

    asyncio.gather(*flushes, *([response] if isinstance(response, asyncio.Future) else ())).add_done_callback(done)
    return answer
