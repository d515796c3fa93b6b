"""The metadata log of a node that is its own quorum: opens it, leads it, writes what the controller decides.

    submit(decide) -> future      decide() looks at the controller's image and returns an Outcome;
                                  its records are appended and replayed at once, so the next decision sees them;
                                  when they are on the disk the brokers' image follows and the future gets the answer

Two images, because a broker must not act on what could still be lost: `pending` is the controller's, `image` is what is
committed. Many submissions share one sync.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from riverport.base.clock import Clock
from riverport.base.files import Files, StorageError
from riverport.base.logging import get_logger
from riverport.kafka.controller import features
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.controller.replay import Replayer
from riverport.kafka.log import LogConfig, Origin
from riverport.kafka.raft.observer import Address
from riverport.kafka.raft.quorum import AppendLeaderChange, Committed, Flushed, Persist, Quorum, Started
from riverport.kafka.raft.state import read_state, write_state
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.control import raft_control_batch
from riverport.kafka.records.record import iter_records
from riverport.kafka.server.flusher import Flusher
from riverport.kafka.server.metadata_replica import MetadataReplica
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.metadata_records import decode_record, encode_record

log = get_logger(__name__)

MAX_BATCH_RECORDS = 10_000


class MetadataEncodeError(Exception):
    """A decision of the controller that its own records cannot express: a defect, and never the client's."""


@dataclass(slots=True)
class _Uncommitted:
    """Records that are appended and not yet on the disk, and who waits for them."""

    end_offset: int
    records: list[tuple[Any, int]]  # (record, its offset)
    answer: "asyncio.Future[Any] | None"
    response: Any
    size: int  # bytes in the log
    timestamp: int


