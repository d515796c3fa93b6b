"""What must hold at every moment of a simulation, looked at after each event of a node.

    Committed     one log's committed batches, as whoever had them first: nobody has others, no later leader misses any
    Watch         all checks of one cluster; raises Violation

What is compared is what nodes act by (their images, logs and high watermarks), not what they say of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from riverport.base.files import StorageError
from riverport.kafka.log import Isolation, Log
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.broker import Broker
from riverport.kafka.wire.errors import ApiError
from riverport.sim.cluster import SESSION_MS, SimCluster
from riverport.sim.loop import SimLoop
from riverport.sim.process import SimNode

METADATA = "__cluster_metadata"
_COMPACTED = frozenset(("__consumer_offsets", METADATA))
"""Topics whose batches change or go when they are cleaned or a snapshot stands for them."""


class Violation(AssertionError):
    """A promise was broken: which, and how it was seen."""

    def __init__(self, promise: str, seen: str) -> None:
        super().__init__(f"{promise}: {seen}")
        self.promise = promise
        self.seen = seen


@dataclass(slots=True)
class Committed:
    """The committed part of one log: base offset, checksum of each batch, and how far it reaches."""

    end: int = 0
    batches: dict[int, tuple[int, int]] = field(default_factory=dict)  # base offset -> (end offset, crc)
    ends: dict[int, int] = field(default_factory=dict)  # leader epoch -> how far it was committed in that one

    def before(self, leader_epoch: int) -> int:
        """How far it reached before an epoch: what its leader must have.

        One who was asleep while later epochs committed more leads the past, which nobody takes from it any more.
        """
        return max((end for epoch, end in self.ends.items() if epoch < leader_epoch), default=0)


@dataclass(slots=True)
class _Seen:
    """A node's replica as it was last looked at."""

    log: Log
    high_watermark: int
    leader_epoch: int
    led: bool


