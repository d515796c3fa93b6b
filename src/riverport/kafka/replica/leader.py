"""What the leader of a partition knows and decides: its followers' progress, the high watermark, the in-sync replicas.

The high watermark is the smallest log end of the leader and of

* the *maximal* in-sync replicas: those that the controller has committed, and those that it has been asked to take in
  (KIP-497). While it is asked to drop some, they still count: were the high watermark to pass them and the request to
  fail, a leader could be elected that lacks what has been acknowledged.
* followers that may join and have been level within the lag time. Without waiting for them a busy partition's high
  watermark would run in front of them for ever.

It does not move while fewer than `min.insync.replicas` are in sync (KIP-966), and never backwards.

One change of the in-sync replicas is under way at a time. `Proposal` is what the controller is asked; `decided` takes
its answer, unless the metadata log has brought newer state before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from riverport.base.logging import get_logger
from riverport.kafka.controller.registrations import BrokerRegistration
from riverport.kafka.log import Log
from riverport.kafka.replica.progress import Contact, FollowerProgress
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.replica.partition import Partition

log = get_logger(__name__)

MAX_UNCOMMITTED = 256
"""Appends whose sizes are remembered one by one until the high watermark passes them; more are taken together."""


@dataclass(slots=True)
class Surroundings:
    """What all leaders of one broker go by."""

    broker_id: int
    lag_time_max_ms: int
    own_epoch: Callable[[], int]
    registration: Callable[[int], BrokerRegistration | None]


@dataclass(slots=True, eq=False)
class Proposal:
    """A change of the in-sync replicas that the controller is asked for."""

    leader_epoch: int
    partition_epoch: int
    isr: list[tuple[int, int]]  # (broker, its epoch; -1 where that is not known)
    maximal: tuple[int, ...]  # who counts for the high watermark until it is decided


class Leadership:
    """The leader's part of a `Partition` that has other replicas, too."""

    __slots__ = (
        "_partition",
        "_seen_ms",
        "_surroundings",
        "_uncommitted",
        "epoch_start_offset",
        "followers",
        "pending",
    )

    def __init__(self, partition: "Partition", surroundings: Surroundings) -> None:
        self._partition = partition
        self._surroundings = surroundings
        self._seen_ms = float("-inf")  # the latest time that anybody told
        self._uncommitted: list[tuple[int, int]] = []  # (log end, bytes) of appends above the high watermark
        self.followers: dict[int, FollowerProgress] = {}
        self.epoch_start_offset = 0  # the log's end when this broker began to lead in this epoch
        self.pending: Proposal | None = None

    # --- what the metadata says

    def follow(self, log: Log, *, is_new_epoch: bool, is_new_leader: bool, now_ms: float) -> None:
        """The partition's state is that of newer metadata."""
        partition = self._partition
        self._seen_ms = now_ms
        self.pending = None
        ids = [id_ for id_ in partition.replicas if id_ != partition.broker_id]
        self.followers = {id_: self.followers.get(id_) or FollowerProgress(id_) for id_ in ids}
        if is_new_epoch:
            self.epoch_start_offset = log.log_end_offset
            self._uncommitted.clear()
            for follower in self.followers.values():
                is_in_sync = follower.broker_id in partition.isr
                follower.reset(log.log_end_offset, now_ms, is_in_sync=is_in_sync, is_new_leader=is_new_leader)
        self.advance(log)

    # --- appends and fetches

    def appended(self, log: Log, size: int) -> None:
        """A batch of `size` bytes is the log's new end."""
        for follower in self.followers.values():
            if follower.is_level:
                follower.fall_behind()
        if self.is_alone:
            # With others in sync an append cannot move the high watermark: it waits for their next fetches.
            self.advance(log)
        end = log.log_end_offset
        if log.high_watermark < end:
            uncommitted = self._uncommitted
            if len(uncommitted) >= MAX_UNCOMMITTED:
                size += uncommitted.pop()[1]
            uncommitted.append((end, size))

    def follower(self, broker_id: int, *, knows_epoch: bool) -> FollowerProgress:
        """Raises ApiError where the broker is none of the replicas, as far as this leader knows."""
        found = self.followers.get(broker_id)
        if found is None:
            raise ApiError(unknown_follower(knows_epoch), f"broker {broker_id} is no replica of {self._partition}")
        return found

    def fetched(
        self,
        log: Log,
        follower: FollowerProgress,
        offset: int,
        start_offset: int,
        broker_epoch: int,
        now_ms: float,
        contact: Contact,
    ) -> Proposal | None:
        """A follower fetches from `offset`. Returns the change of the in-sync replicas that follows, if any.

        Raises ApiError NOT_LEADER_OR_FOLLOWER where the request comes from an earlier incarnation of the follower.
        """
        if broker_epoch != -1:
            registered = self._surroundings.registration(follower.broker_id)
            if registered is not None and not registered.fenced and registered.epoch > broker_epoch:
                raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER, f"a fetch of an earlier broker {follower.broker_id}")
        self._seen_ms = max(self._seen_ms, now_ms)
        before = follower.end_offset
        follower.fetched(offset, start_offset, broker_epoch, log.log_end_offset, now_ms, contact)
        proposal = self._maybe_expand(log, follower)
        if offset != before:
            self.advance(log)
        return proposal

    # --- high watermark

    @property
    def maximal_isr(self) -> Sequence[int]:
        return self._partition.isr if self.pending is None else self.pending.maximal

    @property
    def is_alone(self) -> bool:
        """Whether no other replica is in sync, or about to be."""
        return len(self.maximal_isr) <= 1

    def advance(self, log: Log) -> bool:
        """Move the high watermark as far as it may go; whether it moved."""
        partition = self._partition
        if len(partition.isr) < partition.effective_min_isr(log):
            return False
        maximal = self.maximal_isr
        mark = log.log_end_offset
        for follower in self.followers.values():
            if follower.end_offset < mark and (follower.broker_id in maximal or self._is_joining(log, follower)):
                mark = follower.end_offset
        if mark <= log.high_watermark:
            return False
        log.update_high_watermark(mark)
        return True

    def low_watermark(self, log_start_offset: int) -> int:
        """The lowest log start of the replicas that are alive (KIP-107)."""
        lowest = log_start_offset
        for follower in self.followers.values():
            registered = self._surroundings.registration(follower.broker_id)
            if registered is not None and not registered.fenced:
                lowest = min(lowest, follower.start_offset)
        return lowest

    def take_committed(self, high_watermark: int) -> int:
        """The bytes of appends that the high watermark has passed since the last call."""
        uncommitted, size, count = self._uncommitted, 0, 0
        for end, bytes_ in uncommitted:
            if end > high_watermark:
                break
            size += bytes_
            count += 1
        del uncommitted[:count]
        return size

    def _is_joining(self, log: Log, follower: FollowerProgress) -> bool:
        lag_time_max_ms = self._surroundings.lag_time_max_ms
        return follower.is_caught_up(log.log_end_offset, self._seen_ms, lag_time_max_ms) and self._is_eligible(follower)

    # --- in-sync replicas

    def _is_eligible(self, follower: FollowerProgress) -> bool:
        """Whether the controller would take it in: alive, staying, and the incarnation that has fetched (KIP-903)."""
        registered = self._surroundings.registration(follower.broker_id)
        if registered is None or registered.fenced or registered.in_controlled_shutdown:
            return False
        return follower.broker_epoch in (-1, registered.epoch)

    def _maybe_expand(self, log: Log, follower: FollowerProgress) -> Proposal | None:
        """Take a follower in that has all that is committed, and has reached this leader's epoch.

        Below the epoch's start there may be committed records above the high watermark that this leader knows of.
        """
        isr = self._partition.isr
        if self.pending is not None or follower.broker_id in isr:
            return None
        needed = max(log.high_watermark, self.epoch_start_offset)
        if follower.end_offset < needed or not self._is_eligible(follower):
            return None
        wanted = (*isr, follower.broker_id)
        return self._propose(wanted, maximal=wanted)

    def maybe_expand(self, log: Log) -> Proposal | None:
        """Take in a follower that is level. To be called now and then, and when brokers have changed.

        What has not moved is not named in its fetches: one that was fenced while it was level would stay out for good.
        """
        for follower in self.followers.values():
            if follower.is_level and (proposal := self._maybe_expand(log, follower)) is not None:
                return proposal
        return None

    def maybe_shrink(self, log_: Log, now_ms: float) -> Proposal | None:
        """Drop the in-sync replicas that have not been level for the lag time. To be called now and then."""
        partition, lag_time_max_ms = self._partition, self._surroundings.lag_time_max_ms
        self._seen_ms = max(self._seen_ms, now_ms)
        if self.pending is not None:
            return None
        late = []
        for id_ in partition.isr:
            if id_ == partition.broker_id:
                continue
            follower = self.followers.get(id_)
            if follower is None or not follower.is_caught_up(log_.log_end_offset, now_ms, lag_time_max_ms):
                late.append(id_)
        if not late:
            return None
        states = [self.followers.get(id_) for id_ in late]
        mark, end = log_.high_watermark, log_.log_end_offset
        log.info("replicas fall out of sync", partition=partition, late=states, high_watermark=mark, end_offset=end)
        return self._propose(tuple(id_ for id_ in partition.isr if id_ not in late), maximal=tuple(partition.isr))

    def _propose(self, isr: tuple[int, ...], *, maximal: tuple[int, ...]) -> Proposal:
        partition = self._partition
        with_epochs = [(id_, self._epoch_of(id_)) for id_ in isr]
        self.pending = Proposal(partition.leader_epoch, partition.partition_epoch, with_epochs, maximal)
        return self.pending

    def _epoch_of(self, broker_id: int) -> int:
        if broker_id == self._partition.broker_id:
            return self._surroundings.own_epoch()
        follower = self.followers.get(broker_id)
        # One that has not fetched yet since we lead: the controller knows better than we do.
        return -1 if follower is None or follower.broker_epoch is None else follower.broker_epoch

    def decided(self, proposal: Proposal, leader_epoch: int, partition_epoch: int, isr: Sequence[int]) -> None:
        """The controller has done what was proposed."""
        partition = self._partition
        if self.pending is not proposal or leader_epoch != partition.leader_epoch:
            return  # the metadata log was faster
        if partition_epoch < partition.partition_epoch:
            return
        self.pending = None
        partition.isr, partition.partition_epoch = tuple(isr), partition_epoch
        if partition.log is not None:
            self.advance(partition.log)

    def refused(self, proposal: Proposal, code: int) -> bool:
        """The controller has not done it; whether it is to be asked again.

        For most reasons the partition stays as it is until the metadata log tells what happened: nobody knows whether
        the change was made.
        """
        if self.pending is not proposal:
            return False
        if code in (ErrorCode.OPERATION_NOT_ATTEMPTED, ErrorCode.INELIGIBLE_REPLICA):
            self.pending = None  # it was certainly not made, and never will be
            return False
        return code not in _WAIT_FOR_METADATA


def unknown_follower(knows_epoch: bool) -> ErrorCode:
    """What a broker that is no replica is told.

    Who names the right epoch may know of a reassignment that we have yet to learn of: it is to come again.
    """
    return ErrorCode.UNKNOWN_LEADER_EPOCH if knows_epoch else ErrorCode.NOT_LEADER_OR_FOLLOWER


_WAIT_FOR_METADATA = frozenset(
    (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.INVALID_UPDATE_VERSION,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.NEW_LEADER_ELECTED,
    )
)
