"""What the answers to fetches of consumers and of followers have in common."""

from typing import TYPE_CHECKING, Any

from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.fetch_session import Fetched
from riverport.kafka.server.leader_hints import leader_endpoints, leader_of
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_HINTED = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH)
"""Errors that come with the leader's id and epoch (KIP-951)."""
_HINTS_SINCE, _ENDPOINTS_SINCE = 12, 16  # the versions that can carry them
_TopicAnswer = m.FetchResponse.FetchableTopicResponse
Answer = m.FetchResponse.PartitionData


def partition_of(broker: "Broker", item: Fetched, version: int) -> Partition:
    """Raises ApiError where this broker has no such partition."""
    if item.topic is None:
        item.topic = broker.topic_names.get(item.topic_id)  # a session may know an id before we do
        if item.topic is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
    partition = broker.partition(item.topic, item.index)
    if version >= 13 and partition.topic_id != item.topic_id:
        raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID)  # a session's topic was deleted, and made anew
    return partition


def failed(broker: "Broker", item: Fetched, error: ApiError, version: int) -> Answer:
    """The answer for a partition that could not be read."""
    code = error.code
    if code == ErrorCode.KAFKA_STORAGE_ERROR and version <= 5:
        code = ErrorCode.NOT_LEADER_OR_FOLLOWER  # clients of that time know no other that makes them try again
    answer = _empty(item, code)
    if code in _HINTED and version >= _HINTS_SINCE and (leader := leader_of(broker, item.topic, item.index)):
        answer.current_leader = m.FetchResponse.LeaderIdAndEpoch(*leader)
    return answer


def diverging(log: Any, item: Fetched) -> Answer | None:
    """KIP-320/595: where the fetcher's last epoch ends elsewhere in this log, tell it where."""
    epoch, end_offset = log.offset_for_leader_epoch(item.last_fetched_epoch)
    if epoch < 0 or end_offset < 0 or item.offset < log.log_start_offset:
        raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE)
    if epoch < item.last_fetched_epoch or end_offset < item.offset:
        answer = _empty(item, ErrorCode.NONE)
        answer.high_watermark, answer.last_stable_offset = log.high_watermark, log.last_stable_offset
        answer.log_start_offset = log.log_start_offset
        answer.diverging_epoch = m.FetchResponse.EpochEndOffset(epoch, end_offset)
        return answer
    return None


def _empty(item: Fetched, code: ErrorCode) -> Answer:
    return Answer(item.index, code, -1, -1, -1, aborted_transactions=None, records=b"")


def response_of(
    broker: "Broker", request: Request, session_id: int, answers: list[tuple[Fetched, Answer]]
) -> m.FetchResponse:
    """The whole answer, by topics in the order of their first partitions."""
    topics: dict[tuple[str, bytes], _TopicAnswer] = {}
    for item, answer in answers:
        key = (item.topic or "", item.topic_id)
        topic = topics.get(key)
        if topic is None:
            topic = topics[key] = _TopicAnswer(key[0], key[1], [])
        topic.partitions.append(answer)
    response = m.FetchResponse(0, 0, session_id, list(topics.values()))
    hinted = [answer.current_leader.leader_id for _, answer in answers if answer.error_code]
    if hinted and request.version >= _ENDPOINTS_SINCE:
        make = m.FetchResponse.NodeEndpoint
        response.node_endpoints = leader_endpoints(broker, request, hinted, make)
    return response
