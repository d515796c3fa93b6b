"""Compaction: of every key at least the last record stays, at its offset, in its order (`cleanup.policy=compact`).

The cleaner takes the dirtiest log (`cleanable`), maps the keys of its dirty part to their last offsets (`offset_map`),
rewrites all segments below without the records that have a later one (`cleaning`), and puts the new segments in the
place of the old ones (`swap`). Tombstones and transaction markers go a `delete.retention.ms` after the first cleaning
that met them (KIP-534).

Decisions and renames happen on the loop, reading and writing on a thread. While a thread works the log goes on living:
appends touch only the active segment, readers hold on to segments that are replaced under their feet, and a group whose
segments are no longer all there when it is done (truncated, deleted) is thrown away. Retention leaves the log alone.
Several logs may be cleaned at a time: in one interpreter that is hardly faster, but a large log holds up no small ones.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.log.cleanable import Cleanable, cleanable_part, dirtiest
from riverport.kafka.log.cleaning import Cleaning, CleaningAborted, Source, discard
from riverport.kafka.log.log import Log
from riverport.kafka.log.manager import LogManager
from riverport.kafka.log.offset_map import ENTRY_BYTES
from riverport.kafka.log.segment import Segment
from riverport.kafka.log.swap import Swap
from riverport.kafka.log.transactions import AbortedTransaction
from riverport.kafka.records.errors import RecordError

log = get_logger(__name__)

MAX_MAP_BYTES = 2**31 - 1


@dataclass(slots=True, frozen=True)
class CleanerLimits:
    """`log.cleaner.dedupe.buffer.size`, `.io.buffer.load.factor`, `.io.buffer.size`."""

    dedupe_buffer_bytes: int = 134_217_728
    load_factor: float = 0.9
    io_buffer_bytes: int = 524_288


class Step:
    """A part of the work that runs on a thread; `take` gives its result, or raises its error, on the loop."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._result: Any = None
        self._error: Exception | None = CleaningAborted("the step was not run")

    def run(self) -> None:
        self._result = self._work()
        self._error = None

    def finish(self) -> None:
        pass

    def fail(self, error: Exception) -> None:
        self._error = error

    @property
    def succeeded(self) -> bool:
        return self._error is None

    def take(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


class LogCleaner:
    """Cleans logs. `pace(bytes)` is called on the thread and may sleep there."""

    def __init__(self, manager: LogManager, limits: Callable[[], CleanerLimits], pace: Callable[[int], None]) -> None:
        self._manager = manager
        self._limits = limits
        self._pace = pace
        self._stopping = False
        self.uncleanable: dict[Log, str] = {}  # why each of them is left alone until the broker starts again

    def stop(self) -> None:
        """The running step comes to an end soon; nothing is begun any more."""
        self._stopping = True

    def clean_dirtiest(self, now_ms: int) -> Generator[Step, None, None] | None:
        """Clean the log that needs it most; None where none does. Each step is to be run on a thread before the next.

        Who asks begins at once: from the first step on the log is known as taken.

        A log that cannot be cleaned becomes uncleanable; a directory that cannot be used goes offline.
        """
        chosen = None if self._stopping else dirtiest(self._cleanable_parts(now_ms))
        return None if chosen is None else self._clean(chosen, now_ms)

    def _cleanable_parts(self, now_ms: int) -> list[Cleanable]:
        self.uncleanable = {
            found: why for found, why in self.uncleanable.items() if not found.is_deleted and found.failed is None
        }
        parts = []
        for found in self._manager:
            if self._may_be_cleaned(found):
                try:
                    parts.append(cleanable_part(found, now_ms))
                except (RecordError, StorageError) as error:
                    self._failed(found, error)
        return parts

    def _may_be_cleaned(self, found: Log) -> bool:
        if found in self.uncleanable or found.is_being_cleaned:
            return False
        return found.config.compact and found.failed is None

    def _clean(self, chosen: Cleanable, now_ms: int) -> Generator[Step, None, None]:
        found = chosen.log
        found.is_being_cleaned = True
        try:
            yield from self._steps(chosen, now_ms)
        except CleaningAborted as reason:
            log.info("cleaning was given up", log=found, reason=reason)
        except Exception as error:
            # Files that were cut or dropped while they were being read are not what they should be.
            if found.truncations != chosen.truncations:
                log.info("cleaning was given up", log=found, reason=error)
            else:
                self._failed(found, error)
        finally:
            found.is_being_cleaned = False
            self._give_up_swap(found)

    def _give_up_swap(self, found: Log) -> None:
        if found.is_deleted or found.failed is not None:
            # Its files went with the log, or are the next start's business.
            found.swap = None
            return
        try:
            found.abandon_swap()
        except StorageError as error:
            self._failed(found, error)

    def _failed(self, found: Log, error: Exception) -> None:
        if found.is_deleted or found.failed is not None:
            return
        if isinstance(error, StorageError):
            self._manager.fail(self._manager.directory_of(found).path, error)
            return
        self.uncleanable[found] = str(error)
        log.error("a log cannot be cleaned and is left as it is", log=found, error=error, kind=type(error).__name__)

    def _steps(self, chosen: Cleanable, now_ms: int) -> Iterator[Step]:
        found = chosen.log
        work = self._describe(chosen, now_ms)
        yield (prepared := Step(work.prepare))
        for group in prepared.take():
            old = self._still_there(chosen, group)
            work.last_batches = _last_batches(found)
            cleaned = Step(partial(work.clean, group))
            try:
                yield cleaned
            except GeneratorExit:  # the broker stops
                if cleaned.succeeded:
                    discard(cleaned.take()[0])
                raise
            yield from self._replace(chosen, group, old, *cleaned.take())
        self._check_wanted(chosen)
        found.cleaned_to = work.end_offset
        stats = work.stats
        log.info(
            "a log was cleaned",
            log=found,
            first=chosen.first_dirty,
            end=work.end_offset,
            records=stats.records_read,
            kept=stats.records_kept,
            bytes=stats.bytes_read,
            written=stats.bytes_written,
            without_key=stats.records_without_key,
            map_utilization=round(work.map.utilization, 3),
        )

    def _replace(
        self,
        chosen: Cleanable,
        group: list[Source],
        old: list[Segment],
        new: Segment,
        aborted: list[AbortedTransaction],
    ) -> Iterator[Step]:
        """The steps 2 to 6 of a swap."""
        found = chosen.log
        try:
            self._still_there(chosen, group)
        except CleaningAborted:
            discard(new)
            raise
        swap = found.swap = Swap(self._manager.files, new, old)
        swap.announce()
        yield (synced := self._sync_dir(found))
        synced.take()
        self._check_wanted(chosen)
        found.adopt_swap({entry[0] for entry in aborted})
        synced = self._sync_dir(found)
        try:
            yield synced
        finally:
            # Whatever has happened to the rest of the log: a segment in use that is called `.swap` would not outlive a
            # crash in the next cleaning. Where the broker stops meanwhile, its files are to be whole for other readers.
            if synced.succeeded and not found.is_deleted and found.failed is None:
                swap.finish()
        synced.take()
        self._check_wanted(chosen)

    def _sync_dir(self, found: Log) -> Step:
        return Step(lambda: self._manager.files.sync_dir(found.dir))

    def _still_there(self, chosen: Cleanable, group: list[Source]) -> list[Segment]:
        """The segments that a group was made of. Raises CleaningAborted where one is gone."""
        self._check_wanted(chosen)
        by_base = {segment.base_offset: segment for segment in chosen.log.segments[:-1]}
        old = [by_base[source.base_offset] for source in group if source.base_offset in by_base]
        if len(old) != len(group):
            raise CleaningAborted("segments are gone")
        return old

    def _is_wanted(self, found: Log) -> bool:
        return not self._stopping and not found.is_deleted and found.failed is None

    def _check_wanted(self, chosen: Cleanable) -> None:
        if not self._is_wanted(chosen.log):
            raise CleaningAborted("the log is gone, or the broker stops")
        if chosen.log.truncations != chosen.truncations:
            # Keys may have been mapped to records that are gone.
            raise CleaningAborted("the log was truncated")

    def _describe(self, chosen: Cleanable, now_ms: int) -> Cleaning:
        found, config, limits = chosen.log, chosen.log.config, self._limits()
        slots = min(limits.dedupe_buffer_bytes, MAX_MAP_BYTES) // ENTRY_BYTES
        return Cleaning(
            files=self._manager.files,
            sources=_sources(found, chosen.first_uncleanable),
            first_dirty=chosen.first_dirty,
            first_uncleanable=chosen.first_uncleanable,
            now_ms=now_ms,
            delete_retention_ms=config.delete_retention_ms,
            segment_bytes=config.segment_bytes,
            segment_index_bytes=config.segment_index_bytes,
            index_interval_bytes=config.index_interval_bytes,
            last_batches={},
            aborted=found.aborted.entries(),
            io_bytes=max(limits.io_buffer_bytes // 2, 1024),
            map_capacity=int(slots * limits.load_factor),
            map_load_factor=limits.load_factor,
            pace=self._pace,
            is_unwanted=lambda: not self._is_wanted(found) or found.truncations != chosen.truncations,
        )


def _sources(found: Log, end: int) -> list[Source]:
    sources = []
    for at, segment in enumerate(found.segments[:-1]):
        if segment.base_offset >= end:
            break
        newest = segment.read_max_timestamp()
        sources.append(
            Source(
                dir=segment.dir,
                base_offset=segment.base_offset,
                size=segment.size,
                end_offset=found.segments[at + 1].base_offset,
                created_ms=segment.created_ms,
                modified_ms=newest if newest >= 0 else segment.created_ms,
                path=segment.path,
                index_path=segment.path_of(".index"),
                time_index_path=segment.path_of(".timeindex"),
            )
        )
    return sources


def _last_batches(found: Log) -> dict[int, tuple[int, int]]:
    return {
        state.producer_id: (state.batches[-1].last_offset if state.batches else -1, state.producer_epoch)
        for state in found.active_producers()
    }
