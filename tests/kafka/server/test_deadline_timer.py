"""A deadline that moves rings once it has come: never before it, and once for each time that it was set."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from riverport.kafka.server.deadline_timer import DeadlineTimer
from riverport.sim.loop import SimClock, SimLoop, World
from riverport.sim.network import Network


class Rings:
    """A timer in simulated time, and when it rang."""

    def __init__(self) -> None:
        self.world = World()
        self.loop = SimLoop(self.world, Network(self.world, Random(1)), "10.0.0.1", Random(1), 1)
        self.clock = SimClock(self.loop)
        self.start_ms = self.clock.mono_ms()
        self.at_ms: list[float] = []
        self.timer = DeadlineTimer(self.loop, self.clock, lambda: self.at_ms.append(self.now_ms))

    @property
    def now_ms(self) -> float:
        return self.clock.mono_ms() - self.start_ms

    def set(self, deadline_ms: float) -> None:
        self.loop.call_soon(self.timer.set, self.start_ms + deadline_ms)

    def run_to(self, until_ms: float) -> None:
        self.world.run(until_ms / 1000)


def rang_at(rings: Rings, *deadlines_ms: float) -> bool:
    return len(rings.at_ms) == len(deadlines_ms) and all(
        deadline <= rang <= deadline + 0.1 for deadline, rang in zip(deadlines_ms, rings.at_ms, strict=True)
    )


def test_a_deadline_rings_when_it_has_come() -> None:
    rings = Rings()
    rings.set(50)
    rings.run_to(49)
    assert rings.at_ms == []
    rings.run_to(200)
    assert rang_at(rings, 50)


def test_one_that_has_passed_rings_at_once() -> None:
    rings = Rings()
    rings.run_to(100)
    rings.set(20)
    rings.run_to(101)
    assert len(rings.at_ms) == 1


def test_a_deadline_that_is_none_any_more_does_not_ring() -> None:
    rings = Rings()
    rings.set(50)
    rings.set(float("inf"))
    rings.run_to(200)
    assert rings.at_ms == []


def test_a_stopped_timer_does_not_ring() -> None:
    rings = Rings()
    rings.set(50)
    rings.run_to(10)
    rings.timer.stop()
    rings.run_to(200)
    assert rings.at_ms == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 100)), min_size=1, max_size=10))
def test_only_the_deadline_that_was_set_last_counts(moves: list[tuple[int, int]]) -> None:
    """Each is set `wait` ms after the one before, `ahead` ms into the future."""
    rings, now, expected = Rings(), 0, []
    for index, (wait, ahead) in enumerate(moves):
        now += wait
        rings.run_to(now)
        rings.set(now + ahead)
        next_at = now + moves[index + 1][0] if index + 1 < len(moves) else float("inf")
        if now + ahead < next_at:
            expected.append(now + ahead)
    rings.run_to(now + 1_000)
    assert rang_at(rings, *(float(deadline) for deadline in expected)), (expected, rings.at_ms)
