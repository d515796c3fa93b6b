"""The work of one cleaning, on a thread: reading the dirty part's keys, and writing segments without what they replace.

Nothing here touches the log itself. Segments behind the active one never change, so they are read through handles of
their own; whether the result is still wanted is decided on the loop (`cleaner`). A batch with a wrong checksum ends the
work: rewriting it would give it a right one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from riverport.base.files import File, Files, StorageError
from riverport.kafka.log.index import OffsetIndex, read_if_there
from riverport.kafka.log.offset_map import OffsetMap
from riverport.kafka.log.segment import Segment
from riverport.kafka.log.swap import CLEANED
from riverport.kafka.log.transaction_trace import TransactionTrace
from riverport.kafka.log.transactions import AbortedTransaction, encode_entries
from riverport.kafka.records.batch import CURRENT_MAGIC, BatchHeader, check_crc, iter_headers, read_header
from riverport.kafka.records.control import ControlType, control_type
from riverport.kafka.records.errors import corrupt
from riverport.kafka.records.record import Record, iter_keys, iter_records
from riverport.kafka.records.retain import retain

MAX_SEGMENT_OFFSETS = 2**31 - 1


class CleaningAborted(Exception):
    """The log is gone, its directory is, or the broker stops: nothing is wrong with the records."""


class CleaningFailed(Exception):
    """The log cannot be cleaned, and trying again would not help."""


@dataclass(slots=True, frozen=True)
class Source:
    """A segment to be read. `modified_ms`: when it was last written to, as near as that is known."""

    dir: str
    base_offset: int
    size: int
    end_offset: int  # the next segment's base offset
    created_ms: int
    modified_ms: int
    path: str
    index_path: str
    time_index_path: str


@dataclass(slots=True)
class Stats:
    records_read: int = 0
    records_kept: int = 0
    records_without_key: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


@dataclass(slots=True)
class Cleaning:
    """One cleaning of one log: what was decided on the loop, and what the thread finds out.

    `last_batches` are (last data offset or -1, epoch) of the producers that the log still remembers: their last batch
    stays, even without records, since their next sequence number follows from it.
    """

    files: Files
    sources: Sequence[Source]
    first_dirty: int
    first_uncleanable: int  # a segment's base offset
    now_ms: int
    delete_retention_ms: int
    segment_bytes: int
    segment_index_bytes: int
    index_interval_bytes: int
    last_batches: Mapping[int, tuple[int, int]]
    aborted: Sequence[AbortedTransaction]
    io_bytes: int
    map_capacity: int
    map_load_factor: float
    pace: Callable[[int], None]  # told the bytes read or written; may sleep
    is_unwanted: Callable[[], bool]
    map: OffsetMap = field(init=False)
    trace: TransactionTrace = field(init=False)
    legacy_horizon_ms: int = field(init=False)
    stats: Stats = field(default_factory=Stats)

    @property
    def end_offset(self) -> int:
        """How far the log is clean afterwards."""
        return self.map.latest_offset + 1

    def prepare(self) -> list[list[Source]]:
        """Map the dirty part; returns the segments to clean, in the groups that become one segment each."""
        offsets = self.first_uncleanable - self.first_dirty
        self.map = OffsetMap(max(min(self.map_capacity, offsets), 1), self.map_load_factor)
        self.map.latest_offset = self.first_dirty - 1
        self._map_dirty()
        if self.end_offset == self.first_dirty:
            raise CleaningFailed(
                f"the batch at offset {self.first_dirty} holds more keys than log.cleaner.dedupe.buffer.size has room "
                f"for, {self.map.capacity}"
            )
        self.trace = TransactionTrace(self.aborted)
        clean = [source for source in self.sources if source.base_offset < self.first_dirty]
        self.legacy_horizon_ms = clean[-1].modified_ms - self.delete_retention_ms if clean else 0
        return self._group([source for source in self.sources if source.base_offset < self.end_offset])

    def _map_dirty(self) -> None:
        trace = TransactionTrace(entry for entry in self.aborted if entry[0] >= self.first_dirty)
        for source in self.sources:
            if source.end_offset <= self.first_dirty:
                continue
            position = self._position_of(source, self.first_dirty) if source.base_offset < self.first_dirty else 0
            for chunk, header in self._batches(source, position):
                if not self._map_batch(chunk, header, trace):
                    return
            # Offsets that no record has any more count as seen.
            self.map.latest_offset = max(self.map.latest_offset, source.end_offset - 1)

    def _map_batch(self, chunk: bytes, header: BatchHeader, trace: TransactionTrace) -> bool:
        """False where the map is full: the batch is left for the next cleaning."""
        if header.is_control:
            trace.is_spent(header, _kind_of(chunk, header))
        elif not trace.is_aborted(header):
            offset_map, start = self.map, self.first_dirty
            for offset, key in iter_keys(chunk, header):
                if key is not None and offset >= start:
                    if offset_map.is_full:
                        return False
                    offset_map.put(key, offset)
        if header.last_offset >= self.first_dirty:
            self.map.latest_offset = header.last_offset
        return True

    def _position_of(self, source: Source, offset: int) -> int:
        index = OffsetIndex()
        raw = read_if_there(self.files, source.index_path)
        if raw is None or not index.load(raw, source.size):
            return 0
        return index.position_of(offset - source.base_offset)

    def _group(self, sources: Sequence[Source]) -> list[list[Source]]:
        """Neighbours go together while the sum of them fits into one segment and its indexes."""
        groups: list[list[Source]] = []
        sizes = (0, 0, 0)
        for source in sources:
            own = (source.size, self._size(source.index_path), self._size(source.time_index_path))
            total = tuple(map(sum, zip(sizes, own, strict=True)))
            limits = (self.segment_bytes, self.segment_index_bytes, self.segment_index_bytes)
            last_offset = min(source.end_offset, self.first_uncleanable) - 1
            if (
                groups
                and all(sum_ <= limit for sum_, limit in zip(total, limits, strict=True))
                and (not source.size or last_offset - groups[-1][0].base_offset <= MAX_SEGMENT_OFFSETS)
            ):
                groups[-1].append(source)
                sizes = (total[0], total[1], total[2])
            else:
                groups.append([source])
                sizes = own
        return groups

    def _size(self, path: str) -> int:
        return self.files.size(path) if self.files.exists(path) else 0

    # --- writing

    def clean(self, group: Sequence[Source]) -> tuple[Segment, list[AbortedTransaction]]:
        """Write what stays of a group into one `.cleaned` segment and sync it."""
        first, last = group[0], group[-1]
        target = Segment(self.files, first.dir, first.base_offset, last.created_ms)
        target.suffix = CLEANED
        target.remove_files()
        target.file  # noqa: B018  there is a file even if nothing stays
        self.trace.kept = []
        try:
            for source in group:
                self._clean_into(target, source)
            target.write_indexes(sync=True)
            kept = self.trace.kept
            if kept:
                self.files.write(target.path_of(".txnindex"), encode_entries(kept))
            target.sync()
        except BaseException:
            discard(target)
            raise
        return target, kept

    def _clean_into(self, target: Segment, source: Source) -> None:
        keep = self._keeper(source)
        chunks: list[bytes | bytearray | memoryview] = []
        headers: list[BatchHeader] = []
        size = 0
        for chunk, header in self._batches(source, 0):
            batch = self._filter(chunk, header, keep)
            if batch is None:
                continue
            chunks.append(batch)
            headers.append(header if isinstance(batch, memoryview) else read_header(batch))
            size += len(batch)
            if size >= self.io_bytes:
                self._write(target, chunks, size, headers)
                chunks, headers, size = [], [], 0
        if size:
            self._write(target, chunks, size, headers)

    def _write(
        self,
        target: Segment,
        chunks: list[bytes | bytearray | memoryview],
        size: int,
        headers: list[BatchHeader],
    ) -> None:
        target.append(chunks, size, headers, self.index_interval_bytes)
        self.stats.bytes_written += size
        self.pace(size)

    def _filter(
        self, chunk: bytes, header: BatchHeader, keep: Callable[[BatchHeader, Record], bool]
    ) -> bytearray | memoryview | None:
        """What stays of a batch."""
        is_spent = False
        if header.is_control:
            is_spent = self.trace.is_spent(header, _kind_of(chunk, header))
            discard_records = is_spent and header.has_delete_horizon and header.base_timestamp <= self.now_ms
        else:
            discard_records = self.trace.is_aborted(header)
        # The last batch of a cleaning stays so that the offsets behind the last record are not forgotten.
        keep_empty = self._is_last_of_producer(header) or header.next_offset == self.first_uncleanable
        if discard_records and not keep_empty:
            self.stats.records_read += max(header.count, 0)
            return None
        if discard_records:
            chosen: Callable[[Record], bool] = _none
        elif header.is_control:
            chosen = _all
        else:

            def chosen(record: Record) -> bool:
                return keep(header, record)

        retained = retain(
            chunk,
            header,
            chosen,
            keep_empty=keep_empty,
            delete_horizon_ms=self.now_ms + self.delete_retention_ms,
            marks_empty_transaction=is_spent,
        )
        self.stats.records_read += retained.records_read
        self.stats.records_kept += retained.records_kept
        return retained.batch

    def _is_last_of_producer(self, header: BatchHeader) -> bool:
        if not header.has_producer_id:
            return False
        last = self.last_batches.get(header.producer_id)
        if last is None:
            return False
        offset, epoch = last
        if offset >= 0:
            return header.last_offset == offset
        # Of a producer that only a marker is left of, the marker fences its older epochs.
        return header.is_control and header.producer_epoch == epoch

    def _keeper(self, source: Source) -> Callable[[BatchHeader, Record], bool]:
        find, latest, now_ms, stats = self.map.get, self.map.latest_offset, self.now_ms, self.stats
        keep_legacy_tombstones = source.modified_ms > self.legacy_horizon_ms

        def keep(header: BatchHeader, record: Record) -> bool:
            if record.offset > latest:
                return True
            if record.key is None:
                stats.records_without_key += 1
                return False
            if record.offset < find(record.key):
                return False
            if record.value is not None:
                return True
            if header.magic < CURRENT_MAGIC:
                return keep_legacy_tombstones
            return not header.has_delete_horizon or now_ms < header.base_timestamp

        return keep

    # --- reading

    def _batches(self, source: Source, position: int) -> Iterator[tuple[bytes, BatchHeader]]:
        """Whole, sound batches of a segment from a position on. `position` of each header is that in its chunk."""
        with closing(self.files.open(source.path)) as file:
            if file.size() != source.size:
                raise CleaningAborted(f"{source.path} is not the segment that it was")
            while position < source.size:
                chunk, end = self._read(file, source, position), 0
                for header in iter_headers(chunk):
                    if not check_crc(chunk, header):
                        raise corrupt(f"{source.path}: the batch at position {position + end} has a wrong checksum")
                    yield chunk, header
                    end = header.end
                    self.pace(header.size)
                    if self.is_unwanted():
                        raise CleaningAborted("the cleaning is not wanted any more")
                position += end
                self.stats.bytes_read += end

    def _read(self, file: File, source: Source, position: int) -> bytes:
        """Some batches from a position on, at least a whole one."""
        left = source.size - position
        chunk = file.pread(min(self.io_bytes, left), position)
        size = read_header(chunk).size
        if size > left:
            raise corrupt(f"{source.path}: the batch at position {position} ends behind the segment")
        return chunk if size <= len(chunk) else file.pread(size, position)


def discard(target: Segment) -> None:
    """Remove an unfinished segment; where the disk is gone, so is the file."""
    try:
        target.release()
        target.remove_files()
    except StorageError:
        return


def _kind_of(chunk: bytes, header: BatchHeader) -> ControlType | None:
    record = next(iter(iter_records(chunk, header)), None)
    return None if record is None else control_type(record)


def _all(record: Record) -> bool:
    return True


def _none(record: Record) -> bool:
    return False
