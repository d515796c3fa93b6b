"""One segment: a `.log` file and its indexes. Files are opened on first use and may be closed again at any time.

A segment that the log has dropped is renamed (`.deleted`) and stays readable until its files are removed, so that
whoever was reading it, or was syncing it on a thread, comes to an end.
"""

from collections.abc import Iterator, Sequence

from riverport.base.files import Buffer, File, Files, StorageError
from riverport.kafka.log.index import OffsetIndex, TimeIndex, read_if_there
from riverport.kafka.records.batch import BatchHeader, iter_headers, read_header
from riverport.kafka.records.errors import corrupt

HEADER_BYTES = 61
SUFFIXES = (".log", ".index", ".timeindex", ".txnindex")
"""The files of a segment; the producers' snapshot at its base offset belongs to it too, but outlives compaction."""
DELETED = ".deleted"
SCAN_BYTES = 256 * 1024
"""Bytes read at a time when looking for a batch from an index entry on."""


def file_name(offset: int, suffix: str) -> str:
    return f"{offset:020d}{suffix}"


class Segment:
    """Batches from `base_offset` on."""

    __slots__ = (
        "_file",
        "_files",
        "_first_timestamp",
        "_max_is_known",
        "_offset_index",
        "_since_index",
        "_time_index",
        "base_offset",
        "created_ms",
        "dir",
        "is_made",
        "last_base",
        "last_position",
        "max_timestamp",
        "max_timestamp_offset",
        "size",
        "suffix",
    )

    def __init__(
        self, files: Files, dir: str, base_offset: int, created_ms: int, size: int = 0, *, is_made: bool = False
    ) -> None:
        self._files = files
        self.dir = dir
        self.base_offset = base_offset
        self.created_ms = created_ms
        self.size = size
        self.is_made = is_made  # there is a file of it
        self.suffix = ""  # `.cleaned`, `.swap` or `.deleted` while its files are so named
        self.max_timestamp = -1
        self.max_timestamp_offset = -1
        self._max_is_known = size == 0
        self._first_timestamp: int | None = None
        self._file: File | None = None
        self._offset_index: OffsetIndex | None = None if size else OffsetIndex()
        self._time_index: TimeIndex | None = None if size else TimeIndex()
        self._since_index = 0
        # Where the batch lies that was appended last: followers, and consumers at the end, want just that.
        self.last_base = self.last_position = -1

    @property
    def path(self) -> str:
        return self.path_of(".log")

    def path_of(self, suffix: str) -> str:
        return f"{self.dir}/{file_name(self.base_offset, suffix)}{self.suffix}"

    @property
    def is_dropped(self) -> bool:
        return self.suffix == DELETED

    @property
    def file(self) -> File:
        if self._file is None:
            self._file = self._files.open(self.path, create=not self.size and not self.is_dropped)
            self.is_made = True
        return self._file

    @property
    def offset_index(self) -> OffsetIndex:
        if self._offset_index is None:
            self._load_indexes()
        assert self._offset_index is not None
        return self._offset_index

    @property
    def time_index(self) -> TimeIndex:
        if self._time_index is None:
            self._load_indexes()
        assert self._time_index is not None
        return self._time_index

    def append(self, chunks: Sequence[Buffer], size: int, headers: Sequence[BatchHeader], interval: int) -> None:
        """Write whole batches; `headers` are theirs, in order and with their offsets assigned."""
        if not self._max_is_known:
            self.read_max_timestamp()
        position = self.size
        (self._file or self.file).append(chunks)
        self.size = position + size
        if not position:
            self._first_timestamp = headers[0].max_timestamp
        for header in headers:
            self.note(header, position, interval)
            position += header.size
        self.last_base, self.last_position = header.base_offset, position - header.size

    def position_of(self, offset: int) -> int:
        """A position at or before the batch that holds `offset`, not much before it."""
        if offset == self.last_base:
            return self.last_position
        return self.offset_index.position_of(offset - self.base_offset)

    def note(self, header: BatchHeader, position: int, interval: int) -> None:
        """Take a batch into the indexes. An entry names the last offset of the batch at its position, as Kafka's do."""
        if header.max_timestamp > self.max_timestamp:
            self.max_timestamp, self.max_timestamp_offset = header.max_timestamp, header.last_offset
        since = self._since_index
        if since > interval:
            since = 0
            self.offset_index.append(header.last_offset - self.base_offset, position)
            if self.max_timestamp >= 0:
                self.time_index.maybe_append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)
        self._since_index = since + header.size

    def is_index_full(self, most_offsets: int, most_times: int) -> bool:
        offsets, times = self.offset_index.offsets, self.time_index.offsets
        return len(offsets) >= most_offsets or len(times) >= most_times

    def find(self, offset: int) -> tuple[int, BatchHeader] | None:
        """Position and header of the first batch whose last offset is not below `offset`."""
        for header in self.headers(self.position_of(offset)):
            if header.last_offset >= offset:
                return header.position, header
        return None

    def headers(self, position: int = 0) -> Iterator[BatchHeader]:
        """The headers of whole batches from a position on; `position` of each is that in the file."""
        while position < self.size:
            chunk = self.file.pread(min(SCAN_BYTES, self.size - position), position)
            end = 0
            for header in iter_headers(chunk):
                end = header.position + header.size
                header.position += position
                yield header
            if end == 0:
                header = read_header(chunk)
                if position + header.size > self.size:
                    return
                header.position = position
                yield header
                end = header.size
            position += end

    def read_first_timestamp(self) -> int:
        """The greatest timestamp of the first batch, from which rolling by time counts; -1 where there is none."""
        if self._first_timestamp is not None:
            return self._first_timestamp
        first = next(self.headers(), None)
        if first is None:
            return -1
        self._first_timestamp = first.max_timestamp
        return self._first_timestamp

    def read_max_timestamp(self) -> int:
        """The greatest timestamp of the segment: from its time index and the batches behind its last entry."""
        if not self._max_is_known:
            index, start = self.time_index, 0
            if len(index):
                self.max_timestamp = index.timestamps[-1]
                self.max_timestamp_offset = index.offsets[-1] + self.base_offset
                start = self.offset_index.position_of(index.offsets[-1])
            end = start
            for header in self.headers(start):
                end = header.end
                if header.max_timestamp > self.max_timestamp:
                    self.max_timestamp, self.max_timestamp_offset = header.max_timestamp, header.last_offset
            if end != self.size:
                # Whoever asks may be about to append: nothing may follow a torn batch, it could not be read.
                raise corrupt(f"{self.path} ends in a part of a batch")
            self._max_is_known = True
        return self.max_timestamp

    def write_indexes(self, *, sync: bool = False) -> None:
        """On roll and close: both indexes as files, the time index ending in the segment's greatest timestamp."""
        if self.size and self.read_max_timestamp() >= 0:
            self.time_index.maybe_append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)
        self._files.write(self.path_of(".index"), self.offset_index.encode(), sync=sync)
        self._files.write(self.path_of(".timeindex"), self.time_index.encode(), sync=sync)
        if self._file is not None:
            self._file.trim()

    def rebuild_indexes(self, interval: int) -> None:
        """Both indexes anew from the batches."""
        self.clear_indexes()
        for header in self.headers():
            self.note(header, header.position, interval)

    def clear_indexes(self) -> None:
        """Empty both indexes, for somebody who goes on with `note` for each batch of the segment."""
        self._offset_index, self._time_index = OffsetIndex(), TimeIndex()
        self.max_timestamp = self.max_timestamp_offset = -1
        self._since_index = 0
        self._max_is_known = True

    def truncate(self, offset: int) -> int:
        """Drop whole batches from the one that holds `offset` on; returns the bytes dropped."""
        found = self.find(offset)
        if found is None:
            return 0
        dropped = self.size - found[0]
        self.cut(found[0], offset)
        return dropped

    def remove_indexes(self) -> None:
        """The files only, where batches go: a power cut must not bring back what they say of other batches.

        The next flush syncs the directory, before anything that follows is taken on trust.
        """
        for kind in (".index", ".timeindex"):
            self._files.remove(self.path_of(kind))

    def cut(self, position: int, offset: int) -> None:
        self.remove_indexes()
        self.offset_index.truncate(offset - self.base_offset, position)
        self.time_index.truncate(offset - self.base_offset)
        self.file.truncate(position)
        self.size = position
        self.last_base = self.last_position = -1
        self.max_timestamp = self.max_timestamp_offset = -1
        self._max_is_known = False
        self._first_timestamp = None
        self.read_max_timestamp()

    def _load_indexes(self) -> None:
        self._offset_index, self._time_index = OffsetIndex(), TimeIndex()
        offsets = read_if_there(self._files, self.path_of(".index"))
        times = read_if_there(self._files, self.path_of(".timeindex"))
        good = offsets is not None and times is not None
        good = good and self._offset_index.load(offsets or b"", self.size) and self._time_index.load(times or b"")
        if not good:
            self.rebuild_indexes(4096)

    def release(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def sync(self) -> None:
        """Bring the file to the disk; may run on a thread. What has been dropped meanwhile need not get there."""
        try:
            if self.is_made and not self.is_dropped:
                self.file.sync()
        except StorageError:
            if not self.is_dropped:
                raise

    def rename(self, suffix: str) -> None:
        """Give the files another suffix; those of the four that do not exist are no matter."""
        old = [self.path_of(kind) for kind in SUFFIXES]
        # At once: a thread that finds a file gone looks whether the segment is dropped.
        self.suffix = suffix
        for path, kind in zip(old, SUFFIXES, strict=True):
            if self._files.exists(path):
                self._files.rename(path, self.path_of(kind))

    def remove_files(self) -> None:
        """Remove the files; may run on a thread. An open one can be read until `release`."""
        for kind in SUFFIXES:
            self._files.remove(self.path_of(kind))
