"""Fetches of followers: acknowledgements and requests for more in one (KIP-227 sessions, KIP-595 divergence, KIP-903).

A follower's session has every partition that it follows here, thousands perhaps, of which a request names those whose
offset has moved. Going through all of them with each request would take longer than everything else. So the session is
told what happens: an append, a moved high watermark, a change of leadership puts the partition on the session's list of
news, and a request looks at what it names and at the news. Partitions that are not on the list are level with the
leader, and the follower knows their watermarks.

Bytes answer a waiting fetch, watermarks only travel with the next answer.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from riverport.base.files import StorageError
from riverport.kafka.log import Log
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
Told = tuple[Fetched, Log | None, Any]
"""What an answer says of a partition: its log, whose watermarks are told, and records; or None, and a whole answer."""


def replica_of(request: Request) -> tuple[int, int]:
    """(broker, its epoch) of the follower that asks; (-1, -1) where it is a consumer."""
    body: m.FetchRequest = request.body
    if request.version >= REPLICA_STATE_SINCE:
        return body.replica_state.replica_id, body.replica_state.replica_epoch
    return body.replica_id, -1


class FollowerSession(Contact):
    """What the leader keeps of one fetch session of a follower, or of one request without a session."""

    __slots__ = ("_deadline", "_loop", "_timer", "broker_epoch", "news", "overruled", "replica_id", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, replica_id: int) -> None:
        super().__init__(0.0)
        self.replica_id = replica_id
        self.broker_epoch = -1
        self.news: dict[Fetched, None] = {}  # the longest unanswered first
        self.overruled: dict[Fetched, None] = {}  # another session has said otherwise: the next request says it again
        self.waiting: FollowerFetch | None = None
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0

    def asked(self, named: Iterable[Fetched], broker_epoch: int, now_ms: float) -> None:
        """A request names these partitions."""
        self.broker_epoch = broker_epoch
        self.fetched_ms = now_ms
        self.news |= self.overruled
        self.overruled.clear()
        for item in named:
            self.news[item] = None

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

    def overrule(self, partition: Partition) -> None:
        """What this session has said of a partition counts no more, until it asks again.

        A request that was long on its way over a connection that is no more comes behind those of the session that
        followed, which do not name again what has not moved.
        """
        for item, session in partition.watchers.items():
            if session is self:
                self.overruled[item] = None

    def watch(self, item: Fetched, partition: Partition) -> None:
        self.forget(item)
        item.watched = partition
        partition.watchers[item] = self

    def forget(self, item: Fetched) -> None:
        """The follower does not fetch it any more, over this session."""
        self.news.pop(item, None)
        self.overruled.pop(item, None)
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
        if self.waiting is not None:
            self.waiting.finish(True)
        for item in items:
            self.forget(item)
        if self._timer is not None:
            self._timer.cancel()

    # --- waiting

    def wait(self, fetch: "FollowerFetch", max_wait_ms: int) -> None:
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
    body: m.FetchRequest = request.body
    follower: FollowerSession | None = None if session is None else session.follower
    if follower is None or follower.replica_id != replica_id:
        follower = FollowerSession(broker.loop, replica_id)
        if session is not None:
            session.follower = follower
            named = list(session.partitions.values())
    follower.asked(named, broker_epoch, request.received_ms)
    session_id = 0 if session is None else session.id

    def response_to(told: list[Told]) -> m.FetchResponse:
        answers = [(item, answer_of(item, log, found)) for item, log, found in told]
        return response_of(broker, request, session_id, answers)

    fetch = FollowerFetch(broker, follower, request.version, body.min_bytes, body.max_bytes, full=full)
    has_partitions = session is None or bool(session.partitions)
    told = fetch.start(body.max_wait_ms if has_partitions else 0)
    if told is not None:
        if session is None:
            follower.close(named)
        return response_to(told)
    future: asyncio.Future[m.FetchResponse] = broker.loop.create_future()
    if session is None:
        future.add_done_callback(lambda _: follower.close(named))
    fetch.reply = lambda told: None if future.done() else future.set_result(response_to(told))
    # A follower that has learnt of more partitions says so at once.
    request.hurry = partial(fetch.finish, True)
    return future


class FollowerFetch:
    """One request on its way to an answer, which `reply` is told once there is one."""

    __slots__ = ("_broker", "_follower", "_full", "_max_bytes", "_min_bytes", "_missing_bytes", "_version", "_waking",
                 "reply")  # fmt: skip

    def __init__(
        self, broker: "Broker", follower: FollowerSession, version: int, min_bytes: int, max_bytes: int, *, full: bool
    ) -> None:
        self._broker = broker
        self._follower = follower
        self._version = version
        self._min_bytes = min_bytes
        self._max_bytes = min(max_bytes, broker.fetch_max_bytes)
        self._full = full  # every partition is answered, also those without news
        self._waking = False
        self._missing_bytes = 0
        self.reply: Callable[[list[Told]], None] = _nobody

    def start(self, max_wait_ms: int) -> list[Told] | None:
        """The answer, None where it has to wait."""
        follower = self._follower
        if follower.waiting is not None:
            follower.waiting.finish(True)  # its connection is gone, and nobody has told us yet
        found = self._look(max_wait_ms <= 0, is_first=True)
        if not isinstance(found, int):
            return found
        self._missing_bytes = found
        follower.wait(self, max_wait_ms)
        return None

    def arrived(self, size: int) -> None:
        """`size` bytes were appended to one of the partitions (0: look again)."""
        self._missing_bytes -= size
        if (self._missing_bytes <= 0 or size == 0) and not self._waking:
            self._waking = True
            self._broker.loop.call_soon(self.finish, False)

    def finish(self, at_last: bool) -> None:
        """Answer if there is enough by now, or in any case."""
        if self._follower.waiting is not self:
            return  # it is answered
        self._waking = False
        found = self._look(at_last, is_first=False)
        if isinstance(found, int):
            self._missing_bytes = found
        else:
            self._follower.waiting = None
            self.reply(found)

    def _look(self, at_last: bool, *, is_first: bool) -> list[Told] | int:
        """The answer, or how many bytes are missing until there may be one.

        Only the first look takes the fetch offsets as acknowledgements: they were true when the request came.
        """
        left = self._max_bytes
        told: list[Told] = []
        quiet: list[tuple[Fetched, Log]] = []
        total, at_once = 0, False
        for item in list(self._follower.news):
            log, found = self._read(item, left, total == 0, is_first)
            if log is None:
                at_once = True
                told.append((item, None, found))
            elif found:
                told.append((item, log, found))
                size = len(found)
                total += size
                left = max(left - size, 0)
            else:
                quiet.append((item, log))
                # Records were deleted: who waits for all replicas to do so shall not wait for the next append.
                at_once = at_once or -1 < item.told_log_start_offset < log.log_start_offset
        if at_last or at_once or total >= self._min_bytes:
            return self._told(told, quiet)
        return self._min_bytes - total

    def _read(self, item: Fetched, max_bytes: int, min_one: bool, is_first: bool) -> tuple[Log | None, Any]:
        """The log of a partition, and what it has for the follower; or None, and an answer that says why it has not."""
        follower = self._follower
        try:
            partition = partition_of(self._broker, item, self._version)
            if item.watched is not partition:
                follower.watch(item, partition)
                follower.news[item] = None
            log = partition.leader_log(item.leader_epoch)
            progress = partition.follower(follower.replica_id, knows_epoch=item.leader_epoch >= 0)
            if item.last_fetched_epoch >= 0 and (answer := diverging(log, item)) is not None:
                return None, answer
            records: Any = b""
            if item.offset != log.log_end_offset and not self._must_rest(partition):
                most = max(min(max_bytes, item.max_bytes), 0)
                records = self._broker.replication.reads.read(log, item.offset, most, min_one)
            if is_first:
                self._acknowledge(partition, log, progress, item)
        except StorageError as error:
            self._broker.directories.file_failed(error)
            lost = ApiError(ErrorCode.KAFKA_STORAGE_ERROR, str(error))
            return None, failed(self._broker, item, lost, self._version)
        except ApiError as error:
            return None, failed(self._broker, item, error, self._version)
        return log, records

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
        if progress.contact is not follower and isinstance(progress.contact, FollowerSession):
            progress.contact.overrule(partition)
        proposal = leadership.fetched(
            log, progress, item.offset, item.log_start_offset, follower.broker_epoch, now_ms, follower
        )
        if proposal is not None:
            self._broker.replication.propose(partition, proposal)
        if log.high_watermark > before:
            committed(partition, self._broker.loop)
        if partition.deletions:
            confirm_deletions(partition)

    def _told(self, told: list[Told], quiet: list[tuple[Fetched, Log]]) -> list[Told]:
        """What the answer says, with the watermarks that have moved; the follower knows of it from now on."""
        news = self._follower.news
        if (quota := self._broker.replication.leader_quota).is_active:
            sizes = (
                len(found) for item, log, found in told if log and quota.is_throttled(item.topic or "", item.index)
            )
            quota.record(sum(sizes), self._broker.clock.mono_ms())
        for item, log in quiet:
            if (
                self._full
                or item.high_watermark != log.high_watermark
                or item.told_log_start_offset != log.log_start_offset
            ):
                item.high_watermark, item.told_log_start_offset = log.high_watermark, log.log_start_offset
                told.append((item, log, b""))
            if item.offset == log.log_end_offset:
                news.pop(item, None)
        for item, given, found in told:
            if given is None:
                # With an error the watermark is unknown, and told again once it is over.
                item.high_watermark, item.told_log_start_offset = found.high_watermark, found.log_start_offset
            elif found:
                item.high_watermark, item.told_log_start_offset = given.high_watermark, given.log_start_offset
                news.pop(item, None)
                news[item] = None  # behind all others, until the follower says that it has it
        return told


def _nobody(told: list[Told]) -> None:
    """Where the answer goes before anybody has said where it is to go."""


def answer_of(item: Fetched, log: Log | None, found: Any) -> Answer:
    """A partition's part of an answer in the general form."""
    if log is None:
        assert isinstance(found, Answer)
        return found
    return Answer(
        item.index,
        ErrorCode.NONE,
        log.high_watermark,
        log.last_stable_offset,
        log.log_start_offset,
        aborted_transactions=None,
        records=found,
    )
