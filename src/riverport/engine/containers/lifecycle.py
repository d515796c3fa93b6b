"""The deeds on one container: start, what happens when it ends, stop, kill, restart, pause.

A container's lock is held while its state changes; nobody holds it while waiting for a process to end, so a container
that does not stop can still be killed, inspected and listed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.container import Container, WaitCondition
from riverport.engine.containers.health import UNHEALTHY
from riverport.engine.containers.restart import RestartPolicy, after_exit
from riverport.engine.containers.signals import parse_signal
from riverport.engine.containers.times import SECOND_NS
from riverport.engine.errors import Conflict, EngineError, NotModified, SystemFailure
from riverport.engine.runtime.failures import CommandFailure

if TYPE_CHECKING:
    from riverport.engine.containers.health_monitor import HealthMonitor
    from riverport.engine.containers.launch import Launcher
    from riverport.engine.runtime.handle import Shim
    from riverport.engine.runtime.model import ExitStatus

SIGTERM, SIGKILL = 15, 9
STOP_TIMEOUT_S = 10
KILL_PATIENCE_S = 10.0
CANNOT_START_EXIT_CODE = 128

Remove = Callable[[Container], Coroutine[Any, Any, None]]


class Tasks:
    """Work that nobody waits for, kept from being collected, and ended with the daemon."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Lifecycle:
    """`remove` takes away a container that has AutoRemove, after its end."""

    def __init__(
        self, catalogue: Catalogue, launcher: "Launcher", health: "HealthMonitor", remove: Remove, tasks: Tasks
    ) -> None:
        self._catalogue = catalogue
        self._launcher = launcher
        self._health = health
        self._remove = remove
        self._tasks = tasks
        self.shutting_down = False  # nothing is restarted any more

    # --- beginning

    async def start(self, container: Container) -> None:
        """Raises NotModified if it runs; what fails is told in Docker's words and kept as the state's Error."""
        async with container.lock:
            if container.state.paused:
                raise Conflict("cannot start a paused container, try unpause instead")
            if container.state.running:
                raise NotModified()
            if container.state.removing or container.state.dead:
                raise Conflict("container is marked for removal and cannot be started")
            container.stopped_by_hand = False
            container.restart_count = 0
            container.backoff.delay_s = 0.0
            await self._launch(container)

    async def _launch(self, container: Container) -> None:
        """Under the lock."""
        try:
            shim = await self._launcher.launch(container)
        except (EngineError, OSError) as error:
            self._cannot_start(container, error)
            raise
        container.shim = shim
        container.state.set_running(shim.container_pid or 0, self._catalogue.clock_ns())
        self._catalogue.note(container)
        self._catalogue.publish(container, "start")
        self.watch(container, shim)
        await self._launcher.attach_waiting(container, shim)  # who came in the last moment

    def watch(self, container: Container, shim: "Shim", *, resumes: bool = False) -> None:
        """What has just been started, or found again (`resumes`), is looked after until it ends."""
        shim.on_oom = lambda: self._oom(container)
        if not container.state.paused:
            self._health.begin(container, resumes=resumes)
        self._tasks.spawn(self._until_exit(container, shim), f"exit of {container.name}")

    def _cannot_start(self, container: Container, error: EngineError | OSError) -> None:
        container.shim = None
        container.state.error = str(error)
        container.state.exit_code = error.exit_code if isinstance(error, CommandFailure) else CANNOT_START_EXIT_CODE
        self._catalogue.note(container)
        container.waiters.exited(container.outcome())
        if container.host_config["AutoRemove"]:
            self._tasks.spawn(self._remove(container), f"removal of {container.name}")

    def _oom(self, container: Container) -> None:
        container.state.oom_killed = True
        self._catalogue.note(container)
        self._catalogue.publish(container, "oom")

    # --- ending

    async def _until_exit(self, container: Container, shim: "Shim") -> None:
        status = await asyncio.shield(shim.exited)
        async with container.lock:
            if container.shim is shim:
                await self.ended(container, shim, status)

    async def ended(self, container: Container, shim: "Shim | None", status: "ExitStatus") -> None:
        """Under the lock: give back what it had, then restart, remove or leave it."""
        self._health.end(container)
        # Written before the shim goes: nobody could be asked for it afterwards.
        container.state.ending = asdict(status)
        self._catalogue.note(container)
        await self._launcher.give_back(container, shim)
        container.shim = None
        container.exec_ids.clear()
        state = container.state
        finished_ns = round(status.finished_at * SECOND_NS)
        ran_ns = max(0, finished_ns - state.started_at_ns)
        restarts = not self.shutting_down and after_exit(
            RestartPolicy.of(container.host_config), status.code, container.restart_count, container.stopped_by_hand
        )
        if restarts:
            container.restart_count += 1
            state.set_restarting(status.code, finished_ns)
        else:
            state.set_stopped(status.code, finished_ns)
        state.oom_killed = state.oom_killed or status.oom_killed
        if state.health:
            state.health = {**state.health, "Status": UNHEALTHY}
        self._catalogue.note(container)
        self._catalogue.publish(
            container, "die", {"exitCode": str(status.code), "execDuration": str(ran_ns // SECOND_NS)}
        )
        container.waiters.exited(container.outcome())
        if restarts:
            delay_s = container.backoff.next(ran_ns / SECOND_NS)
            container.restart_task = self._tasks.spawn(
                self._restart_after(container, delay_s), f"restart of {container.name}"
            )
        elif container.host_config["AutoRemove"] and not container.restarting_by_hand:
            self._tasks.spawn(self._remove(container), f"removal of {container.name}")

    async def _restart_after(self, container: Container, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        async with container.lock:
            if not container.state.restarting:
                return
            container.restart_task = None
            try:
                await self._launch(container)
            except (EngineError, OSError):
                state = container.state
                state.set_stopped(state.exit_code, self._catalogue.clock_ns())
                self._catalogue.note(container)
                container.waiters.exited(container.outcome())

    def start_again(self, container: Container) -> None:
        """At the daemon's start, as its policy says."""
        container.state.restarting = container.state.running = True
        container.restart_task = self._tasks.spawn(self._restart_after(container, 0), f"start of {container.name}")

    async def _end_restarting(self, container: Container) -> None:
        """A container between two runs is stopped by not being started again."""
        async with container.lock:
            if not container.state.restarting:
                return
            if container.restart_task is not None:
                container.restart_task.cancel()
                container.restart_task = None
            container.state.set_stopped(container.state.exit_code, container.state.finished_at_ns)
            self._catalogue.note(container)
            container.waiters.exited(container.outcome())

    # --- by hand

    async def stop(self, container: Container, timeout_s: int | None, signal_name: str = "") -> None:
        """Signal, patience, SIGKILL. `timeout_s` < 0 is endless patience. Raises NotModified if it does not run."""
        if not container.state.running:
            raise NotModified()
        await self.end(container, parse_signal(signal_name) if signal_name else None, timeout_s)
        self._catalogue.publish(container, "stop")

    async def end(self, container: Container, number: int | None, timeout_s: int | None) -> None:
        """Stop without a word about it, by its own signal or this one; nothing to do if it does not run."""
        if number is None:
            number = parse_signal(container.config["StopSignal"] or "SIGTERM")
        if timeout_s is None:
            given = container.config["StopTimeout"]
            timeout_s = STOP_TIMEOUT_S if given is None else given
        stopped = container.wait(WaitCondition.NOT_RUNNING)
        try:
            await self._signal(container, number, by_hand=True)
            if not await _within(stopped, timeout_s if timeout_s >= 0 else None):
                await self._kill_and_wait(container)
        finally:
            stopped.cancel()

    async def kill(self, container: Container, signal_name: str) -> None:
        """Any signal; SIGKILL (the default) waits until the container has ended."""
        number = parse_signal(signal_name) if signal_name else SIGKILL
        if not container.state.running:
            raise Conflict(f"cannot kill container: {container.name}: container {container.id} is not running")
        if number == SIGKILL:
            await self._kill_and_wait(container)
        else:
            stop_signal = parse_signal(container.config["StopSignal"] or "SIGTERM")
            await self._signal(container, number, by_hand=number == stop_signal or not container.config["StopSignal"])

    async def _kill_and_wait(self, container: Container) -> None:
        stopped = container.wait(WaitCondition.NOT_RUNNING)
        try:
            await self._signal(container, SIGKILL, by_hand=True)
            if not await _within(stopped, KILL_PATIENCE_S):
                raise SystemFailure("tried to kill container, but did not receive an exit event")
        finally:
            stopped.cancel()

    async def _signal(self, container: Container, number: int, by_hand: bool) -> None:
        """`by_hand`: the container is meant to end, and no policy brings it back."""
        container.stopped_by_hand = container.stopped_by_hand or by_hand
        self._catalogue.note(container)
        if container.state.restarting:
            await self._end_restarting(container)
            return
        if container.shim is None:
            return  # it is just ending
        with suppress(Conflict):  # it has ended, and its end is on the way here
            container.shim.signal(number)
        if container.state.paused and by_hand:
            await self._thaw(container)
        self._catalogue.publish(container, "kill", {"signal": str(number)})

    async def _thaw(self, container: Container) -> None:
        """A frozen process takes no signal."""
        if container.shim is not None:
            await container.shim.unpause()
        container.state.paused = False
        self._catalogue.note(container)

    async def restart(self, container: Container, timeout_s: int | None, signal_name: str = "") -> None:
        number = parse_signal(signal_name) if signal_name else None
        container.restarting_by_hand = True  # its end is no reason to remove it
        try:
            if container.state.running:
                await self.end(container, number, timeout_s)
            with suppress(NotModified):  # its policy, or somebody else, was faster
                await self.start(container)
        finally:
            container.restarting_by_hand = False
        self._catalogue.publish(container, "restart")

    async def pause(self, container: Container) -> None:
        async with container.lock:
            shim = container.running_shim()
            if container.state.paused:
                raise Conflict(f"Container {container.id} is already paused")
            await shim.pause()
            container.state.paused = True
            self._health.end(container)
            self._catalogue.note(container)
            self._catalogue.publish(container, "pause")

    async def unpause(self, container: Container) -> None:
        async with container.lock:
            if not container.state.paused:
                raise SystemFailure(f"Container {container.id} is not paused")
            await container.running_shim().unpause()
            container.state.paused = False
            self._catalogue.note(container)
            self._health.begin(container)
            self._catalogue.publish(container, "unpause")


async def _within(future: "asyncio.Future[Any]", timeout_s: float | None) -> bool:
    """Whether it is done in time; it is not cancelled otherwise."""
    done, _ = await asyncio.wait([future], timeout=timeout_s)
    return bool(done)
