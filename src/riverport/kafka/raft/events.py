"""What goes into a `Quorum` and what comes out of it. Effects are done in their order: persist before tell.

A finished effect comes back as an input: what was appended, cut or installed as `Stored`, what was sent as `Answered`
or `Failed`, under the serial number that it was sent with.
"""

from dataclasses import dataclass
from typing import Any

from riverport.kafka.raft.snapshots import SnapshotId
from riverport.kafka.raft.state import QuorumState
from riverport.kafka.raft.voters import Address, ReplicaKey

# --- inputs


@dataclass(slots=True)
class Started:
    """The process is up and reachable; the log's end has been found."""


@dataclass(slots=True)
class Tick:
    """Time has passed: `Quorum.deadline_ms` is reached."""


@dataclass(slots=True)
class Requested:
    """Another replica sent a Vote, BeginQuorumEpoch or EndQuorumEpoch request."""

    token: int  # comes back with the `Answer`
    request: Any


@dataclass(slots=True)
class Answered:
    serial: int
    response: Any


@dataclass(slots=True)
class Failed:
    """There is no answer. `refused`: nobody listens at the address, so the process that did is gone."""

    serial: int
    refused: bool = False


@dataclass(slots=True)
class Stored:
    """The log is kept up to `offset`: on the disk, or written only where this replica has no vote."""

    offset: int


@dataclass(slots=True)
class Damaged:
    """What the leader sent could not be stored; it will be asked again."""


@dataclass(slots=True)
class ReplicaFetched:
    """A replica asks this leader for what lies behind `offset`, so it has all before it."""

    key: ReplicaKey
    offset: int
    wall_ms: int


@dataclass(slots=True)
class ReplicaListens:
    """A replica asks this leader for a slice of a checkpoint."""

    key: ReplicaKey


@dataclass(slots=True)
class VotersChanged:
    """The log names other voters now: their record was appended or cut off."""


@dataclass(slots=True)
class Resign:
    """Give up the lead, if this replica has it, and say so to the others."""


Input = (
    Started | Tick | Requested | Answered | Failed | Stored | Damaged | ReplicaFetched | ReplicaListens | VotersChanged
    | Resign
)  # fmt: skip

# --- effects


@dataclass(slots=True)
class Persist:
    """Write the quorum state, and sync it."""

    state: QuorumState


@dataclass(slots=True)
class Send:
    """Send a request; at most `Timing.request_timeout_ms` may pass until its answer, what it waits itself aside."""

    serial: int
    to: Address
    request: Any


@dataclass(slots=True)
class Answer:
    token: int
    response: Any


@dataclass(slots=True)
class AppendLeaderChange:
    """This replica leads from now on: begin the epoch with a control batch that says so, and by whose votes."""

    epoch: int
    voters: tuple[int, ...]
    granting: tuple[int, ...]


@dataclass(slots=True)
class LostLead:
    """This replica led, and does not any more: what it appended may be lost."""


@dataclass(slots=True)
class Committed:
    """Everything below `offset` will never be lost."""

    offset: int


@dataclass(slots=True)
class Append:
    """Batches of the leader's log; a slice of the answer's buffer."""

    records: Any


@dataclass(slots=True)
class Truncate:
    """Drop everything from `offset` on, and the rest of later epochs: the leader's log ended there."""

    epoch: int
    offset: int


@dataclass(slots=True)
class KeepSlice:
    """Bytes of the leader's checkpoint, at their place; the first slice begins the file anew."""

    id: SnapshotId
    position: int
    content: Any


@dataclass(slots=True)
class InstallSnapshot:
    """The checkpoint is whole: it becomes the image, and the log goes on behind it."""

    id: SnapshotId


Effect = (
    Persist | Send | Answer | AppendLeaderChange | LostLead | Committed | Append | Truncate | KeepSlice
    | InstallSnapshot
)  # fmt: skip
