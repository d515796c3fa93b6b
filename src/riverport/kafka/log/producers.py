"""What a log remembers of its producers: sequences, epochs, open transactions (KIP-98, KIP-360, KIP-890).

Of each producer the last five batches are kept, so that any of five requests in flight may be sent again without being
written again. A producer that is not known may start with any sequence: its state may have expired.

Five requests are in flight to each broker. A client that hears of a partition's new leader sends it what is new, while
five requests to the leader before are unanswered; as those fail, it sends them again. By then they may be followed by
more than five, and Apache Kafka, which keeps no more, refuses them with OUT_OF_ORDER_SEQUENCE_NUMBER until the producer
gives up. So the last five of the leader epochs before are kept, too.
"""

import struct
from collections import deque
from dataclasses import dataclass, field
from itertools import chain

from riverport.base.checksum import crc32c
from riverport.base.files import Buffer
from riverport.kafka.records.batch import NO_LEADER_EPOCH, BatchHeader
from riverport.kafka.wire.errors import ApiError, ErrorCode

KEPT_BATCHES = 5
_SNAPSHOT_HEAD = struct.Struct(">hIi")
_SNAPSHOT_ENTRY = struct.Struct(">qhiqiqiq")
_SNAPSHOT_VERSION = 1
_MAX_SEQUENCE = 2**31 - 1


class CorruptSnapshot(Exception):
    """A `.snapshot` file that cannot be used; the state is built from the log instead."""


@dataclass(slots=True)
class BatchMetadata:
    first_sequence: int
    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp: int
    leader_epoch: int = NO_LEADER_EPOCH  # of a snapshot's batch it is not known

    @property
    def first_offset(self) -> int:
        return self.last_offset - self.offset_delta


@dataclass(slots=True)
class ProducerState:
    producer_id: int
    producer_epoch: int
    batches: deque[BatchMetadata] = field(default_factory=lambda: deque(maxlen=KEPT_BATCHES))
    earlier: deque[BatchMetadata] = field(default_factory=lambda: deque(maxlen=KEPT_BATCHES))  # of other leader epochs
    coordinator_epoch: int = -1
    last_timestamp: int = -1
    current_txn_first_offset: int = -1

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else -1

    def remember(self, batch: BatchMetadata) -> None:
        batches = self.batches
        if len(batches) == KEPT_BATCHES and batches[0].leader_epoch != batch.leader_epoch:
            self.earlier.append(batches[0])
        batches.append(batch)

    def forget_batches(self) -> None:
        self.batches.clear()
        self.earlier.clear()


@dataclass(slots=True)
class CompletedTransaction:
    producer_id: int
    first_offset: int
    last_offset: int  # the marker's
    is_aborted: bool


