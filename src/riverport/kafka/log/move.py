"""Moving a log to another directory of its node while it is written to (KIP-113).

    copying    batches go piece by piece into `t-0.<id>-future`, as a follower takes them
    level      the copy is synced; what came meanwhile is copied
    finish     in one turn of the loop: the copy is closed as for a clean stop, named `t-0` and synced, and opened in
               the place of the log, whose directory is removed as that of a deleted log

A crash, or a stop, before the copy gets its name leaves the log where it was; the next start removes the copy and finds
by its name what was to be moved. Between the two renames of `finish` both directories have all of the log: the next
start stops with `DuplicateLog`, as Apache Kafka's.
"""

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.log.access import Isolation
from riverport.kafka.log.log import Log
from riverport.kafka.log.manager import LogManager
from riverport.kafka.log.recovery import open_log
from riverport.kafka.records.batch import iter_headers

log = get_logger(__name__)

PIECE_BYTES = 1 << 20
"""Copied at a time, between two turns of the loop."""


class Move:
    """One log on its way. Whoever drives it sees to it that the log is neither deleted nor cleaned at `finish`."""

    def __init__(self, manager: LogManager, found: Log, target: str, now_ms: int) -> None:
        """`target` is another of the manager's directories. Raises StorageError."""
        self.found = found
        self.target = target
        self._manager = manager
        self.copied_bytes = 0
        self._begun = False
        self.future = manager.open_future(found, target, now_ms)

    def copy(self, now_ms: int) -> bool:
        """Copy a piece; True where nothing is missing. Raises StorageError, and ApiError for a damaged log."""
        found, future = self.found, self.future
        if not self._begun or future.log_end_offset < found.log_start_offset:
            # Also where what was next to be copied has been deleted meanwhile.
            self._begin(now_ms)
        if future.log_end_offset < found.log_end_offset:
            offset = max(future.log_end_offset, found.log_start_offset)
            read = found.read(offset, PIECE_BYTES, isolation=Isolation.LOG_END, min_one=True)
            if read.records:
                future.append_as_follower(read.records, now_ms)
                self.copied_bytes += len(read.records)
            else:
                # Compaction has taken the last batches before the end.
                future.roll(now_ms, found.log_end_offset)
                future.log_end_offset = found.log_end_offset
        return self.is_level

    @property
    def is_level(self) -> bool:
        """Whether nothing is missing in the copy."""
        return self._begun and self.future.log_end_offset >= self.found.log_end_offset

    def was_cut(self) -> None:
        """The log was truncated: so is the copy. Raises StorageError."""
        found, future = self.found, self.future
        if found.log_end_offset < future.log_start_offset or found.log_start_offset > future.log_end_offset:
            self._begun = False
        else:
            future.truncate_to(found.log_end_offset)

    def _begin(self, now_ms: int) -> None:
        """The copy starts with the batch that holds the log's start, which may lie in its middle."""
        found, start = self.found, self.found.log_start_offset
        if start < found.log_end_offset:
            read = found.read(start, 1, isolation=Isolation.LOG_END, min_one=True)
            start = next(iter_headers(read.records)).base_offset
        self.future.truncate_fully_and_start_at(start, now_ms)
        self._begun = True

    def finish(self, now_ms: int, now_mono_ms: float) -> Log:
        """The log in its new place; the old one is deleted. Raises StorageError."""
        found, future = self.found, self.future
        assert future.log_end_offset == found.log_end_offset, (future.log_end_offset, found.log_end_offset)
        future.close()
        files, path = self._manager.files, f"{self.target}/{found.topic}-{found.partition}"
        files.rename(future.dir, path)
        try:
            files.sync_dir(self.target)
            moved = self._opened(path, now_ms)
        except StorageError:
            # Two of them must not stay behind for the next start.
            files.rename(path, future.dir)
            raise
        self._manager.replace(found, moved, now_mono_ms)
        log.info("a log has moved to another directory", log=moved, dir=self.target)
        return moved

    def _opened(self, path: str, now_ms: int) -> Log:
        found = self.found
        return open_log(
            self._manager.files,
            path,
            found.topic,
            found.partition,
            found.topic_id,
            found.config,
            now_ms,
            clean=True,
            recovery_point=found.log_end_offset,
            log_start=found.log_start_offset,
            high_watermark=found.high_watermark,
        )

    def leave(self) -> None:
        """The node stops: let the copy's files go, and the directory stay."""
        self.future.is_deleted = True
        for segment in (*self.future.segments, *self.future.take_dropped()):
            segment.release()

    def abandon(self) -> None:
        """Drop the copy; the log stays where it is. Raises StorageError."""
        self.leave()
        self._manager.files.rmtree(self.future.dir)
