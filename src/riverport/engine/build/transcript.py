"""The output of stages that run at once, told in the Dockerfile's order.

The first stage that is not done yet is told as it happens, later ones wait in memory. A stage whose text waits and has
grown long must wait itself: those before it never depend on it, so its turn comes.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

Item = dict[str, Any]

WAITING_BYTES = 4 << 20


class Part:
    """What one stage says."""

    def __init__(self, transcript: "Transcript") -> None:
        self._transcript = transcript
        self._items: list[Item] = []
        self._size = 0
        self.closed = False

    def say(self, text: str) -> None:
        self.emit({"stream": text})

    def emit(self, item: Item) -> None:
        self._items.append(item)
        self._size += len(item.get("stream") or "") + 64
        self._transcript.wake()

    def close(self) -> None:
        self.closed = True
        self._transcript.wake()

    async def room(self) -> None:
        """Until there is room for more."""
        while self._size > WAITING_BYTES:
            await self._transcript.taken()

    def take(self) -> list[Item]:
        items, self._items, self._size = self._items, [], 0
        return items


class Transcript:
    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._said = asyncio.Event()
        self._taken = asyncio.Event()

    def part(self) -> Part:
        part = Part(self)
        self._parts.append(part)
        return part

    def wake(self) -> None:
        self._said.set()

    async def taken(self) -> None:
        self._taken.clear()
        await self._taken.wait()

    async def items(self, work: "asyncio.Task[Any]") -> AsyncIterator[Item]:
        """Until every part is closed or `work` (which says all this) is done; what it raises is not raised here."""
        work.add_done_callback(lambda _: self.wake())
        while True:
            self._said.clear()
            while self._parts:
                for item in self._parts[0].take():
                    yield item
                self._taken.set()
                if not self._parts[0].closed:
                    break
                del self._parts[0]
            if work.done() or not self._parts:
                return
            await self._said.wait()

    def rest(self, failed: Part | None) -> list[Item]:
        """After a failure: what the stage that is being told and the failed one have said."""
        told = [part for part in self._parts[:1] if part is not failed]
        return [item for part in (*told, *((failed,) if failed else ())) for item in part.take()]
