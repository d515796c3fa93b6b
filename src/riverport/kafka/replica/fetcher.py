"""The follower's side of replication: what to ask a leader for, what its answers mean (KIP-101, KIP-227, KIP-595).

One fetcher follows any number of partitions of one leader over one connection:

    next_request   a Fetch that names the partitions whose position the leader's session does not know yet; or
                   ListOffsets, for partitions whose position lies outside the leader's log
    answered       effects, to be performed in their order before the next request is asked for
    follow, unfollow, delay, fail, disconnected   what else may happen meanwhile

A follower's fetch offset is its acknowledgement: the next request carries the log ends that the last answer led to. The
cost of an exchange is that of the partitions with news, never of all that are followed. While a fetch waits at the
leader a second one may be sent behind it, if there are partitions that the first does not name.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

from riverport.kafka.log import Log
from riverport.kafka.replica.delays import Delays
from riverport.kafka.replica.divergence import truncation_point
from riverport.kafka.replica.followed import FIRST_BACKOFF_MS, Followed, State
from riverport.kafka.replica.partition import Partition
from riverport.kafka.replica.session import Key, Session
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

MAX_IN_FLIGHT = 2
LATEST, EARLIEST = -1, -2
REPLICA_STATE_SINCE = 15
"""The version of Fetch in which a follower says its epoch (KIP-903)."""


@dataclass(slots=True, frozen=True)
class FetchLimits:
    """The `replica.fetch.*` settings."""

    max_wait_ms: int
    min_bytes: int
    response_max_bytes: int
    partition_max_bytes: int
    backoff_ms: int


@dataclass(slots=True)
class Take:
    """Append `records` (a slice of the answer's buffer, or nothing), then take the leader's watermark and log start."""

    followed: Followed
    records: Any
    high_watermark: int
    log_start: int


@dataclass(slots=True)
class Truncate:
    """Our log leaves the leader's at `offset`, or before: drop what follows."""

    followed: Followed
    offset: int


@dataclass(slots=True)
class StartAt:
    """The leader's log begins behind our end: drop everything, and begin where it begins."""

    followed: Followed
    offset: int


@dataclass(slots=True)
class Refused:
    """The leader has answered with an error; the partition is asked for again in `again_ms`, never where that is -1."""

    followed: Followed
    code: int
    again_ms: int


Effect = Take | Truncate | StartAt | Refused


@dataclass(slots=True)
class Asked:
    """A request on its way. `sought` are the partitions of a ListOffsets, by topic's name and index."""

    number: int
    message: Any
    sought: dict[tuple[str, int], Followed] = field(default_factory=dict)


class Fetcher:
    """Follows partitions that one broker leads. Times are in milliseconds, of a clock that never goes back."""

    def __init__(self, replica_id: int, limits: FetchLimits) -> None:
        self.fetch_version = REPLICA_STATE_SINCE  # that requests are made for; 13 at least
        self._replica_id = replica_id
        self._limits = limits
        self._followed: dict[Key, Followed] = {}
        self._due: dict[Followed, None] = {}  # FETCHING, and the session does not have their position
        self._seeking: dict[Followed, None] = {}  # SEEKING or STARTING
        self._delayed = Delays()
        self._fetching = 0  # how many are
        self._sent = self._in_flight = 0  # requests
        self._seek_is_on_its_way = False
        self._session = Session()
        self._paused_ms = 0.0  # no request before that time: the leader refused one as a whole
        self._pauses = 0  # in a row

    def __len__(self) -> int:
        return len(self._followed)

    def __iter__(self) -> Iterator[Followed]:
        return iter(self._followed.values())

    # --- what is followed

    def follow(self, partition: Partition) -> Followed:
        """Follow a partition in its present leader epoch, from the end of its log on."""
        key = (partition.topic_id, partition.index)
        known = self._followed.get(key)
        if known is not None:
            self._leave(known)
        followed = self._followed[key] = Followed(partition)
        self._enter(followed)
        return followed

    def unfollow(self, partition: Partition) -> None:
        known = self._followed.pop((partition.topic_id, partition.index), None)
        if known is not None:
            self._leave(known)

    def delay(self, followed: Followed, now_ms: float, least_ms: int = 0) -> int:
        """Leave a partition out for a time, longer each time; returns the milliseconds."""
        most = max(self._limits.backoff_ms, least_ms)
        followed.backoff_ms = min(max(followed.backoff_ms * 2, FIRST_BACKOFF_MS, least_ms), most)
        self.hold(followed, now_ms + followed.backoff_ms)
        return followed.backoff_ms

    def hold(self, followed: Followed, until_ms: float) -> None:
        """Leave a partition out until a time; its errors, if it had any, do not count."""
        self._leave(followed)
        self._delayed.add(followed, until_ms)

    def end_waits(self) -> None:
        """Ask for everything that was left out for a time with the next request."""
        self._delayed.end()

    def fail(self, followed: Followed) -> None:
        """Leave a partition out until it is followed anew."""
        self._leave(followed)

    def _enter(self, followed: Followed) -> None:
        followed.state = State.FETCHING
        followed.asked_in = -1
        self._fetching += 1
        self._due[followed] = None
        self._session.forgotten.pop(followed.key, None)

    def _leave(self, followed: Followed) -> None:
        """Take it out of whatever it is in; for a second time that is nothing."""
        match followed.state:
            case State.FETCHING:
                self._fetching -= 1
                self._due.pop(followed, None)
                if followed.asked_in >= 0:
                    self._session.forgotten[followed.key] = None
            case State.SEEKING | State.STARTING:
                self._seeking.pop(followed, None)
            case State.DELAYED:
                self._delayed.drop(followed)
        followed.state = State.FAILED

    # --- requests

    def wake_ms(self) -> float | None:
        """When `next_request` has something new to say, if nothing else happens; None where it has not."""
        if self._paused_ms:
            return self._paused_ms
        return self._delayed.earliest_ms if self._delayed.earliest_ms < inf else None

    def next_request(self, now_ms: float, replica_epoch: int) -> Asked | None:
        """What to send now, behind what is on its way; None where that is nothing. `replica_epoch` is this broker's."""
        if self._paused_ms:
            if now_ms < self._paused_ms:
                return None
            self._paused_ms = 0.0
        if now_ms >= self._delayed.earliest_ms:
            for followed in self._delayed.take_due(now_ms):
                self._enter(followed)
        if self._in_flight >= MAX_IN_FLIGHT:
            return None
        if self._seeking and not self._seek_is_on_its_way:
            return self._seek()
        if not self._fetching:
            return None
        if self._in_flight:
            return self._fetch_behind(replica_epoch)
        return self._fetch(list(self._due), replica_epoch)

    def disconnected(self) -> None:
        """What was on its way is lost, and the session with it."""
        self._in_flight = 0
        self._seek_is_on_its_way = False
        self._session.disconnected(self._sent + 1)
        self._name_everything()

    def _asked(self, message: Any, sought: dict[tuple[str, int], Followed] | None = None) -> Asked:
        self._sent += 1
        self._in_flight += 1
        return Asked(self._sent, message, sought or {})

    def _fetch_behind(self, replica_epoch: int) -> Asked | None:
        """A second fetch, for what the first one could not name. Positions that it did name come with its answer."""
        if not self._session.epoch or self._seek_is_on_its_way:
            return None
        new = [followed for followed in self._due if followed.asked_in < 0]
        return self._fetch(new, replica_epoch) if new else None

    def _fetch(self, named: list[Followed], replica_epoch: int) -> Asked:
        session, max_wait_ms = self._session, self._limits.max_wait_ms
        if not session.epoch:
            if not session.is_refused:
                max_wait_ms = 0  # the session is there at once: a fetch behind this one needs it
            named = [followed for followed in self._followed.values() if followed.state is State.FETCHING]
            session.begin_anew(self._sent + 1)
        request = m.FetchRequest(
            max_wait_ms=max_wait_ms,
            min_bytes=self._limits.min_bytes,
            max_bytes=self._limits.response_max_bytes,
            topics=self._topics(named),
        )
        if self.fetch_version < REPLICA_STATE_SINCE:
            request.replica_id = self._replica_id
        else:
            request.replica_state = m.FetchRequest.ReplicaState(self._replica_id, replica_epoch)
        session.stamp(request)
        return self._asked(request)

    def _topics(self, named: list[Followed]) -> list[Any]:
        number, most, due = self._sent + 1, self._limits.partition_max_bytes, self._due
        make = m.FetchRequest.FetchPartition
        topics: dict[bytes, list[Any]] = {}
        for followed in named:
            partition = followed.partition
            log = partition.log
            due.pop(followed, None)
            if log is None:
                continue  # its directory has failed, and whoever knows will unfollow it
            end, start = log.log_end_offset, log.log_start_offset
            followed.asked_offset, followed.asked_start = end, start
            if followed.asked_in < 0:
                followed.asked_in = number
            item = make(partition.index, followed.leader_epoch, end, log.leader_epochs.latest, start, most)
            found = topics.get(partition.topic_id)
            if found is None:
                topics[partition.topic_id] = [item]
            else:
                found.append(item)
        topic = m.FetchRequest.FetchTopic
        return [topic("", topic_id, partitions) for topic_id, partitions in topics.items()]

    def _seek(self) -> Asked:
        """Ask where the leader's log ends, or for those who know that, where it begins; one kind at a time."""
        first = next(iter(self._seeking)).state
        sought = {
            (followed.partition.topic, followed.partition.index): followed
            for followed in self._seeking
            if followed.state is first
        }
        timestamp = LATEST if first is State.SEEKING else EARLIEST
        topics: dict[str, list[Any]] = {}
        for (topic, index), followed in sought.items():
            item = m.ListOffsetsRequest.ListOffsetsPartition(index, followed.leader_epoch, timestamp)
            topics.setdefault(topic, []).append(item)
        make = m.ListOffsetsRequest.ListOffsetsTopic
        request = m.ListOffsetsRequest(
            replica_id=self._replica_id, topics=[make(name, partitions) for name, partitions in topics.items()]
        )
        self._seek_is_on_its_way = True
        return self._asked(request, sought)

    # --- answers

    def answered(self, asked: Asked, response: Any, now_ms: float) -> list[Effect]:
        """The effects of an answer; answers come in the order of the requests."""
        self._in_flight -= 1
        if isinstance(response, m.FetchResponse):
            return self._fetched(asked, response, now_ms)
        self._seek_is_on_its_way = False
        return self._sought(asked, response, now_ms)

    def _fetched(self, asked: Asked, response: m.FetchResponse, now_ms: float) -> list[Effect]:
        if self._session.is_late(asked.number):
            return []
        if response.error_code:
            self._refused(response.error_code, now_ms)
            return []
        self._pauses = 0
        is_over = self._session.answered(asked.message.session_epoch, response.session_id)
        effects: list[Effect] = []
        known, number = self._followed, asked.number
        for topic in response.responses:
            topic_id = topic.topic_id
            for answer in topic.partitions:
                followed = known.get((topic_id, answer.partition_index))
                if (
                    followed is not None
                    and followed.state is State.FETCHING
                    and 0 <= followed.asked_in <= number
                    and (log := followed.partition.log) is not None
                ):
                    self._partition_answered(followed, log, answer, now_ms, effects)
        if is_over:
            self._begin_session_anew()
        return effects

    def _partition_answered(
        self, followed: Followed, log: Log, answer: Any, now_ms: float, effects: list[Effect]
    ) -> None:
        if answer.error_code:
            effects.append(self._error(followed, answer.error_code, now_ms))
            return
        end = log.log_end_offset
        if followed.asked_offset > end:
            return  # our log was cut while the answer was on its way
        records = answer.records if followed.asked_offset == end else b""
        diverging = answer.diverging_epoch
        if diverging.epoch >= 0:
            if followed.asked_offset == end:
                effects.append(Truncate(followed, truncation_point(log, diverging.epoch, diverging.end_offset)))
                self._due[followed] = None
            return
        followed.backoff_ms = 0
        if records or answer.log_start_offset > followed.asked_start:
            self._due[followed] = None  # the leader is to hear of where we are then
        effects.append(Take(followed, records, answer.high_watermark, answer.log_start_offset))

    def _error(self, followed: Followed, code: int, now_ms: float) -> Effect:
        if code == ErrorCode.OFFSET_OUT_OF_RANGE:
            self._leave(followed)
            followed.state = State.SEEKING
            self._seeking[followed] = None
            return Refused(followed, code, 0)
        if code == ErrorCode.FENCED_LEADER_EPOCH:
            # The leader is of a later epoch: what we should do now is in metadata that we have not read yet.
            self.fail(followed)
            return Refused(followed, code, -1)
        return Refused(followed, code, self.delay(followed, now_ms))

    def _refused(self, code: int, now_ms: float) -> None:
        """The request as a whole. A session that the leader does not have any more is begun anew at once."""
        self._begin_session_anew()
        if code not in (ErrorCode.FETCH_SESSION_ID_NOT_FOUND, ErrorCode.INVALID_FETCH_SESSION_EPOCH) or self._pauses:
            most = max(self._limits.backoff_ms, 1)
            self._paused_ms = now_ms + min(FIRST_BACKOFF_MS << min(self._pauses, 16), most)
        self._pauses += 1

    def _begin_session_anew(self) -> None:
        self._session.begin_anew(self._sent + 1)
        self._name_everything()

    def _name_everything(self) -> None:
        """The leader has no position of anything any more."""
        for followed in self._followed.values():
            if followed.state is State.FETCHING:
                followed.asked_in = -1
                self._due[followed] = None

    def _sought(self, asked: Asked, response: m.ListOffsetsResponse, now_ms: float) -> list[Effect]:
        effects: list[Effect] = []
        for topic in response.topics:
            for answer in topic.partitions:
                followed = asked.sought.pop((topic.name, answer.partition_index), None)
                if followed is None or followed not in self._seeking:
                    continue
                if (log := followed.partition.log) is not None:
                    effects += self._offset_answered(followed, log, answer, now_ms)
        for followed in asked.sought.values():
            if followed in self._seeking:  # left out of the answer
                self.delay(followed, now_ms)
        return effects

    def _offset_answered(self, followed: Followed, log: Log, answer: Any, now_ms: float) -> list[Effect]:
        if answer.error_code == ErrorCode.FENCED_LEADER_EPOCH:
            self.fail(followed)
            return [Refused(followed, answer.error_code, -1)]
        if answer.error_code or answer.offset < 0:
            return [Refused(followed, answer.error_code, self.delay(followed, now_ms))]
        end, offset = log.log_end_offset, answer.offset
        if followed.state is State.SEEKING and offset >= end:
            followed.state = State.STARTING
            return []
        is_end = followed.state is State.SEEKING
        del self._seeking[followed]
        self._enter(followed)
        if is_end:
            # An unclean election: the leader has less than we, and what it has decides.
            return [Truncate(followed, offset)]
        return [StartAt(followed, offset)] if offset > end else []
