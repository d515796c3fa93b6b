"""The metadata log of a node without a vote: copied from the active controller, replayed as far as it is committed."""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import ClientError
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.log import LogConfig
from riverport.kafka.raft.observer import (
    FETCH_MAX_WAIT_MS,
    Address,
    Append,
    Committed,
    Effect,
    FetchSnapshot,
    Observer,
    Truncate,
    Wait,
)
from riverport.kafka.raft.state import QuorumState, read_state, write_state
from riverport.kafka.server.metadata_replica import MetadataReplica
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)


class MetadataObserver(MetadataReplica):
    """Runs one `Observer` on one connection."""

    def __init__(self, broker: "Broker", config: LogConfig) -> None:
        super().__init__(
            broker.files, broker.clock, broker.loop, broker.config.metadata_log_dir, broker.node_id, config
        )
        self._broker = broker
        voters = broker.config.voters.values()
        servers = tuple(Address(a.host, a.port) for a in (voters or broker.config.bootstrap_servers))
        self._observer = Observer(
            broker.node_id,
            broker.directory_id(broker.config.metadata_log_dir),
            broker.cluster_id,
            servers,
            max_bytes=broker.config["controller.quorum.fetch.max.bytes"],
            retry_backoff_ms=broker.config["controller.quorum.retry.backoff.ms"],
        )
        self._timeout_ms: int = broker.config["controller.quorum.request.timeout.ms"] + FETCH_MAX_WAIT_MS
        self._connection: tuple[Address, Connection] | None = None
        self._task: asyncio.Task[None] | None = None
        self._told = ""  # the last reason for not reaching the quorum, so that it is logged once

    @property
    def pending(self) -> MetadataImage:
        """Nothing is decided here: what is committed is all there is."""
        return self.image

    @property
    def leader_id(self) -> int:
        return self._observer.leader_id

    @property
    def epoch(self) -> int:
        return self._observer.epoch

    @property
    def is_active(self) -> bool:
        return False

    def controller_address(self) -> Address | None:
        return self._observer.leader

    def submit(self, decide: "Callable[[], Outcome]") -> "asyncio.Future[Any]":
        """Only the active controller writes."""
        raise ApiError(ErrorCode.NOT_CONTROLLER, "This is not the correct controller for this cluster.")

    def open(self, *, clean: bool) -> None:
        """Recover the local copy. What of it is committed is for the leader to say."""
        self._open_log(clean=clean)
        state = read_state(self._files, self._dir)
        if state is not None:
            self._observer.epoch = state.leader_epoch

    def start(self) -> None:
        self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            await self._connection[1].close()
        self._close_log()

    async def _run(self) -> None:
        while True:
            try:
                for effect in await self._ask():
                    await self._perform(effect)
            except (WireError, ApiError, OSError) as error:
                log.error("the metadata log could not be followed", error=error)
                await asyncio.sleep(1)

    async def _ask(self) -> list[Effect]:
        observer, end = self._observer, self.log.log_end_offset
        epoch_before = observer.epoch
        request = observer.request(end, max(self.log.leader_epochs.latest, 0))
        try:
            connection = await self._connected(observer.target)
            response = await connection.request(request, timeout_ms=self._timeout_ms)
        except ClientError as error:
            return observer.failed(str(error))
        effects = observer.answered(response, end)
        if observer.epoch != epoch_before:
            write_state(self._files, self._dir, QuorumState(observer.leader_id, observer.epoch, data_version=0))
        return effects

    async def _connected(self, address: Address) -> Connection:
        if self._connection is not None and (self._connection[0] != address or self._connection[1].closed):
            await self._connection[1].close()
            self._connection = None
        if self._connection is None:
            opened = await Connection.open(address.host, address.port, client_id=f"observer-{self._node_id}")
            self._connection = (address, opened)
        return self._connection[1]

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case Append(records):
                self.log.append_as_follower(records, self.clock.wall_ms())
            case Committed(offset):
                self._commit(min(offset, self.log.log_end_offset))
                self._told = ""
            case Truncate(epoch, offset):
                self._truncate(epoch, offset)
            case FetchSnapshot(end_offset, epoch):
                await self._fetch_snapshot(end_offset, epoch)
            case Wait(ms, reason):
                if reason and reason != self._told:
                    self._told = reason
                    log.warning("the metadata quorum cannot be reached yet", reason=reason)
                await asyncio.sleep(ms / 1000)

    def _commit(self, offset: int) -> None:
        start = self.image.offset + 1
        if offset <= start - 1:
            return
        self.log.update_high_watermark(offset)
        delta = MetadataDelta()
        for record, at in self._records(start, offset):
            self.replayer.apply(record, delta, at)
        self.image.offset, self.image.epoch = offset - 1, self._observer.epoch
        self._published(delta)

    def _truncate(self, epoch: int, offset: int) -> None:
        """To where both logs agree: the leader's end of the epoch, or ours where that is shorter."""
        _, own_end = self.log.offset_for_leader_epoch(epoch)
        target = min(offset, own_end) if own_end >= 0 else offset
        log.warning("the metadata log diverged from the leader's and is truncated", offset=target, epoch=epoch)
        self.log.truncate_to(max(target, self.log.log_start_offset))

    async def _fetch_snapshot(self, end_offset: int, epoch: int) -> None:
        """Copy a checkpoint in slices, load it, and go on behind it. What was here before is older."""
        request_of = m.FetchSnapshotRequest
        content = bytearray()
        connection = await self._connected(self._observer.target)
        while True:
            partition = request_of.PartitionSnapshot(
                0,
                self._observer.epoch,
                request_of.SnapshotId(end_offset, epoch),
                len(content),
            )
            request = request_of(
                self._broker.cluster_id,
                self._node_id,
                topics=[request_of.TopicSnapshot("__cluster_metadata", [partition])],
            )
            try:
                response = await connection.request(request, timeout_ms=self._timeout_ms)
            except ClientError as error:
                for effect in self._observer.failed(str(error)):
                    await self._perform(effect)
                return
            answer = response.topics[0].partitions[0] if response.topics and response.topics[0].partitions else None
            if response.error_code or answer is None or answer.error_code:
                for effect in self._observer.failed("the leader did not give its checkpoint"):
                    await self._perform(effect)
                return
            content += answer.unaligned_records
            if len(content) >= answer.size:
                break
        self._install_snapshot(end_offset, epoch, bytes(content))

    def _install_snapshot(self, end_offset: int, epoch: int, content: bytes) -> None:
        from riverport.kafka.raft.snapshots import READ_ONLY, SnapshotId

        id_ = SnapshotId(end_offset, epoch)
        self._files.replace(self.snapshot_path(id_), content, mode=READ_ONLY)
        self.snapshots.append(id_)
        self.image.clear()
        self._load_snapshot(self.image)
        self.log.truncate_fully_and_start_at(end_offset, self.clock.wall_ms())
        self.log.start_leader_epoch(epoch)
        self._published(MetadataDelta(everything=True))
