"""An event loop in a thread of its own, and what went wrong in it.

A failure in the thread would otherwise be a line in a log that nobody reads: here it is kept until the test asks.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

ROOT_LOGGER = "riverport"
"""What the broker logs as an error in our thread counts as a failure."""

Result = TypeVar("Result")


class LoopThread:
    """Runs until `stop`. Everything but `loop` is for other threads."""

    def __init__(self, name: str) -> None:
        self.loop = _new_event_loop()
        self.loop.set_exception_handler(self._unhandled)
        self._failures: list[str] = []
        # A daemon: a test run that ends without stopping its brokers must end all the same.
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self._ears = _Ears(self._thread, self._failures)
        logging.getLogger(ROOT_LOGGER).addHandler(self._ears)

    def run(self, work: Callable[[], Awaitable[Result]], timeout: float) -> Result:
        """Await something in the thread. Raises what it raises, TimeoutError when it takes too long."""

        async def awaited() -> Result:
            async with asyncio.timeout(timeout):
                return await work()

        # The second limit is for a loop that does not come round at all.
        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(timeout + 5)

    def call(self, work: Callable[[], Result], timeout: float) -> Result:
        """Run a plain function in the thread."""

        async def called() -> Result:
            return work()

        return self.run(called, timeout)

    def take_failures(self) -> list[str]:
        """What went wrong since this was last asked."""
        found, self._failures[:] = list(self._failures), []
        return found

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()
        logging.getLogger(ROOT_LOGGER).removeHandler(self._ears)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        self._failures.append(f"{context.get('message')}: {context.get('exception')!r}")


class _Ears(logging.Handler):
    """Hears the errors that one thread logs."""

    def __init__(self, thread: threading.Thread, failures: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._thread_id = thread.ident
        self._failures = failures

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread_id:
            cause = record.exc_info[1] if record.exc_info else None
            self._failures.append(record.getMessage() + (f": {cause!r}" if cause is not None else ""))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
