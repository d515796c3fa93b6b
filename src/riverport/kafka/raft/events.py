"""What goes into a `Quorum` and what comes out of it. Effects are done in their order: persist before tell.

A finished effect comes back as an input: what was appended, cut or installed as `Stored`, what was sent as `Answered`
or `Failed`, under the serial number that it was sent with.

They are tuples because every start of a node makes these classes: twenty dataclasses would take it 5 ms more.
"""

from typing import Any, NamedTuple

from riverport.kafka.raft.snapshots import SnapshotId
from riverport.kafka.raft.state import QuorumState
from riverport.kafka.raft.voters import Address, ReplicaKey

# --- inputs


class Started(NamedTuple):
    """The process is up and reachable; the log's end has been found."""


class Tick(NamedTuple):
    """Time has passed: `Quorum.deadline_ms` is reached."""


class Requested(NamedTuple):
    """Another replica sent a Vote, BeginQuorumEpoch or EndQuorumEpoch request."""

    token: int  # comes back with the `Answer`
    request: Any


class Answered(NamedTuple):
    serial: int
    response: Any


class Failed(NamedTuple):
    """There is no answer. `refused`: nobody listens at the address, so the process that did is gone."""

    serial: int
    refused: bool = False


class Stored(NamedTuple):
    """The log is kept up to `offset`: on the disk, or written only where this replica has no vote."""

    offset: int


class Damaged(NamedTuple):
    """What the leader sent could not be stored; it will be asked again."""


class ReplicaFetched(NamedTuple):
    """A replica asks this leader for what lies behind `offset`, so it has all before it."""

    key: ReplicaKey
    offset: int
    wall_ms: int


class ReplicaListens(NamedTuple):
    """A replica asks this leader for a slice of a checkpoint."""

    key: ReplicaKey


class VotersChanged(NamedTuple):
    """The log names other voters now: their record was appended or cut off."""


class Resign(NamedTuple):
    """Give up the lead, if this replica has it, and say so to the others."""


Input = (
    Started | Tick | Requested | Answered | Failed | Stored | Damaged | ReplicaFetched | ReplicaListens | VotersChanged
    | Resign
)  # fmt: skip

# --- effects


class Persist(NamedTuple):
    """Write the quorum state, and sync it."""

    state: QuorumState


class Send(NamedTuple):
    """Send a request; at most `Timing.request_timeout_ms` may pass until its answer, what it waits itself aside."""

    serial: int
    to: Address
    request: Any


class Answer(NamedTuple):
    token: int
    response: Any


class AppendLeaderChange(NamedTuple):
    """This replica leads from now on: begin the epoch with a control batch that says so, and by whose votes."""

    epoch: int
    voters: tuple[int, ...]
    granting: tuple[int, ...]


class LostLead(NamedTuple):
    """This replica led, and does not any more: what it appended may be lost."""


class Committed(NamedTuple):
    """Everything below `offset` will never be lost."""

    offset: int


class Append(NamedTuple):
    """Batches of the leader's log; a slice of the answer's buffer."""

    records: Any


class Truncate(NamedTuple):
    """Drop everything from `offset` on, and the rest of later epochs: the leader's log ended there."""

    epoch: int
    offset: int


class KeepSlice(NamedTuple):
    """Bytes of the leader's checkpoint, at their place; the first slice begins the file anew."""

    id: SnapshotId
    position: int
    content: Any


class InstallSnapshot(NamedTuple):
    """The checkpoint is whole: it becomes the image, and the log goes on behind it."""

    id: SnapshotId


Effect = (
    Persist | Send | Answer | AppendLeaderChange | LostLead | Committed | Append | Truncate | KeepSlice
    | InstallSnapshot
)  # fmt: skip
