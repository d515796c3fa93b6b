"""The shim's pumps, with pipes and sockets and no container: who gets what, who waits for whom, who ends when."""

import os
import pty
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riverport.engine.runtime.attach import Frames
from riverport.engine.runtime.client import Client
from riverport.engine.runtime.loop import Loop
from riverport.engine.runtime.stdio import CLIENT_BYTES, Stdio

BOTH = frozenset({1, 2})


@dataclass
class Process:
    """A process's end of the pipes, the shim's `Stdio` on the other, and the loop that a test turns."""

    tty: bool = False
    stdin_once: bool = False
    loop: Loop = field(default_factory=Loop)
    ended: list[bool] = field(default_factory=list)
    logged: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stdio = Stdio(self.loop, lambda: self.ended.append(True))
        self.theirs: dict[int, int] = {}
        self.open: set[int] = set()
        self.sockets: list[socket.socket] = []

    def start(self) -> None:
        if self.tty:
            master, slave = pty.openpty()
            self.theirs = {0: slave, 1: slave}
            self.stdio.start(master, {master: 1}, True, self.stdin_once, self)  # type: ignore[arg-type]
        else:
            pipes = {number: os.pipe() for number in (0, 1, 2)}
            self.theirs = {0: pipes[0][0], 1: pipes[1][1], 2: pipes[2][1]}
            outputs = {pipes[1][0]: 1, pipes[2][0]: 2}
            self.stdio.start(pipes[0][1], outputs, False, self.stdin_once, self)  # type: ignore[arg-type]
        self.open = set(self.theirs.values())
        for fd in self.open:
            os.set_blocking(fd, False)

    def attach(self, *, stdin: bool = False, streams: frozenset[int] = BOTH) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self.stdio.attach(Client(self.loop, ours, stdin, streams))
        self.sockets.append(theirs)
        return theirs

    def turn(self, times: int = 20) -> None:
        for _ in range(times):
            self.loop.turn(0)

    def end(self) -> None:
        """The process is gone: its descriptors are closed, and the shim has reaped it."""
        self.close_theirs()
        self.stdio.process_ended()
        self.turn()

    def close_theirs(self) -> None:
        for fd in self.open:
            os.close(fd)
        self.open = set()

    # what Stdio needs of a LogWriter
    def feed(self, stream: str, data: bytes, time_ns: int) -> None:
        self.logged[stream] = self.logged.get(stream, b"") + data

    def close(self, time_ns: int) -> None:
        self.logged["closed"] = b""


@pytest.fixture
def make() -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def one(tty: bool = False, stdin_once: bool = False) -> Process:
        made.append(Process(tty, stdin_once))
        return made[-1]

    yield one
    for process in made:
        process.close_theirs()
        process.stdio.close()
        for connection in process.sockets:
            connection.close()


def received(connection: socket.socket) -> bytes:
    """What has come so far; the end of the stream is marked with a full stop."""
    data = b""
    while True:
        try:
            more = connection.recv(1 << 20)
        except BlockingIOError:
            return data
        if not more:
            return data + b"."
        data += more


def test_every_client_gets_its_streams_framed(make: Callable[..., Process]) -> None:
    process = make()
    early = process.attach()
    process.start()
    errors = process.attach(streams=frozenset({2}))
    os.write(process.theirs[1], b"out")
    process.turn()
    os.write(process.theirs[2], b"err")
    process.turn()
    assert received(early) == b"\1\0\0\0\0\0\0\3out\2\0\0\0\0\0\0\3err"
    assert received(errors) == b"\2\0\0\0\0\0\0\3err"
    assert process.logged == {"stdout": b"out", "stderr": b"err"}


def test_a_terminal_is_not_framed_and_is_resized(make: Callable[..., Process]) -> None:
    process = make(tty=True)
    client = process.attach(stdin=True)
    process.start()
    os.write(process.theirs[1], b"hi\n")
    client.send(b"typed\n")
    process.turn()
    assert received(client).startswith(b"hi\r\n")
    assert os.read(process.theirs[0], 100) == b"typed\n"
    process.stdio.resize(33, 44)
    assert os.get_terminal_size(process.theirs[1]) == (44, 33)
    process.end()
    assert received(client).endswith(b".")
    assert process.ended == [True]


def test_the_end_comes_after_the_last_byte(make: Callable[..., Process]) -> None:
    process = make()
    client = process.attach()
    process.start()
    os.write(process.theirs[1], b"last words")
    process.end()
    assert received(client) == b"\1\0\0\0\0\0\0\nlast words."
    assert process.ended == [True]
    assert "closed" in process.logged
    assert received(process.attach()) == b"."  # who comes too late is told so


def test_an_end_is_not_late_for_others_who_hold_the_pipe(make: Callable[..., Process]) -> None:
    process = make()
    client = process.attach()
    process.start()
    os.write(process.theirs[1], b"done")
    process.stdio.process_ended()  # its child still has the descriptors
    process.turn()
    assert process.ended == [True]
    assert received(client) == b"\1\0\0\0\0\0\0\4done."
    os.write(process.theirs[1], b"late")  # no SIGPIPE for the child
    process.turn()


def test_input_waits_until_the_process_is_there(make: Callable[..., Process]) -> None:
    process = make(stdin_once=True)
    client = process.attach(stdin=True)
    client.send(b"early")
    client.shutdown(socket.SHUT_WR)
    process.turn()
    process.start()
    process.turn()
    assert os.read(process.theirs[0], 100) == b"early"
    assert os.read(process.theirs[0], 100) == b""  # and then its end


