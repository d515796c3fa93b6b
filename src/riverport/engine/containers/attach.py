"""A client's connection and a container's streams, joined until one of them ends.

The shim frames output already (`runtime/attach.py`), so bytes are passed on as they come, unless the client wants it
otherwise: a websocket gets them bare, and who starts an exec with a terminal may ask for frames all the same. Whatever
the client does, the container goes on.
"""

import asyncio
from collections.abc import Callable

from riverport.base.http.messages import ClientGone, Duplex
from riverport.engine.containers.detach_keys import DetachFilter
from riverport.engine.runtime.attach import STDOUT, AttachStream, Frames

READ_BYTES = 64 << 10
Translation = Callable[[bytes], bytes]


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def translation(*, framed: bool, wanted_framed: bool) -> Translation | None:
    """From output as it comes to output as the client wants it; None where they are the same."""
    if framed == wanted_framed:
        return None
    if wanted_framed:
        return lambda data: frame(STDOUT, data)
    frames = Frames()
    return lambda data: b"".join(piece for _, piece in frames.feed(data))


class Session:
    """One attached client; `keys` are what detaches it, None where nothing does."""

    def __init__(self, duplex: Duplex, keys: bytes | None, translate: Translation | None = None) -> None:
        self._duplex = duplex
        self._filter = DetachFilter(keys) if keys else None
        self._translate = translate
        self.detached = False

    async def run(self, stream: AttachStream, *, takes_input: bool) -> None:
        """Returns after the last byte of output is with the client, or once the client has gone or detached."""
        output = asyncio.create_task(self._output(stream))
        tasks = {output}
        if takes_input:
            tasks.add(asyncio.create_task(self._input(stream)))
        try:
            while output in tasks and not self.detached:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        except ClientGone:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            stream.close()

    async def _output(self, stream: AttachStream) -> None:
        while data := await stream.read(READ_BYTES):
            if self._translate is not None:
                data = self._translate(data)
            if data:
                await self._duplex.write(data)

    async def _input(self, stream: AttachStream) -> None:
        while data := await self._duplex.read(READ_BYTES):
            if self._filter is not None:
                data = self._filter.feed(data)
            if data:
                await stream.write(data)
            if self._filter is not None and self._filter.detached:
                self.detached = True
                return
        if self._filter is not None and (held := self._filter.rest()):
            await stream.write(held)
        stream.write_eof()
