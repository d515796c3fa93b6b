"""What every node has of the metadata log: the log, the newest checkpoint below it, the image of what is committed.

A node's image is the checkpoint and the log's records up to the high watermark, replayed in their order. Whoever waits
for something to become true in it asks `until`; whoever acts on changes subscribes.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from riverport.base.clock import Clock
from riverport.base.files import Files, StorageError
from riverport.base.ids import METADATA_TOPIC_ID, ZERO_UUID
from riverport.base.logging import get_logger
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.replay import Replayer
from riverport.kafka.log import Log, LogConfig
from riverport.kafka.log.partition_directory import PARTITION_METADATA, write_topic_id
from riverport.kafka.log.recovery import open_log
from riverport.kafka.raft.snapshots import Snapshot, SnapshotId, read_snapshot, remove_leftovers, snapshots_in
from riverport.kafka.records.batch import BatchHeader, check_crc, iter_headers, read_header
from riverport.kafka.records.control import raft_control_message
from riverport.kafka.records.errors import corrupt
from riverport.kafka.records.record import Record, iter_records
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, WireError
from riverport.kafka.wire.metadata_records import decode_record

log = get_logger(__name__)

TOPIC = "__cluster_metadata"
SLICE_RECORDS = 2_000
"""Taken into the image at a stretch: about 50 ms."""

Listener = Callable[[MetadataImage, MetadataDelta], None]


class MetadataReplica:
    """Base of the quorum's shell. `image` holds what is committed."""

    def __init__(
        self, files: Files, clock: Clock, loop: asyncio.AbstractEventLoop, root: str, node_id: int, config: LogConfig
    ) -> None:
        self.files = files
        self.clock = clock
        self.loop = loop
        self.root = root
        self._dir = f"{root}/{TOPIC}-0"
        self._node_id = node_id
        self._config = config
        self._listeners: list[Listener] = []
        self._waiters: list[tuple[Callable[[MetadataImage], bool], asyncio.Future[None]]] = []
        self.log: Log
        self.image = MetadataImage()
        self.replayer = Replayer(self.image)
        self.kraft_version = 0
        self.voters: m.VotersRecord | None = None  # of a dynamic quorum (kraft.version 1)
        self.snapshots: list[SnapshotId] = []  # the checkpoints in the directory, oldest first
        self.committed_bytes = 0  # of the batches that are in the image, counted from the start of this process
        self.last_timestamp = 0  # of the newest of them

    @property
    def voter_directory(self) -> bytes:
        """This node's directory id as the voters know it; the voters of a static quorum have none (KIP-853)."""
        voters = self.voters.voters if self.voters is not None else []
        return next((voter.voter_directory_id for voter in voters if voter.voter_id == self._node_id), ZERO_UUID)

    # --- the log

    def _open_log(self, *, clean: bool) -> None:
        """Raises StorageError. The image is at the checkpoint afterwards, the log not replayed yet."""
        if not self.files.exists(self._dir):
            self.files.mkdir(self._dir)
        if not self.files.exists(f"{self._dir}/{PARTITION_METADATA}"):
            write_topic_id(self.files, self._dir, METADATA_TOPIC_ID)
        remove_leftovers(self.files, self._dir)
        now_ms = self.clock.wall_ms()
        self.log = open_log(self.files, self._dir, TOPIC, 0, METADATA_TOPIC_ID, self._config, now_ms, clean=clean)
        self.snapshots = snapshots_in(self.files, self._dir)
        end_offset = 0
        if self.snapshots:
            self.take_snapshot(self.snapshots[-1], self.read_snapshot(self.snapshots[-1]))
            end_offset = self.snapshots[-1].end_offset
            if self.log.log_end_offset < end_offset:
                self.log.truncate_fully_and_start_at(end_offset, now_ms)
        if self.log.log_start_offset > end_offset:
            reason = f"the metadata log begins at {self.log.log_start_offset}, its newest snapshot ends at {end_offset}"
            raise StorageError("open", self._dir, 0, reason)

    def snapshot_path(self, id_: SnapshotId) -> str:
        return f"{self._dir}/{id_.file_name}"

    def read_snapshot(self, id_: SnapshotId) -> Snapshot:
        """Raises StorageError for one that is damaged."""
        return read_snapshot(self.files, self.snapshot_path(id_))

    def take_snapshot(self, id_: SnapshotId, content: Snapshot) -> None:
        """A checkpoint becomes the image, which is empty."""
        self.kraft_version, self.voters = content.kraft_version, content.voters
        delta = MetadataDelta(everything=True)
        for record in content.records:
            self.image.apply(record, delta)
        self.image.offset = id_.end_offset - 1
        self.image.epoch = id_.epoch
        self.last_timestamp = content.last_contained_timestamp

    def slice_end(self, end: int) -> int:
        """How far towards `end` the image may go at a stretch: whole batches, one at least."""
        if end - self.image.offset > SLICE_RECORDS:
            for _, header in self.log.headers(self.image.offset + 1):
                if header.next_offset - self.image.offset > SLICE_RECORDS:
                    return min(header.next_offset, end)
        return end

    def replay(self, end: int, delta: MetadataDelta) -> None:
        """Take what the log has below `end` and the image has not; that it is there now is for the caller to say."""
        for record, offset in self._records(self.image.offset + 1, end):
            self.replayer.apply(record, delta, offset)

    def _records(self, start: int, end: int) -> Iterator[tuple[Any, int]]:
        """(record, offset) of the log from `start` up to `end`; control records are taken note of on the way."""
        for segment, header in self.log.headers(start):
            if header.base_offset >= end:
                return
            found = self._opened(segment.path_of(".log"), header, segment.file.pread(header.size, header.position))
            self._count(header.size, header.max_timestamp)
            for message, offset in found:
                if header.is_control:
                    self._note_control(message)
                elif start <= offset < end:
                    yield message, offset

    def _opened(self, path: str, header: BatchHeader, raw: bytes) -> list[tuple[Any, int]]:
        """(message, offset) of each record of a batch. Raises StorageError for one that is damaged."""
        try:
            first = read_header(raw)
            if not check_crc(raw, first):
                raise StorageError("parse", path, 0, f"the batch at {header.position} is damaged")
            return [(_message_in(record, header.is_control), record.offset) for record in iter_records(raw, first)]
        except (ApiError, WireError) as error:
            reason = f"the batch at {header.position} cannot be read: {error}"
            raise StorageError("parse", path, 0, reason) from error

    def control_records(self, raw: Any) -> Iterator[tuple[int, Any]]:
        """(offset, message) of the quorum's own records in whole batches. Raises RecordError for damaged ones."""
        for header in iter_headers(raw):
            if header.is_control:
                if not check_crc(raw, header):
                    raise corrupt(f"a control batch of the quorum is damaged at offset {header.base_offset}")
                for record in iter_records(raw, header):
                    yield record.offset, raft_control_message(record)

    def control_in_log(self, start: int) -> Iterator[tuple[int, Any]]:
        """As `control_records`, of all that the log holds from an offset on."""
        for segment, header in self.log.headers(max(start, self.log.log_start_offset)):
            if header.is_control:
                raw = segment.file.pread(header.size, header.position)
                for message, offset in self._opened(segment.path_of(".log"), header, raw):
                    yield offset, message

    def _count(self, size: int, timestamp: int) -> None:
        """A batch is in the image from now on."""
        self.committed_bytes += size
        self.last_timestamp = max(self.last_timestamp, timestamp)

    def _note_control(self, message: Any) -> None:
        match message:
            case m.KRaftVersionRecord():
                self.kraft_version = message.k_raft_version
            case m.VotersRecord():
                self.voters = message

    def remove_dropped(self) -> None:
        """Remove the files of segments that a truncation has dropped: nobody reads them."""
        for segment in self.log.take_dropped():
            segment.remove_files()
            segment.release()

    # --- the image

    def subscribe(self, listener: Listener) -> None:
        """`listener(image, delta)` is called on the loop after each commit."""
        self._listeners.append(listener)

    def _published(self, delta: MetadataDelta) -> None:
        for listener in self._listeners:
            self.tell(listener, self.image, delta)
        for waiter in [waiter for waiter in self._waiters if waiter[0](self.image)]:
            self._waiters.remove(waiter)
            if not waiter[1].done():
                waiter[1].set_result(None)

    def tell(self, listener: Callable[..., None], *what: Any) -> None:
        """What goes wrong with a listener is its own: the log and the other listeners go on."""
        try:
            listener(*what)
        except Exception as error:
            text = "who follows the metadata failed"
            self.loop.call_exception_handler({"message": text, "exception": error})

    async def until(self, holds: Callable[[MetadataImage], bool]) -> None:
        """Returns once `holds(image)`."""
        if not holds(self.image):
            future: asyncio.Future[None] = self.loop.create_future()
            self._waiters.append((holds, future))
            await future

    async def reach(self, offset: int) -> None:
        """Returns once the image has the record at `offset`."""
        await self.until(lambda image: image.offset >= offset)

    def newest_snapshot(self) -> SnapshotId | None:
        return self.snapshots[-1] if self.snapshots else None

    def _close_log(self) -> None:
        """A start that failed early has none."""
        if hasattr(self, "log"):
            self.log.close()


def _message_in(record: Record, is_control: bool) -> Any:
    return raft_control_message(record) if is_control else decode_record(record.value or b"")[0]
