"""The daemon's connections to a shim: requests, answers and events as lines of JSON (`shim.py` has the other end)."""

import asyncio
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from riverport.engine.errors import SystemFailure
from riverport.engine.runtime.shim import SOCKET

_LINE_BYTES = 1 << 20


class ShimGone(SystemFailure):
    """The connection has ended before the answer came."""


class Link:
    """One control connection. `on_event` and `on_end` are called on the event loop."""

    def __init__(
        self,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        on_event: Callable[[dict[str, Any]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._reader, self._writer = streams
        self._on_event = on_event
        self._on_end = on_end
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next_id = 1
        self.ended = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def call(self, do: str, **fields: Any) -> dict[str, Any]:
        """The answer as it is: an `error` in it is the caller's business. Raises ShimGone."""
        if self.ended.is_set():
            raise ShimGone("the container's shim has gone")
        number, self._next_id = self._next_id, self._next_id + 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._send({"id": number, "do": do, **fields})
            return await answer
        finally:
            self._answers.pop(number, None)

    def tell(self, do: str) -> None:
        """A request without an answer."""
        if not self.ended.is_set():
            self._send({"id": 0, "do": do})

    def close(self) -> None:
        self._writer.close()

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def _listen(self) -> None:
        with suppress(OSError, ValueError):  # ValueError: a line beyond the limit; treated like an end
            while line := await self._reader.readline():
                message = json.loads(line)
                if "event" in message:
                    self._on_event(message)
                    continue
                answer = self._answers.get(message["id"])
                if answer is not None and not answer.done():
                    answer.set_result(message)
        self.ended.set()
        self._writer.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ShimGone("the container's shim has gone"))
        self._on_end()


async def adopt_socket(ours: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(sock=ours, limit=_LINE_BYTES)


async def connect(directory: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the shim that listens in `directory`. Raises OSError if none does.

    By way of /proc, since a unix socket's path has 107 bytes at the most.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{fd}/{SOCKET}", limit=_LINE_BYTES)
    finally:
        os.close(fd)