class Watch:
    """Looks at a node after each of its events."""

    def __init__(self, cluster: SimCluster) -> None:
        self.cluster = cluster
        self.committed: dict[tuple[bytes, int], Committed] = {}
        self.leaders: dict[tuple[bytes, int, int], int] = {}  # (topic id, partition, leader epoch) -> who led it
        self.controllers: dict[int, int] = {}  # quorum epoch -> who led it
        self.votes: dict[tuple[int, int], int] = {}  # (voter, quorum epoch) -> whom it voted for
        self._seen: dict[tuple[int, bytes, int], _Seen] = {}
        self._lives: dict[int, int] = {}
        self._metadata_seen: dict[int, tuple[Any, int]] = {}
        self._fenced: dict[int, bool] = {}
        self._controller_since = 0.0
        self._fencing_seen = -1  # offset of the newest image that was looked at

    def look(self, loop: SimLoop) -> None:
        node = self.cluster.nodes.get(loop.number)
        if node is None or node.broker is None:
            return
        broker = node.broker
        if self._lives.get(node.number) != node.lives:
            self._lives[node.number] = node.lives
            self._seen = {key: seen for key, seen in self._seen.items() if key[0] != node.number}
            self._metadata_seen.pop(node.number, None)
        for partition in broker.partitions.values():
            if partition.log is not None:
                self._look_at(node, partition, partition.log)
        if hasattr(broker, "metadata"):
            self._look_at_metadata(node, broker)

    # --- partitions

    def _look_at(self, node: SimNode, partition: Partition, log: Log) -> None:
        key = (node.number, partition.topic_id, partition.index)
        seen = self._seen.get(key)
        leads, epoch, high_watermark = partition.is_leader, partition.leader_epoch, log.high_watermark
        if seen is not None and seen.log is log and seen.leader_epoch == epoch and seen.led == leads:
            if seen.high_watermark == high_watermark:
                return
            if high_watermark < seen.high_watermark:
                self.fail(
                    "the high watermark is monotonic",
                    f"node {node.number}: {partition} went from {seen.high_watermark} to {high_watermark} "
                    f"in leader epoch {epoch}",
                )
        elif leads:
            self._leads(node, partition, log)
        self._seen[key] = _Seen(log, high_watermark, epoch, leads)
        if log.topic in _COMPACTED:
            return
        known = self.committed.setdefault((partition.topic_id, partition.index), Committed())
        start = seen.high_watermark if seen is not None and seen.log is log else log.log_start_offset
        if high_watermark > start:
            self._compare(node, log, known, min(start, known.end), high_watermark)
            known.ends[epoch] = max(known.ends.get(epoch, 0), high_watermark)

    def _leads(self, node: SimNode, partition: Partition, log: Log) -> None:
        led_by = self.leaders.setdefault((partition.topic_id, partition.index, partition.leader_epoch), node.number)
        if led_by != node.number:
            self.fail(
                "at most one leader per epoch acts",
                f"{partition} in leader epoch {partition.leader_epoch}: nodes {led_by} and {node.number}",
            )
        self.cluster.note(f"node {node.number}: leads {partition} in epoch {partition.leader_epoch}")
        known = self.committed.get((partition.topic_id, partition.index))
        if known is not None and log.log_end_offset < (end := known.before(partition.leader_epoch)):
            self.fail(
                "what is committed is never lost",
                f"{partition}: node {node.number} leads epoch {partition.leader_epoch} with records up to "
                f"{log.log_end_offset}, committed were those up to {end}",
            )

    def _compare(self, node: SimNode, log: Log, known: Committed, start: int, end: int) -> None:
        """Every batch of log[start:end] is what was committed there; what nobody had before is committed now."""
        for base, last, checksum in _batches(log, start, end):
            found = known.batches.setdefault(base, (last, checksum))
            if found != (last, checksum):
                self.fail(
                    "committed logs agree",
                    f"node {node.number}: {log} has another batch at {base} than was committed there",
                )
            known.end = max(known.end, last)

    # --- metadata

    def _look_at_metadata(self, node: SimNode, broker: Broker) -> None:
        metadata = broker.metadata
        log = getattr(metadata, "log", None)
        if log is None:
            return
        self._look_at_quorum(node, metadata)
        seen = self._metadata_seen.get(node.number)
        high_watermark = log.high_watermark
        if seen is not None and seen[0] is log:
            if high_watermark == seen[1]:
                return
            if high_watermark < seen[1]:
                self.fail(
                    "the high watermark is monotonic",
                    f"node {node.number}: {METADATA} went from {seen[1]} to {high_watermark}",
                )
        start = seen[1] if seen is not None and seen[0] is log else log.log_start_offset
        self._metadata_seen[node.number] = (log, high_watermark)
        known = self.committed.setdefault((b"", 0), Committed())
        self._compare(node, log, known, max(min(start, known.end), log.log_start_offset), high_watermark)
        self._look_for_fencing(metadata.image)

    def _look_at_quorum(self, node: SimNode, metadata: Any) -> None:
        quorum = getattr(metadata, "quorum", None)
        if quorum is None:
            return
        if (vote := quorum.voted) is not None and node.broker is not None and not node.broker.failed.done():
            before = self.votes.setdefault((node.number, quorum.epoch), vote.id)
            if before != vote.id:
                self.fail(
                    "a voter votes once per epoch",
                    f"node {node.number} has voted for {before} and for {vote.id} in epoch {quorum.epoch}",
                )
        if quorum.leader_id == node.number and self.controllers.get(quorum.epoch) != node.number:
            before = self.controllers.setdefault(quorum.epoch, node.number)
            if before != node.number:
                self.fail(
                    "at most one leader per epoch acts",
                    f"{METADATA} in epoch {quorum.epoch}: nodes {before} and {node.number}",
                )
            self._controller_since = self.cluster.world.now
            self.cluster.note(f"node {node.number}: is the active controller in epoch {quorum.epoch}")

    def _look_for_fencing(self, image: Any) -> None:
        """Who is alive and can be heard is not fenced, whatever anybody has seen of its connections."""
        if image.offset <= self._fencing_seen:
            return
        self._fencing_seen = image.offset
        for number, registered in image.brokers.items():
            was = self._fenced.get(registered.epoch, True)
            self._fenced[registered.epoch] = registered.fenced
            if was or not registered.fenced or registered.in_controlled_shutdown:
                continue
            node = self.cluster.nodes[number]
            self.cluster.note(f"broker {number} is fenced")
            is_it = node.broker is not None and node.broker.lifecycle.epoch == registered.epoch
            if is_it and self._could_be_heard(number):
                self.fail("a live broker is not fenced", f"broker {number} is alive and can be heard by the controller")

    def _could_be_heard(self, number: int) -> bool:
        """Whether nothing has come between a broker and the active controller for longer than a session."""
        now, cluster = self.cluster.world.now, self.cluster
        controller = self.controllers[max(self.controllers)]
        if now - self._controller_since <= 2 * SESSION_MS / 1000:
            return False
        ends = (cluster.disturbed_s.get(each, 0.0) for each in (number, controller))
        return now > max(ends) and not {number, controller} & set(cluster.starting)

    def fail(self, promise: str, seen: str) -> None:
        raise Violation(promise, seen)


def _batches(log: Log, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(base offset, end offset, checksum) of the whole batches in log[start:end], past all faults of its disk."""
    while start < end:
        try:
            found = log.read(start, 1 << 20, isolation=Isolation.LOG_END, min_one=True).records
        except (StorageError, ApiError):
            return
        if not isinstance(found, bytes) or not found:
            return
        for header in iter_headers(found):
            if header.base_offset >= end:
                return
            content = found[header.position : header.position + header.size]
            yield header.base_offset, header.next_offset, crc32(content)
            start = header.next_offset
