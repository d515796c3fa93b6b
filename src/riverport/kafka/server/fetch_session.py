"""Incremental fetch sessions (KIP-227, topic ids by KIP-516).

A client that keeps asking for the same partitions names them once. The session remembers them in order, applies what
each request adds, changes or forgets, and answers only with partitions that have something new. Sessions are kept in a
cache of `max.incremental.fetch.session.cache.slots`. A full cache gives up the least recently used session if that was
idle for EVICTION_MS, else the smallest of those that are as old and smaller than the new one, else the client is served
without one. Sessions of followers are privileged: they take the place of a consumer's of any age and size, and no
consumer's takes theirs.
"""

import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.follower_fetch import FollowerSession

EVICTION_MS = 120_000
"""How long a session must not have been used, or exist, to be given up for another."""
MAX_PARTITIONS = 1_000_000
"""Most partitions of all sessions together: a client may name any number, also of partitions that there are not."""
FINAL_EPOCH = -1
INITIAL_EPOCH = 0
MAX_EPOCH = 2**31 - 1


@dataclass(slots=True, eq=False)
class Fetched:
    """One partition of a fetch: what is asked, and what the client was told last."""

    topic: str | None  # None for a topic id that is not known (yet)
    topic_id: bytes
    index: int
    offset: int
    max_bytes: int
    leader_epoch: int
    last_fetched_epoch: int
    log_start_offset: int  # the follower's, -1 for consumers
    high_watermark: int = -1
    told_log_start_offset: int = -1
    watched: Any = None  # the partition that tells a follower's session of its news

    def update(self, partition: Any) -> None:
        self.offset = partition.fetch_offset
        self.max_bytes = partition.partition_max_bytes
        self.leader_epoch = partition.current_leader_epoch
        self.last_fetched_epoch = partition.last_fetched_epoch
        self.log_start_offset = partition.log_start_offset


def fetched(topic: str | None, topic_id: bytes, partition: Any) -> Fetched:
    return Fetched(
        topic,
        topic_id,
        partition.partition,
        partition.fetch_offset,
        partition.partition_max_bytes,
        partition.current_leader_epoch,
        partition.last_fetched_epoch,
        partition.log_start_offset,
    )


Key = tuple[str | bytes, int]


class Session:
    """The partitions of one client, by (topic id or name, index), in the order of the next answer."""

    __slots__ = ("created_ms", "epoch", "follower", "id", "last_used_ms", "partitions", "privileged", "uses_ids")

    def __init__(self, session_id: int, uses_ids: bool, now_ms: float, privileged: bool = False) -> None:
        self.id = session_id
        self.uses_ids = uses_ids
        self.privileged = privileged
        self.epoch = 1
        self.created_ms = self.last_used_ms = now_ms
        self.partitions: OrderedDict[Key, Fetched] = OrderedDict()
        self.follower: FollowerSession | None = None  # where its client is a broker

    def end(self) -> None:
        """Nobody can use it any more."""
        if self.follower is not None:
            self.follower.close(self.partitions.values())

    def add(self, items: Iterable[Fetched]) -> None:
        for item in items:
            self.partitions[(item.topic_id if self.uses_ids else item.topic or "", item.index)] = item

    def rotate(self, answered: Iterable[Fetched]) -> None:
        """Partitions that were answered with data go last, so that a size limit starves nobody."""
        for item in answered:
            key: Key = (item.topic_id if self.uses_ids else item.topic or "", item.index)
            if key in self.partitions:
                self.partitions.move_to_end(key)


@dataclass(slots=True)
class Refused:
    code: ErrorCode


class SessionCache:
    """All sessions of one broker."""

    def __init__(self, slots: int, seed: int | None = None) -> None:
        self.slots = slots
        self._sessions: OrderedDict[int, Session] = OrderedDict()  # least recently used first
        self._random = random.Random(seed)

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def partitions(self) -> int:
        """How many partitions all sessions have."""
        return sum(len(session.partitions) for session in self)

    def grow(self, session: Session, items: list[Fetched]) -> Refused | None:
        """Add partitions to a session. It ends where there is no room for them: its client begins anew."""
        if items and self.partitions + len(items) > MAX_PARTITIONS:
            self.remove(session.id)
            return Refused(ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        session.add(items)
        return None

    def find(self, session_id: int, epoch: int, uses_ids: bool) -> Session | Refused:
        """The session of an incremental request."""
        session = self._sessions.get(session_id)
        if session is None:
            return Refused(ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        if epoch != session.epoch:
            return Refused(ErrorCode.INVALID_FETCH_SESSION_EPOCH)
        if session.uses_ids != uses_ids:
            return Refused(ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
        return session

    def touch(self, session: Session, now_ms: float) -> None:
        """The session is used: its next request has the next epoch."""
        session.epoch = 1 if session.epoch == MAX_EPOCH else session.epoch + 1
        session.last_used_ms = now_ms
        self._sessions.move_to_end(session.id)

    def create(
        self, uses_ids: bool, items: list[Fetched], now_ms: float, *, privileged: bool = False
    ) -> Session | None:
        """A new session, or None where the cache is full of sessions in use."""
        if self.partitions + len(items) > MAX_PARTITIONS:
            return None
        if len(self._sessions) >= self.slots and not self._evict(len(items), now_ms, privileged):
            return None
        session_id = 0
        while session_id == 0 or session_id in self._sessions:
            session_id = self._random.randrange(1, 2**31)
        session = Session(session_id, uses_ids, now_ms, privileged)
        session.add(items)
        self._sessions[session_id] = session
        return session

    def remove(self, session_id: int) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.end()

    def _evict(self, size: int, now_ms: float, privileged: bool) -> bool:
        """Make room for a session of as many partitions."""
        given_up = next(iter(self._sessions.values()), None)
        if given_up is not None and now_ms - given_up.last_used_ms <= EVICTION_MS:
            worth = (privileged, size)
            less = (
                session
                for session in self
                if (session.privileged, len(session.partitions)) < worth
                and (now_ms - session.created_ms > EVICTION_MS or privileged > session.privileged)
            )
            given_up = min(less, key=lambda session: (session.privileged, len(session.partitions)), default=None)
        if given_up is None:
            return False
        self.remove(given_up.id)
        return True

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())
