"""One partition's log: append, read, look up, truncate, delete.

Invariants: log_start <= log_end, recovery_point <= log_end, high_watermark <= log_end, segments ascend and the last one
is active, and nothing is visible before it is written: `log_end_offset` moves behind a successful write only. A write
that fails is taken back (the file is cut to its old end), so that a later append never follows a torn batch.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from zlib import crc32

from riverport.base.files import Files, FileSlice, StorageError
from riverport.kafka.log.config import LogConfig
from riverport.kafka.log.epochs import LeaderEpochs
from riverport.kafka.log.flush import FlushJob
from riverport.kafka.log.producers import Producers, ProducerState
from riverport.kafka.log.segment import DELETED, HEADER_BYTES, Segment, file_name
from riverport.kafka.log.swap import Swap
from riverport.kafka.log.transactions import AbortedTransactions
from riverport.kafka.records.batch import BatchHeader, check_crc, iter_headers, patch, read_header
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.control import ControlType, control_type, coordinator_epoch
from riverport.kafka.records.record import iter_records
from riverport.kafka.records.validation import ValidationPolicy, validate
from riverport.kafka.wire.errors import ApiError, ErrorCode

MAX_RELATIVE_OFFSET = 2**31 - 1
SLICE_BYTES = 64 * 1024
"""As much and more is sent from the file; below that, reading it takes less than what sending a slice takes around."""
LOOK_AHEAD_BYTES = 8 * 1024
"""Read to find a batch: index entries are `index.interval.bytes` apart, and a batch."""
_CODECS = {"uncompressed": Codec.NONE, "gzip": Codec.GZIP, "snappy": Codec.SNAPPY, "lz4": Codec.LZ4, "zstd": Codec.ZSTD}


class Origin(Enum):
    """Who appends: clients are checked, the broker's own coordinators and the quorum are not."""

    CLIENT = 0
    COORDINATOR = 1
    RAFT_LEADER = 2


class Isolation(Enum):
    """How far a reader may see."""

    LOG_END = 0
    HIGH_WATERMARK = 1
    LAST_STABLE = 2


@dataclass(slots=True)
class AppendInfo:
    first_offset: int
    last_offset: int
    log_append_time_ms: int
    log_start_offset: int
    duplicate: bool = False


@dataclass(slots=True)
class ReadInfo:
    """`records` starts with the batch that holds the wanted offset and may end in a part of a batch."""

    records: Any  # bytes; or, where it was asked for, a FileSlice
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    aborted: list[tuple[int, int]] | None  # (producer id, first offset), with Isolation.LAST_STABLE only


def _marker_in(buffer: Any, header: BatchHeader) -> tuple[ControlType, int] | None:
    """What a transaction's marker says, and its coordinator's epoch; None for other control batches, and emptied ones.

    Compaction empties the batch of a marker that nobody needs any more, and may keep it for its producer's sake.
    """
    record = next(iter(iter_records(buffer, header)), None)
    if record is None or (kind := control_type(record)) not in (ControlType.ABORT, ControlType.COMMIT):
        return None
    return kind, coordinator_epoch(record)


