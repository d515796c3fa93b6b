"""Clusters in simulated time: plans of some seeds keep every promise, and bugs that are put in are found."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.sim.other_process import printed

from riverport.sim.checkers import Violation
from riverport.sim.plan import Fault, Kind, Plan, Shape, plan_of
from riverport.sim.plants import PLANTS, planted
from riverport.sim.run import Outcome, collect, run
from riverport.sim.shrink import shrink


@pytest.mark.slow
@pytest.mark.parametrize("shape", list(Shape))
def test_clusters_keep_every_promise_while_things_go_wrong(shape: Shape) -> None:
    for seed in range(1, 13):
        outcome = run(plan_of(seed, shape))
        assert outcome.violation is None, (seed, shape, outcome.trace)
    collect()


def test_a_plan_decides_everything_that_happens() -> None:
    plan = plan_of(3)
    outcomes = [run(plan), run(plan)]
    assert outcomes[0].hash == outcomes[1].hash
    assert outcomes[0].trace == outcomes[1].trace
    assert plan == plan_of(3) != plan_of(4)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_node_that_stops_lets_its_connections_go_in_the_same_order_in_every_process(hash_seed: str) -> None:
    code = "from riverport.sim.plan import plan_of; from riverport.sim.run import run; print(run(plan_of(6)).hash)"
    assert printed(code, hash_seed) == run(plan_of(6)).hash


def told(plan: Plan, promise: str | None) -> Outcome:
    violation = None if promise is None else Violation(promise, "seen")
    return Outcome(plan, violation, 0, 0.0, 0)


def test_a_failing_plan_shrinks_to_the_fault_that_matters() -> None:
    culprit = Fault(1.0, Kind.POWER, 2, for_s=1.0)
    others = [Fault(0.5, Kind.KILL, 1, for_s=1.0), Fault(2.0, Kind.RESET, 1, 2)]
    plan = replace(plan_of(1), faults=(others[0], culprit, others[1]), records=20, skews=(1.0, 2.0, 3.0))

    def play(smaller: Plan) -> Outcome:
        is_broken = any(fault.kind is Kind.POWER for fault in smaller.faults)
        return told(smaller, "what is committed is never lost" if is_broken else None)

    smallest = shrink(play(plan), play).plan
    assert [fault.kind for fault in smallest.faults] == [Kind.POWER]
    assert smallest.records == smallest.producers == 1
    assert not any(smallest.skews)


def test_another_broken_promise_is_another_failure() -> None:
    plan = replace(plan_of(1), faults=(Fault(0.5, Kind.KILL, 1, for_s=1.0), Fault(2.0, Kind.RESET, 1, 2)))

    def play(smaller: Plan) -> Outcome:
        return told(smaller, "progress" if len(smaller.faults) == 2 else "committed logs agree")

    assert len(shrink(play(plan), play).plan.faults) == 2


CUT_OFF = (Fault(0.8, Kind.CUT, 1, 2, for_s=2.5), Fault(0.8, Kind.CUT, 1, 3, for_s=2.5))
WHERE_IT_SHOWS = {
    "ack-before-replication": (*CUT_OFF, Fault(1.5, Kind.KILL, 1, for_s=2.0)),
    "elect-outside-isr": (Fault(0.5, Kind.CUT, 1, 2, for_s=2.5), Fault(2.2, Kind.KILL, 1, for_s=2.0)),
    "skip-epoch-truncation": CUT_OFF,
    "vote-twice": (Fault(0.5, Kind.CONTEST, 0, for_s=2.5, amount=0.3),),
    "forget-commits": tuple(Fault(at, Kind.KILL, node, for_s=0.5) for node, at in ((1, 0.5), (2, 2.5), (3, 4.5))),
    "fence-by-rumour": (Fault(4.0, Kind.RESET, 1, 2), Fault(4.2, Kind.RESET, 2, 3), Fault(4.4, Kind.RESET, 1, 3)),
}
"""Faults under which each bug shows with one of a few seeds; `riverport simulate --plant` finds them by itself."""


@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTS)
def test_planted_bugs_are_found(bug: str) -> None:
    seeds = range(1, 41)
    plans = (replace(plan_of(seed, Shape.COMBINED), faults=WHERE_IT_SHOWS[bug], records=40) for seed in seeds)
    with planted(bug):
        found = next((outcome.violation for plan in plans if (outcome := run(plan)).violation is not None), None)
    assert found is not None
    collect()


def test_the_command_shows_one_run_and_counts_many() -> None:
    command = [sys.executable, "-m", "riverport", "simulate"]
    shown = subprocess.run([*command, "--seed", "3"], capture_output=True, text=True, timeout=120, check=True).stdout
    assert shown.startswith("seed 3: ")
    assert "every promise was kept" in shown
    assert re.search(r"^ +0\.0000  node 1: starts$", shown, re.MULTILINE)
    many = subprocess.run(
        [*command, "--seed", "3", "--runs", "2", "--jobs", "2"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert re.match(r"2 schedules in [0-9.]+ s: .* schedules/s, .* events/s, .* 0 broke a promise$", many.strip())


@pytest.mark.slow
def test_the_command_finds_a_planted_bug() -> None:
    command = [sys.executable, "-m", "riverport", "simulate", "--runs", "80", "--jobs", "2", "--no-shrink"]
    done = subprocess.run(
        [*command, "--plant", "ack-before-replication"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "what is acknowledged is never lost" in done.stdout
