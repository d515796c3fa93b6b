"""How one connection takes apart what it receives, in whatever pieces it comes."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from riverport.kafka.client.connection import RECEIVE_BUFFER, Connection
from riverport.kafka.client.errors import Disconnected
from riverport.kafka.wire import codec, frame
from riverport.kafka.wire import messages as m

VERSION = 17


class Transport:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.is_aborted = False

    def writelines(self, parts: list[bytes]) -> None:
        self.sent += b"".join(parts)

    def abort(self) -> None:
        self.is_aborted = True


def scenario(work: Callable[[Connection, Transport], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def test() -> None:
        async def run() -> None:
            connection, transport = Connection("there:9092", "me"), Transport()
            connection.connection_made(cast(asyncio.BaseTransport, transport))
            await work(connection, transport)

        asyncio.run(run())

    return test


def answer(correlation_id: int, records: bytes) -> bytes:
    partition = m.FetchResponse.PartitionData(0, records=records, aborted_transactions=None)
    body = codec.encode(
        m.FetchResponse(responses=[m.FetchResponse.FetchableTopicResponse("", bytes(16), [partition])]), VERSION
    )
    return frame.response_head(True, correlation_id, len(body)) + body


def feed(connection: Connection, data: bytes, piece: int) -> None:
    """As a socket does: as much as there is room for, in pieces of at most that size."""
    while data:
        room = connection.get_buffer(-1)
        size = min(len(room), piece, len(data))
        room[:size] = data[:size]
        connection.buffer_updated(size)
        data = data[size:]


def records_of(response: m.FetchResponse) -> bytes:
    return bytes(response.responses[0].partitions[0].records)


SIZES = [0, 10, RECEIVE_BUFFER - 200, 3 * RECEIVE_BUFFER, 5, RECEIVE_BUFFER, 100]


@pytest.mark.parametrize("piece", [1_000, 8_191, RECEIVE_BUFFER, 1 << 20])
def test_answers_come_whole_in_whatever_pieces(piece: int) -> None:
    async def work(connection: Connection, transport: Transport) -> None:
        futures = [connection.post(m.FetchRequest(), version=VERSION) for _ in SIZES]
        contents = [bytes([n]) * size for n, size in enumerate(SIZES)]
        feed(connection, b"".join(answer(n, content) for n, content in enumerate(contents, 1)), piece)
        assert [records_of(future.result()) for future in futures] == contents

    scenario(work)()


@pytest.mark.parametrize("recycled", [False, True])
def test_records_stay_until_their_memory_is_given_back(recycled: bool) -> None:
    async def work(connection: Connection, transport: Transport) -> None:
        large = 2 * RECEIVE_BUFFER
        for n in range(1, 5):
            first, second = [connection.post(m.FetchRequest(), version=VERSION) for _ in range(2)]
            feed(connection, answer(2 * n - 1, b"a" * large) + answer(2 * n, b"b" * large), RECEIVE_BUFFER)
            assert records_of(first.result()) == b"a" * large
            assert records_of(second.result()) == b"b" * large
            if recycled:
                connection.recycle()

    scenario(work)()


def test_an_answer_to_nothing_ends_the_connection() -> None:
    async def work(connection: Connection, transport: Transport) -> None:
        future = connection.post(m.FetchRequest(), version=VERSION)
        feed(connection, answer(9, b""), 1_000)
        assert transport.is_aborted
        with pytest.raises(Disconnected, match="request 9, which was not sent"):
            future.result()

    scenario(work)()


def test_a_frame_of_an_impossible_size_ends_the_connection() -> None:
    async def work(connection: Connection, transport: Transport) -> None:
        future = connection.post(m.FetchRequest(), version=VERSION)
        feed(connection, b"\x7f\xff\xff\xff", 4)
        assert transport.is_aborted
        with pytest.raises(Disconnected, match="a frame of 2147483647 bytes"):
            future.result()

    scenario(work)()
