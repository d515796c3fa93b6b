"""Simulated time, and event loops that live in it: one `SimLoop` for each process, all driven by one `World`.

    World      the time and everything that is to happen, in its order; the hash of all that has happened
    SimLoop    an asyncio event loop; its process can be killed (nothing of it runs any more) and paused

Processes share nothing and meet over a network that takes time. So an event of one process runs to its end, with
everything that it makes ready, before any other: whatever order a machine might choose within that instant gives the
same. Ready callbacks of one loop run first in, first out, as asyncio promises. What is free (how long a packet or a job
on a thread takes, which of two packets is first) is drawn from seeded generators.
"""

import asyncio
import heapq
import socket
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet
from zlib import crc32

if TYPE_CHECKING:
    from riverport.sim.network import Network, SimServer, SimSocket

MOST_AT_ONCE = 20_000
"""Callbacks of one process without any time passing: more is a loop that waits for something by spinning."""
EPOCH_S = 1_700_000_000
"""The wall clock's time at which a simulation begins."""

_HAPPENED = Struct("<dq")
Result = TypeVar("Result")


class SimulationError(Exception):
    """The simulation itself cannot go on: nothing is left to happen, or time stands still."""


class World:
    """The time, and what happens at which."""

    def __init__(self) -> None:
        self.now = 0.0  # seconds since the start
        self.events = 0
        self.watch: Callable[[SimLoop], None] | None = None  # looks at each process after each of its events
        self.hash = 0  # of the times and places of all events, and of the bytes that were received
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Call back at a time, and after everything else that was to happen at that time."""
        self._count = count = self._count + 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, count, callback, args))

    def after(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        self.at(self.now + seconds, callback, *args)

    def happened(self, place: int) -> None:
        self.hash = crc32(_HAPPENED.pack(self.now, place), self.hash)

    def run(self, until: float, stop: Callable[[], bool] | None = None) -> bool:
        """Let things happen until a time, or until `stop`, which is asked after each event, says so: then True."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, callback, args = pop(heap)
            self.events += 1
            callback(*args)
            if stop is not None and stop():
                return True
        self.now = max(self.now, until)
        return False

    def clear(self) -> None:
        """Nothing happens any more."""
        self._heap.clear()


class Handle:
    """What `call_soon` and its like return: as asyncio's, without what only its own loop needs."""

    __slots__ = ("_args", "_callback", "_context", "_when")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None, when: float = 0.0
    ) -> None:
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._context = context
        self._when = when

    def cancel(self) -> None:
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        return self._callback is None

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        callback = self._callback
        if callback is None:
            return
        if self._context is None:
            callback(*self._args)
        else:
            self._context.run(callback, *self._args)


# Of the dozens of methods that the type of a loop has, those are here that nodes and clients use.
_EventLoop: Any = asyncio.AbstractEventLoop


