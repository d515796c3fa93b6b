"""One partition's log: append, read, look up, truncate, delete.

Invariants: log_start <= log_end, recovery_point <= log_end, high_watermark <= log_end, segments ascend and the last one
is active, and nothing is visible before it is written: `log_end_offset` moves behind a successful write only. A write
that fails is taken back (the file is cut to its old end), so that a later append never follows a torn batch.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from riverport.base.files import Files, FileSlice, StorageError
from riverport.kafka.log.access import AppendInfo, Isolation, Origin, ReadInfo
from riverport.kafka.log.config import LogConfig
from riverport.kafka.log.epochs import LeaderEpochs
from riverport.kafka.log.flush import FlushJob
from riverport.kafka.log.markers import check_batches, remember_batch
from riverport.kafka.log.producers import Producers, ProducerState
from riverport.kafka.log.reading import first_of_newest, first_since, read_segment
from riverport.kafka.log.rolling import must_roll
from riverport.kafka.log.segment import DELETED, Segment, file_name
from riverport.kafka.log.swap import Swap
from riverport.kafka.log.transactions import AbortedTransactions
from riverport.kafka.records.batch import BatchHeader, check_crc, iter_headers, patch, read_header
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.validation import ValidationPolicy, validate
from riverport.kafka.wire.errors import ApiError, ErrorCode

_CODECS = {"uncompressed": Codec.NONE, "gzip": Codec.GZIP, "snappy": Codec.SNAPPY, "lz4": Codec.LZ4, "zstd": Codec.ZSTD}


def _policy_of(config: LogConfig) -> ValidationPolicy:
    codec = None if config.compression_type == "producer" else _CODECS[config.compression_type]
    levels = {
        Codec.GZIP: config.compression_gzip_level,
        Codec.LZ4: config.compression_lz4_level,
        Codec.ZSTD: config.compression_zstd_level,
    }
    return ValidationPolicy(
        compacted=config.compact,
        codec=codec,
        level=levels.get(codec) if codec is not None else None,
        log_append_time=config.message_timestamp_type == "LogAppendTime",
        before_max_ms=config.message_timestamp_before_max_ms,
        after_max_ms=config.message_timestamp_after_max_ms,
        max_message_bytes=config.max_message_bytes,
    )


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
        self.max_segment_ms = config.max_segment_ms
        self._policy = _policy_of(config)

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
        header.base_offset, header.leader_epoch = offset, leader_epoch
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
            header.base_offset, header.leader_epoch = offset, leader_epoch
            offset = header.next_offset
        if self.leader_epochs.latest != leader_epoch:
            self.leader_epochs.assign(leader_epoch, first)
        check_batches(self.producers, buffer, headers, repr(self))
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

    def _remember_all(self, buffer: Any, headers: list[BatchHeader]) -> None:
        """Take batches that were written into the producers' state, and aborts into the index."""
        aborts = [remember_batch(self.producers, self.aborted, buffer, header) for header in headers]
        if True in aborts:
            self._write_aborted()

    def _write_aborted(self) -> None:
        """The active segment's `.txnindex`, as a whole."""
        content = self.aborted.encode(self.active.base_offset, 2**63 - 1)
        self.files.write(self.active.path_of(".txnindex"), content, sync=False)

    def _write(self, chunks: Sequence[Any], size: int, headers: Sequence[BatchHeader], now_ms: int) -> None:
        if self.failed is not None:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR)
        segment = self.segments[-1]
        if segment.size and must_roll(self, segment, size, headers, now_ms):
            self.roll(now_ms)
            segment = self.segments[-1]
        epochs = self.leader_epochs
        if epochs.written < epochs.changes:
            epochs.write(sync=False)
        segment.append(chunks, size, headers, self.config.index_interval_bytes)
        self.log_end_offset = headers[-1].next_offset

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
            data = read_segment(segment, position, end, offset, max_bytes, min_one, to_send)
            if data is not None:
                return data
            at += 1  # compaction may have taken the rest of this segment
        return b""

    # --- looking up

    def offset_for_timestamp(self, timestamp: int) -> tuple[int, int] | None:
        """(timestamp, offset) of the first record at or after a time, None where there is none."""
        return first_since(self.segments, timestamp, self.log_start_offset)

    def max_timestamp_offset(self) -> tuple[int, int] | None:
        """(timestamp, offset) of the first record that has the log's greatest timestamp."""
        return first_of_newest(self.segments, self.log_start_offset)

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
                remember_batch(self.producers, self.aborted, raw, read_header(raw))
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
