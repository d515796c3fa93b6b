"""Answers that are sent from files: whole and in order, whatever becomes of the file or of the reader."""

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.kafka.server.wire import Wire, asked, batch, fetch, frame, make_topic, produce

from riverport.base.files import OsFiles
from riverport.kafka.server.slice_sender import SliceSender
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey

MB = 1 << 20
CONTENT = random.Random(1).randbytes(3 * MB)


class Stage:
    """A sender, the other end of its connection, and an open file with CONTENT in it."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(CONTENT)
        self.file = OsFiles().open(str(path))
        self.sent = asyncio.Event()
        self.lost = asyncio.Event()

    async def __aenter__(self) -> "Stage":
        ours, self.reader = socket.socketpair()
        self.reader.setblocking(False)
        loop, stage = asyncio.get_running_loop(), self

        class Protocol(asyncio.Protocol):
            def connection_lost(self, error: Exception | None) -> None:
                stage.sender.close()
                stage.lost.set()

        self.transport, _ = await loop.create_connection(Protocol, sock=ours)
        self.sender = SliceSender(loop, self.transport, self.sent.set)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reader.close()
        self.transport.abort()
        await self.lost.wait()
        self.file.close()

    async def read(self, size: int) -> bytes:
        loop, found = asyncio.get_running_loop(), b""
        while len(found) < size and (data := await loop.sock_recv(self.reader, size - len(found))):
            found += data
        return found


def run(story: Callable[[], Awaitable[None]], loop: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(asyncio.wait_for(story(), 30))  # type: ignore[arg-type]


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_bytes_and_slices_arrive_in_their_order_at_a_slow_reader(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        async with Stage(tmp_path / "log") as stage:
            file = stage.file
            stage.sender.send([b"head", file.slice(2 * MB, 7), b"between", file.slice(MB, 2 * MB), b"end"])
            assert stage.sender.is_busy
            assert not stage.sent.is_set()
            expected = b"head" + CONTENT[7 : 7 + 2 * MB] + b"between" + CONTENT[2 * MB :] + b"end"
            assert await stage.read(len(expected)) == expected
            await stage.sent.wait()
            assert not stage.sender.is_busy
            stage.sender.send([b"small", file.slice(10, 0)])
            assert not stage.sender.is_busy
            assert await stage.read(15) == b"small" + CONTENT[:10]

    run(story, loop)


def test_a_slice_reaches_its_end_after_the_file_is_closed_and_removed(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        async with Stage(tmp_path / "log") as stage:
            stage.sender.send([b"head", stage.file.slice(len(CONTENT), 0)])
            stage.file.close()
            (tmp_path / "log").unlink()
            assert await stage.read(4 + len(CONTENT)) == b"head" + CONTENT

    run(story, loop)


def test_a_file_that_is_cut_meanwhile_ends_the_connection(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        async with Stage(tmp_path / "log") as stage:
            stage.sender.send([stage.file.slice(len(CONTENT), 0)])
            stage.file.truncate(MB)
            assert await stage.read(len(CONTENT)) == CONTENT[:MB]
            await stage.lost.wait()
            assert not stage.sent.is_set()

    run(story, loop)


def test_a_slice_of_a_closed_file_is_not_sent_from_another(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        async with Stage(tmp_path / "log") as stage:
            late = stage.file.slice(MB, 0)
            stage.file.close()
            (tmp_path / "other").write_bytes(bytes(MB))
            other = OsFiles().open(str(tmp_path / "other"))  # takes over the number of the descriptor
            stage.sender.send([late])
            assert await stage.read(MB) == b""
            await stage.lost.wait()
            other.close()

    run(story, loop)


def test_a_reader_that_leaves_costs_no_descriptor(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        counts = []
        for _ in range(3):  # the first may open what the loop keeps for itself
            async with Stage(tmp_path / "log") as stage:
                stage.sender.send([stage.file.slice(MB, 0), stage.file.slice(MB, MB)])
                assert stage.sender.is_busy
            await asyncio.sleep(0)
            counts.append(len(os.listdir("/proc/self/fd")))
        assert counts[1] == counts[2]
        async with Stage(tmp_path / "log") as stage:
            stage.reader.close()
            stage.sender.send([stage.file.slice(MB, 0)])
            assert not stage.sender.is_busy
            await stage.lost.wait()

    run(story, loop)


def test_large_answers_and_what_is_asked_behind_them_leave_in_order(address: tuple[str, int]) -> None:
    topic = make_topic(address, partitions=3)
    values = [bytes([n]) * 400_000 for n in range(3)]
    with Wire(address) as writer:
        for _ in range(2):
            (stored,) = writer.ask(produce(topic, *(batch(value) for value in values))).responses
            assert [entry.error_code for entry in stored.partition_responses] == [0, 0, 0]
    with Wire(address, receive_buffer=65536) as wire:
        request = fetch([(topic, [asked(index) for index in range(3)])])
        wire.send(frame(request, correlation_id=1) + frame(m.DescribeClusterRequest(), correlation_id=2) * 2)
        (answered,) = wire.next_answer(ApiKey.FETCH, 18)[1].responses
        for found, value in zip(answered.partitions, values, strict=True):
            assert bytes(found.records).count(value) == 2
        for _ in range(2):
            assert wire.next_answer(ApiKey.DESCRIBE_CLUSTER, 2)[1].error_code == 0