class Producers:
    """All producers of one log."""

    def __init__(self) -> None:
        self.states: dict[int, ProducerState] = {}
        self.ongoing: dict[int, int] = {}  # first offset of an open transaction -> producer id

    @property
    def first_unstable_offset(self) -> int | None:
        """Where the earliest open transaction begins."""
        return min(self.ongoing) if self.ongoing else None

    def duplicate_of(self, header: BatchHeader) -> BatchMetadata | None:
        """The batch that this one repeats, if it is among those that are kept of its producer."""
        state = self.states.get(header.producer_id)
        if state is None or state.producer_epoch != header.producer_epoch:
            return None
        if header.base_sequence == (state.last_sequence + 1) & _MAX_SEQUENCE:
            return None  # it follows, as a rule; also where numbers begin anew that an earlier batch has had
        for known in chain(state.batches, state.earlier):
            if known.first_sequence == header.base_sequence and known.last_sequence == header.last_sequence:
                return known
        return None

    def check(self, header: BatchHeader, topic_partition: str, *, sequences: bool = True) -> None:
        """Whether a data batch may follow; coordinators number theirs not, so `sequences` is False for them.

        Raises ApiError INVALID_PRODUCER_EPOCH, OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_TXN_STATE.
        """
        state = self.states.get(header.producer_id)
        if state is None:
            return
        self._check_epoch(state, header, topic_partition)
        if sequences:
            self._check_sequence(state, header, topic_partition)
        if state.current_txn_first_offset >= 0 and not header.is_transactional:
            raise ApiError(
                ErrorCode.INVALID_TXN_STATE,
                f"Expected transactional write from producer {header.producer_id} in {topic_partition}",
            )

    def _check_epoch(self, state: ProducerState, header: BatchHeader, topic_partition: str) -> None:
        if header.producer_epoch < state.producer_epoch:
            raise ApiError(
                ErrorCode.INVALID_PRODUCER_EPOCH,
                f"Epoch of producer {header.producer_id} at offset {header.base_offset} in {topic_partition} is "
                f"{header.producer_epoch}, which is smaller than the last seen epoch {state.producer_epoch}",
            )

    def _check_sequence(self, state: ProducerState, header: BatchHeader, topic_partition: str) -> None:
        if header.producer_epoch > state.producer_epoch:
            if header.base_sequence != 0 and state.producer_epoch != -1:
                raise ApiError(
                    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"Invalid sequence number for new epoch of producer {header.producer_id} in {topic_partition}: "
                    f"{header.producer_epoch} (request epoch), {header.base_sequence} (seq. number)",
                )
            return
        # Of an epoch that only a marker has begun the last sequence is -1: it starts with 0, too.
        last = state.last_sequence
        if header.base_sequence != last + 1 and not (header.base_sequence == 0 and last == _MAX_SEQUENCE):
            raise ApiError(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"Out of order sequence number for producer {header.producer_id} in {topic_partition}: "
                f"{header.base_sequence} (incoming seq. number), {last} (current end sequence number)",
            )

    def check_marker(self, header: BatchHeader, coordinator_epoch: int, topic_partition: str) -> None:
        """Whether a transaction's end may be written.

        Raises ApiError INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED.
        """
        state = self.states.get(header.producer_id)
        if state is None:
            return
        self._check_epoch(state, header, topic_partition)
        if coordinator_epoch < state.coordinator_epoch:
            raise ApiError(
                ErrorCode.TRANSACTION_COORDINATOR_FENCED,
                f"Invalid coordinator epoch for producer {header.producer_id} in {topic_partition}: "
                f"{coordinator_epoch} (zombie), {state.coordinator_epoch} (current)",
            )

    def append(self, header: BatchHeader) -> None:
        """Take a data batch that was written into the state."""
        state = self.states.get(header.producer_id)
        if state is None or state.producer_epoch != header.producer_epoch:
            first = -1 if state is None else state.current_txn_first_offset
            epoch = -1 if state is None else state.coordinator_epoch
            state = ProducerState(header.producer_id, header.producer_epoch, coordinator_epoch=epoch)
            state.current_txn_first_offset = first
            self.states[header.producer_id] = state
        state.last_timestamp = header.max_timestamp
        state.remember(
            BatchMetadata(
                header.base_sequence,
                header.last_sequence,
                header.last_offset,
                header.last_offset_delta,
                header.max_timestamp,
                header.leader_epoch,
            )
        )
        if header.is_transactional and state.current_txn_first_offset < 0:
            state.current_txn_first_offset = header.base_offset
            self.ongoing[header.base_offset] = header.producer_id

    def append_marker(self, header: BatchHeader, is_abort: bool, coordinator_epoch: int) -> CompletedTransaction | None:
        """Take a transaction's end that was written into the state; None where the transaction had no records here."""
        state = self.states.setdefault(header.producer_id, ProducerState(header.producer_id, header.producer_epoch))
        first = state.current_txn_first_offset
        if header.producer_epoch != state.producer_epoch:
            state.producer_epoch = header.producer_epoch
            state.forget_batches()
        state.coordinator_epoch = coordinator_epoch
        state.last_timestamp = header.max_timestamp
        state.current_txn_first_offset = -1
        if first < 0:
            return None
        self.ongoing.pop(first, None)
        return CompletedTransaction(header.producer_id, first, header.base_offset, is_abort)

    def expire(self, older_than: int) -> None:
        for producer_id in [
            state.producer_id
            for state in self.states.values()
            if state.last_timestamp < older_than and state.current_txn_first_offset < 0
        ]:
            del self.states[producer_id]

    def clear(self) -> None:
        self.states.clear()
        self.ongoing.clear()

    def encode(self) -> bytes:
        """A `.snapshot` file: only the last batch of each producer."""
        entries = []
        for state in self.states.values():
            last = state.batches[-1] if state.batches else BatchMetadata(-1, -1, -1, 0, state.last_timestamp)
            entries.append(
                _SNAPSHOT_ENTRY.pack(
                    state.producer_id,
                    state.producer_epoch,
                    last.last_sequence,
                    last.last_offset,
                    last.offset_delta,
                    state.last_timestamp,
                    state.coordinator_epoch,
                    state.current_txn_first_offset,
                )
            )
        body = len(entries).to_bytes(4, "big") + b"".join(entries)
        return _SNAPSHOT_VERSION.to_bytes(2, "big") + crc32c(body).to_bytes(4, "big") + body

    def load(self, raw: Buffer) -> None:
        """Take a `.snapshot` file's state. Raises CorruptSnapshot."""
        if len(raw) < _SNAPSHOT_HEAD.size:
            raise CorruptSnapshot("shorter than its head")
        version, crc, count = _SNAPSHOT_HEAD.unpack_from(raw)
        if version != _SNAPSHOT_VERSION:
            raise CorruptSnapshot(f"version {version}")
        if crc != crc32c(bytes(raw[6:])) or len(raw) != _SNAPSHOT_HEAD.size + count * _SNAPSHOT_ENTRY.size:
            raise CorruptSnapshot("wrong checksum or size")
        self.clear()
        for entry in _SNAPSHOT_ENTRY.iter_unpack(raw[_SNAPSHOT_HEAD.size :]):
            producer_id, epoch, last_sequence, last_offset, delta, timestamp, coordinator_epoch, txn_first = entry
            state = ProducerState(producer_id, epoch, coordinator_epoch=coordinator_epoch, last_timestamp=timestamp)
            if last_offset >= 0:
                first_sequence = (last_sequence - delta) & _MAX_SEQUENCE
                state.batches.append(BatchMetadata(first_sequence, last_sequence, last_offset, delta, timestamp))
            state.current_txn_first_offset = txn_first
            self.states[producer_id] = state
            if txn_first >= 0:
                self.ongoing[txn_first] = producer_id
