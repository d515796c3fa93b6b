"""Fetches of followers: acknowledgements and requests for more in one (KIP-227 sessions, KIP-595 divergence, KIP-903).

A follower's session has every partition that it follows here, thousands perhaps, of which a request names those whose
offset has moved. Going through all of them with each request would take longer than everything else. So the session is
told what happens: an append, a moved high watermark, a change of leadership puts the partition on the session's list of
news, and a request looks at what it names and at the news. Partitions that are not on the list are level with the
leader, and the follower knows their watermarks.

Bytes answer a waiting fetch, watermarks only travel with the next answer.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from riverport.kafka.log import Isolation, Log
from riverport.kafka.replica.partition import Partition
from riverport.kafka.replica.progress import Contact
from riverport.kafka.server.acknowledgements import confirm_deletions
from riverport.kafka.server.fetch_answers import Answer, diverging, failed, partition_of, response_of
from riverport.kafka.server.fetch_session import Fetched, Session
from riverport.kafka.server.request import Request
from riverport.kafka.server.waiting import committed
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

REPLICA_STATE_SINCE = 15


def replica_of(request: Request) -> tuple[int, int]:
    """(broker, its epoch) of the follower that asks; (-1, -1) where it is a consumer."""
    body: m.FetchRequest = request.body
    if request.version >= REPLICA_STATE_SINCE:
        return body.replica_state.replica_id, body.replica_state.replica_epoch
    return body.replica_id, -1


class FollowerSession(Contact):
    """What the leader keeps of one fetch session of a follower, or of one request without a session."""

    __slots__ = ("_deadline", "_loop", "_timer", "broker_epoch", "news", "replica_id", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, replica_id: int) -> None:
        super().__init__(0.0)
        self.replica_id = replica_id
        self.broker_epoch = -1
        self.news: dict[Fetched, None] = {}  # the longest unanswered first
        self.waiting: _FollowerFetch | None = None
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0

    # --- what happens to its partitions

    def grew(self, item: Fetched, size: int) -> None:
        self.news[item] = None
        if self.waiting is not None:
            self.waiting.arrived(size)

    def changed(self, item: Fetched) -> None:
        """Leadership, log or existence: the follower is to hear of it at once."""
        self.news[item] = None
        if self.waiting is not None:
            self.waiting.arrived(0)

    def watch(self, item: Fetched, partition: Partition) -> None:
        self.forget(item)
        item.watched = partition
        partition.watchers[item] = self

    def forget(self, item: Fetched) -> None:
        """The follower does not fetch it any more, over this session."""
        self.news.pop(item, None)
        partition: Partition | None = item.watched
        if partition is None:
            return
        item.watched = None
        partition.watchers.pop(item, None)
        if partition.leadership is not None:
            follower = partition.leadership.followers.get(self.replica_id)
            if follower is not None and follower.contact is self:
                follower.fall_behind()
                follower.contact = None

    def close(self, items: Iterable[Fetched]) -> None:
        for item in items:
            self.forget(item)
        if self._timer is not None:
            self._timer.cancel()

    # --- waiting

    def wait(self, fetch: "_FollowerFetch", max_wait_ms: int) -> None:
        """Hold a fetch back. A timer outlives the fetch that it was set for: most are answered long before."""
        self.waiting = fetch
        self._deadline = self._loop.time() + max_wait_ms / 1000
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._expired)

    def _expired(self) -> None:
        self._timer = None
        if self.waiting is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._expired)
        else:
            self.waiting.finish(True)


def start(
    broker: "Broker",
    request: Request,
    named: list[Fetched],
    session: Session | None,
    full: bool,
) -> m.FetchResponse | asyncio.Future[m.FetchResponse]:
    """Serve a follower's request that names these partitions, of which the session, if there is one, knows."""
    replica_id, broker_epoch = replica_of(request)
    follower: FollowerSession | None = None if session is None else session.follower
    if follower is None or follower.replica_id != replica_id:
        follower = FollowerSession(broker.loop, replica_id)
        if session is not None:
            session.follower = follower
            named = list(session.partitions.values())
    follower.broker_epoch = broker_epoch
    follower.fetched_ms = request.received_ms
    for item in named:
        follower.news[item] = None
    answer = _FollowerFetch(broker, request, follower, session, full).start()
    if session is None:
        if isinstance(answer, asyncio.Future):
            answer.add_done_callback(lambda _: follower.close(named))
        else:
            follower.close(named)
    return answer


