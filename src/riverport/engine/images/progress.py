"""What a transfer says while it runs, from the loop or from threads, to a client that may read slowly.

How far something is replaces what was said about it before and not yet read, so that the queue is never longer than
there are layers and states.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final

from riverport.engine.storage.tar_reader import Source

STEP_BYTES: Final = 1 << 19
"""How much a layer moves before it is mentioned again."""

Item = dict[str, Any]


class Progress:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Item] = deque()
        self._pending: dict[tuple[str, str], Item] = {}
        self._more = asyncio.Event()

    def say(self, status: str, identifier: str = "") -> None:
        """A line; with an identifier it is about one layer, whose earlier line it takes the place of on a terminal."""
        self.put({"status": status, **({"progressDetail": {}, "id": identifier} if identifier else {})})

    def put(self, item: Item) -> None:
        self._call(self._append, item, None)

    def reached(self, status: str, identifier: str, current: int, total: int) -> None:
        item = {"status": status, "progressDetail": {"current": current, "total": total}, "id": identifier}
        self._call(self._append, item, (status, identifier))

    async def items(self, work: "asyncio.Future[Any]") -> AsyncIterator[Item]:
        """Everything that is said until `work` is done."""
        work.add_done_callback(lambda _: self._more.set())
        while True:
            while self._waiting:
                item = self._waiting.popleft()
                self._pending.pop((item.get("status", ""), item.get("id", "")), None)
                yield item
            if work.done():
                return
            self._more.clear()
            await self._more.wait()

    def _append(self, item: Item, key: tuple[str, str] | None) -> None:
        if key is not None and (pending := self._pending.get(key)) is not None:
            pending.update(item)
            return
        if key is not None:
            self._pending[key] = item
        self._waiting.append(item)
        self._more.set()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            function(*arguments)
        else:
            self._loop.call_soon_threadsafe(function, *arguments)


async def told(work: Callable[[Progress], Awaitable[Any]]) -> AsyncGenerator[Item, None]:
    """What `work` says, until it ends; its error is raised after its last words, and a reader's end is its end."""
    progress = Progress()
    task = asyncio.ensure_future(work(progress))
    try:
        async for item in progress.items(task):
            yield item
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Metered:
    """A source that tells how much of it was read."""

    def __init__(self, source: Source, tell: Callable[[int], None]) -> None:
        self._source = source
        self._tell = tell
        self._count = 0
        self._told = 0

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._count += len(data)
        if self._count - self._told >= STEP_BYTES:
            self._told = self._count
            self._tell(self._count)
        return data
