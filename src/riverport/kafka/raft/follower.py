"""Following one leader: what is fetched from it next, and what its answers make of the log."""

from contextlib import suppress
from typing import Any

from riverport.kafka.raft.events import Append, Committed, Effect, InstallSnapshot, KeepSlice, Truncate
from riverport.kafka.raft.requests import LogEnd, fetch_request, snapshot_request
from riverport.kafka.raft.snapshots import SnapshotId
from riverport.kafka.raft.voters import Address, ReplicaKey
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.errors import RecordError


class Following:
    """`is_storing` while an answer is being made durable: a fetch offset is an acknowledgement (KIP-595)."""

    def __init__(self, leader_id: int, address: Address, deadline_ms: float) -> None:
        self.leader_id = leader_id
        self.address = address
        self.deadline_ms = deadline_ms  # without a successful fetch until then the leader counts as gone
        self.has_fetched = False  # it is known to be there: nobody else is wanted
        self.is_storing = False
        self.errand_due_ms = 0.0  # when something may be asked of the leader beside fetches
        self._snapshot: SnapshotId | None = None  # what is fetched instead of the log
        self._position = 0

    def request(self, cluster_id: str, epoch: int, own: ReplicaKey, end: LogEnd, hw: int, max_bytes: int) -> Any:
        """What to ask the leader for next."""
        if self._snapshot is not None:
            return snapshot_request(cluster_id, epoch, own, self._snapshot, self._position, max_bytes)
        return fetch_request(cluster_id, epoch, own, end, hw, max_bytes)

    def fetched(self, partition: Any, end: LogEnd, high_watermark: int) -> list[Effect] | None:
        """What a fetch's answer asks for, None where it makes no sense: what is committed is never dropped."""
        diverging, snapshot = partition.diverging_epoch, partition.snapshot_id
        if diverging.epoch >= 0:
            if diverging.end_offset < high_watermark:
                return None
            self.is_storing = True
            return [Truncate(diverging.epoch, diverging.end_offset)]
        if snapshot.epoch >= 0 and snapshot.end_offset >= 0:
            if snapshot.end_offset < high_watermark:
                return None
            self._snapshot, self._position = SnapshotId(snapshot.end_offset, snapshot.epoch), 0
            return []
        effects: list[Effect] = []
        has_up_to = end.offset
        if partition.records:
            effects.append(Append(partition.records))
            self.is_storing = True
            # Damage is found when they are appended, and nothing of them is then.
            with suppress(RecordError):
                for header in iter_headers(partition.records):
                    has_up_to = header.next_offset
        committed = min(partition.high_watermark, has_up_to)
        if committed > high_watermark:
            effects.append(Committed(committed))
        return effects

    def got_slice(self, partition: Any) -> list[Effect] | None:
        """What a slice of a checkpoint asks for, None where it is not the one that was wanted."""
        wanted, size = self._snapshot, len(partition.unaligned_records or b"")
        told = SnapshotId(partition.snapshot_id.end_offset, partition.snapshot_id.epoch)
        if wanted is None or told != wanted or partition.position != self._position or size == 0:
            self.forget_snapshot()
            return None
        effects: list[Effect] = [KeepSlice(wanted, self._position, partition.unaligned_records)]
        self._position += size
        if self._position >= partition.size:
            effects.append(InstallSnapshot(wanted))
            self.is_storing = True
            self.forget_snapshot()
        return effects

    def forget_snapshot(self) -> None:
        """Ask for the log again; the leader names the checkpoint that it has now."""
        self._snapshot, self._position = None, 0
