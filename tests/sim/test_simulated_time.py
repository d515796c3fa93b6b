"""The simulated event loop keeps asyncio's promises."""

import asyncio
from random import Random
from typing import Any

import pytest

from riverport.sim.loop import SimClock, SimLoop, SimulationError, World
from riverport.sim.network import Network


def loop_of(world: World, number: int = 1) -> SimLoop:
    return SimLoop(world, Network(world, Random(1)), f"10.0.0.{number}", Random(number), number)


def done(world: World, task: "asyncio.Task[Any]") -> Any:
    world.run(world.now + 1e6, task.done)
    return task.result()


def test_sleeping_takes_simulated_time_only() -> None:
    world = World()
    done(world, loop_of(world).create_task(asyncio.sleep(3600)))
    assert world.now == pytest.approx(3600)


def test_callbacks_run_in_the_order_in_which_they_were_asked_for() -> None:
    world = World()
    loop = loop_of(world)
    called: list[int] = []
    for number in range(10):
        loop.call_soon(called.append, number)
    loop.call_later(2.0, called.append, 12)
    loop.call_later(1.0, called.append, 11)
    loop.call_later(1.5, called.append, 99).cancel()
    world.run(5.0)
    assert called == [*range(10), 11, 12]


def test_timeouts_cancel_what_takes_longer() -> None:
    world = World()

    async def work() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await asyncio.Event().wait()
        return loop.time() - begun

    assert done(world, loop_of(world).create_task(work())) == pytest.approx(1.5)


def test_a_fast_clock_shortens_what_a_process_waits_for() -> None:
    world = World()
    loop = loop_of(world)
    loop.rate, loop.skew_s = 2.0, -60.0
    clock = SimClock(loop)
    before = clock.wall_ms()
    done(world, loop.create_task(asyncio.sleep(10)))
    assert world.now == pytest.approx(5.0)
    assert clock.wall_ms() - before == pytest.approx(10_000)


def test_jobs_take_time_and_their_results_arrive() -> None:
    world = World()
    loop = loop_of(world)

    async def work() -> int:
        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().run_in_executor(None, lambda: 1 // 0)
        return await asyncio.get_running_loop().run_in_executor(None, lambda: 7)

    assert done(world, loop.create_task(work())) == 7
    assert world.now > 0


def test_nothing_of_a_killed_process_runs_any_more() -> None:
    world = World()
    loop = loop_of(world)
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            cleaned.append("a killed process does not clean up")

    loop.create_task(work())
    world.run(1.0)
    loop.kill()
    world.run(100.0)
    assert not cleaned


def test_a_process_that_spins_is_found_out() -> None:
    world = World()

    loop = loop_of(world)

    def spin() -> None:
        loop.call_soon(spin)

    loop.call_soon(spin)
    with pytest.raises(SimulationError):
        world.run(1.0)


def test_what_nobody_catches_is_kept() -> None:
    world = World()
    loop = loop_of(world)
    loop.call_soon(lambda: 1 // 0)
    world.run(1.0)
    (failure,) = loop.failures
    assert isinstance(failure[1], ZeroDivisionError)
