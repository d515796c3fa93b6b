"""What a seed stands for: the shape of a cluster, what its clients do, and when what goes wrong.

A plan is plain data, so that a failing one can be made smaller: the same plan always gives the same run. The seed
chooses how often each kind of fault comes, not only when, so that some runs are calm but for one thing.
"""

from dataclasses import dataclass, replace
from enum import Enum
from random import Random

FAULTS_UNTIL_S = 4.0
"""Faults begin in this time, after the cluster has started."""
MOST_FAULTS = 7


class Shape(Enum):
    """Who votes and who stores."""

    COMBINED = "3 nodes that are brokers and voters"
    SEPARATE = "1 controller and 3 brokers"


class Kind(Enum):
    """What can go wrong. The texts are those of a trace."""

    KILL = "killed"
    CONTEST = "killed, and again after its vote, of which the others hear nothing from each other"
    POWER = "loses power"
    STOP = "is stopped cleanly"
    PAUSE = "is paused"
    CUT = "cut off"
    ISOLATE = "cut off from everyone"
    SLOW_LINK = "slow link"
    LOSS = "loses packets"
    RESET = "connections reset"
    SYNC_ERROR = "disk fails to sync"
    DISK_FULL = "disk is full"
    SLOW_DISK = "slow disk"
    CLOCK_STEP = "clock steps"


GROUP_SHARE = 0.2
"""Of the plans, those in which a consumer is in a group."""
ELECTION_SHARE = 0.15
"""Of the plans with several voters, those in which two of them want the vote of the third."""

WEIGHTS = {
    Kind.KILL: 5,
    Kind.POWER: 3,
    Kind.STOP: 2,
    Kind.PAUSE: 3,
    Kind.CUT: 3,
    Kind.ISOLATE: 3,
    Kind.SLOW_LINK: 1,
    Kind.LOSS: 1,
    Kind.RESET: 3,
    Kind.SYNC_ERROR: 1,
    Kind.DISK_FULL: 1,
    Kind.SLOW_DISK: 1,
    Kind.CLOCK_STEP: 1,
}
CONTROLLER_SHARE = 0.3
"""Of the faults of a node, those that meet the active controller."""
_OF_CONTROLLERS = (Kind.KILL, Kind.POWER, Kind.PAUSE, Kind.STOP, Kind.ISOLATE)
_BETWEEN_TWO = (Kind.CUT, Kind.SLOW_LINK, Kind.RESET)


@dataclass(slots=True, frozen=True)
class Fault:
    """One thing that goes wrong at a time, for a while. `other` is 0 where it concerns one node alone.

    `node` is 0 for whoever is the active controller then.

    `amount` is how much, in the unit of the kind: seconds of delay, the share of lost packets, a job's seconds, seconds
    of a step. Of cuts it says which way: 0 both, 1 from `node`, 2 to it.
    """

    at_s: float
    kind: Kind
    node: int
    other: int = 0
    for_s: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        how_long = f" for {self.for_s:.2f} s" if self.for_s else ""
        way = (" in both ways", " in what it sends", " in what it gets")[int(self.amount)] if self.is_cut else ""
        much = f" ({self.amount:.3g})" if self.amount and not self.is_cut else ""
        whom = f"nodes {self.node} and {self.other}" if self.other else f"node {self.node}"
        if not self.node:
            whom = "the active controller"
        return f"{whom}: {self.kind.value}{way}{much}{how_long}"

    @property
    def is_cut(self) -> bool:
        return self.kind in (Kind.CUT, Kind.ISOLATE)


@dataclass(slots=True, frozen=True)
class Plan:
    seed: int
    shape: Shape
    brokers: int
    partitions: int
    producers: int
    records: int  # of each producer
    consumers: int
    groups: int  # groups of one consumer each, which commits what it has read
    topics: int  # that an administrator makes while all this goes on
    skews: tuple[float, ...]  # by how many seconds each node's wall clock is wrong
    rates: tuple[float, ...]  # how fast each node's clocks run
    faults: tuple[Fault, ...]

    @property
    def nodes(self) -> range:
        return range(1, self.brokers + 1 + (self.shape is Shape.SEPARATE))

    def without(self, fault: Fault) -> "Plan":
        return replace(self, faults=tuple(each for each in self.faults if each is not fault))


def plan_of(seed: int, shape: Shape | None = None) -> Plan:
    """The plan of a seed."""
    rng = Random(f"plan {seed}")
    chosen = rng.choice((Shape.COMBINED, Shape.COMBINED, Shape.SEPARATE))
    shape = shape or chosen
    nodes = 3 + (shape is Shape.SEPARATE)
    weights = {kind: weight * rng.choice((0, 1, 1, 3)) for kind, weight in WEIGHTS.items()}
    if not any(weights.values()):
        weights = dict(WEIGHTS)
    count = rng.randint(1, MOST_FAULTS)
    kinds = rng.choices(list(weights), list(weights.values()), k=count)
    faults = [_fault(kind, nodes, rng) for kind in kinds]
    if shape is Shape.COMBINED and rng.random() < ELECTION_SHARE:
        at_s = round(rng.uniform(0.0, FAULTS_UNTIL_S), 3)
        faults.append(Fault(at_s, Kind.CONTEST, 0, for_s=rng.uniform(1.0, 2.5), amount=rng.uniform(0.15, 0.4)))
    faults.sort(key=lambda fault: fault.at_s)
    is_skewed = rng.random() < 0.5
    return Plan(
        seed=seed,
        shape=shape,
        brokers=3,
        partitions=rng.choice((1, 2)),
        producers=rng.choice((1, 2)),
        records=rng.randint(8, 24),
        consumers=rng.choice((0, 1)),
        groups=int(rng.random() < GROUP_SHARE),
        topics=rng.choice((0, 1, 2)),
        skews=tuple(rng.uniform(-60, 60) if is_skewed else 0.0 for _ in range(nodes)),
        rates=tuple(rng.uniform(0.95, 1.05) if is_skewed else 1.0 for _ in range(nodes)),
        faults=tuple(faults),
    )


def _fault(kind: Kind, nodes: int, rng: Random) -> Fault:
    at_s = round(rng.uniform(0.0, FAULTS_UNTIL_S), 3)
    node = 0 if kind in _OF_CONTROLLERS and rng.random() < CONTROLLER_SHARE else rng.randint(1, nodes)
    other = rng.choice([each for each in range(1, nodes + 1) if each != node]) if kind in _BETWEEN_TWO else 0
    for_s = 0.0 if kind in (Kind.RESET, Kind.SYNC_ERROR, Kind.CLOCK_STEP) else _duration(rng)
    amount = 0.0
    match kind:
        case Kind.CUT | Kind.ISOLATE:
            amount = float(rng.choice((0, 0, 1, 2)))
        case Kind.SLOW_LINK:
            amount = rng.uniform(0.01, 0.5)
        case Kind.LOSS:
            amount = rng.uniform(0.05, 0.6)
        case Kind.SLOW_DISK:
            amount = rng.uniform(0.02, 0.5)
        case Kind.CLOCK_STEP:
            amount = rng.uniform(-30, 30)
    return Fault(at_s, kind, node, other, for_s, amount)


def _duration(rng: Random) -> float:
    """Often shorter than a session, sometimes longer."""
    return round(rng.choice((rng.uniform(0.03, 0.6), rng.uniform(0.3, 2.5))), 3)