class MetadataShell(MetadataReplica):
    """The only voter: owns `__cluster_metadata-0`, leads it from its start on, and has both images."""

    def __init__(
        self,
        files: Files,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        flusher: Flusher,
        root: str,
        node_id: int,
        config: LogConfig,
        min_insync: int = 1,
    ) -> None:
        """`min_insync` is the min.insync.replicas of a new cluster."""
        super().__init__(files, clock, loop, root, node_id, config)
        self._flusher = flusher
        self._min_insync = min_insync
        self._uncommitted: deque[_Uncommitted] = deque()
        self._flushing = False
        self.pending = MetadataImage()
        self.quorum: Quorum

    @property
    def leader_id(self) -> int:
        return self.quorum.leader_id

    @property
    def epoch(self) -> int:
        return self.quorum.epoch

    @property
    def is_active(self) -> bool:
        """Whether this node leads, and everything of earlier epochs is committed and in both images."""
        return True

    def on_active(self, callback: Callable[[int], None]) -> None:
        """`callback(epoch)` whenever this node becomes active; at once where it is."""
        callback(self.quorum.epoch)

    def on_resigned(self, callback: Callable[[], None]) -> None:
        """`callback()` whenever this node is not active any more, which a quorum of one never is."""

    def controller_address(self) -> Address | None:
        """The controller is in this process."""
        return None

    # --- start

    def open(self, *, clean: bool) -> None:
        """Recover the log, replay it into both images, and begin a new epoch as its leader."""
        now_ms = self.clock.wall_ms()
        self._open_log(clean=clean)
        pending = Replayer(self.pending)
        if self.snapshots:
            self._load_snapshot(self.pending)
        delta = MetadataDelta(everything=True)
        for record, offset in self._records(self.image.offset + 1, self.log.log_end_offset):
            pending.apply(record, delta, offset)
            self.replayer.apply(record, delta, offset)
        self.pending.offset = self.image.offset = self.log.log_end_offset - 1
        self._lead(now_ms)
        if pending.transaction_offset >= 0:
            # Its controller died in the middle: what it had begun never happened.
            self._append([m.AbortTransactionRecord("the controller has changed")])
        if features.METADATA_VERSION not in self.pending.features:
            self._append(self._bootstrap_records())
        self._check_features()
        self._commit_now()

    def _check_features(self) -> None:
        """Raises StorageError for a cluster that newer brokers have written for: its records may say what we miss."""
        for name, level in self.pending.features.items():
            low, high = features.SUPPORTED.get(name, (0, 0))
            if level and not low <= level <= high:
                has = f"levels {low} to {high}" if high else "no such feature"
                reason = f"{name} is at level {level}, this release has {has}: a newer one has used the directory"
                raise StorageError("read", self._dir, 0, reason)

    def _lead(self, now_ms: int) -> None:
        state = read_state(self._files, self._dir)
        self.quorum = Quorum(self._node_id, (self._node_id,), state, data_version=min(self.kraft_version, 1))
        for effect in self.quorum.step(Started(self.log.log_end_offset)):
            match effect:
                case Persist(new_state):
                    write_state(self._files, self._dir, new_state)
                case AppendLeaderChange(epoch, voters):
                    self._append_leader_change(epoch, voters, now_ms)
                case Committed():
                    pass

    def _append_leader_change(self, epoch: int, voters: tuple[int, ...], now_ms: int) -> None:
        named = [m.LeaderChangeMessage.Voter(id_) for id_ in voters]
        messages: list[Any] = [m.LeaderChangeMessage(0, self._node_id, named, list(named))]
        if self.kraft_version > 0 and self.log.log_end_offset == 0:
            # The log of a dynamic quorum begins with what its directory was formatted with (KIP-853).
            messages += [m.KRaftVersionRecord(0, self.kraft_version), self.voters]
        batch = raft_control_batch(messages, timestamp=now_ms)
        self.log.append_as_leader(batch, epoch, now_ms, origin=Origin.RAFT_LEADER)

    def _bootstrap_records(self) -> list[Any]:
        """The first data batch of a cluster: the features and users that its directory was formatted with."""
        formatted = self._formatted_records()
        if not formatted:
            defaults = features.default_levels(features.DEFAULT_RELEASE)
            formatted = [m.FeatureLevelRecord(name, level) for name, level in defaults.items()]
        records: list[Any] = [m.BeginTransactionRecord("Bootstrap records"), *formatted]
        levels = {found.name: found.feature_level for found in formatted if isinstance(found, m.FeatureLevelRecord)}
        if levels.get(features.ELR_VERSION):
            records.append(m.ConfigRecord(4, "", "min.insync.replicas", str(self._min_insync)))
        records.append(m.EndTransactionRecord())
        return records

    def _formatted_records(self) -> list[Any]:
        path = f"{self._root}/bootstrap.checkpoint"
        if not self._files.exists(path):
            return []
        raw = self._files.read(path)
        return [
            decode_record(record.value or b"")[0]
            for header in iter_headers(raw)
            if not header.is_control
            for record in iter_records(raw, header)
        ]

    def _commit_now(self) -> None:
        """At the start, before anybody is served: sync on the spot."""
        self.log.flush()
        self._committed()

    # --- running

    @property
    def next_offset(self) -> int:
        return self.log.log_end_offset

    def submit(self, decide: Callable[[], Outcome]) -> "asyncio.Future[Any]":
        """The answer, once what it promises is committed. What `decide` raises becomes the future's exception."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        try:
            outcome = decide()
        except Exception as error:
            answer.set_exception(error)
            return answer
        if not outcome.records and not outcome.control and not self._uncommitted:
            answer.set_result(outcome.response)
            return answer
        try:
            encoded = self._encoded(outcome.records)
        except Exception as error:
            # The records are ours: that they cannot be written is no fault of who asked, whatever it looks like.
            answer.set_exception(MetadataEncodeError(f"a metadata record cannot be encoded: {error}"))
            return answer
        self._append_control(outcome.control)
        self._append(outcome.records, encoded, answer, outcome.response)
        self._flush_soon()
        return answer

    def write_noop(self) -> None:
        """`metadata.max.idle.interval.ms`: an idle log moves on, so that lag can be told from silence."""
        if not self._uncommitted:
            self._append([m.NoOpRecord()])
            self._flush_soon()

    def _encoded(self, records: list[Any]) -> list[bytes]:
        """The records as the present level writes them; those that it has no room for are made to fit, in place."""
        level = self._level_for(records)
        fitted = (features.fit_to_level(record, level) for record in records)
        return [encode_record(record, features.record_version(type(record).__name__, level)) for record in fitted]

    def _append(
        self,
        records: list[Any],
        encoded: list[bytes] | None = None,
        answer: "asyncio.Future[Any] | None" = None,
        response: Any = None,
    ) -> None:
        """Append and replay; `encoded` are the same records, where they are encoded already."""
        now_ms = self.clock.wall_ms()
        delta = MetadataDelta()
        kept: list[tuple[Any, int]] = []
        size = 0
        values = self._encoded(records) if encoded is None else encoded
        for start in range(0, len(records), MAX_BATCH_RECORDS):
            offset = self.log.log_end_offset
            batch = build_batch(
                [NewRecord(None, v, timestamp=now_ms) for v in values[start : start + MAX_BATCH_RECORDS]]
            )
            self.log.append_as_leader(batch, self.quorum.epoch, now_ms, origin=Origin.RAFT_LEADER)
            size += len(batch)
            for at, record in enumerate(records[start : start + MAX_BATCH_RECORDS]):
                self.pending.apply(record, delta, offset + at)
                kept.append((record, offset + at))
        self.pending.offset = self.log.log_end_offset - 1
        self._uncommitted.append(_Uncommitted(self.log.log_end_offset, kept, answer, response, size, now_ms))

    def _append_control(self, messages: list[Any]) -> None:
        """Records of the quorum's own; they are no part of the image."""
        if not messages:
            return
        now_ms = self.clock.wall_ms()
        batch = raft_control_batch(messages, timestamp=now_ms)
        self.log.append_as_leader(batch, self.quorum.epoch, now_ms, origin=Origin.RAFT_LEADER)
        for message in messages:
            self._note_control(message)

    def _level_for(self, records: list[Any]) -> int:
        """The metadata.version that decides record versions: of the batch itself where it sets it first."""
        level = self.pending.features.get(features.METADATA_VERSION)
        if level is None:
            for record in records:
                if isinstance(record, m.FeatureLevelRecord) and record.name == features.METADATA_VERSION:
                    return record.feature_level
        return level or features.DEFAULT_RELEASE

    def _flush_soon(self) -> None:
        if self._flushing:
            return
        self._flushing = True
        self._flusher.flush(self.log).add_done_callback(self._flushed)

    def _flushed(self, done: "asyncio.Future[None]") -> None:
        self._flushing = False
        error = done.exception()
        if error is not None:
            while self._uncommitted:
                entry = self._uncommitted.popleft()
                if entry.answer is not None and not entry.answer.done():
                    entry.answer.set_exception(error)
            return
        self._committed()
        if self._uncommitted:
            self._flush_soon()

    def _committed(self) -> None:
        """Everything that is on the disk becomes true for the brokers, in order, and is answered."""
        for effect in self.quorum.step(Flushed(self.log.recovery_point)):
            if isinstance(effect, Committed):
                self.log.update_high_watermark(effect.offset)
        delta = MetadataDelta()
        done: list[_Uncommitted] = []
        while self._uncommitted and self._uncommitted[0].end_offset <= self.quorum.high_watermark:
            entry = self._uncommitted.popleft()
            for record, offset in entry.records:
                self.replayer.apply(record, delta, offset)
            self._count(entry.size, entry.timestamp)
            self.image.offset = entry.end_offset - 1
            self.image.epoch = self.quorum.epoch
            done.append(entry)
        self._published(delta)
        for entry in done:
            if entry.answer is not None and not entry.answer.done():
                entry.answer.set_result(entry.response)

    async def close(self) -> None:
        self._close_log()