def test_input_of_a_client_that_only_listens_is_dropped(make: Callable[..., Process]) -> None:
    process = make()
    process.start()
    client = process.attach(stdin=False)
    client.send(b"x")
    process.turn()
    with pytest.raises(BlockingIOError):
        os.read(process.theirs[0], 100)


@pytest.mark.parametrize(("once", "closed"), [(True, True), (False, False)])
def test_the_end_of_input_ends_stdin_only_if_it_is_for_one_client(
    make: Callable[..., Process], once: bool, closed: bool
) -> None:
    process = make(stdin_once=once)
    process.start()
    client = process.attach(stdin=True)
    client.send(b"a")
    process.turn()
    client.close()
    process.turn()
    assert os.read(process.theirs[0], 100) == b"a"
    if closed:
        assert os.read(process.theirs[0], 100) == b""
    else:
        with pytest.raises(BlockingIOError):
            os.read(process.theirs[0], 100)


def test_input_is_taken_only_as_fast_as_the_process_reads(make: Callable[..., Process]) -> None:
    process = make()
    process.start()
    client = process.attach(stdin=True)
    sent = 0
    for _ in range(2000):
        try:
            sent += client.send(b"x" * 65536)
        except BlockingIOError:
            process.turn(4)
    assert sent < 2 << 20  # pipe, socket and what one client may have in memory
    taken = 0
    for _ in range(2000):
        try:
            taken += len(os.read(process.theirs[0], 65536))
        except BlockingIOError:
            process.turn(4)
    assert taken == sent


def test_a_process_that_closes_its_stdin_is_no_trouble(make: Callable[..., Process]) -> None:
    process = make()
    process.start()
    client = process.attach(stdin=True)
    process.open.discard(process.theirs[0])
    os.close(process.theirs[0])
    client.send(b"nobody reads this")
    process.turn()
    os.write(process.theirs[1], b"still here")
    process.turn()
    assert received(client).endswith(b"still here")


def test_a_slow_client_holds_its_process_up_and_nobody_elses_memory(make: Callable[..., Process]) -> None:
    process = make()
    process.start()
    slow = process.attach()
    written = 0
    for _ in range(1000):
        try:
            written += os.write(process.theirs[1], b"x" * 65536)
        except BlockingIOError:
            process.turn(2)
    assert written < CLIENT_BYTES + (1 << 20)
    got = b""
    for _ in range(1000):
        got += received(slow)
        process.turn(2)
    assert sum(len(data) for _, data in Frames().feed(got)) == written
    os.write(process.theirs[1], b"more")  # and it goes on
    process.turn()
    assert received(slow).endswith(b"more")


def test_a_slow_client_that_leaves_lets_the_process_go_on(make: Callable[..., Process]) -> None:
    process = make()
    process.start()
    slow = process.attach()
    for _ in range(200):
        try:
            os.write(process.theirs[1], b"x" * 65536)
        except BlockingIOError:
            process.turn(2)
    slow.close()
    process.turn()
    other = process.attach()
    process.turn(100)
    received(other)
    os.write(process.theirs[1], b"again")
    process.turn()
    assert received(other).endswith(b"again")


def test_the_end_of_a_process_does_not_wait_for_a_slow_client(make: Callable[..., Process]) -> None:
    process = make()
    process.start()
    slow = process.attach()
    written = 0
    for _ in range(200):
        try:
            written += os.write(process.theirs[1], b"x" * 65536)
        except BlockingIOError:
            process.turn(2)
    process.end()
    assert process.ended == [True]
    assert len(process.logged["stdout"]) == written
    got = b""
    while not got.endswith(b"."):
        got += received(slow)
        process.turn(2)
    assert sum(len(data) for _, data in Frames().feed(got[:-1])) == written


def test_a_mistake_of_a_handler_costs_its_own_descriptor(capfd: pytest.CaptureFixture[str]) -> None:
    loop = Loop()
    read, write = os.pipe()

    def wrong(events: int) -> None:
        raise RuntimeError("a bug")

    loop.watch(read, 1, wrong)
    os.write(write, b"x")
    loop.turn(0)
    loop.turn(0)
    assert capfd.readouterr().err.count("RuntimeError: a bug\n") == 1
    os.close(read)
    os.close(write)


chunks = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=2000)), max_size=30)


@settings(max_examples=50)
@given(chunks, st.integers(0, 30))
def test_whenever_a_client_comes_it_gets_all_that_follows_in_order(
    written: list[tuple[int, bytes]], attached_at: int
) -> None:
    process = Process()
    process.start()
    client = None
    for number, (stream, data) in enumerate(written):
        if number == attached_at:
            client = process.attach()
        os.write(process.theirs[stream], data)
        process.turn(3)
    process.end()
    if client is not None:
        got = received(client)
        assert got.endswith(b".")
        found = {1: b"", 2: b""}
        for stream, data in Frames().feed(got[:-1]):
            found[stream] += data
        for stream in (1, 2):
            assert found[stream] == b"".join(data for to, data in written[attached_at:] if to == stream)
    for connection in process.sockets:
        connection.close()


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=50)), max_size=8), st.lists(st.integers(1, 9)))
def test_frames_are_taken_apart_however_they_arrive(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(struct.pack(">BxxxI", stream, len(text)) + text for stream, text in frames)
    reader, found, at = Frames(), [], 0
    for cut in [*cuts, len(data)]:
        found += list(reader.feed(data[at : at + cut]))
        at += cut
    assert found == frames