class Log:
    """Built by `recovery.open_log`, which knows what lies in the directory."""

    def __init__(
        self, files: Files, dir: str, topic: str, partition: int, topic_id: bytes, config: LogConfig, now_ms: int
    ) -> None:
        self.files = files
        self.dir = dir
        self.topic = topic
        self.partition = partition
        self.topic_id = topic_id
        self.is_future = False
        self.is_deleted = False
        self.is_being_cleaned = False
        self.swap: Swap | None = None  # a cleaned segment that is about to take its place
        self.failed: Exception | None = None  # set once the directory is lost
        self.segments: list[Segment] = []
        self.dropped: list[Segment] = []  # readable still, their files not yet removed
        self.producers = Producers()
        self.aborted = AbortedTransactions()
        self.leader_epochs = LeaderEpochs(files, f"{dir}/leader-epoch-checkpoint")
        self.log_start_offset = 0
        self.log_end_offset = 0
        self.high_watermark = 0
        self.recovery_point = 0
        self.truncations = 0  # counted, so that a flush that began before one does not vouch for what came after
        self.place_is_synced = False  # the log's directory and its name in the one above
        self.snapshot_offset = -1  # where a clean stop has left a snapshot, and nothing has been appended since
        self.cleaned_to = -1  # the first offset that compaction has not seen; -1: it has not been here
        self.last_flush_ms = now_ms
        self._bases: list[int] = []
        self.update_config(config)

    def __repr__(self) -> str:
        return f"{self.topic}-{self.partition}"

    # --- what it is

    @property
    def active(self) -> Segment:
        return self.segments[-1]

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def last_stable_offset(self) -> int:
        """Nothing below it belongs to an open transaction."""
        unstable = self.producers.first_unstable_offset
        return self.high_watermark if unstable is None else min(unstable, self.high_watermark)

    def update_config(self, config: LogConfig) -> None:
        self.config = config
        self.stamps_time = config.message_timestamp_type == "LogAppendTime"
        self._max_segment_ms = config.max_segment_ms
        codec = None if config.compression_type == "producer" else _CODECS[config.compression_type]
        levels = {Codec.GZIP: config.compression_gzip_level, Codec.LZ4: config.compression_lz4_level}
        levels[Codec.ZSTD] = config.compression_zstd_level
        self._policy = ValidationPolicy(
            compacted=config.compact,
            codec=codec,
            level=levels.get(codec) if codec is not None else None,
            log_append_time=self.stamps_time,
            before_max_ms=config.message_timestamp_before_max_ms,
            after_max_ms=config.message_timestamp_after_max_ms,
            max_message_bytes=config.max_message_bytes,
        )

    def has_aborted_in(self, segment: Segment) -> bool:
        at = bisect_right(self._bases, segment.base_offset)
        end = self._bases[at] if at < len(self._bases) else self.log_end_offset
        return self.aborted.any_between(segment.base_offset, end)

    def active_producers(self) -> list[ProducerState]:
        return list(self.producers.states.values())

    # --- appending

    def append_as_leader(
        self, records: Any, leader_epoch: int, now_ms: int, *, origin: Origin = Origin.CLIENT
    ) -> AppendInfo:
        """Give the records their offsets and write them. Client payloads are validated and change in place.

        Raises ApiError (RecordError among them) for what may not be written, StorageError for what could not be.
        """
        if origin is not Origin.CLIENT:
            return self._append_own(records, leader_epoch, now_ms)
        validated = validate(records, self._policy, now_ms)
        header, buffer = validated.header, validated.records
        if header.producer_id >= 0:
            duplicate = self.producers.duplicate_of(header)
            if duplicate is not None:
                return AppendInfo(
                    duplicate.first_offset,
                    duplicate.last_offset,
                    duplicate.timestamp,
                    self.log_start_offset,
                    True,
                )
            self.producers.check(header, repr(self))
        offset = self.log_end_offset
        header.base_offset = offset
        if self.leader_epochs.latest != leader_epoch:
            self.leader_epochs.assign(leader_epoch, offset)
        patch(buffer, 0, offset, leader_epoch)
        self._write((buffer,), header.size, (header,), now_ms)
        if header.producer_id >= 0:
            self.producers.append(header)
        return AppendInfo(offset, self.log_end_offset - 1, validated.log_append_time_ms, self.log_start_offset)

    def _append_own(self, records: Any, leader_epoch: int, now_ms: int) -> AppendInfo:
        buffer = records if isinstance(records, bytearray) else bytearray(records)
        first = offset = self.log_end_offset
        headers = list(iter_headers(buffer))
        assert headers, "an append without a batch"
        for header in headers:
            patch(buffer, header.position, offset, leader_epoch)
            header.base_offset = offset
            offset = header.next_offset
        if self.leader_epochs.latest != leader_epoch:
            self.leader_epochs.assign(leader_epoch, first)
        self._check_producers(buffer, headers)
        self._write([buffer], len(buffer), headers, now_ms)
        self._remember_all(buffer, headers)
        return AppendInfo(first, offset - 1, -1, self.log_start_offset)

    def append_as_follower(self, records: Any, now_ms: int) -> AppendInfo:
        """Write batches as a leader sent them; their offsets must follow the log's end.

        Raises ApiError CORRUPT_MESSAGE for a damaged batch: nothing of the answer is written then.
        """
        buffer = memoryview(records)
        headers = list(iter_headers(buffer))
        if not headers or not all(check_crc(buffer, header) for header in headers):
            raise ApiError(ErrorCode.CORRUPT_MESSAGE, f"{self}: the leader sent a damaged batch")
        first = headers[0].base_offset
        if first < self.log_end_offset:
            raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE, f"{self}: offset {first} below the end {self.log_end_offset}")
        for header in headers:
            if self.leader_epochs.latest < header.leader_epoch:
                self.leader_epochs.assign(header.leader_epoch, header.base_offset)
        end = headers[-1].position + headers[-1].size
        self._write([buffer[:end]], end, headers, now_ms)
        self._remember_all(buffer, headers)
        return AppendInfo(first, headers[-1].last_offset, -1, self.log_start_offset)

    def _check_producers(self, buffer: Any, headers: list[BatchHeader]) -> None:
        for header in headers:
            if header.producer_id < 0:
                continue
            if not header.is_control:
                self.producers.check(header, repr(self), sequences=False)
            elif (marker := _marker_in(buffer, header)) is not None:
                self.producers.check_marker(header, marker[1], repr(self))

    def _remember_all(self, buffer: Any, headers: list[BatchHeader]) -> None:
        """Take batches that were written into the producers' state, and aborts into the index."""
        aborts = [self._remember(buffer, header) for header in headers]
        if True in aborts:
            self._write_aborted()

    def _remember(self, buffer: Any, header: BatchHeader) -> bool:
        """Whether the batch has added to the aborted transactions."""
        if header.producer_id < 0:
            return False
        if not header.is_control:
            self.producers.append(header)
            return False
        marker = _marker_in(buffer, header)
        if marker is None:
            return False
        kind, epoch = marker
        completed = self.producers.append_marker(header, kind is ControlType.ABORT, epoch)
        if completed is None or not completed.is_aborted or self.aborted.knows(completed.last_offset):
            return False
        unstable = self.producers.first_unstable_offset
        stable = completed.last_offset + 1 if unstable is None else unstable
        self.aborted.append(completed.producer_id, completed.first_offset, completed.last_offset, stable)
        return True

    def _write_aborted(self) -> None:
        """The active segment's `.txnindex`, as a whole."""
        content = self.aborted.encode(self.active.base_offset, 2**63 - 1)
        self.files.write(self.active.path_of(".txnindex"), content, sync=False)

    def _write(self, chunks: Sequence[Any], size: int, headers: Sequence[BatchHeader], now_ms: int) -> None:
        if self.failed is not None:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR)
        segment = self.segments[-1]
        if segment.size and self._roll_needed(segment, size, headers, now_ms):
            self.roll(now_ms)
            segment = self.segments[-1]
        epochs = self.leader_epochs
        if epochs.written < epochs.changes:
            epochs.write(sync=False)
        segment.append(chunks, size, headers, self.config.index_interval_bytes)
        self.log_end_offset = headers[-1].next_offset

    def _roll_needed(self, segment: Segment, size: int, headers: Sequence[BatchHeader], now_ms: int) -> bool:
        config, last = self.config, headers[-1]
        if segment.size + size > config.segment_bytes:
            return True
        if last.base_offset + last.last_offset_delta - segment.base_offset > MAX_RELATIVE_OFFSET:
            return True
        first = segment.read_first_timestamp()
        newest = last.max_timestamp if len(headers) == 1 else max([header.max_timestamp for header in headers])
        age = newest - first if first >= 0 else now_ms - segment.created_ms
        jitter_ms = self._jitter_ms(segment) if config.segment_jitter_ms else 0
        if age > self._max_segment_ms - jitter_ms:
            return True
        # The last place of the time index is for the entry that is written when the segment is rolled.
        room = config.segment_index_bytes
        return segment.is_index_full(room // 8, room // 12 - 1)

    def _jitter_ms(self, segment: Segment) -> int:
        """A part of `segment.jitter.ms` that differs from log to log, so that those made together roll apart."""
        limit = min(self.config.segment_jitter_ms, self.config.max_segment_ms)
        return crc32(f"{self}-{segment.base_offset}".encode()) % limit if limit > 0 else 0

    def roll(self, now_ms: int, offset: int | None = None) -> None:
        """Close the active segment and begin one at the log's end, with a snapshot of the producers at that offset."""
        base = self.log_end_offset if offset is None else offset
        if self.segments:
            active = self.active
            active.write_indexes()
            if active.base_offset == base:
                raise StorageError(f"segment {base} of {self} exists already")
        if base > 0:
            self.files.write(f"{self.dir}/{file_name(base, '.snapshot')}", self.producers.encode(), sync=False)
        self.add_segment(Segment(self.files, self.dir, base, now_ms))
        self.active.file  # noqa: B018  an empty file is there as soon as the segment is

    def add_segment(self, segment: Segment) -> None:
        self.segments.append(segment)
        self._bases.append(segment.base_offset)

    def start_leader_epoch(self, epoch: int) -> None:
        """A new leader's epoch begins at the log's end, before its first record."""
        if epoch > self.leader_epochs.latest:
            # Thousands of partitions get a leader with every start: each file would take milliseconds of it.
            self.leader_epochs.assign(epoch, self.log_end_offset, at_once=False)

    # --- reading

    def segment_of(self, offset: int) -> Segment:
        return self.segments[max(bisect_right(self._bases, offset) - 1, 0)]

    def read(
        self, offset: int, max_bytes: int, *, isolation: Isolation, min_one: bool, to_send: bool = False
    ) -> ReadInfo:
        """Bytes from the batch that holds `offset` on, at most `max_bytes` unless `min_one` asks for a whole batch.

        With `to_send` many bytes may be a slice of the file instead, which is good until the loop's next turn.
        Raises ApiError OFFSET_OUT_OF_RANGE below the log start or above the log end.
        """
        end = self.log_end_offset
        if not self.log_start_offset <= offset <= end:
            raise ApiError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"offset {offset} of {self} is not in {self.log_start_offset} to {end}",
            )
        stable = self.last_stable_offset if isolation is Isolation.LAST_STABLE else self.high_watermark
        limit = end if isolation is Isolation.LOG_END else stable
        records: bytes | FileSlice = b""
        aborted: list[tuple[int, int]] | None = [] if isolation is Isolation.LAST_STABLE else None
        if offset < limit:
            must_look = aborted is not None and len(self.aborted) > 0
            records = self._read(offset, limit, max_bytes, min_one, to_send and not must_look)
            if must_look and isinstance(records, bytes) and records:
                last = offset
                for header in iter_headers(records):
                    last = header.last_offset
                aborted = self.aborted.between(offset, last + 1)
        return ReadInfo(records, self.high_watermark, self.last_stable_offset, self.log_start_offset, aborted)

    def _read(self, offset: int, limit: int, max_bytes: int, min_one: bool, to_send: bool) -> bytes | FileSlice:
        at = max(bisect_right(self._bases, offset) - 1, 0)
        last = max(bisect_right(self._bases, limit) - 1, 0)
        while at <= last:
            segment = self.segments[at]
            position = segment.position_of(offset)
            end = segment.size
            if at == last and limit < self.log_end_offset:
                found = segment.find(limit)
                end = found[0] if found is not None else end
            data = self._read_segment(segment, position, end, offset, max_bytes, min_one, to_send)
            if data is not None:
                return data
            at += 1  # compaction may have taken the rest of this segment
        return b""

    def _read_segment(
        self, segment: Segment, position: int, end: int, offset: int, max_bytes: int, min_one: bool, to_send: bool
    ) -> bytes | FileSlice | None:
        """None where every batch from `position` to `end` lies below `offset`."""
        ahead = max(max_bytes, HEADER_BYTES)
        if to_send and end - position >= SLICE_BYTES:
            ahead = min(ahead, LOOK_AHEAD_BYTES)
        while position < end:
            data = segment.file.pread(min(ahead, end - position), position)
            if len(data) < HEADER_BYTES:
                return b"" if data else None
            skip = 0
            header = read_header(data)
            while header.last_offset < offset:
                skip += header.size
                if skip + HEADER_BYTES > len(data):
                    break
                header = read_header(data, skip)
            if header.last_offset < offset:
                position += skip
                continue
            size = max(min(max_bytes, end - position - skip), 0)
            if header.size > max_bytes:
                # Without a whole batch there is nothing that a client could go on with (KIP-74).
                size = header.size if min_one else 0 if to_send else size
            if skip + size <= len(data):
                return data[skip : skip + size]
            if to_send and size >= SLICE_BYTES:
                return segment.file.slice(size, position + skip)
            return segment.file.pread(size, position + skip)
        return None

    # --- looking up

    def offset_for_timestamp(self, timestamp: int) -> tuple[int, int] | None:
        """(timestamp, offset) of the first record at or after a time, None where there is none."""
        for segment in self.segments:
            if segment.read_max_timestamp() < timestamp:
                continue
            start = segment.offset_index.position_of(segment.time_index.offset_before(timestamp))
            for header in segment.headers(start):
                if header.max_timestamp >= timestamp and header.last_offset >= self.log_start_offset:
                    found = self._first_at(segment, header, timestamp)
                    if found is not None:
                        return found
        return None

    def max_timestamp_offset(self) -> tuple[int, int] | None:
        """(timestamp, offset) of the first record that has the log's greatest timestamp."""
        best = max(self.segments, key=lambda segment: segment.read_max_timestamp(), default=None)
        if best is None or best.max_timestamp < 0:
            return None
        start = best.offset_index.position_of(best.time_index.offset_before(best.max_timestamp))
        for header in best.headers(start):
            if header.max_timestamp == best.max_timestamp:
                return self._first_at(best, header, best.max_timestamp)
        return None

    def _first_at(self, segment: Segment, header: BatchHeader, timestamp: int) -> tuple[int, int] | None:
        raw = segment.file.pread(header.size, header.position)
        for record in iter_records(raw, read_header(raw)):
            if record.timestamp >= timestamp and record.offset >= self.log_start_offset:
                return record.timestamp, record.offset
        return None

    def offset_for_leader_epoch(self, epoch: int) -> tuple[int, int]:
        return self.leader_epochs.end_offset_of(epoch, self.log_end_offset)

    def epoch_for_offset(self, offset: int) -> int:
        return self.leader_epochs.epoch_of(offset)

    def headers(self, offset: int | None = None) -> Iterator[tuple[Segment, BatchHeader]]:
        """Every batch from an offset on."""
        start = self.log_start_offset if offset is None else offset
        for segment in self.segments[max(bisect_right(self._bases, start) - 1, 0) :]:
            for header in segment.headers(segment.offset_index.position_of(max(start - segment.base_offset, 0))):
                if header.last_offset >= start:
                    yield segment, header

    # --- moving the ends

    def update_high_watermark(self, offset: int) -> int:
        if offset > self.log_end_offset:
            offset = self.log_end_offset
        self.high_watermark = offset if offset > self.log_start_offset else self.log_start_offset
        return self.high_watermark

    def delete_records(self, offset: int) -> None:
        """Records below an offset are gone from now on; segments wholly below it go with the next retention round."""
        if offset > self.high_watermark:
            raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE)
        if offset > self.log_start_offset:
            self.log_start_offset = offset
            self.leader_epochs.truncate_from_start(offset)
            self.aborted.truncate_from_start(offset)

    def truncate_to(self, offset: int) -> None:
        """Drop records from `offset` on; what is left ends on a batch boundary at or below it.

        Before anything is appended again the recovery point is to be checkpointed: the one on the disk may lie above.
        """
        if offset >= self.log_end_offset:
            # An epoch that was begun here, and never got a record, may not be one of the leader's.
            self.leader_epochs.truncate_from_end(self.log_end_offset, at_once=False)
            return
        self._forget_what_is_synced()
        while len(self.segments) > 1 and self.active.base_offset > offset:
            self.drop_segments([self.active])
        self.active.truncate(offset)
        self.log_end_offset = self.active.base_offset
        for header in self.active.headers():
            self.log_end_offset = max(header.next_offset, self.log_end_offset)
        # A batch that was cut may have held the log start.
        self.log_start_offset = min(self.log_start_offset, self.log_end_offset)
        self.leader_epochs.truncate_from_end(self.log_end_offset)
        self.aborted.truncate_from_end(self.log_end_offset)
        if self.files.exists(self.active.path_of(".txnindex")):
            self._write_aborted()
        self._remove_snapshots_above(self.log_end_offset)
        # The next flush has to bring the cut to the disk, too.
        self.recovery_point = min(self.recovery_point, self.active.base_offset)
        self.high_watermark = min(self.high_watermark, self.log_end_offset)
        self.cleaned_to = min(self.cleaned_to, self.log_end_offset)
        self.producers.clear()
        self.replay_producers(self.log_start_offset)

    def truncate_fully_and_start_at(self, offset: int, now_ms: int) -> None:
        self._forget_what_is_synced()
        self.drop_segments(list(self.segments))
        self._remove_snapshots_above(-1)
        self.add_segment(Segment(self.files, self.dir, offset, now_ms))
        self.active.file  # noqa: B018  the empty file is there as soon as the segment is
        self.log_start_offset = self.log_end_offset = self.recovery_point = self.high_watermark = offset
        self.cleaned_to = -1
        self.leader_epochs.truncate_from_end(-1)
        self.producers.clear()
        self.aborted.clear()

    def _forget_what_is_synced(self) -> None:
        """Before a truncation: files go, and until the directory is synced a power cut may bring them back."""
        self.abandon_swap()
        self.truncations += 1
        self.snapshot_offset = -1
        self.place_is_synced = False

    def _remove_snapshots_above(self, offset: int) -> None:
        """Snapshots of producers who wrote what is gone: a later log of that length would be taken to begin there."""
        for name in self.files.listdir(self.dir):
            if name.endswith(".snapshot") and name[:20].isdigit() and int(name[:20]) > offset:
                self.files.remove(f"{self.dir}/{name}")

    def replay_producers(self, start: int) -> None:
        """Take the batches from an offset on into the producers' state and the aborted transactions."""
        for segment in self.segments[max(bisect_right(self._bases, start) - 1, 0) :]:
            self.replay_segment(segment, start)

    def replay_segment(self, segment: Segment, start: int) -> None:
        """Take a segment's batches from an offset on into the state, as appending them did. No file is written."""
        for header in segment.headers(segment.offset_index.position_of(max(start - segment.base_offset, 0))):
            if header.producer_id < 0 or header.last_offset < start:
                continue
            if header.is_control:
                raw = segment.file.pread(header.size, header.position)
                self._remember(raw, read_header(raw))
            else:
                self.producers.append(header)

    def drop_segments(self, doomed: Sequence[Segment]) -> None:
        """Forget segments. Their files are renamed at once and removed later, off the loop: see `take_dropped`."""
        for segment in doomed:
            self.segments.remove(segment)
            segment.rename(DELETED)
            if segment.base_offset > 0:
                self.files.remove(f"{self.dir}/{file_name(segment.base_offset, '.snapshot')}")
        self.dropped.extend(doomed)
        self._bases = [segment.base_offset for segment in self.segments]

    def take_dropped(self) -> list[Segment]:
        """The segments dropped since the last call: the caller removes their files, `file.delete.delay.ms` from now."""
        dropped, self.dropped = self.dropped, []
        return dropped

    # --- compaction

    def adopt_swap(self, kept: Collection[int]) -> None:
        """Step 4 of the pending swap: the cleaned segment is the log's, those that it stands for are dropped.

        Of the aborted transactions that end in it, those with a last offset in `kept` are still there.
        """
        swap, self.swap = self.swap, None
        assert swap is not None, "no swap is pending"
        start = self.segments.index(swap.old[0])
        end = start + len(swap.old)
        assert self.segments[start:end] == swap.old, (self.segments[start:end], swap.old)
        for segment in swap.old:
            segment.rename(DELETED)
            if segment.base_offset > swap.new.base_offset:
                self.files.remove(f"{self.dir}/{file_name(segment.base_offset, '.snapshot')}")
        self.dropped.extend(swap.old)
        self.aborted.retain(swap.new.base_offset, self._bases[end], kept)
        self.segments[start:end] = [swap.new]
        self._bases[start:end] = [swap.new.base_offset]

    def abandon_swap(self) -> None:
        """Drop a pending swap, if there is one: the log stays as it is."""
        swap, self.swap = self.swap, None
        if swap is not None:
            swap.undo()

    # --- disk

    def needs_flush(self, now_ms: int) -> bool:
        """Whether what was appended must be on the disk before it is acknowledged (`flush.messages`)."""
        return self.log_end_offset - self.recovery_point >= self.config.flush_messages

    def flush_job(self) -> FlushJob:
        return FlushJob(self)

    def flush(self) -> None:
        job = FlushJob(self)
        job.run()
        job.finish()

    def flushed(self, offset: int) -> None:
        self.recovery_point = max(self.recovery_point, offset)

    def close(self) -> None:
        """Write what a clean start needs, sync, and let the files go."""
        if self.failed is None:
            if self.recovery_point < self.log_end_offset or not self.place_is_synced:
                self.flush()
            if self.snapshot_offset != self.log_end_offset and self.active.is_made:
                self.active.write_indexes()
                # Synced, and its name too: the next start takes the log's end from it, and reads nothing.
                path = f"{self.dir}/{file_name(self.log_end_offset, '.snapshot')}"
                self.files.write(path, self.producers.encode())
                self.files.sync_dir(self.dir)
        for segment in (*self.segments, *self.dropped):
            segment.release()
