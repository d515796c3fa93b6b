"""Between the event loop and threads: what arrives on the loop is read by a thread, and the other way round."""

import asyncio
import queue
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from typing import Final, TypeVar

from riverport.engine.storage.tar_reader import Source

WAITING: Final = 16
"""Pieces that may wait for the thread; a request's body comes in pieces of 64 KiB."""
DRAWN_BYTES: Final = 1 << 19

Result = TypeVar("Result")


async def consumed(stream: AsyncIterable[bytes], work: Callable[[Source], Awaitable[Result]]) -> Result:
    """What `work`, which reads on a thread, makes of the stream; either's failure ends the other."""
    feed = Feed()
    working = asyncio.ensure_future(work(feed))
    pouring = asyncio.ensure_future(feed.pour(stream))
    try:
        await asyncio.wait({working, pouring}, return_when=asyncio.FIRST_EXCEPTION)
        if working.done():
            feed.close()
        return await working
    finally:
        # A client that goes away ends the pouring, and with it the thread.
        pouring.cancel()
        await asyncio.gather(working, pouring, return_exceptions=True)


async def drawn(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """What a thread makes piece by piece, in pieces worth the way from the thread (0.1 ms)."""
    try:
        while data := await asyncio.to_thread(_gather, pieces):
            yield data
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            await asyncio.to_thread(close)


def _gather(pieces: Iterator[bytes]) -> bytes:
    found: list[bytes] = []
    size = 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size >= DRAWN_BYTES:
            break
    return found[0] if len(found) == 1 else b"".join(found)


class Feed:
    """`pour` on the loop, `read` (a source) on one thread. Whoever stops reading early calls `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(WAITING)
        self._pieces: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
        self._piece = memoryview(b"")
        self._ended = False
        self._closed = False

    async def pour(self, stream: AsyncIterable[bytes]) -> None:
        """Until the end of the stream, or until nobody reads any more. What fails here fails in `read`, too."""
        try:
            async for piece in stream:
                await self._room.acquire()
                if self._closed:
                    return
                if piece:
                    self._pieces.put(piece)
                else:
                    self._room.release()
            self._pieces.put(b"")
        except BaseException as error:
            self._pieces.put(error)
            raise

    def read(self, size: int) -> bytes:
        if not self._piece and not self._ended:
            taken = self._pieces.get()
            if isinstance(taken, BaseException):
                self._ended = True
                raise ConnectionError("the stream ended early") from taken
            self._ended = not taken
            self._piece = memoryview(taken)
            self._release()
        data = bytes(self._piece[:size])
        self._piece = self._piece[size:]
        return data

    def close(self) -> None:
        """From the loop: let a waiting `pour` go."""
        self._closed = True
        self._room.release()

    def _release(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._room.release)
        except RuntimeError:
            return  # the loop is closed: the daemon stops
