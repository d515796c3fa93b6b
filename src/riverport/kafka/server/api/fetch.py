"""Fetch v4-18 (KIP-74 sizes, KIP-227 sessions, KIP-320 epochs, KIP-516 topic ids from v13, KIP-951 leader hints).

Whole batches leave as they lie in the log. An answer that has less than `min_bytes` waits (see `waiting`), unless there
is an error to tell. With a session the answer holds only partitions that have something new.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.kafka.log import Isolation
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.fetch_session import FINAL_EPOCH, INITIAL_EPOCH, Fetched, Key, Refused, Session, fetched
from riverport.kafka.server.leader_hints import leader_endpoints
from riverport.kafka.server.request import Request
from riverport.kafka.server.waiting import WaitingFetch
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_ISOLATION = {0: Isolation.HIGH_WATERMARK, 1: Isolation.LAST_STABLE}
_HINTED = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH)
"""Errors that come with the leader's id and epoch (KIP-951)."""
_HINTS_SINCE, _ENDPOINTS_SINCE = 12, 16  # the versions that can carry them
_TopicAnswer = m.FetchResponse.FetchableTopicResponse
_Answer = m.FetchResponse.PartitionData


def handle(broker: "Broker", request: Request) -> m.FetchResponse | asyncio.Future[m.FetchResponse]:
    if request.connection.listener.dispatch.kind == "controller":
        return broker.metadata_fetches.fetch(request)
    body: m.FetchRequest = request.body
    if body.isolation_level not in _ISOLATION:
        return m.FetchResponse(error_code=ErrorCode.UNKNOWN_SERVER_ERROR)
    sessions, by_id, now_ms = broker.fetch_sessions, request.version >= 13, request.received_ms
    requested = _requested(broker, request)
    if body.session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
        if body.session_id:
            sessions.remove(body.session_id)
        opens = body.session_epoch == INITIAL_EPOCH and request.version >= 7
        session = sessions.create(by_id, requested, now_ms) if opens else None
        return _Fetch(broker, request, requested, session, full=True).start()
    found = sessions.find(body.session_id, body.session_epoch, by_id)
    if isinstance(found, Refused):
        return m.FetchResponse(error_code=found.code)
    if (refused := sessions.grow(found, _updated(found, requested))) is not None:
        return m.FetchResponse(error_code=refused.code)
    _forget(request, found)
    if not found.partitions:
        # Nothing left to fetch ends the session.
        sessions.remove(found.id)
        return _Fetch(broker, request, requested, None, full=True).start()
    sessions.touch(found, now_ms)
    return _Fetch(broker, request, list(found.partitions.values()), found, full=False).start()


def _requested(broker: "Broker", request: Request) -> list[Fetched]:
    """What the request names; of a partition that it names twice, the last word."""
    by_id = request.version >= 13
    items: dict[Key, Fetched] = {}
    for topic in request.body.topics:
        name = broker.topic_names.get(topic.topic_id) if by_id else topic.topic
        key = topic.topic_id if by_id else topic.topic
        for partition in topic.partitions:
            items[key, partition.partition] = fetched(name, topic.topic_id, partition)
    return list(items.values())


def _updated(session: Session, items: list[Fetched]) -> list[Fetched]:
    """Take a request's changes into the session's partitions; returns those that are new to it."""
    new = []
    for item in items:
        known = session.partitions.get((item.topic_id if session.uses_ids else item.topic or "", item.index))
        if known is None:
            new.append(item)
        else:
            known.topic = item.topic
            known.offset, known.max_bytes, known.leader_epoch = item.offset, item.max_bytes, item.leader_epoch
            known.last_fetched_epoch, known.log_start_offset = item.last_fetched_epoch, item.log_start_offset
    return new


def _forget(request: Request, session: Session) -> None:
    for topic in request.body.forgotten_topics_data:
        name = topic.topic_id if session.uses_ids else topic.topic
        for index in topic.partitions:
            session.partitions.pop((name, index), None)


