"""One run of a plan: a cluster comes up, things go wrong, everything heals, and then progress is demanded."""

import contextlib
import gc
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from riverport.kafka.log import Isolation
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.record import iter_records
from riverport.sim.checkers import Violation, Watch
from riverport.sim.cluster import SimCluster
from riverport.sim.loop import SimulationError
from riverport.sim.plan import FAULTS_UNTIL_S, Plan
from riverport.sim.workload import TOPIC, Workload

START_S = 20.0
"""Simulated seconds until all nodes of a cluster have started."""
CALM_S = 60.0
"""Simulated seconds from the end of all faults until everybody is in sync and everything is written."""
WELL = "everything is well again"
LOOK_S = 0.25
"""How often it is asked whether all is well again."""


@dataclass(slots=True)
class Outcome:
    """`violation` is None where every promise was kept."""

    plan: Plan
    violation: Violation | None
    events: int
    seconds: float  # of simulated time
    hash: int
    trace: list[tuple[float, str]] = field(default_factory=list)


def run(plan: Plan, told: Callable[[float, str], None] | None = None) -> Outcome:
    """Play a plan to its end; `told` is told each line of the trace when it happens."""
    trace: list[tuple[float, str]] = []

    def note(line: str) -> None:
        trace.append((cluster.world.now, line))
        if told is not None:
            told(cluster.world.now, line)

    cluster = SimCluster(plan, note)
    violation: Violation | None = None
    with _no_collector():
        try:
            _Run(cluster).play()
        except Violation as found:
            violation = found
            note(f"VIOLATION {found}")
        except SimulationError as found:
            violation = Violation("no process spins", str(found))
            note(f"VIOLATION {violation}")
        except Exception as found:
            violation = Violation("a run comes to its end", "".join(traceback.format_exception(found)).rstrip())
            note(f"VIOLATION {violation}")
        world = cluster.world
        outcome = Outcome(plan, violation, world.events, world.now, world.hash, trace)
        cluster.end()
    return outcome


def collect() -> None:
    """Take back what ended runs have left, some MB each; to be called between runs, now and then."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None  # coroutines of killed processes end as they can
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            gc.collect()
    finally:
        sys.unraisablehook = hook


class _Run:
    def __init__(self, cluster: SimCluster) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.watch = Watch(cluster)
        self.workload = Workload(cluster)

    def play(self) -> None:
        cluster, world = self.cluster, self.world
        world.watch = self.watch.look
        for number in cluster.nodes:
            cluster.start(number)
        self._until(lambda: not cluster.starting, START_S, "the cluster starts")
        process = cluster.new_client()
        prepared = process.run(self.workload.prepare(process))
        self._until(prepared.done, START_S, "a topic is made")
        prepared.result()
        self.workload.start()
        cluster.schedule_faults()
        last = max((fault.at_s + fault.for_s for fault in cluster.plan.faults), default=0.0)
        self._let_pass(max(min(last, FAULTS_UNTIL_S + 1), 1.0))
        cluster.heal()
        self._until(self._is_well, CALM_S, WELL)
        self._check_end()

    # --- time

    def _let_pass(self, seconds: float) -> None:
        until = self.world.now + seconds
        while self.world.now < until:
            self.world.run(min(self.world.now + LOOK_S, until))
            self._look_around()

    def _until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        until = self.world.now + seconds
        while not true():
            if self.world.now >= until:
                lacking = self.cluster.lagging() or "the clients have not finished"
                raise Violation("progress", f"after {seconds:.0f} s it is not so that {what}: {lacking}")
            self.world.run(self.world.now + LOOK_S / 5)
            self._look_around()

    def _look_around(self) -> None:
        self.cluster.supervise()
        if (unforeseen := self.cluster.unforeseen()) is not None:
            raise Violation("nothing fails unforeseen", unforeseen)
        if self.cluster.unclean and self.cluster.lagging() is None:
            self.cluster.in_sync()
        if (broken := self.workload.broken()) is not None:
            raise Violation("clients are served", broken)

    def _is_well(self) -> bool:
        return self.workload.is_done and self.cluster.lagging() is None

    # --- the end

    def _check_end(self) -> None:
        history, cluster = self.workload.history, self.cluster
        if history.committed:
            self._check_commits()
            # Meanwhile sessions may have run out whose brokers could not be heard before all was repaired.
            self._until(self._is_well, CALM_S, WELL)
        image = cluster.newest_image()
        assert image is not None
        for name, is_known in history.made.items():
            if is_known and name not in image.topics:
                raise Violation("metadata is linearizable", f"topic {name} was acknowledged and is gone")
        for index in range(cluster.plan.partitions):
            self._check_partition(index, image.topics[TOPIC].partitions[index].leader)

    def _check_commits(self) -> None:
        # Groups go on consuming: what they commit while it is asked for may or may not be in the answer.
        committed = {group: dict(offsets) for group, offsets in self.workload.history.committed.items()}
        process = self.cluster.new_client()
        asked = process.run(self.workload.last_commits(process))
        self._until(asked.done, START_S, "the groups' commits are told")
        for group, offsets in committed.items():
            for partition, offset in offsets.items():
                now = asked.result()[group].get(partition, -1)
                if now < offset and (partition, now) not in self.workload.history.unanswered[group]:
                    raise Violation(
                        "commits are never lost", f"{group}: {offset} of {TOPIC}-{partition}, now it is {now}"
                    )

    def _check_partition(self, index: int, leader: int) -> None:
        broker = self.cluster.nodes[leader].broker
        assert broker is not None
        values = _values(broker.partitions[TOPIC, index].log)
        places: dict[bytes, int] = {}
        for offset, value in values.items():
            if value in places:
                raise Violation(
                    "idempotent writes happen once",
                    f"{value.decode()} is at {places[value]} and at {offset} of {TOPIC}-{index}",
                )
            places[value] = offset
        history = self.workload.history
        for value, (partition, offset) in history.acknowledged.items():
            if partition == index and places.get(value) != offset:
                found = f"is at {places[value]}" if value in places else "is lost"
                raise Violation(
                    "what is acknowledged is never lost or moved",
                    f"{value.decode()} was acknowledged at {offset} of {TOPIC}-{index} and {found}",
                )
        for sent in history.sent.values():
            offsets = [
                history.acknowledged[value][1] for value in sent if history.acknowledged.get(value, (-1,))[0] == index
            ]
            if offsets != sorted(offsets):
                raise Violation("records stay in their order", f"of a producer in {TOPIC}-{index}: {offsets}")
        for consumed in history.consumed.values():
            offset_before = -1
            for partition, offset, read in consumed:
                if partition != index:
                    continue
                if values.get(offset) != read:
                    raise Violation(
                        "consumers see what is committed", f"{read!r} at {offset} of {TOPIC}-{index} is gone"
                    )
                if offset <= offset_before:
                    raise Violation("consumers see records in order", f"{offset} after {offset_before}")
                offset_before = offset


def _values(log: object) -> dict[int, bytes]:
    """Offset -> value of everything in a log."""
    found: dict[int, bytes] = {}
    offset: int = log.log_start_offset  # type: ignore[attr-defined]
    end: int = log.log_end_offset  # type: ignore[attr-defined]
    while offset < end:
        records = log.read(offset, 1 << 20, isolation=Isolation.LOG_END, min_one=True).records  # type: ignore[attr-defined]
        for header in iter_headers(records):
            for record in iter_records(records, header):
                found[record.offset] = record.value or b""
            offset = header.next_offset
    return found


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """The collector would run what is left of killed processes in the middle of the others."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
