"""A replica of the metadata log that has no vote: finds the leader, fetches, truncates where it diverged (KIP-595).

    unattached   no leader is known: ask the bootstrap servers one after the other
    following    fetch from the leader; an answer with news is worked on at once, one without means the log is level

An answer becomes effects, which the shell performs in their order before it asks for the next request.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from riverport.base.ids import METADATA_TOPIC_ID, ZERO_UUID
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

FETCH_MAX_WAIT_MS = 500


class Address(NamedTuple):
    host: str
    port: int


@dataclass(slots=True)
class Truncate:
    """Drop everything from `offset` on, and the rest of later epochs: the leader's log ended there."""

    epoch: int
    offset: int


@dataclass(slots=True)
class Append:
    """Batches of the leader's log; a slice of the answer's buffer."""

    records: Any


@dataclass(slots=True)
class Committed:
    """Everything below `offset` is committed, as far as this replica has it."""

    offset: int


@dataclass(slots=True)
class FetchSnapshot:
    """The leader's log begins later than this one ends: a snapshot is needed first (KIP-630)."""

    end_offset: int
    epoch: int


@dataclass(slots=True)
class Wait:
    """Nothing can be asked for `ms`; `reason` for the log, "" where it is not worth telling."""

    ms: int
    reason: str = ""


Effect = Truncate | Append | Committed | FetchSnapshot | Wait


class Observer:
    """The protocol of one observer. `leader` is None while nobody is known to lead."""

    def __init__(
        self,
        node_id: int,
        directory_id: bytes,
        cluster_id: str,
        bootstrap: tuple[Address, ...],
        *,
        max_bytes: int,
        retry_backoff_ms: int,
    ) -> None:
        assert bootstrap, "an observer must know somebody to ask"
        self._node_id = node_id
        self._directory_id = directory_id
        self._cluster_id = cluster_id
        self._bootstrap = bootstrap
        self._asked = 0  # of the bootstrap servers, cyclic
        self._max_bytes = max_bytes
        self._retry_backoff_ms = retry_backoff_ms
        self.leader_id = -1
        self.leader: Address | None = None
        self.epoch = 0
        self.high_watermark = 0

    @property
    def target(self) -> Address:
        """Who is asked next."""
        return self.leader or self._bootstrap[self._asked % len(self._bootstrap)]

    def request(self, log_end: int, last_epoch: int) -> m.FetchRequest:
        """What to send to `target` when the log ends at `log_end` in epoch `last_epoch` (0 for an empty log)."""
        partition = m.FetchRequest.FetchPartition(
            0,
            current_leader_epoch=self.epoch,
            fetch_offset=log_end,
            last_fetched_epoch=last_epoch,
            partition_max_bytes=0,
            replica_directory_id=self._directory_id or ZERO_UUID,
            high_watermark=self.high_watermark,
        )
        return m.FetchRequest(
            cluster_id=self._cluster_id,
            replica_state=m.FetchRequest.ReplicaState(self._node_id, -1),
            max_wait_ms=FETCH_MAX_WAIT_MS,
            min_bytes=0,
            max_bytes=self._max_bytes,
            session_id=0,
            session_epoch=-1,
            topics=[m.FetchRequest.FetchTopic("__cluster_metadata", METADATA_TOPIC_ID, [partition])],
        )

    def failed(self, reason: str) -> list[Effect]:
        """The target could not be asked: whoever led there may not lead any more."""
        self._unattach()
        return [Wait(self._retry_backoff_ms, reason)]

    def answered(self, response: m.FetchResponse, log_end: int) -> list[Effect]:
        if response.error_code:
            return self.failed(f"the quorum answered {ErrorCode(response.error_code).name}")
        partition = next((p for topic in response.responses for p in topic.partitions), None)
        if partition is None:
            return self.failed("the quorum answered without the metadata partition")
        self._learn_leader(partition.current_leader, response.node_endpoints)
        if partition.error_code in (ErrorCode.FENCED_LEADER_EPOCH, ErrorCode.NOT_LEADER_OR_FOLLOWER):
            # The answer names the leader where there is one; ask it, or wait for an election to end.
            return [] if self.leader is not None else self.failed("")
        if partition.error_code:
            return self.failed(f"the leader answered {ErrorCode(partition.error_code).name}")
        if partition.diverging_epoch.epoch >= 0:
            return [Truncate(partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset)]
        if partition.snapshot_id.epoch >= 0:
            return [FetchSnapshot(partition.snapshot_id.end_offset, partition.snapshot_id.epoch)]
        effects: list[Effect] = []
        if partition.records:
            effects.append(Append(partition.records))
        if partition.high_watermark > self.high_watermark:
            self.high_watermark = partition.high_watermark
            effects.append(Committed(partition.high_watermark))
        return effects

    def _learn_leader(self, told: Any, endpoints: list[Any]) -> None:
        if told.leader_epoch < self.epoch or told.leader_id < 0:
            return
        found = next((Address(e.host, e.port) for e in endpoints if e.node_id == told.leader_id), None)
        if told.leader_epoch > self.epoch or self.leader_id != told.leader_id or self.leader is None:
            self.epoch, self.leader_id = told.leader_epoch, told.leader_id
            # A leader that does not say where it is (Fetch before v16) is the one that was asked.
            self.leader = found or self.leader

    def _unattach(self) -> None:
        self.leader, self.leader_id = None, -1
        self._asked += 1
