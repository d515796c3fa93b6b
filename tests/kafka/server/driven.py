"""A connection without a socket: bytes are put into it in pieces of any size, and what it writes is kept."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from riverport.kafka.server.connection import Connection
from riverport.testing import Broker


class FakeTransport(asyncio.Transport):
    """What a connection does to its transport; everything written is taken at once."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written = bytearray()
        self.is_closed = False
        self.is_paused = False

    def write(self, data: Any) -> None:
        assert not self.is_closed
        self.written += data

    def writelines(self, parts: Iterable[Any]) -> None:
        for part in parts:
            self.write(part)

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    abort = close


async def converse(node: Any, pieces: Iterable[bytes], patience: int, kind: str) -> bytes:
    """What the node's first listener of a kind answers to bytes that come in these pieces. In the broker's thread."""
    transport = FakeTransport()
    connection = Connection(next(each for each in node.server.listeners if each.dispatch.kind == kind))
    connection.connection_made(transport)
    for piece in pieces:
        await asyncio.sleep(0)  # others may receive in between
        left = memoryview(piece)
        while left:
            await _until(lambda: transport.is_closed or not transport.is_paused, patience)
            if transport.is_closed or transport.is_paused:
                break
            room = connection.get_buffer(-1)
            assert len(room) > 0, "no room to receive into, and reading is not paused"
            size = min(len(room), len(left))
            room[:size] = left[:size]
            connection.buffer_updated(size)
            left = left[size:]
    await _until(lambda: transport.is_closed or connection.is_idle, patience)
    connection.connection_lost(None)
    return bytes(transport.written)


async def _until(condition: Callable[[], bool], patience: int) -> None:
    """Let others run until the condition holds, for so many turns of the loop."""
    for _ in range(patience):
        if condition():
            return
        await asyncio.sleep(0)


def answers(broker: Broker, pieces: Iterable[bytes], *, patience: int = 1_000_000, kind: str = "broker") -> bytes:
    """What one connection is answered."""
    (found,) = answers_side_by_side(broker, [pieces], patience=patience, kind=kind)
    return found


def answers_side_by_side(
    broker: Broker,
    conversations: Iterable[Iterable[bytes]],
    *,
    patience: int = 1_000_000,
    kind: str = "broker",
) -> list[bytes]:
    """What several connections are answered whose pieces come in turns."""

    async def all_of_them(node: Any) -> list[bytes]:
        found = await asyncio.gather(*(converse(node, pieces, patience, kind) for pieces in conversations))
        assert node.server.budget.used == 0
        return found

    return broker.run(all_of_them)
