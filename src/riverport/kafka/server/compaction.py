"""The cleaner's workers: one for each of `log.cleaner.threads`, each with a thread for its reading and writing.

A worker cleans the dirtiest log that no other is at, writes down how far it came, and rests for
`log.cleaner.backoff.ms` once nothing is due. Retention of compacted logs is its business too, so that the two never
meet at one log. The settings may change while it works: the rate changes at once, memory with the next cleaning, the
number of workers when they are done with theirs.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from riverport.base.clock import Clock
from riverport.base.logging import get_logger
from riverport.kafka.log.cleaner import CleanerLimits, LogCleaner
from riverport.kafka.log.directory import CLEANED
from riverport.kafka.server.housekeeping import run_job

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

MOST_THREADS = 1024
"""More are never started, whatever the setting says."""
LEAST_BACKOFF_MS = 10
"""With a setting of 0 the loop would do nothing else but ask."""
SHORTEST_REST_MS = 50
"""Shorter ones are saved up: the system's sleep is not exact."""
LONGEST_REST_MS = 1_000
"""After that the rate is looked at again."""

YIELD_BYTES = 16 * 1024
YIELD_SECONDS = 0.0001
"""A worker that never sleeps gives way to the loop only when the interpreter makes it, every 5 ms. With these sleeps
the loop's median delay was 1.0 ms instead of 6.0, and the cleaning took no longer."""


class Throttle:
    """`log.cleaner.io.max.bytes.per.second`, of all workers together. `rest(seconds)` sleeps on the worker's thread."""

    def __init__(
        self, clock: Clock, bytes_per_second: Callable[[], float], rest: Callable[[float], object] | None = None
    ) -> None:
        self._clock = clock
        self._bytes_per_second = bytes_per_second
        self._stopped = Event()
        self._rest = rest or self._stopped.wait
        self._lock = Lock()
        self._owed = 0.0  # bytes that came too early at `_seen_ms`
        self._seen_ms = clock.mono_ms()

    def pace(self, size: int) -> None:
        """Rest until `size` more bytes are within the rate."""
        rest_ms = self._owe(size)
        while rest_ms >= SHORTEST_REST_MS and not self._stopped.is_set():
            self._rest(min(rest_ms, LONGEST_REST_MS) / 1000)
            rest_ms = self._owe(0)

    def _owe(self, size: int) -> float:
        with self._lock:
            now_ms, rate = self._clock.mono_ms(), max(self._bytes_per_second(), 1.0) / 1000
            self._owed = max(self._owed - (now_ms - self._seen_ms) * rate, 0.0) + size
            self._seen_ms = now_ms
            return self._owed / rate

    def stop(self) -> None:
        """Nobody rests any more."""
        self._stopped.set()


class Compaction:
    """Runs `LogCleaner` for a broker."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._throttle = Throttle(broker.clock, lambda: broker.config["log.cleaner.io.max.bytes.per.second"])
        self._executor = broker.machine.executor(MOST_THREADS, "riverport-cleaner")
        self._workers: dict[int, asyncio.Task[None]] = {}
        self._checkpoint = asyncio.Lock()  # a checkpoint has one temporary file
        self._running = False
        self._unyielded = 0  # bytes since a worker has let the loop run
        self.cleaner = LogCleaner(broker.logs, self._limits, self._pace)

    def start(self) -> None:
        self._running = bool(self._broker.config["log.cleaner.enable"])
        self.settings_changed()

    def settings_changed(self) -> None:
        """Start the workers that there are to be; those that are too many end by themselves."""
        if not self._running:
            return
        for number in range(self._threads):
            if number not in self._workers:
                self._workers[number] = self._broker.loop.create_task(self._work(number))

    async def stop(self) -> None:
        """Give up what is being cleaned; done once no thread is at it any more."""
        self._running = False
        self.cleaner.stop()
        self._throttle.stop()
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._executor.shutdown()

    @property
    def workers(self) -> int:
        """How many there are now."""
        return len(self._workers)

    @property
    def _threads(self) -> int:
        wanted: int = self._broker.config["log.cleaner.threads"]
        return min(wanted, MOST_THREADS)

    def _limits(self) -> CleanerLimits:
        config, threads = self._broker.config, max(self._threads, 1)
        return CleanerLimits(
            dedupe_buffer_bytes=config["log.cleaner.dedupe.buffer.size"] // threads,
            load_factor=config["log.cleaner.io.buffer.load.factor"],
            io_buffer_bytes=config["log.cleaner.io.buffer.size"] // threads,
        )

    def _pace(self, size: int) -> None:
        """On a worker's thread, after so many bytes."""
        self._throttle.pace(size)
        self._unyielded += size
        if self._unyielded >= YIELD_BYTES:
            self._unyielded = 0
            time.sleep(YIELD_SECONDS)

    async def _work(self, number: int) -> None:
        try:
            while number < self._threads:
                if not await self._round():
                    rest_ms = max(self._broker.config["log.cleaner.backoff.ms"], LEAST_BACKOFF_MS)
                    await asyncio.sleep(rest_ms / 1000)
        finally:
            del self._workers[number]

    async def _round(self) -> bool:
        """Whether a log was cleaned."""
        broker = self._broker
        try:
            steps = self.cleaner.clean_dirtiest(broker.clock.wall_ms())
            if steps is not None:
                with closing(steps):
                    for step in steps:
                        await self._run(step)
            async with self._checkpoint:
                for job in broker.upkeep.checkpoint(CLEANED):
                    await self._run(job)
            broker.upkeep.apply_retention(broker.clock.wall_ms(), compacted=True)
        except Exception:
            log.exception("a round of the cleaner failed")
            return False
        return steps is not None

    async def _run(self, job: Any) -> None:
        await run_job(self._broker.loop, self._executor, job)
