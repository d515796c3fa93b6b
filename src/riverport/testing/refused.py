"""The answer that an error fault gives: that of the broker to a request which failed, but for fetches.

A broker fails a fetch as a whole with one code at the top. What a client has to live with day by day are errors of
partitions, so that is where a fault puts them; only the codes of fetch sessions belong at the top.
"""

from typing import Any

from riverport.kafka.server.fetch_session import Fetched
from riverport.kafka.server.refusals import refuse
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import Api, ApiKey
from riverport.kafka.wire.errors import ApiError, ErrorCode

SESSION_ERRORS = frozenset(
    (
        ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
        ErrorCode.INVALID_FETCH_SESSION_EPOCH,
        ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
    )
)


def refused(request: Request, api: Api, error: ApiError) -> Any:
    if request.api_key != ApiKey.FETCH:
        return refuse(api, request.body, error)
    if error.code in SESSION_ERRORS:
        return m.FetchResponse(error_code=error.code)
    return _failed_fetch(request, error.code)


def _failed_fetch(request: Request, code: ErrorCode) -> m.FetchResponse:
    """Every partition of the fetch with the error. Without a session id the client begins a new session."""
    answer = m.FetchResponse()
    topics: dict[tuple[str, bytes], Any] = {}
    for name, topic_id, index in _wanted(request):
        if (name, topic_id) not in topics:
            topics[name, topic_id] = m.FetchResponse.FetchableTopicResponse(name, topic_id, [])
            answer.responses.append(topics[name, topic_id])
        topics[name, topic_id].partitions.append(m.FetchResponse.PartitionData(index, code, -1, -1, -1, records=b""))
    return answer


def _wanted(request: Request) -> list[tuple[str, bytes, int]]:
    """What the fetch names, and what its session remembers; the session ends."""
    body = request.body
    wanted = {(topic.topic, topic.topic_id, p.partition): None for topic in body.topics for p in topic.partitions}
    sessions = request.connection.server.broker.fetch_sessions
    session = next((known for known in sessions if known.id == body.session_id), None)
    if session is not None:
        by_id = session.uses_ids
        for item in session.partitions.values():
            wanted[_key(item, by_id)] = None
        sessions.remove(session.id)
    return list(wanted)


def _key(item: Fetched, by_id: bool) -> tuple[str, bytes, int]:
    return "" if by_id else item.topic or "", item.topic_id, item.index
