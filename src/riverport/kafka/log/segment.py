"""One segment: a `.log` file and its indexes. Files are opened on first use and may be closed again at any time."""

from collections.abc import Iterator, Sequence

from riverport.base.files import Buffer, File, Files
from riverport.kafka.log.index import OffsetIndex, TimeIndex, read_if_there
from riverport.kafka.records.batch import BatchHeader, iter_headers, read_header

HEADER_BYTES = 61
SCAN_BYTES = 256 * 1024
"""Bytes read at a time when looking for a batch from an index entry on."""


def file_name(offset: int, suffix: str) -> str:
    return f"{offset:020d}{suffix}"


class Segment:
    """Batches from `base_offset` on."""

    __slots__ = (
        "_file",
        "_files",
        "_offset_index",
        "_since_index",
        "_time_index",
        "base_offset",
        "created_ms",
        "dir",
        "first_timestamp",
        "max_timestamp",
        "max_timestamp_offset",
        "size",
    )

    def __init__(self, files: Files, dir: str, base_offset: int, created_ms: int, size: int = 0) -> None:
        self._files = files
        self.dir = dir
        self.base_offset = base_offset
        self.created_ms = created_ms
        self.size = size
        self.first_timestamp = -1  # of the first batch: rolling by time counts from it
        self.max_timestamp = -1
        self.max_timestamp_offset = -1
        self._file: File | None = None
        self._offset_index: OffsetIndex | None = None if size else OffsetIndex()
        self._time_index: TimeIndex | None = None if size else TimeIndex()
        self._since_index = 0

    @property
    def path(self) -> str:
        return self.path_of(".log")

    def path_of(self, suffix: str) -> str:
        return f"{self.dir}/{file_name(self.base_offset, suffix)}"

    @property
    def file(self) -> File:
        if self._file is None:
            self._file = self._files.open(self.path, create=True)
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

    def append(self, chunks: Sequence[Buffer], size: int, header: BatchHeader, interval: int) -> None:
        """Write one or more whole batches; `header` is the last one's, with its offsets assigned."""
        position = self.size
        if self._since_index > interval:
            self.offset_index.append(header.base_offset - self.base_offset, position)
            if self.max_timestamp >= 0:
                self.time_index.maybe_append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)
            self._since_index = 0
        self.file.append(chunks)
        self.size += size
        self._since_index += size
        timestamp = header.max_timestamp
        if self.first_timestamp < 0:
            self.first_timestamp = timestamp
        if timestamp > self.max_timestamp:
            self.max_timestamp, self.max_timestamp_offset = timestamp, header.last_offset

    def find(self, offset: int) -> tuple[int, BatchHeader] | None:
        """Position and header of the first batch whose last offset is not below `offset`."""
        for header in self.headers(self.offset_index.position_of(offset - self.base_offset)):
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

    def read_max_timestamp(self) -> int:
        """The greatest timestamp of the segment: from its time index and the batches behind its last entry."""
        if self.max_timestamp < 0 and self.size:
            index, start = self.time_index, 0
            if len(index):
                self.max_timestamp = index.timestamps[-1]
                self.max_timestamp_offset = index.offsets[-1] + self.base_offset
                start = self.offset_index.position_of(index.offsets[-1])
            for header in self.headers(start):
                if header.max_timestamp > self.max_timestamp:
                    self.max_timestamp, self.max_timestamp_offset = header.max_timestamp, header.last_offset
        return self.max_timestamp

    def write_indexes(self) -> None:
        """On roll and close: both indexes as files, the time index ending in the segment's greatest timestamp."""
        if self.size and self.read_max_timestamp() >= 0:
            self.time_index.maybe_append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)
        self._files.write(self.path_of(".index"), self.offset_index.encode(), sync=False)
        self._files.write(self.path_of(".timeindex"), self.time_index.encode(), sync=False)

    def rebuild_indexes(self, interval: int) -> None:
        """Both indexes anew from the batches."""
        self._offset_index, self._time_index = OffsetIndex(), TimeIndex()
        self.max_timestamp = self.max_timestamp_offset = -1
        since = 0
        for header in self.headers():
            if since > interval:
                self._offset_index.append(header.base_offset - self.base_offset, header.position)
                if self.max_timestamp >= 0:
                    self._time_index.maybe_append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)
                since = 0
            if header.max_timestamp > self.max_timestamp:
                self.max_timestamp, self.max_timestamp_offset = header.max_timestamp, header.last_offset
            since += header.size
        self._since_index = since

    def truncate(self, offset: int) -> int:
        """Drop whole batches from the one that holds `offset` on; returns the bytes dropped."""
        found = self.find(offset)
        if found is None:
            return 0
        dropped = self.size - found[0]
        self.cut(found[0], offset)
        return dropped

    def cut(self, position: int, offset: int) -> None:
        self.offset_index.truncate(offset - self.base_offset, position)
        self.time_index.truncate(offset - self.base_offset)
        self.file.truncate(position)
        self.size = position
        self.max_timestamp = self.max_timestamp_offset = -1
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
        self.file.sync()
