"""`riverport simulate`: whole clusters in simulated time, with everything that can go wrong, from one seed each."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from riverport.cli.command import make_parser
from riverport.cli.terminal import Progress, counted

if TYPE_CHECKING:
    from riverport.sim.campaign import Result, Tally
    from riverport.sim.plan import Plan
    from riverport.sim.run import Outcome

BUGS = (
    "ack-before-replication",
    "elect-outside-isr",
    "skip-epoch-truncation",
    "vote-twice",
    "fence-by-rumour",
    "forget-commits",
)
MOST_SHOWN = 10
"""Failing seeds that are named."""


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "simulate",
        "Run clusters of the production code on a simulated clock, network and disk, break what can break, and check\n"
        "that nothing acknowledged is lost. The same seed gives the same run, to the last bit.",
        (
            "riverport simulate --seed 7",
            "riverport simulate --runs 1000 --jobs 2",
            "riverport simulate --runs 1000 --plant vote-twice",
        ),
    )
    made.add_argument("--seed", type=int, metavar="N", help="show the run of one seed; with --runs, the first of them")
    made.add_argument("--runs", type=int, metavar="N", help="run as many seeds, one after the other")
    made.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that run them")
    made.add_argument("--shape", choices=("combined", "separate"), help="every run has this shape of cluster")
    made.add_argument("--plant", choices=BUGS, metavar="BUG", help=f"put a bug in, to see it found: {', '.join(BUGS)}")
    made.add_argument("--no-shrink", action="store_true", help="show a failing run as it is")
    made.add_argument("--logs", action="store_true", help="with --seed: what the nodes log, too")
    return made


def run(words: list[str]) -> int:
    """Exit code 0 where every promise was kept, or a planted bug was found."""
    given = parser().parse_args(words)
    import logging

    logging.getLogger().setLevel(logging.CRITICAL)
    from riverport.sim.plants import planted

    with planted(given.plant):
        return _one(given) if given.runs is None else _many(given)


def _one(given: argparse.Namespace) -> int:
    from riverport.sim.run import run as play

    plan = _plan(given, given.seed or 1)
    _print_plan(plan)
    if given.logs:
        _show_logs()
    outcome = play(plan, _print_line)
    _print_end(outcome)
    if outcome.violation is not None and not given.no_shrink and not given.logs:
        _print_smaller(outcome)
    return _verdict(given, outcome.violation is not None)


def _many(given: argparse.Namespace) -> int:
    from riverport.sim.campaign import campaign, results
    from riverport.sim.run import run as play

    first, rate = given.seed or 1, ""

    def shown(runs: int) -> str:
        return f"{runs}{rate}" if runs < given.runs else str(runs)

    with Progress("simulating", given.runs, shown) as progress:

        def told(tally: "Tally", result: "Result") -> None:
            nonlocal rate
            rate = f" ({tally.runs_per_s:.1f}/s, {tally.events_per_s:,.0f} events/s)"
            progress.add(1)

        found = results(first, given.runs, given.jobs, _shape(given), given.plant)
        tally = campaign(found, told, stop_at_first=given.plant is not None)
    _print_tally(tally)
    if tally.was_interrupted:
        return 1 if tally.broken and given.plant is None else 130
    if tally.broken and not given.no_shrink:
        _print_smaller(play(_plan(given, tally.broken[0].seed)))
    return _verdict(given, bool(tally.broken))


def _verdict(given: argparse.Namespace, is_broken: bool) -> int:
    if given.plant is None:
        return 1 if is_broken else 0
    if not is_broken:
        print(f"the planted bug {given.plant} was not found", file=sys.stderr)
    return 0 if is_broken else 1


def _shape(given: argparse.Namespace) -> Any:
    from riverport.sim.plan import Shape

    return Shape[given.shape.upper()] if given.shape else None


def _plan(given: argparse.Namespace, seed: int) -> "Plan":
    from riverport.sim.plan import plan_of

    return plan_of(seed, _shape(given))


def _show_logs() -> None:
    from riverport.sim.trace import show_logs

    show_logs(_print_line)


def _print_plan(plan: "Plan") -> None:
    clients = f"{counted(plan.producers, 'producer')}, {counted(plan.consumers, 'consumer')}"
    print(f"seed {plan.seed}: {plan.shape.value}, {counted(plan.partitions, 'partition')}, {clients}")


def _print_line(seconds: float, line: str) -> None:
    print(f"{seconds:9.4f}  {line}")


def _print_end(outcome: "Outcome") -> None:
    kept = "a promise was broken" if outcome.violation is not None else "every promise was kept"
    print(f"{kept}: {outcome.events} events in {outcome.seconds:.2f} simulated seconds, hash {outcome.hash:08x}")


def _print_tally(tally: "Tally") -> None:
    print(
        f"{counted(tally.runs, 'schedule')} in {tally.took_s:.1f} s: {tally.runs_per_s:.1f} schedules/s, "
        f"{tally.events_per_s:,.0f} events/s, {tally.simulated_s:,.0f} simulated seconds, "
        f"{len(tally.broken)} broke a promise"
    )
    for result in tally.broken[:MOST_SHOWN]:
        print(f"  seed {result.seed}: {result.promise}: {result.seen}")


def _print_smaller(outcome: "Outcome") -> None:
    from riverport.sim.run import run as play
    from riverport.sim.shrink import shrink

    smallest = shrink(outcome, play)
    print("\nthe smallest run that breaks the same promise:")
    _print_plan(smallest.plan)
    for seconds, line in smallest.trace:
        _print_line(seconds, line)
