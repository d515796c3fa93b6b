"""Makes a failing plan smaller: fewer faults and less to do, as long as the same promise is broken."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from riverport.sim.plan import Plan
from riverport.sim.run import Outcome

MOST_RUNS = 200
"""Plans that are tried in all."""


def shrink(failing: Outcome, play: Callable[[Plan], Outcome]) -> Outcome:
    """The outcome of the smallest plan that was found; `play` runs one."""
    assert failing.violation is not None
    promise = failing.violation.promise
    smallest, left = failing, MOST_RUNS
    improved = True
    while improved and left:
        improved = False
        for plan in _smaller(smallest.plan):
            if not left:
                break
            left -= 1
            outcome = play(plan)
            if outcome.violation is not None and outcome.violation.promise == promise:
                smallest, improved = outcome, True
                break
    return smallest


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with a little less in them, what helps a reader most first."""
    for fault in plan.faults:
        yield plan.without(fault)
    if any(plan.skews) or set(plan.rates) != {1.0}:
        yield replace(plan, skews=(0.0,) * len(plan.skews), rates=(1.0,) * len(plan.rates))
    for name, least in (("groups", 0), ("consumers", 0), ("topics", 0), ("producers", 1), ("partitions", 1)):
        if getattr(plan, name) > least:
            yield replace(plan, **{name: getattr(plan, name) - 1})
    if plan.records > 1:
        yield replace(plan, records=plan.records // 2)
    for fault in plan.faults:
        if fault.at_s > 0.1:
            faults = tuple(
                replace(each, at_s=round(each.at_s / 2, 3)) if each is fault else each for each in plan.faults
            )
            yield replace(plan, faults=faults)
