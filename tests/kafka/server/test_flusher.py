"""Rounds of syncing: what runs when the node stops comes to its end, and nothing is begun behind it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from riverport.kafka.server.flusher import Flusher


@dataclass(eq=False)
class PaperLog:
    """Its flush runs until `may_end` is set."""

    may_end: threading.Event = field(default_factory=threading.Event)
    begun: int = 0
    finished: int = 0

    def flush_job(self) -> "PaperLog":
        self.begun += 1
        return self

    def run(self) -> None:
        assert self.may_end.wait(60)

    def finish(self) -> None:
        self.finished += 1


def test_closing_waits_for_the_round_that_runs_and_begins_no_other() -> None:
    async def main() -> None:
        loop, log = asyncio.get_running_loop(), PaperLog()
        with ThreadPoolExecutor(1) as executor:
            flusher = Flusher(loop, executor, lambda log, error: None)
            first = flusher.flush(log)
            await asyncio.sleep(0)
            behind = flusher.flush(log)
            closing = loop.create_task(flusher.close())
            await asyncio.sleep(0)
            assert not closing.done()
            log.may_end.set()
            await closing
            await first
        assert (log.begun, log.finished) == (1, 1)
        assert not behind.done()

    asyncio.run(main())


def test_a_round_that_was_asked_for_just_before_the_stop_is_not_begun_when_the_threads_have_gone() -> None:
    async def main() -> None:
        log, executor = PaperLog(), ThreadPoolExecutor(1)
        flusher = Flusher(asyncio.get_running_loop(), executor, lambda log, error: None)
        asked = flusher.flush(log)
        await flusher.close()
        executor.shutdown()
        await asyncio.sleep(0)
        assert log.begun == 0
        assert not asked.done()

    asyncio.run(main())