class SimLoop(_EventLoop):  # type: ignore[misc]
    """One process's event loop. `kill` ends the process; `pause` and `resume` are SIGSTOP and SIGCONT.

    `skew_s` is by how much its wall clock is wrong, and `rate` how fast its clocks run: 1.0 is right.
    """

    def __init__(self, world: World, network: "Network", host: str, rng: Random, number: int = 0) -> None:
        self.world = world
        self.network = network
        self.host = host
        self.number = number
        self.rng = rng
        self.alive = True
        self.skew_s = 0.0
        self.rate = 1.0
        self.job_seconds = 0.001  # about how long a job on a thread takes
        self.failures: list[tuple[str, BaseException | None]] = []
        self.servers: list[SimServer] = []
        self._paused: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = None
        self._ready: deque[Handle] = deque()
        self._running = False
        self._woken = False
        self._graveyard: list[Any] = []
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()  # asyncio's own set is of all loops that ever were

    # --- the process

    def enter(self, callback: Callable[..., object], *args: Any) -> None:
        """Something happens to the process: call back in it, and let everything run that gets ready by that."""
        if not self.alive:
            return
        if self._paused is not None:
            self._paused.append((callback, args))
            return
        self.world.happened(self.number)
        events._set_running_loop(self)
        self._running = True
        try:
            self._call(callback, args)
            self._drain()
            if self.world.watch is not None:
                self.world.watch(self)
        finally:
            self._running = False
            events._set_running_loop(None)

    def _call(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.call_exception_handler({"message": f"in {callback!r}", "exception": error})

    def _drain(self) -> None:
        ready = self._ready
        left = MOST_AT_ONCE
        while ready and self.alive:
            handle = ready.popleft()
            try:
                handle.run()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler({"message": "in a callback", "exception": error})
            left -= 1
            if not left:
                raise SimulationError(f"{self.host} does not stop at {self.world.now:.6f} s: {handle._callback!r}")

    def kill(self) -> None:
        """End the process at once: no more of it runs, not even what cleans up."""
        self.alive = False
        # Kept to the end of the simulation: what Python does to a task that is dropped would run its `finally`.
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._graveyard = [self._ready, *tasks]
        self._ready = deque()

    def pause(self) -> None:
        if self._paused is None:
            self._paused = []

    def resume(self) -> None:
        missed, self._paused = self._paused, None
        for callback, args in missed or ():
            self.enter(callback, *args)

    @property
    def is_paused(self) -> bool:
        return self._paused is not None

    # --- time

    def time(self) -> float:
        return self.world.now * self.rate + 1000.0

    def wall_s(self) -> float:
        return EPOCH_S + self.skew_s + self.world.now * self.rate

    # --- callbacks

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:
        handle = Handle(callback, args, context)
        self._ready.append(handle)
        if not self._running and not self._woken:
            self._woken = True
            self.world.at(self.world.now, self.enter, self._wake)
        return handle

    def _wake(self) -> None:
        self._woken = False

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, context, when)
        self.world.at((when - 1000.0) / self.rate, self._due, handle)
        return handle

    def _due(self, handle: Handle) -> None:
        if handle._callback is not None:
            self.enter(handle.run)

    # --- futures, tasks, jobs

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Result], *, name: Any = None, context: Any = None
    ) -> "asyncio.Task[Result]":
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        self._tasks.add(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """The job happens at one moment, at the start or the end of the time that it takes."""
        future = self.create_future()
        seconds = self.job_seconds * (0.2 + self.rng.expovariate(1.0))
        if self.rng.random() < 0.5:
            self.world.after(0.0, self.enter, self._run_early, future, seconds, func, args)
        else:
            self.world.after(seconds, self.enter, self._run_late, future, func, args)
        return future

    def _run_early(self, future: "asyncio.Future[Any]", seconds: float, func: Callable[..., Any], args: Any) -> None:
        outcome = _outcome(func, args)
        self.world.after(seconds, self.enter, _settle, future, outcome)

    def _run_late(self, future: "asyncio.Future[Any]", func: Callable[..., Any], args: Any) -> None:
        _settle(future, _outcome(func, args))

    # --- sockets

    async def create_server(
        self, protocol_factory: Any, *, sock: "SimSocket", start_serving: bool = True, **_: Any
    ) -> Any:
        server = self.network.server(self, protocol_factory, sock)
        if start_serving:
            await server.start_serving()
        return server

    async def create_connection(self, protocol_factory: Any, host: str, port: int, **_: Any) -> Any:
        connected = self.create_future()
        self.network.connect(self, host, port, connected)
        try:
            transport = await connected
        except asyncio.CancelledError:
            if connected.done() and not connected.cancelled() and connected.exception() is None:
                connected.result().abort()
            raise
        protocol = protocol_factory()
        transport.begin(protocol)
        return transport, protocol

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    # --- what asyncio asks of a loop besides

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return not self.alive

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Nobody sends signals here."""

    def remove_signal_handler(self, sig: int) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody caught is kept: a node of the production code is not to have any."""
        if self.alive:
            where = getattr(context.get("future"), "get_coro", lambda: None)()
            message = f"{context.get('message')} {getattr(where, '__qualname__', '')}".strip()
            self.failures.append((message, context.get("exception")))


def _outcome(func: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    try:
        return func(*args), None
    except Exception as error:
        return None, error


def _settle(future: "asyncio.Future[Any]", outcome: tuple[Any, BaseException | None]) -> None:
    if future.cancelled():
        return
    result, error = outcome
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class SimClock:
    """A process's clocks, as its loop has them."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def wall_ms(self) -> int:
        return int(self._loop.wall_s() * 1000)

    def mono_ms(self) -> float:
        return self._loop.time() * 1000.0
