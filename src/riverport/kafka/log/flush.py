"""Bringing a log to the disk: what a power cut may not take once it has been acknowledged after a flush.

Beside the batches that is what recovery takes on trust for segments below the recovery point: the index of aborted
transactions and the producers' snapshot at a segment's start. Offset and time indexes are not synced: a torn one is
noticed or harmless, and made again. A file is on the disk only with its name, so directories are synced where a segment
is new, and the one above where the log is. A leader's new epoch is synced with the first batches after it.
"""

from bisect import bisect_right
from errno import ENOENT
from typing import TYPE_CHECKING

from riverport.base.files import Files, StorageError
from riverport.kafka.log.partition_directory import PARTITION_METADATA

if TYPE_CHECKING:
    from riverport.kafka.log.log import Log


class FlushJob:
    """One flush of everything that is in the log now, or of what lies below `end`. `run` is safe on a thread."""

    def __init__(self, log: "Log", end: int | None = None) -> None:
        self._log = log
        self.offset = log.log_end_offset if end is None else end
        self._truncations = log.truncations
        start, bases = log.recovery_point, [segment.base_offset for segment in log.segments]
        first = max(bisect_right(bases, start) - 1, 0)
        last = first if self.offset <= start else max(bisect_right(bases, self.offset - 1), first)
        if not log.place_is_synced and self.offset == log.log_end_offset:
            last = len(bases)  # an empty one, too: it may have been cut, at a start or by a truncation
        self._is_all = last == len(bases)
        self._segments = log.segments[first:last]
        self._new = [segment for segment in self._segments if segment.base_offset >= start]
        self._with_aborted = [segment for segment in self._segments if log.has_aborted_in(segment)]
        self._place_is_new = not log.place_is_synced
        self._epochs_written = log.leader_epochs.written
        self._with_epochs = log.leader_epochs.synced < self._epochs_written

    def run(self) -> None:
        """Raises StorageError; not for a log that has been deleted meanwhile."""
        try:
            self._sync(self._log.files, self._log.dir)
        except StorageError:
            if not self._log.is_deleted:
                raise

    def _sync(self, files: Files, dir: str) -> None:
        for segment in self._segments:
            segment.sync()
        for segment in self._with_aborted:
            _sync_file(files, segment.path_of(".txnindex"))
        for segment in self._new:
            _sync_file(files, segment.path_of(".snapshot"))
        if self._place_is_new:
            _sync_file(files, f"{dir}/{PARTITION_METADATA}")
        if self._with_epochs:
            _sync_file(files, self._log.leader_epochs.path)
        if self._place_is_new or self._new or self._with_epochs:
            files.sync_dir(dir)
        if self._place_is_new:
            files.sync_dir(dir.rpartition("/")[0])

    def finish(self) -> None:
        if self._log.truncations == self._truncations:
            self._log.flushed(self.offset)
            self._log.place_is_synced = self._log.place_is_synced or self._is_all
        epochs = self._log.leader_epochs
        epochs.synced = max(epochs.synced, self._epochs_written)

    def fail(self, error: Exception) -> None:
        self._log.failed = error


def _sync_file(files: Files, path: str) -> None:
    """Sync a small file by its name, if there is one: the first segment has no snapshot, a dropped one nothing."""
    try:
        file = files.open(path)
    except StorageError as error:
        if error.errno == ENOENT:
            return
        raise
    try:
        file.sync()
    finally:
        file.close()
