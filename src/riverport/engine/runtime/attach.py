"""A client's view of a container's stdio.

Output comes in Docker's own framing where there is no terminal (type, three zeros, big-endian length: docker.md, §5),
raw where there is one, so that the API relays bytes without looking at them.
"""

import struct
from collections.abc import Iterator

STDOUT = 1
STDERR = 2
_HEADER = struct.Struct(">BxxxI")


class AttachStream:
    """One attached client. Closing it neither stops the container nor loses output for others."""

    async def read(self, limit: int = 65536) -> bytes:
        """Output, framed unless there is a terminal; b"" once the last byte was given."""
        raise NotImplementedError

    async def write(self, data: bytes) -> None:
        """Input for stdin; waits while the container does not read it. Dropped if the container has no stdin."""
        raise NotImplementedError

    def write_eof(self) -> None:
        """The client has no more input: ends the container's stdin if it is open for one client only."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


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
