"""Checkpoints of the metadata log on one node: when one is taken, which are kept, and where the log begins (KIP-630).

    taken     once enough was committed since the last one, or some time has passed and anything was
    written   off the loop, from a copy of the image; the file is there whole, on the disk, or not at all
    kept      the newest always; the older ones, and the log before the next, go while both are too much or too old

Steps and their order make a crash harmless: a checkpoint is synced before anything that it stands for is dropped, and
the log's beginning is moved before the checkpoints in front of it are removed.
"""

import asyncio
import errno
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from riverport.base.files import Files, StorageError
from riverport.base.logging import get_logger
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.records import encoded_records_of
from riverport.kafka.log.retention import drop_old_segments
from riverport.kafka.raft.snapshots import READ_ONLY, SnapshotId, encode_snapshot, last_contained_timestamp
from riverport.kafka.server.metadata_replica import MetadataReplica
from riverport.kafka.wire import messages as m

log = get_logger(__name__)


@dataclass(slots=True)
class _Written:
    """One checkpoint to be written by a thread; nothing in it changes any more."""

    files: Files
    path: str
    epoch: int
    image: MetadataImage
    now_ms: int
    last_timestamp: int
    kraft_version: int
    voters: m.VotersRecord | None

    def run(self) -> None:
        batches = encode_snapshot(
            encoded_records_of(self.image),
            epoch=self.epoch,
            now_ms=self.now_ms,
            last_contained_timestamp=self.last_timestamp,
            kraft_version=self.kraft_version,
            voters=self.voters,
        )
        self.files.replace(self.path, b"".join(batches), mode=READ_ONLY)


class MetadataSnapshots:
    """Watches the commits of one metadata log. Everything but a job's `run` is on the loop."""

    def __init__(
        self, metadata: MetadataReplica, files: Files, loop: asyncio.AbstractEventLoop, executor: Executor, config: Any
    ) -> None:
        self._metadata = metadata
        self._files = files
        self._loop = loop
        self._executor = executor
        self._config = config
        self._counted_from = 0  # the committed bytes when the last checkpoint was taken
        self._taken_ms = metadata.clock.mono_ms()
        self._job: asyncio.Future[None] | None = None
        metadata.subscribe(self._committed)

    def _committed(self, image: MetadataImage, delta: MetadataDelta) -> None:
        metadata, config = self._metadata, self._config
        new_bytes = metadata.committed_bytes - self._counted_from
        interval_ms = config["metadata.log.max.snapshot.interval.ms"]
        is_due = new_bytes >= config["metadata.log.max.record.bytes.between.snapshots"] or (
            0 < interval_ms <= metadata.clock.mono_ms() - self._taken_ms
        )
        if is_due and self._job is None and metadata.replayer.transaction_offset < 0:
            self.take()

    def take(self) -> None:
        """Begin a checkpoint of what is committed now, unless there is one already."""
        metadata = self._metadata
        epoch = metadata.log.epoch_for_offset(metadata.image.offset)
        id_ = SnapshotId(metadata.image.offset + 1, epoch if epoch >= 0 else metadata.image.epoch)
        self._counted_from = metadata.committed_bytes
        self._taken_ms = metadata.clock.mono_ms()
        if metadata.snapshots and id_.end_offset <= metadata.snapshots[-1].end_offset:
            return
        written = _Written(
            self._files,
            metadata.snapshot_path(id_),
            id_.epoch,
            metadata.image.copy(),
            metadata.clock.wall_ms(),
            metadata.last_timestamp,
            metadata.kraft_version,
            metadata.voters,
        )
        self._job = self._loop.run_in_executor(self._executor, written.run)
        self._job.add_done_callback(lambda done: self._finished(id_, done))

    def _finished(self, id_: SnapshotId, done: "asyncio.Future[None]") -> None:
        self._job = None
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            # The log has everything, so nothing is lost; the next one is due when as much has happened again.
            log.error("a metadata snapshot could not be written", snapshot=id_.file_name, error=error)
            return
        self._metadata.snapshots.append(id_)
        log.info("metadata snapshot written", snapshot=id_.file_name)
        self.clean()

    async def close(self) -> None:
        """Waits for a checkpoint that is being written."""
        if self._job is not None:
            await asyncio.wait([self._job])

    # --- what is kept

    def clean(self) -> None:
        """A duty: drop old checkpoints, and the log before what is left."""
        metadata = self._metadata
        try:
            while len(metadata.snapshots) > 1 and self._is_expendable(metadata.snapshots[0]):
                self._begin_log_at(metadata.snapshots[1])
        except StorageError as error:
            log.error("old metadata could not be removed", error=error)

    def _is_expendable(self, oldest: SnapshotId) -> bool:
        metadata, config = self._metadata, self._config
        max_bytes, max_ms = config["metadata.max.retention.bytes"], config["metadata.max.retention.ms"]
        if max_bytes >= 0:
            sizes = (self._size_of(id_) for id_ in metadata.snapshots)
            if metadata.log.size + sum(sizes) > max_bytes:
                return True
        if max_ms < 0:
            return False
        timestamp = last_contained_timestamp(self._files, metadata.snapshot_path(oldest))
        return timestamp is None or metadata.clock.wall_ms() - timestamp > max_ms

    def _size_of(self, id_: SnapshotId) -> int:
        try:
            return self._files.size(self._metadata.snapshot_path(id_))
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            return 0

    def _begin_log_at(self, first: SnapshotId) -> None:
        """`first` becomes the oldest checkpoint, and the log goes on behind it."""
        metadata = self._metadata
        metadata.log.delete_records(first.end_offset)
        drop_old_segments(metadata.log, metadata.clock.wall_ms())
        metadata.remove_dropped()
        while metadata.snapshots[0] < first:
            self._files.remove(metadata.snapshot_path(metadata.snapshots.pop(0)))
