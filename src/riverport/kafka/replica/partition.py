"""One partition on one broker: leadership checks around its log (KIP-320 epochs, KIP-516 topic ids)."""

from collections.abc import Callable, Sequence
from typing import Any

from riverport.base.files import StorageError
from riverport.kafka.log import AppendInfo, Isolation, Log, Origin, ReadInfo
from riverport.kafka.wire.errors import ApiError, ErrorCode

ACKS_ALL = -1


class Partition:
    """A partition whose replica this broker has.

    `log` is None while its directory is offline: every access then answers KAFKA_STORAGE_ERROR. `storage_failed(log,
    error)` is told when the disk does not do what it should: the directory is to go offline.
    """

    __slots__ = (
        "broker_id",
        "index",
        "isr",
        "leader_epoch",
        "leader_id",
        "log",
        "partition_epoch",
        "replicas",
        "storage_failed",
        "topic",
        "topic_id",
        "waiters",
    )

    def __init__(
        self,
        broker_id: int,
        topic: str,
        index: int,
        topic_id: bytes,
        log: Log | None,
        storage_failed: Callable[[Log, Exception], None],
    ) -> None:
        self.broker_id = broker_id
        self.topic = topic
        self.index = index
        self.topic_id = topic_id
        self.log = log
        self.storage_failed = storage_failed
        self.leader_id = -1
        self.leader_epoch = -1
        self.partition_epoch = -1
        self.replicas: Sequence[int] = ()
        self.isr: Sequence[int] = ()
        self.waiters: dict[Any, None] = {}  # fetches that wait for this partition, in order of arrival

    def __repr__(self) -> str:
        return f"{self.topic}-{self.index}"

    @property
    def is_leader(self) -> bool:
        return self.leader_id == self.broker_id

    def follow_metadata(
        self, leader_id: int, leader_epoch: int, partition_epoch: int, replicas: Sequence[int], isr: Sequence[int]
    ) -> bool:
        """Take over the partition's registration from the image; True where the leadership changed."""
        changed = (leader_id, leader_epoch) != (self.leader_id, self.leader_epoch)
        self.leader_id, self.leader_epoch, self.partition_epoch = leader_id, leader_epoch, partition_epoch
        self.replicas, self.isr = replicas, isr
        log = self.log
        if changed and self.is_leader and log is not None:
            try:
                # The epoch's first offset is known before its first record (KIP-101).
                log.start_leader_epoch(leader_epoch)
            except StorageError as error:
                self.storage_failed(log, error)
                return changed
            self._advance_high_watermark(log)
        return changed

    def leader_log(self, current_leader_epoch: int = -1) -> Log:
        """The log, where this broker leads and the caller's idea of the epoch is right (-1: it has none).

        Raises ApiError NOT_LEADER_OR_FOLLOWER, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, KAFKA_STORAGE_ERROR.
        """
        if self.log is None:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR)
        if current_leader_epoch >= 0 and current_leader_epoch != self.leader_epoch:
            newer = current_leader_epoch > self.leader_epoch
            raise ApiError(ErrorCode.UNKNOWN_LEADER_EPOCH if newer else ErrorCode.FENCED_LEADER_EPOCH)
        if self.leader_id != self.broker_id:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return self.log

    def append(
        self, records: memoryview | bytearray, acks: int, now_ms: int, *, origin: Origin = Origin.CLIENT
    ) -> AppendInfo:
        """Append a batch of a client, or of a coordinator of this broker, as the leader.

        Raises ApiError; NOT_ENOUGH_REPLICAS where acks=all asks for more in-sync replicas than there are.
        """
        log = self.leader_log()
        if acks == ACKS_ALL and len(self.isr) < min(log.config.min_insync_replicas, max(len(self.replicas), 1)):
            raise ApiError(
                ErrorCode.NOT_ENOUGH_REPLICAS,
                f"The size of the current ISR : {len(self.isr)} is insufficient to satisfy the min.isr requirement of "
                f"{log.config.min_insync_replicas} for partition {self}",
            )
        try:
            info = log.append_as_leader(records, self.leader_epoch, now_ms, origin=origin)
        except StorageError as error:
            raise self._lost(log, error) from error
        self._advance_high_watermark(log)
        return info

    def read(
        self, offset: int, max_bytes: int, isolation: Isolation, current_leader_epoch: int, min_one: bool
    ) -> ReadInfo:
        """Read whole batches from `offset` on. Raises ApiError, OFFSET_OUT_OF_RANGE among them."""
        return self.leader_log(current_leader_epoch).read(offset, max_bytes, isolation=isolation, min_one=min_one)

    def _lost(self, log: Log, error: StorageError) -> ApiError:
        self.storage_failed(log, error)
        return ApiError(ErrorCode.KAFKA_STORAGE_ERROR)

    def _advance_high_watermark(self, log: Log) -> None:
        if len(self.isr) <= 1:
            log.update_high_watermark(log.log_end_offset)
