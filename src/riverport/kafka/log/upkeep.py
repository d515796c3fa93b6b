"""What all logs of a node need by the clock: checkpoints, retention, removal of dropped files, flushes, expiry.

The loop decides and renames; reading, writing and removing files are jobs for a thread. With 2,000 partitions a
decision takes about a millisecond; a checkpoint that says what it said the last time is not written again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from riverport.base.files import Files, StorageError
from riverport.base.logging import get_logger
from riverport.kafka.log import checkpoints
from riverport.kafka.log.directory import Directory
from riverport.kafka.log.flush import FlushJob
from riverport.kafka.log.log import Log
from riverport.kafka.log.manager import LogManager
from riverport.kafka.log.retention import drop_old_segments
from riverport.kafka.log.segment import Segment

log = get_logger(__name__)


@dataclass(slots=True)
class CheckpointJob:
    """One checkpoint of one directory."""

    manager: LogManager
    directory: Directory
    name: str
    offsets: checkpoints.OffsetsByPartition

    def run(self) -> None:
        checkpoints.write_offsets(self.manager.files, f"{self.directory.path}/{self.name}", self.offsets)

    def finish(self) -> None:
        self.manager.checkpoint_written()

    def fail(self, error: Exception) -> None:
        self.manager.fail(self.directory.path, error)
        self.manager.checkpoint_written()


@dataclass(slots=True)
class RemovalJob:
    """The files of deleted logs and dropped segments; what cannot be removed does not keep the rest."""

    files: Files
    directories: list[str] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def run(self) -> None:
        for path in self.directories:
            self._try(self.files.rmtree, path)
        for segment in self.segments:
            self._try(segment.remove_files)

    def _try(self, remove: Callable[..., None], *arguments: str) -> None:
        try:
            remove(*arguments)
        except StorageError as error:
            self.failures.append(error)  # one directory of several may have failed

    def finish(self) -> None:
        for segment in self.segments:
            segment.release()
        for error in self.failures:
            log.warning("deleted files could not be removed, the next start tries again", error=error)

    def fail(self, error: Exception) -> None:
        self.failures.append(error)
        self.finish()


@dataclass(slots=True)
class RolledJob:
    """The flush of a log's segments behind the active one."""

    flush: FlushJob
    failed: Callable[[Exception], None]

    def run(self) -> None:
        self.flush.run()

    def finish(self) -> None:
        self.flush.finish()

    def fail(self, error: Exception) -> None:
        self.failed(error)


class Upkeep:
    """The duties; each is called in its own interval and may return jobs."""

    def __init__(self, manager: LogManager) -> None:
        self._manager = manager
        self._written: dict[str, checkpoints.OffsetsByPartition] = {}

    def checkpoint(self, name: str) -> list[CheckpointJob]:
        """Write one kind of checkpoint in every directory where it has changed."""
        manager, jobs = self._manager, []
        for directory in manager.directories.values():
            if directory.failed is not None:
                continue
            path = f"{directory.path}/{name}"
            offsets = manager.offsets(directory, name)
            if self._written.get(path) != offsets:
                self._written[path] = offsets
                manager.checkpoint_begun(directory, offsets)
                jobs.append(CheckpointJob(manager, directory, name, offsets))
        return jobs

    def _failed_in(self, path: str) -> Callable[[Exception], None]:
        return lambda error: self._manager.fail(path, error)

    def remove_dropped(self, now_mono_ms: float) -> list[RemovalJob]:
        """Remove what was deleted `file.delete.delay.ms` ago, and take note of what has been dropped since."""
        manager = self._manager
        for found in manager:
            if found.dropped:
                due = now_mono_ms + found.config.file_delete_delay_ms
                manager.doomed.extend((due, segment) for segment in found.take_dropped())
        job = RemovalJob(manager.files)
        kept = []
        for item in manager.doomed:
            if item[0] > now_mono_ms:
                kept.append(item)
            elif isinstance(item[1], Segment):
                job.segments.append(item[1])
            else:
                job.directories.append(item[1])
        manager.doomed = kept
        return [job] if job.directories or job.segments else []

    def apply_retention(self, now_ms: int, *, compacted: bool) -> int:
        """Drop what is too old or too much; returns the number of segments.

        Compacted logs take their turn with the cleaner, as in Kafka: never while one of them is being cleaned.
        """
        dropped = 0
        for found in list(self._manager):
            if found.failed is None and found.config.compact == compacted and not found.is_being_cleaned:
                try:
                    dropped += drop_old_segments(found, now_ms)
                except StorageError as error:
                    self._manager.fail(self._manager.directory_of(found).path, error)
        return dropped

    def due_flushes(self, now_ms: int) -> list[Log]:
        """Logs with unsynced records whose `flush.ms` is over; they count as flushed from now on."""
        due = [
            found
            for found in self._manager
            if found.failed is None
            and found.recovery_point < found.log_end_offset
            and now_ms - found.last_flush_ms >= found.config.flush_ms
        ]
        for found in due:
            found.last_flush_ms = now_ms
        return due

    def flush_rolled(self) -> list[RolledJob]:
        """Flush what will not change any more, so that a recovery need not read it."""
        return [
            RolledJob(FlushJob(found, found.active.base_offset), self._failed_in(found.dir.rpartition("/")[0]))
            for found in self._manager
            if found.failed is None and found.recovery_point < found.active.base_offset
        ]

    def expire_producers(self, older_than_ms: int) -> None:
        """Forget producers that have written nothing since a time, except in an open transaction."""
        for found in self._manager:
            found.producers.expire(older_than_ms)
