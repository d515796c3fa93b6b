"""A voter of the metadata quorum as a state machine. Effects are done in order: persist before append before tell.

The states of KIP-595 are all there in name; a quorum of one passes through two of them, unattached and leader.
"""

from dataclasses import dataclass
from typing import Any, assert_never

from riverport.kafka.raft.state import QuorumState


@dataclass(slots=True)
class Started:
    """The process is up; the log's end has been found."""

    log_end: int


@dataclass(slots=True)
class Flushed:
    """The log is on this disk up to `offset`."""

    offset: int


Input = Started | Flushed


@dataclass(slots=True)
class Persist:
    """Write the quorum state, and sync it."""

    state: QuorumState


@dataclass(slots=True)
class AppendLeaderChange:
    """Begin the epoch with a control batch that names the leader and who voted for it."""

    epoch: int
    voters: tuple[int, ...]


@dataclass(slots=True)
class Committed:
    """Everything below `offset` will never be lost."""

    offset: int


Effect = Persist | AppendLeaderChange | Committed


class Quorum:
    """One voter. `epoch` never goes back; `high_watermark` neither."""

    def __init__(self, node_id: int, voters: tuple[int, ...], state: QuorumState | None, data_version: int) -> None:
        assert node_id in voters, (node_id, voters)
        self.node_id = node_id
        self.voters = voters
        self.data_version = max(state.data_version, data_version) if state is not None else data_version
        self.epoch = state.leader_epoch if state is not None else 0
        self.leader_id = -1
        self.high_watermark = 0

    def step(self, event: Input) -> list[Effect]:
        match event:
            case Started():
                return self._start()
            case Flushed(offset):
                return self._flushed(offset)
            case _:
                assert_never(event)

    def _start(self) -> list[Effect]:
        """A sole voter has its majority at once, in an epoch that nobody has seen before."""
        assert self.voters == (self.node_id,), self.voters
        self.epoch += 1
        self.leader_id = self.node_id
        voters = self.voters if self.data_version == 0 else ()
        state = QuorumState(self.node_id, self.epoch, -1, voters=voters, data_version=self.data_version)
        return [Persist(state), AppendLeaderChange(self.epoch, self.voters)]

    def _flushed(self, offset: int) -> list[Effect]:
        if offset <= self.high_watermark:
            return []
        self.high_watermark = offset
        return [Committed(offset)]

    def describe(self) -> dict[str, Any]:
        """The state as a person reads it."""
        return {"node": self.node_id, "epoch": self.epoch, "leader": self.leader_id, "committed": self.high_watermark}
