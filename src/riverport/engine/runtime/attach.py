"""A client's view of a container's stdio.

Output comes in Docker's own framing where there is no terminal (type, three zeros, big-endian length: docker.md, §5),
raw where there is one, so that the API relays bytes without looking at them.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

STDOUT = 1
STDERR = 2
_HEADER = struct.Struct(">BxxxI")
_READ_BYTES = 65536


class AttachStream:
    """One attached client. Closing it neither stops the container nor loses output for others."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ahead: deque[bytes] = deque()  # read by `read_ahead`, in order
        self._reading = asyncio.Lock()
        self._closed = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come, or nobody will read it."""
        return self._closed or (self._reader.at_eof() and not self._ahead)

    async def read(self, limit: int = _READ_BYTES) -> bytes:
        """Output, framed unless there is a terminal; b"" once the last byte was given."""
        async with self._reading:
            if self._ahead:
                data = self._ahead.popleft()
                if len(data) > limit:
                    self._ahead.appendleft(data[limit:])
                return data[:limit]
            return await self._receive(limit)

    async def read_ahead(self) -> None:
        """Take everything there will be into memory, since the shim is about to go.

        It has at most `stdio.CLIENT_BYTES` and a pipe or two for this client.
        """
        while True:
            async with self._reading:
                data = await self._receive(_READ_BYTES)
                if not data:
                    return
                self._ahead.append(data)

    async def write(self, data: bytes) -> None:
        """Input for stdin; waits while the container does not read it. Dropped if the container has no stdin."""
        if self._closed:
            return
        with suppress(OSError):
            self._writer.write(data)
            await self._writer.drain()

    def write_eof(self) -> None:
        """The client has no more input: ends the container's stdin if it is open for one client only."""
        if not self._closed:
            with suppress(OSError):
                self._writer.write_eof()

    def close(self) -> None:
        self._closed = True
        self._writer.close()

    async def _receive(self, limit: int) -> bytes:
        try:
            return await self._reader.read(limit)
        except OSError:
            return b""


class Frames:
    """Takes framed output apart: `feed` gives (stream, bytes) for every whole frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        buffer = self._rest + data
        position = 0
        while len(buffer) - position >= _HEADER.size:
            stream, length = _HEADER.unpack_from(buffer, position)
            end = position + _HEADER.size + length
            if end > len(buffer):
                break
            yield stream, buffer[position + _HEADER.size : end]
            position = end
        self._rest = buffer[position:]
