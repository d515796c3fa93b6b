"""What a leader sends, on its way into this node's metadata log: batches, cuts, checkpoints.

The voters that the log names are kept beside it, as they are from the last record on, committed or not (KIP-853).
"""

from typing import Any

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.controller.replay import Replayer
from riverport.kafka.raft.snapshots import READ_ONLY, SnapshotId
from riverport.kafka.raft.voters import VoterHistory, VoterSet, voters_of
from riverport.kafka.server.metadata_replica import MetadataReplica
from riverport.kafka.wire.errors import ApiError

log = get_logger(__name__)


class MetadataCopy(MetadataReplica):
    """Raises StorageError where the disk fails; what is wrong with the bytes of a leader is answered False."""

    def __init__(self, *args: Any, static_voters: VoterSet) -> None:
        super().__init__(*args)
        self.history = VoterHistory(static_voters)
        self._partial: tuple[SnapshotId, bytearray] | None = None  # a checkpoint that is being fetched

    def read_voters(self) -> None:
        """From the newest checkpoint and the log behind it, at a start."""
        self._begin_history()
        for offset, message in self.control_in_log(self.image.offset + 1):
            self.history.note(offset, message)

    def _begin_history(self) -> None:
        self.history.begin(self.kraft_version, None if self.voters is None else voters_of(self.voters))

    def append_batches(self, records: Any) -> bool:
        offset = self.log.log_end_offset
        try:
            control = list(self.control_records(records))
            self.log.append_as_follower(records, self.clock.wall_ms())
        except ApiError as error:
            log.error("the leader sent what cannot be appended", offset=offset, error=error)
            return False
        for at, message in control:
            if at < self.log.log_end_offset:
                self.history.note(at, message)
        return True

    def truncate(self, epoch: int, offset: int) -> None:
        """To where both logs agree: the leader's end of the epoch, or ours where that is shorter."""
        _, own_end = self.log.offset_for_leader_epoch(epoch)
        target = max(min(offset, own_end) if own_end >= 0 else offset, self.log.log_start_offset)
        committed = max(self.image.offset, self.log.high_watermark - 1)
        if target <= committed:
            reason = f"the leader's log ends at {target}, what was committed at {committed}"
            raise StorageError("truncate", self._dir, 0, reason)
        log.warning("the metadata log diverged from the leader's and is truncated", offset=target, epoch=epoch)
        self.log.truncate_to(target)
        self.remove_dropped()
        self.history.truncate_to(target)

    def keep_slice(self, id_: SnapshotId, position: int, content: Any) -> None:
        if self._partial is None or self._partial[0] != id_ or position == 0:
            self._partial = (id_, bytearray())
        assert len(self._partial[1]) == position, (id_, position)
        self._partial[1].extend(content)

    def install_snapshot(self, id_: SnapshotId) -> bool:
        """A checkpoint of the leader's becomes the image, and the log goes on behind it. What was here is older."""
        assert self._partial is not None, id_
        raw, self._partial = bytes(self._partial[1]), None
        self.files.replace(self.snapshot_path(id_), raw, mode=READ_ONLY)
        try:
            content = self.read_snapshot(id_)
        except StorageError as error:
            self.files.remove(self.snapshot_path(id_))
            log.error("the leader sent a damaged checkpoint", error=error)
            return False
        if id_ not in self.snapshots:
            self.snapshots.append(id_)
        self.image.clear()
        self.replayer = Replayer(self.image)
        self.take_snapshot(id_, content)
        self.log.truncate_fully_and_start_at(id_.end_offset, self.clock.wall_ms())
        self.remove_dropped()
        self.log.start_leader_epoch(id_.epoch)
        self._begin_history()
        return True
