"""What hostile clients can make a broker allocate: its greatest resident size stays within named limits."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from tests.kafka.records.samples import edited, with_section
from tests.kafka.server.wire import (
    CLOSED,
    NO_ID,
    Wire,
    asked,
    batch,
    fetch,
    frame,
    make_topic,
    produce,
    produced,
    sized,
)

from riverport.kafka.records.codecs import MAX_DECOMPRESSED_BYTES, Codec, compress
from riverport.kafka.server.connection import WRITE_HIGH_WATER
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode

pytestmark = pytest.mark.slow

MB = 1 << 20
MAX_REQUEST, QUEUED = 8 * MB, 24 * MB
PROGRAM = f"""
from riverport.testing import Broker
with Broker({{"socket.request.max.bytes": {MAX_REQUEST}, "queued.max.request.bytes": {QUEUED}}}) as broker:
    print(broker.bootstrap, flush=True)
    input()
"""


class Process:
    """A broker in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=-1, stdout=-1, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the broker did not start, exit code {self._process.wait()}"
        host, port = line.strip().split(":")
        self.address = host, int(port)

    def greatest_size(self) -> int:
        with open(f"/proc/{self._process.pid}/status") as status:
            (line,) = [line for line in status if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    def stop(self) -> int:
        self._process.communicate("\n", timeout=20)
        return self._process.returncode


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    yield process
    assert process.stop() == 0


@pytest.fixture
def growth(process: Process) -> Callable[[], int]:
    """By how much the broker's greatest size has grown since it had served a request of each kind."""
    topic = make_topic(process.address)
    with Wire(process.address) as wire:
        for codec in Codec:
            assert produced(wire.ask(produce(topic, batch(b"v" * 1000, codec=codec)))).error_code == 0
        wire.ask(m.MetadataRequest())
    before = process.greatest_size()
    return lambda: process.greatest_size() - before


def bomb(codec: Codec, size: int) -> bytearray:
    """A batch whose records section is zeros, so many of them."""
    return with_section(edited(batch(b"v"), 22, bytes([codec])), bytes(compress(codec, bytes(size), None)))


def test_compressed_zeros_cost_no_more_than_one_batch_may(process: Process, growth: Callable[[], int]) -> None:
    topic = make_topic(process.address, max_message_bytes=100 * MB)
    for codec in (Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD):
        payload = bomb(codec, MAX_DECOMPRESSED_BYTES + 20 * MB)
        assert len(payload) < MAX_REQUEST
        wires = [Wire(process.address) for _ in range(3)]
        for wire in wires:
            wire.send(frame(produce(topic, payload), 9))
        for wire in wires:
            assert produced(wire.next_answer(ApiKey.PRODUCE, 9)[1]).error_code == ErrorCode.INVALID_RECORD
            wire.close()
    assert growth() < 2 * MAX_DECOMPRESSED_BYTES + QUEUED


def test_sizes_and_counts_that_promise_much_cost_nothing(process: Process, growth: Callable[[], int]) -> None:
    hostile = [
        sized(b"\0\3\0\4\0\0\0\7\xff\xff" + b"\x7f\xff\xff\xff"),  # two thousand million topics
        sized(b"\0\3\0\4\0\0\0\7\xff\xff" + b"\0\x0f\x42\x40"),  # a million
        sized(b"\0\3\0\x0c\0\0\0\7\xff\xff\0" + b"\xff\xff\xff\xff\x07"),
        sized(b"\0\3\0\x0c\0\0\0\7\xff\xff" + b"\xff\xff\xff\xff\x07"),  # of tagged fields
        sized(b"\0\0\0\x09\0\0\0\7\xff\xff\0" + b"\0\xff\xff\0\0\0\0" + b"\xff\xff\xff\xff\x0f"),
        b"\x7f\xff\xff\xff",
    ]
    for sent in hostile * 20:
        with Wire(process.address) as wire:
            wire.send(sent)
            assert wire.is_closed()
    assert growth() < 8 * MB


def test_connections_that_promise_large_frames_share_the_budget(process: Process, growth: Callable[[], int]) -> None:
    wires = [Wire(process.address) for _ in range(40)]
    head = frame(produce(("nowhere", NO_ID), bytes(7 * MB)), 9)[:70_000]
    for wire in wires:
        wire.send(head)
    with Wire(process.address) as other:
        assert other.ask(m.DescribeClusterRequest()) != CLOSED
    assert growth() < QUEUED + 40 * 80_000 + 8 * MB
    for wire in wires:
        wire.close()


def test_answers_that_nobody_reads_are_not_made(process: Process, growth: Callable[[], int]) -> None:
    topic = make_topic(process.address, max_message_bytes=4 * MB)
    with Wire(process.address) as wire:
        for _ in range(2):
            assert produced(wire.ask(produce(topic, batch(b"v" * (3 * MB))))).error_code == 0
    before = growth()
    wires = [Wire(process.address, receive_buffer=65536) for _ in range(4)]
    request = frame(fetch([(topic, [asked(partition_max_bytes=8 * MB)])]))
    for wire in wires:
        wire.send(request * 600)  # 3.6 GB are asked for
    with Wire(process.address) as other:
        assert other.ask(m.DescribeClusterRequest()) != CLOSED
    assert growth() - before < 4 * (WRITE_HIGH_WATER + 8 * MB) + 16 * MB
    for wire in wires:
        wire.close()
