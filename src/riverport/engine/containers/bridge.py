"""Bytes between the event loop and a thread that does blocking work with files."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import CancelledError as Abandoned
from contextlib import suppress

QUEUED_PIECES = 4
PIECE_BYTES = 256 << 10


class Intake:
    """A request's body as a source that a thread reads (`storage.tar_reader.Source`)."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._piece = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._piece:
            piece = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if piece is None:
                return b""
            self._piece = memoryview(piece)
        data, self._piece = bytes(self._piece[:size]), self._piece[size:]
        return data

    async def _next(self) -> bytes | None:
        return await anext(self._body, None)


class Outlet:
    """What a thread writes, as an answer's body. Writing waits while the client does not read."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUED_PIECES)
        self._waiting: list[bytes] = []
        self._size = 0
        self._abandoned = False

    def write(self, data: bytes) -> None:
        """On the thread. Raises Abandoned when nobody reads any more."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= PIECE_BYTES:
            self.flush()

    def flush(self) -> None:
        piece, self._waiting, self._size = b"".join(self._waiting), [], 0
        if self._abandoned:
            raise Abandoned()
        if piece:
            asyncio.run_coroutine_threadsafe(self._queue.put(piece), self._loop).result()

    async def pieces(self, work: "asyncio.Future[None]") -> AsyncIterator[bytes]:
        """Until `work`, which writes here, is done; raises what it raises."""
        work.add_done_callback(lambda _: self._wake())
        try:
            while not (work.done() and self._queue.empty()):
                if piece := await self._queue.get():
                    yield piece
            work.result()
        finally:
            self._abandoned = True
            while not work.done():
                with suppress(asyncio.QueueEmpty):
                    self._queue.get_nowait()  # lets a thread that waits for room go on to learn that it is abandoned
                await asyncio.wait({work}, timeout=0.01)

    def _wake(self) -> None:
        """The work is done: an empty piece says so to a reader that waits. Nobody waits while the queue is full."""
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait(b"")


async def produced(
    work: Callable[[Outlet], Awaitable[None]],
) -> AsyncIterator[bytes]:
    outlet = Outlet()
    task: asyncio.Future[None] = asyncio.ensure_future(work(outlet))
    async for piece in outlet.pieces(task):
        yield piece
