"""Many runs, one seed after the other, on several processes."""

import gc
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from riverport.sim.plan import Shape, plan_of
from riverport.sim.plants import plant
from riverport.sim.run import collect, run

COLLECT_EVERY = 20
"""Runs."""


@dataclass(slots=True)
class Result:
    """One run of many."""

    seed: int
    promise: str | None  # that was broken
    seen: str
    events: int
    seconds: float  # of simulated time


class _Worker:
    """Runs one seed; lives in each process."""

    def __init__(self, shape: Shape | None) -> None:
        self._shape = shape
        self._runs = 0

    def play(self, seed: int) -> Result:
        outcome = run(plan_of(seed, self._shape))
        self._runs += 1
        if self._runs % COLLECT_EVERY == 0:
            collect()
        broken = outcome.violation
        return Result(
            seed,
            broken.promise if broken is not None else None,
            broken.seen if broken is not None else "",
            outcome.events,
            outcome.seconds,
        )


_worker: _Worker


def _begin(shape: Shape | None, bug: str | None) -> None:
    global _worker
    gc.freeze()
    gc.disable()
    plant(bug)  # for as long as the process lives
    _worker = _Worker(shape)


def _play(seed: int) -> Result:
    return _worker.play(seed)


def results(
    first_seed: int, runs: int, jobs: int, shape: Shape | None = None, bug: str | None = None
) -> Iterator[Result]:
    """The results of `runs` seeds from `first_seed` on, as they come in."""
    seeds = range(first_seed, first_seed + runs)
    context = multiprocessing.get_context("fork")  # what is imported is shared
    with context.Pool(jobs, _begin, (shape, bug)) as pool:
        yield from pool.imap_unordered(_play, seeds, chunksize=4)


@dataclass(slots=True)
class Tally:
    """What many runs came to."""

    runs: int = 0
    events: int = 0
    simulated_s: float = 0.0
    took_s: float = 0.0
    was_interrupted: bool = False
    broken: list[Result] = field(default_factory=list)

    @property
    def runs_per_s(self) -> float:
        return self.runs / self.took_s if self.took_s else 0.0

    @property
    def events_per_s(self) -> float:
        return self.events / self.took_s if self.took_s else 0.0


def campaign(found: Iterator[Result], told: Callable[[Tally, Result], None], *, stop_at_first: bool = False) -> Tally:
    """Count results; `told` hears of each. Ctrl-C ends it with what there is."""
    tally, begun = Tally(), time.monotonic()
    try:
        for result in found:
            tally.runs += 1
            tally.events += result.events
            tally.simulated_s += result.seconds
            tally.took_s = time.monotonic() - begun
            if result.promise is not None:
                tally.broken.append(result)
            told(tally, result)
            if tally.broken and stop_at_first:
                break
    except KeyboardInterrupt:
        tally.was_interrupted = True  # what hours of runs have found is not thrown away
    tally.broken.sort(key=lambda result: result.seed)
    return tally
