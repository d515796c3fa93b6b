"""What arrives on the event loop, read by a thread: a bounded queue between the two."""

import asyncio
import queue
from collections.abc import AsyncIterable
from typing import Final

WAITING: Final = 16
"""Pieces that may wait for the thread; a request's body comes in pieces of 64 KiB."""


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
