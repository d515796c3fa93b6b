"""One partition on one broker: leadership checks around its log (KIP-320 epochs, KIP-516 topic ids)."""

from collections.abc import Callable, Sequence
from typing import Any

from riverport.base.files import StorageError
from riverport.kafka.log import AppendInfo, Isolation, Log, Origin, ReadInfo
from riverport.kafka.replica.leader import Leadership, Surroundings, unknown_follower
from riverport.kafka.replica.progress import FollowerProgress
from riverport.kafka.wire.errors import ApiError, ErrorCode

ACKS_ALL = -1
Queue = list[tuple[int, Any, Any]]
"""(an offset, a request that waits for it, a part of its answer), in the order of the offsets."""


class Partition:
    """A partition whose replica this broker has.

    `leadership` is there while this broker leads a partition that has other replicas. Without it what is appended is
    committed at once.

    `log` is None while its directory is offline: every access then answers KAFKA_STORAGE_ERROR. `storage_failed(log,
    error)` is told when the disk does not do what it should: the directory is to go offline.
    """

    __slots__ = (
        "broker_id",
        "commit_listener",
        "deletions",
        "index",
        "isr",
        "leader_epoch",
        "leader_id",
        "leadership",
        "log",
        "partition_epoch",
        "produces",
        "replicas",
        "storage_failed",
        "surroundings",
        "topic",
        "topic_id",
        "waiters",
        "watchers",
    )

    def __init__(
        self,
        broker_id: int,
        topic: str,
        index: int,
        topic_id: bytes,
        log: Log | None,
        storage_failed: Callable[[Log, Exception], None],
        surroundings: Surroundings,
    ) -> None:
        self.broker_id = broker_id
        self.topic = topic
        self.index = index
        self.topic_id = topic_id
        self.log = log
        self.storage_failed = storage_failed
        self.surroundings = surroundings
        self.leader_id = -1
        self.leader_epoch = -1
        self.partition_epoch = -1
        self.replicas: Sequence[int] = ()
        self.isr: Sequence[int] = ()
        self.leadership: Leadership | None = None
        self.waiters: dict[Any, None] = {}  # consumers' fetches that wait for this partition, in order of arrival
        self.watchers: dict[Any, Any] = {}  # what followers' fetch sessions say of it, and those sessions
        self.produces: Queue = []  # what waits for the high watermark
        self.deletions: Queue = []  # what waits for the log start of every replica
        self.commit_listener: Callable[[], None] | None = None  # told when the high watermark has moved

    def __repr__(self) -> str:
        return f"{self.topic}-{self.index}"

    @property
    def is_leader(self) -> bool:
        return self.leader_id == self.broker_id

    @property
    def high_watermark(self) -> int:
        """-1 where there is no log."""
        return -1 if self.log is None else self.log.high_watermark

    @property
    def low_watermark(self) -> int:
        """No live replica has records below; -1 where there is no log."""
        if self.log is None:
            return -1
        start = self.log.log_start_offset
        return start if self.leadership is None else self.leadership.low_watermark(start)

    def follow_metadata(
        self,
        leader_id: int,
        leader_epoch: int,
        partition_epoch: int,
        replicas: Sequence[int],
        isr: Sequence[int],
        now_ms: float,
    ) -> bool:
        """Take over the partition's registration from the image; True where the leadership changed."""
        changed = (leader_id, leader_epoch) != (self.leader_id, self.leader_epoch)
        if partition_epoch < self.partition_epoch or (partition_epoch == self.partition_epoch and not changed):
            # The controller's answer to a change of the in-sync replicas was faster than the metadata log. The next
            # change may be under way by now, and has to count until it is decided.
            return False
        is_new_leader = not self.is_leader
        self.leader_id, self.leader_epoch, self.partition_epoch = leader_id, leader_epoch, partition_epoch
        self.replicas, self.isr = replicas, isr
        if not self.is_leader:
            self.leadership = None
        elif self.log is not None:
            try:
                self._lead(self.log, changed, is_new_leader, now_ms)
            except StorageError as error:
                self.storage_failed(self.log, error)
        return changed

    def _lead(self, log: Log, is_new_epoch: bool, is_new_leader: bool, now_ms: float) -> None:
        if is_new_epoch:
            # The epoch's first offset is known before its first record (KIP-101).
            log.start_leader_epoch(self.leader_epoch)
        if all(id_ == self.broker_id for id_ in self.replicas):
            self.leadership = None
            log.update_high_watermark(log.log_end_offset)
            return
        is_new_epoch = is_new_epoch or self.leadership is None
        if self.leadership is None:
            self.leadership = Leadership(self, self.surroundings)
        self.leadership.follow(log, is_new_epoch=is_new_epoch, is_new_leader=is_new_leader, now_ms=now_ms)

    def leader_log(self, current_leader_epoch: int = -1) -> Log:
        """The log, where this broker leads and the caller's idea of the epoch is right (-1: it has none).

        Raises ApiError NOT_LEADER_OR_FOLLOWER, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, KAFKA_STORAGE_ERROR.
        """
        log = self.local_log(current_leader_epoch)
        if self.leader_id != self.broker_id:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return log

    def local_log(self, current_leader_epoch: int = -1) -> Log:
        """As `leader_log`, of a leader and of a follower."""
        if self.log is None:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR)
        if current_leader_epoch >= 0 and current_leader_epoch != self.leader_epoch:
            newer = current_leader_epoch > self.leader_epoch
            raise ApiError(ErrorCode.UNKNOWN_LEADER_EPOCH if newer else ErrorCode.FENCED_LEADER_EPOCH)
        return self.log

    def follower(self, broker_id: int, *, knows_epoch: bool) -> FollowerProgress:
        """The progress of one of this leader's followers. Raises ApiError where the broker is none."""
        if self.leadership is None:
            raise ApiError(unknown_follower(knows_epoch), f"{self} has no other replicas")
        return self.leadership.follower(broker_id, knows_epoch=knows_epoch)

    def append(
        self, records: memoryview | bytearray, acks: int, now_ms: int, *, origin: Origin = Origin.CLIENT
    ) -> AppendInfo:
        """Append a batch of a client, or of a coordinator of this broker, as the leader.

        Raises ApiError; NOT_ENOUGH_REPLICAS where acks=all asks for more in-sync replicas than there are.
        """
        log = self.leader_log()
        if acks == ACKS_ALL and len(self.isr) < self.effective_min_isr(log):
            raise ApiError(
                ErrorCode.NOT_ENOUGH_REPLICAS,
                f"The size of the current ISR : {len(self.isr)} is insufficient to satisfy the min.isr requirement of "
                f"{log.config.min_insync_replicas} for partition {self}",
            )
        try:
            info = log.append_as_leader(records, self.leader_epoch, now_ms, origin=origin)
        except StorageError as error:
            raise self._lost(log, error) from error
        if self.leadership is None:
            log.update_high_watermark(log.log_end_offset)
        elif not info.duplicate:
            self.leadership.appended(log, len(records))
        return info

    def read(
        self, offset: int, max_bytes: int, isolation: Isolation, current_leader_epoch: int, min_one: bool
    ) -> ReadInfo:
        """Read whole batches from `offset` on. Raises ApiError, OFFSET_OUT_OF_RANGE among them."""
        return self.leader_log(current_leader_epoch).read(offset, max_bytes, isolation=isolation, min_one=min_one)

    def _lost(self, log: Log, error: StorageError) -> ApiError:
        self.storage_failed(log, error)
        return ApiError(ErrorCode.KAFKA_STORAGE_ERROR)

    def effective_min_isr(self, log: Log) -> int:
        """How many replicas have to be in sync: never more than there are."""
        return min(log.config.min_insync_replicas, max(len(self.replicas), 1))

    def has_enough_in_sync(self) -> bool:
        """Whether what the high watermark has passed counts as acknowledged by enough replicas."""
        isr = self.isr if self.leadership is None else self.leadership.maximal_isr
        return self.log is not None and len(isr) >= self.effective_min_isr(self.log)