class _Fetch:
    """One fetch request on its way to an answer."""

    __slots__ = ("_body", "_broker", "_full", "_isolation", "_request", "_session", "_wanted")

    def __init__(
        self, broker: "Broker", request: Request, wanted: list[Fetched], session: Session | None, full: bool
    ) -> None:
        self._broker = broker
        self._request = request
        self._body: m.FetchRequest = request.body
        self._wanted = wanted
        self._session = session
        self._full = full  # every partition is answered, also those without news
        self._isolation = _ISOLATION[self._body.isolation_level]

    def start(self) -> m.FetchResponse | asyncio.Future[m.FetchResponse]:
        body = self._body
        found = self._look(at_last=body.max_wait_ms <= 0 or not self._wanted)
        if not isinstance(found, int):
            return found
        partitions = [self._broker.partitions.get((item.topic or "", item.index)) for item in self._wanted]
        waiting = WaitingFetch(
            self._broker.loop,
            [partition for partition in partitions if partition is not None],
            found,
            body.max_wait_ms,
            self._look,
        )
        return waiting.future

    def _look(self, at_last: bool) -> m.FetchResponse | int:
        """The answer, or how many bytes are missing until there may be one."""
        answers, size, at_once = self._read()
        if at_last or at_once or size >= self._body.min_bytes:
            return self._respond(answers)
        return self._body.min_bytes - size

    def _read(self) -> tuple[list[tuple[Fetched, _Answer]], int, bool]:
        """Read every wanted partition: (answers, bytes of records, whether one cannot wait to be told)."""
        left = min(self._body.max_bytes, self._broker.fetch_max_bytes)
        answers: list[tuple[Fetched, _Answer]] = []
        total, at_once = 0, False
        for item in self._wanted:
            answer = self._read_one(item, left, total == 0)
            size = len(answer.records) if answer.records is not None else 0
            at_once = at_once or answer.error_code != 0 or answer.diverging_epoch.epoch >= 0
            total += size
            left = max(left - size, 0) if size else left
            answers.append((item, answer))
        return answers, total, at_once

    def _read_one(self, item: Fetched, max_bytes: int, min_one: bool) -> _Answer:
        partition: Partition | None = None
        try:
            partition = self._partition(item)
            log = partition.leader_log(item.leader_epoch)
            if item.last_fetched_epoch >= 0 and (diverging := _diverging(log, item)) is not None:
                return diverging
            most = min(max_bytes, item.max_bytes)
            if most < 0:
                raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR)
            info = log.read(item.offset, most, isolation=self._isolation, min_one=min_one, to_send=True)
        except ApiError as error:
            answer = _failed(item, self._code(error))
            if partition is not None and error.code in _HINTED and self._request.version >= _HINTS_SINCE:
                answer.current_leader = m.FetchResponse.LeaderIdAndEpoch(partition.leader_id, partition.leader_epoch)
            return answer
        answer = _Answer(
            item.index,
            0,
            info.high_watermark,
            info.last_stable_offset,
            info.log_start_offset,
            records=info.records,
            aborted_transactions=None,
        )
        if self._isolation is Isolation.LAST_STABLE:
            answer.aborted_transactions = [
                m.FetchResponse.AbortedTransaction(producer_id, first) for producer_id, first in info.aborted or ()
            ]
        return answer

    def _partition(self, item: Fetched) -> Partition:
        """Raises ApiError where this broker has no such partition, or not for this request."""
        broker = self._broker
        if item.topic is None:
            item.topic = broker.topic_names.get(item.topic_id)  # a session may know an id before we do
            if item.topic is None:
                raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
        partition = broker.partition(item.topic, item.index)
        if self._request.version >= 13 and partition.topic_id != item.topic_id:
            raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID)  # a session's topic was deleted, and made anew
        if self._body.replica_id >= 0 or self._body.replica_state.replica_id >= 0:
            # Only members of the partition's replica set may fetch as followers.
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return partition

    def _code(self, error: ApiError) -> ErrorCode:
        if error.code == ErrorCode.KAFKA_STORAGE_ERROR and self._request.version <= 5:
            return ErrorCode.NOT_LEADER_OR_FOLLOWER  # clients of that time know no other that makes them try again
        return error.code

    def _respond(self, answers: list[tuple[Fetched, _Answer]]) -> m.FetchResponse:
        session = self._session
        if session is not None:
            answers = self._news(session, answers)
        topics: dict[tuple[str, bytes], _TopicAnswer] = {}
        for item, answer in answers:
            key = (item.topic or "", item.topic_id)
            topic = topics.get(key)
            if topic is None:
                topic = topics[key] = _TopicAnswer(key[0], key[1], [])
            topic.partitions.append(answer)
        response = m.FetchResponse(0, 0, 0 if session is None else session.id, list(topics.values()))
        hinted = [answer.current_leader.leader_id for _, answer in answers if answer.error_code]
        if hinted and self._request.version >= _ENDPOINTS_SINCE:
            make = m.FetchResponse.NodeEndpoint
            response.node_endpoints = leader_endpoints(self._broker, self._request, hinted, make)
        return response

    def _news(self, session: Session, answers: list[tuple[Fetched, _Answer]]) -> list[tuple[Fetched, _Answer]]:
        """What the client is told: data, errors, and moved watermarks; the rest it knows already."""
        news = []
        for item, answer in answers:
            has_news = (
                self._full
                or bool(answer.records)
                or answer.error_code != 0
                or answer.high_watermark != item.high_watermark
                or answer.log_start_offset != item.told_log_start_offset
                or answer.diverging_epoch.epoch >= 0
            )
            item.high_watermark, item.told_log_start_offset = answer.high_watermark, answer.log_start_offset
            if answer.error_code:
                item.high_watermark = -1  # tell the watermark again once the error is over
            if has_news:
                news.append((item, answer))
        if not self._full:
            session.rotate(item for item, answer in news if answer.records)
        return news


def _failed(item: Fetched, code: ErrorCode) -> _Answer:
    return _Answer(item.index, code, -1, -1, -1, aborted_transactions=None, records=b"")


def _diverging(log: Any, item: Fetched) -> _Answer | None:
    """KIP-320/595: where the fetcher's last epoch ends elsewhere in this log, tell it where."""
    epoch, end_offset = log.offset_for_leader_epoch(item.last_fetched_epoch)
    if epoch < 0 or end_offset < 0:
        raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE)
    if epoch < item.last_fetched_epoch or end_offset < item.offset:
        answer = _failed(item, ErrorCode.NONE)
        answer.high_watermark, answer.last_stable_offset = log.high_watermark, log.last_stable_offset
        answer.log_start_offset = log.log_start_offset
        answer.diverging_epoch = m.FetchResponse.EpochEndOffset(epoch, end_offset)
        return answer
    return None
