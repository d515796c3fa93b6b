"""Fetch v4-18 (KIP-74 sizes, KIP-227 sessions, KIP-320 epochs, KIP-516 topic ids from v13, KIP-951 leader hints).

Whole batches leave as they lie in the log. An answer that has less than `min_bytes` waits (see `waiting`), unless there
is an error to tell. With a session the answer holds only partitions that have something new.
"""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.log import Isolation, Log
from riverport.kafka.replica.partition import Partition
from riverport.kafka.replica.selector import nearest_replica
from riverport.kafka.server import follower_fetch
from riverport.kafka.server.fetch_answers import Answer, diverging, failed, partition_of, response_of
from riverport.kafka.server.fetch_session import FINAL_EPOCH, INITIAL_EPOCH, Fetched, Key, Refused, Session, fetched
from riverport.kafka.server.request import Request
from riverport.kafka.server.waiting import WaitingFetch
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_FOLLOWERS_SINCE = 11
"""The version in which consumers say their rack, and know that followers serve them (KIP-392)."""
_ISOLATION = {0: Isolation.HIGH_WATERMARK, 1: Isolation.LAST_STABLE}


def handle(broker: "Broker", request: Request) -> m.FetchResponse | asyncio.Future[m.FetchResponse]:
    if request.connection.listener.dispatch.kind == "controller":
        return broker.metadata_fetches.fetch(request)
    body: m.FetchRequest = request.body
    if body.isolation_level not in _ISOLATION:
        return m.FetchResponse(error_code=ErrorCode.UNKNOWN_SERVER_ERROR)
    sessions, by_id, now_ms = broker.fetch_sessions, request.version >= 13, request.received_ms
    if body.session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
        requested = _requested(broker, request)
        if body.session_id:
            sessions.remove(body.session_id)
        session = None
        if body.session_epoch == INITIAL_EPOCH and request.version >= 7:
            is_broker = follower_fetch.replica_of(request)[0] >= 0
            session = sessions.create(by_id, requested, now_ms, privileged=is_broker)
        return _serve(broker, request, requested, session, full=True)
    found = sessions.find(body.session_id, body.session_epoch, by_id)
    if isinstance(found, Refused):
        return m.FetchResponse(error_code=found.code)
    named, new = _updated(broker, request, found)
    if (refused := sessions.grow(found, new)) is not None:
        return m.FetchResponse(error_code=refused.code)
    _forget(request, found)
    if not found.partitions:
        # Nothing left to fetch ends the session.
        sessions.remove(found.id)
        return _serve(broker, request, _requested(broker, request), None, full=True)
    sessions.touch(found, now_ms)
    return _serve(broker, request, named, found, full=False)


def _serve(
    broker: "Broker", request: Request, named: list[Fetched], session: Session | None, *, full: bool
) -> m.FetchResponse | asyncio.Future[m.FetchResponse]:
    if follower_fetch.replica_of(request)[0] >= 0:
        return follower_fetch.start(broker, request, named, session, full)
    wanted = named if session is None else list(session.partitions.values())
    return _Fetch(broker, request, wanted, session, full).start()


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


def _updated(broker: "Broker", request: Request, session: Session) -> tuple[list[Fetched], list[Fetched]]:
    """Take a request's changes into the session's partitions; returns those that it names, and of them the new ones."""
    partitions, uses_ids = session.partitions, session.uses_ids
    named: list[Fetched] = []
    new: dict[Key, Fetched] = {}
    for topic in request.body.topics:
        name = broker.topic_names.get(topic.topic_id) if uses_ids else topic.topic
        id_or_name = topic.topic_id if uses_ids else topic.topic
        for partition in topic.partitions:
            key = (id_or_name, partition.partition)
            item = partitions.get(key) or new.get(key)
            if item is None:
                item = new[key] = fetched(name, topic.topic_id, partition)
            else:
                item.topic = name
                item.update(partition)
            named.append(item)
    return named, list(new.values())


def _forget(request: Request, session: Session) -> None:
    for topic in request.body.forgotten_topics_data:
        name = topic.topic_id if session.uses_ids else topic.topic
        for index in topic.partitions:
            item = session.partitions.pop((name, index), None)
            if item is not None and session.follower is not None:
                session.follower.forget(item)


class _Fetch:
    """One fetch request on its way to an answer."""

    __slots__ = (
        "_body", "_broker", "_full", "_isolation", "_may_read_follower", "_rack", "_request", "_session", "_wanted",
    )  # fmt: skip

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
        self._may_read_follower = request.version >= _FOLLOWERS_SINCE
        self._rack = self._body.rack_id if broker.replication.sends_to_near else ""

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

    def _read(self) -> tuple[list[tuple[Fetched, Answer]], int, bool]:
        """Read every wanted partition: (answers, bytes of records, whether one cannot wait to be told)."""
        left = min(self._body.max_bytes, self._broker.fetch_max_bytes)
        answers: list[tuple[Fetched, Answer]] = []
        total, at_once = 0, False
        for item in self._wanted:
            answer = self._read_one(item, left, total == 0)
            size = len(answer.records) if answer.records is not None else 0
            at_once = (
                at_once
                or answer.error_code != 0
                or answer.diverging_epoch.epoch >= 0
                or answer.preferred_read_replica >= 0
            )
            total += size
            left = max(left - size, 0) if size else left
            answers.append((item, answer))
        return answers, total, at_once

    def _read_one(self, item: Fetched, max_bytes: int, min_one: bool) -> Answer:
        try:
            partition = partition_of(self._broker, item, self._request.version)
            log = (partition.local_log if self._may_read_follower else partition.leader_log)(item.leader_epoch)
            if self._rack and (preferred := self._nearest(partition, item.offset)) is not None:
                return _elsewhere(item, log, preferred)
            if item.last_fetched_epoch >= 0 and (answer := diverging(log, item)) is not None:
                return answer
            most = min(max_bytes, item.max_bytes)
            if most < 0:
                raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR)
            info = log.read(item.offset, most, isolation=self._isolation, min_one=min_one, to_send=True)
        except ApiError as error:
            return failed(self._broker, item, error, self._request.version)
        answer = Answer(
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

    def _nearest(self, partition: Partition, offset: int) -> int | None:
        """The follower that this consumer is to ask instead of us (KIP-392)."""
        listener = self._request.connection.listener.name
        now_ms = self._broker.clock.mono_ms()
        rack_of = self._broker.replication.racks(listener)
        return nearest_replica(partition, self._rack, offset, rack_of, now_ms)

    def _respond(self, answers: list[tuple[Fetched, Answer]]) -> m.FetchResponse:
        session = self._session
        if session is not None:
            answers = self._news(session, answers)
        return response_of(self._broker, self._request, 0 if session is None else session.id, answers)

    def _news(self, session: Session, answers: list[tuple[Fetched, Answer]]) -> list[tuple[Fetched, Answer]]:
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
                or answer.preferred_read_replica >= 0
            )
            item.high_watermark, item.told_log_start_offset = answer.high_watermark, answer.log_start_offset
            if answer.error_code:
                item.high_watermark = -1  # tell the watermark again once the error is over
            if has_news:
                news.append((item, answer))
        if not self._full:
            session.rotate(item for item, answer in news if answer.records)
        return news


def _elsewhere(item: Fetched, log: Log, replica: int) -> Answer:
    """The consumer is to ask another replica."""
    answer = Answer(
        item.index,
        0,
        log.high_watermark,
        log.last_stable_offset,
        log.log_start_offset,
        aborted_transactions=None,
        records=b"",
    )
    answer.preferred_read_replica = replica
    return answer
