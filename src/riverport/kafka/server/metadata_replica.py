"""What every node has of the metadata log: the log, the newest checkpoint below it, the image of what is committed.

A node's image is the checkpoint and the log's records up to the high watermark, replayed in their order. Whoever waits
for something to become true in it asks `until`; whoever acts on changes subscribes.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from riverport.base.clock import Clock
from riverport.base.files import Files
from riverport.base.ids import METADATA_TOPIC_ID, ZERO_UUID, uuid_text
from riverport.base.logging import get_logger
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.replay import Replayer
from riverport.kafka.log import Log, LogConfig
from riverport.kafka.log.recovery import open_log
from riverport.kafka.raft.snapshots import SnapshotId, read_snapshot, snapshots_in
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.control import raft_control_message
from riverport.kafka.records.record import iter_records
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.metadata_records import decode_record

log = get_logger(__name__)

TOPIC = "__cluster_metadata"

Listener = Callable[[MetadataImage, MetadataDelta], None]


class MetadataReplica:
    """Base of the leader's shell and of an observer's. `image` holds what is committed."""

    def __init__(
        self, files: Files, clock: Clock, loop: asyncio.AbstractEventLoop, root: str, node_id: int, config: LogConfig
    ) -> None:
        self._files = files
        self._clock = clock
        self._loop = loop
        self._root = root
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
        self.snapshot: SnapshotId | None = None  # the newest checkpoint

    @property
    def voter_directory(self) -> bytes:
        """This node's directory id as the voters know it; the voters of a static quorum have none (KIP-853)."""
        voters = self.voters.voters if self.voters is not None else []
        return next((voter.voter_directory_id for voter in voters if voter.voter_id == self._node_id), ZERO_UUID)

    # --- the log

    def _open_log(self, *, clean: bool) -> None:
        """Raises StorageError. The image is at the checkpoint afterwards, the log not replayed yet."""
        if not self._files.exists(self._dir):
            self._files.mkdir(self._dir)
        if not self._files.exists(f"{self._dir}/partition.metadata"):
            text = f"version: 0\ntopic_id: {uuid_text(METADATA_TOPIC_ID)}"
            self._files.write(f"{self._dir}/partition.metadata", text.encode(), sync=False)
        now_ms = self._clock.wall_ms()
        self.log = open_log(self._files, self._dir, TOPIC, 0, METADATA_TOPIC_ID, self._config, now_ms, clean=clean)
        found = snapshots_in(self._files, self._dir)
        if not found:
            return
        self.snapshot = found[-1]
        self._load_snapshot(self.image)
        if self.log.log_end_offset < self.snapshot.end_offset:
            self.log.truncate_fully_and_start_at(self.snapshot.end_offset, now_ms)

    def _load_snapshot(self, image: MetadataImage) -> None:
        assert self.snapshot is not None
        content = read_snapshot(self._files, f"{self._dir}/{self.snapshot.file_name}")
        self.kraft_version, self.voters = content.kraft_version, content.voters
        delta = MetadataDelta(everything=True)
        for record in content.records:
            image.apply(record, delta)
        image.offset = self.snapshot.end_offset - 1
        image.epoch = self.snapshot.epoch

    def _records(self, start: int, end: int) -> Iterator[tuple[Any, int]]:
        """(record, offset) of the log from `start` up to `end`; control records are taken note of on the way."""
        for segment, header in self.log.headers(start):
            if header.base_offset >= end:
                return
            raw = segment.file.pread(header.size, header.position)
            first = next(iter_headers(raw))
            for record in iter_records(raw, first):
                if header.is_control:
                    self._note_control(raft_control_message(record))
                elif start <= record.offset < end:
                    yield decode_record(record.value or b"")[0], record.offset

    def _note_control(self, message: Any) -> None:
        match message:
            case m.KRaftVersionRecord():
                self.kraft_version = message.k_raft_version
            case m.VotersRecord():
                self.voters = message

    # --- the image

    def subscribe(self, listener: Listener) -> None:
        """`listener(image, delta)` is called on the loop after each commit."""
        self._listeners.append(listener)

    def _published(self, delta: MetadataDelta) -> None:
        for listener in self._listeners:
            listener(self.image, delta)
        for waiter in [waiter for waiter in self._waiters if waiter[0](self.image)]:
            self._waiters.remove(waiter)
            if not waiter[1].done():
                waiter[1].set_result(None)

    async def until(self, holds: Callable[[MetadataImage], bool]) -> None:
        """Returns once `holds(image)`."""
        if not holds(self.image):
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append((holds, future))
            await future

    async def reach(self, offset: int) -> None:
        """Returns once the image has the record at `offset`."""
        await self.until(lambda image: image.offset >= offset)

    def newest_snapshot(self) -> SnapshotId | None:
        return self.snapshot
