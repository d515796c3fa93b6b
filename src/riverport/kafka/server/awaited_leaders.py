"""Metadata requests that wait a moment for the next leader of a partition whose last one may just have died.

A leader's clients ask another broker within milliseconds of its death, some times in a row; the next leader is there
after 4 to 60. Whoever is told by then that there is none comes back when its own clock says so: librdkafka after a
quarter of a second or a whole one, Java clients after their back-off. So the answer waits for what it is asked for, at
most as long as MOST_SECONDS, and not at all once the client's next request stands behind it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

MOST_SECONDS = 0.3
"""Several times what an election takes."""


class AwaitedLeaders:
    """One for a broker; `look` is to be called whenever clients may be told something else of partitions."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[asyncio.Future[Any], tuple[Callable[[], bool], Callable[[], Any]]] = {}
        self._is_looking = False

    def wait(self, is_hidden: Callable[[], bool], answer: Callable[[], Any]) -> "asyncio.Future[Any]":
        """What `answer` gives once `is_hidden` says that no leader is hidden any more, or once it has waited enough."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[future] = is_hidden, answer
        timer = self._loop.call_later(MOST_SECONDS, self.finish, future)
        future.add_done_callback(lambda _: timer.cancel())
        return future

    def finish(self, future: "asyncio.Future[Any]") -> None:
        """It has waited enough."""
        _, answer = self._waiting.pop(future, (None, None))
        if answer is None or future.done():
            return
        try:
            future.set_result(answer())
        except Exception as error:
            future.set_exception(error)

    def look(self) -> None:
        # On the loop's next turn: a broker that is the next leader has then become it.
        if self._waiting and not self._is_looking:
            self._is_looking = True
            self._loop.call_soon(self._finish_those_that_may)

    def _finish_those_that_may(self) -> None:
        self._is_looking = False
        for future, (is_hidden, _) in list(self._waiting.items()):
            if not is_hidden():
                self.finish(future)
