"""One input on its way through a coordinator: the time at which it came, and what shall come of it.

A handler gets a `Turn` and adds to it. Whoever called appends the records, tells the coordinator how that went
(`appended` or `refused`), and only then performs the effects and gives the response: nothing leaves before what it
promises is written.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from riverport.kafka.groups.config import GroupConfig
from riverport.kafka.groups.records import GroupRecord

Waiter = Any
"""Stands for a parked JoinGroup or SyncGroup request; the cores only hand it back in a `Reply`."""


class Now(NamedTuple):
    """One moment on both clocks: the wall's goes into records, the monotonic one decides deadlines."""

    wall_ms: int
    mono_ms: float


class TimerKind(IntEnum):
    """A group has at most one JOIN and one SYNC timer, a member (pending ones too) at most one SESSION timer."""

    JOIN = 0
    SYNC = 1
    SESSION = 2


class Timer(NamedTuple):
    kind: TimerKind
    group_id: str
    member_id: str = ""


@dataclass(slots=True)
class Reply:
    """Answer a parked request."""

    waiter: Waiter
    response: Any


@dataclass(slots=True)
class SetTimer:
    """Call the coordinator's `fired` after `delay_ms`; takes the place of an earlier timer of the same name."""

    timer: Timer
    delay_ms: float


@dataclass(slots=True)
class CancelTimer:
    timer: Timer


Effect = Reply | SetTimer | CancelTimer


@dataclass(slots=True)
class NewGroup:
    """The turn's records make a group known. `replaced` stood under its id until then."""

    group_id: str
    waiter: Waiter | None
    replaced: Any = None


@dataclass(slots=True)
class NewAssignment:
    """The turn's record holds what the leader of a generation has assigned."""

    group_id: str
    generation: int
    leader: str


@dataclass(slots=True)
class NewStaticMember:
    """The turn's record gives a static member's place to a new member id, without a rebalance (KIP-345, KIP-814)."""

    group_id: str
    instance_id: str
    member_id: str
    previous: Any  # the Member that had the place
    previous_leader: str | None
    api_version: int


Pending = NewGroup | NewAssignment | NewStaticMember


@dataclass(slots=True)
class Turn:
    """`pending` is what the coordinator has to finish, or to take back, when it knows whether the records stand.

    Records of a turn are one batch; where `atomic` is false they may be spread over several.
    """

    config: GroupConfig
    now: Now
    records: list[GroupRecord] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    response: Any = None  # to who asked; None where a Reply will come, or nobody asked
    pending: Pending | None = None
    atomic: bool = True

    def reply(self, waiter: Waiter, response: Any) -> None:
        self.effects.append(Reply(waiter, response))

    def set_timer(self, timer: Timer, delay_ms: float) -> None:
        self.effects.append(SetTimer(timer, delay_ms))

    def cancel_timer(self, timer: Timer) -> None:
        self.effects.append(CancelTimer(timer))