class _FollowerFetch:
    """One request on its way to an answer."""

    __slots__ = (
        "_body", "_broker", "_follower", "_full", "_missing_bytes", "_request", "_session", "_waking", "future",
    )  # fmt: skip

    def __init__(
        self, broker: "Broker", request: Request, follower: FollowerSession, session: Session | None, full: bool
    ) -> None:
        self._broker = broker
        self._request = request
        self._body: m.FetchRequest = request.body
        self._follower = follower
        self._session = session
        self._full = full
        self._waking = False
        self._missing_bytes = 0
        self.future: asyncio.Future[Any] | None = None

    def start(self) -> m.FetchResponse | asyncio.Future[m.FetchResponse]:
        follower, max_wait_ms = self._follower, self._body.max_wait_ms
        if follower.waiting is not None:
            follower.waiting.finish(True)  # its connection is gone, and nobody has told us yet
        has_partitions = self._session is None or bool(self._session.partitions)
        found = self._look(max_wait_ms <= 0 or not has_partitions, is_first=True)
        if not isinstance(found, int):
            return found
        self._missing_bytes = found
        self.future = self._broker.loop.create_future()
        # A follower that has learnt of more partitions says so at once.
        self._request.hurry = partial(self.finish, True)
        follower.wait(self, max_wait_ms)
        return self.future

    def arrived(self, size: int) -> None:
        """`size` bytes were appended to one of the partitions (0: look again)."""
        self._missing_bytes -= size
        if (self._missing_bytes <= 0 or size == 0) and not self._waking:
            self._waking = True
            self._broker.loop.call_soon(self.finish, False)

    def finish(self, at_last: bool) -> None:
        """Answer if there is enough by now, or in any case."""
        future = self.future
        assert future is not None
        if future.done():
            if self._follower.waiting is self:
                self._follower.waiting = None
            return
        self._waking = False
        try:
            found = self._look(at_last, is_first=False)
        except Exception as error:
            self._follower.waiting = None
            future.set_exception(error)
            return
        if isinstance(found, int):
            self._missing_bytes = found
        else:
            self._follower.waiting = None
            future.set_result(found)

    def _look(self, at_last: bool, *, is_first: bool) -> m.FetchResponse | int:
        """The answer, or how many bytes are missing until there may be one.

        Only the first look takes the fetch offsets as acknowledgements: they were true when the request came.
        """
        left = min(self._body.max_bytes, self._broker.fetch_max_bytes)
        answers: list[tuple[Fetched, Answer]] = []
        quiet: list[tuple[Fetched, Log]] = []
        total, at_once = 0, False
        for item in list(self._follower.news):
            found = self._read(item, left, total == 0, is_first)
            if not isinstance(found, Answer):
                quiet.append((item, found))
                # Records were deleted: who waits for all replicas to do so shall not wait for the next append.
                at_once = at_once or -1 < item.told_log_start_offset < found.log_start_offset
                continue
            answers.append((item, found))
            size = len(found.records) if found.records else 0
            at_once = at_once or size == 0
            total += size
            left = max(left - size, 0)
        if at_last or at_once or total >= self._body.min_bytes:
            return self._respond(answers, quiet)
        return self._body.min_bytes - total

    def _read(self, item: Fetched, max_bytes: int, min_one: bool, is_first: bool) -> Answer | Log:
        """The answer for a partition; only its log, where there is no more to tell than watermarks."""
        follower, version = self._follower, self._request.version
        try:
            partition = partition_of(self._broker, item, version)
            if item.watched is not partition:
                follower.watch(item, partition)
                follower.news[item] = None
            log = partition.leader_log(item.leader_epoch)
            progress = partition.follower(follower.replica_id, knows_epoch=item.leader_epoch >= 0)
            if item.last_fetched_epoch >= 0 and (answer := diverging(log, item)) is not None:
                return answer
            records: Any = b""
            if item.offset != log.log_end_offset and not self._must_rest(partition):
                most = max(min(max_bytes, item.max_bytes), 0)
                info = log.read(item.offset, most, isolation=Isolation.LOG_END, min_one=min_one, to_send=True)
                records = info.records
            if is_first:
                self._acknowledge(partition, log, progress, item)
        except ApiError as error:
            return failed(self._broker, item, error, version)
        if not records:
            return log
        return _answer(item, log, records)

    def _must_rest(self, partition: Partition) -> bool:
        """Whether the follower is throttled now. One in sync never is: it would fall out of sync by that (KIP-73)."""
        quota = self._broker.replication.leader_quota
        return (
            quota.is_active
            and self._follower.replica_id not in partition.isr
            and quota.is_throttled(partition.topic, partition.index)
            and quota.is_exceeded(self._broker.clock.mono_ms())
        )

    def _acknowledge(self, partition: Partition, log: Log, progress: Any, item: Fetched) -> None:
        follower, leadership = self._follower, partition.leadership
        assert leadership is not None
        before, now_ms = log.high_watermark, follower.fetched_ms
        proposal = leadership.fetched(
            log, progress, item.offset, item.log_start_offset, follower.broker_epoch, now_ms, follower
        )
        if proposal is not None:
            self._broker.replication.propose(partition, proposal)
        if log.high_watermark > before:
            committed(partition, self._broker.loop)
        if partition.deletions:
            confirm_deletions(partition)

    def _respond(self, answers: list[tuple[Fetched, Answer]], quiet: list[tuple[Fetched, Log]]) -> m.FetchResponse:
        session, news = self._session, self._follower.news
        if (quota := self._broker.replication.leader_quota).is_active:
            sizes = (len(a.records or b"") for item, a in answers if quota.is_throttled(item.topic or "", item.index))
            quota.record(sum(sizes), self._broker.clock.mono_ms())
        for item, log in quiet:
            if (
                self._full
                or item.high_watermark != log.high_watermark
                or item.told_log_start_offset != log.log_start_offset
            ):
                answers.append((item, _answer(item, log, b"")))
            if item.offset == log.log_end_offset:
                news.pop(item, None)
        for item, answer in answers:
            # With an error the watermark is unknown, and told again once it is over.
            item.high_watermark, item.told_log_start_offset = answer.high_watermark, answer.log_start_offset
            if answer.records and news.pop(item, self) is None:
                news[item] = None  # behind all others, until the follower says that it has it
        return response_of(self._broker, self._request, 0 if session is None else session.id, answers)


def _answer(item: Fetched, log: Log, records: Any) -> Answer:
    return Answer(
        item.index,
        ErrorCode.NONE,
        log.high_watermark,
        log.last_stable_offset,
        log.log_start_offset,
        aborted_transactions=None,
        records=records,
    )
