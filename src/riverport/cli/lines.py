"""The lines of a file, a pipe or a terminal, read beside the event loop.

A thread reads, because a terminal or pipe may keep it waiting while records go out. It reads the descriptor itself: a
daemon thread that sits in a buffered read of standard input keeps the interpreter from ending.
"""

import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from riverport.cli.command import Problem
from riverport.cli.terminal import Progress, size_text

READ_BYTES = 256 * 1024
READ_AHEAD = 8
"""Chunks that are read before the first of them is used up: bounds the memory."""


@contextmanager
def opened(path: str) -> Iterator[int]:
    """The descriptor of a file, or of standard input for `-`. Raises Problem."""
    if path == "-":
        yield sys.stdin.fileno()
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", "give a file that you can read, or - for standard input") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def progress_over(descriptor: int, label: str) -> Progress:
    """A bar over the bytes of a file; of a pipe nobody knows how many will come. None where somebody types them."""
    return Progress(label, os.fstat(descriptor).st_size or None, size_text, hidden=os.isatty(descriptor))


async def read_lines(descriptor: int, most_bytes: int) -> AsyncIterator[list[bytes]]:
    """Lines without their ends (`\\n` or `\\r\\n`), as many at a time as came together.

    Raises Problem for a line longer than `most_bytes`, and for what cannot be read.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[list[bytes] | Problem | None] = asyncio.Queue()
    room = threading.Semaphore(READ_AHEAD)

    def read() -> None:
        try:
            for lines in _split(descriptor, most_bytes):
                room.acquire()
                loop.call_soon_threadsafe(queue.put_nowait, lines)
            end = None
        except OSError as error:
            end = Problem(f"cannot read: {error.strerror}", "give a file of text, or - for standard input")
        except Problem as problem:
            end = problem
        loop.call_soon_threadsafe(queue.put_nowait, end)

    def read_unless_over() -> None:
        try:
            read()
        except RuntimeError:
            return  # the loop is closed: nobody wants more

    threading.Thread(target=read_unless_over, daemon=True, name="riverport-lines").start()
    while (lines := await queue.get()) is not None:
        if isinstance(lines, Problem):
            raise lines
        room.release()
        yield lines


def _split(descriptor: int, most_bytes: int) -> Iterator[list[bytes]]:
    rest: list[bytes] = []  # of a line whose end has not come yet
    rest_bytes = 0
    number = 1
    while chunk := os.read(descriptor, READ_BYTES):
        head, newline, tail = chunk.rpartition(b"\n")
        if rest_bytes + len(chunk) > most_bytes:
            raise Problem(f"line {number} is longer than {size_text(most_bytes)}, the most that is taken as one record")
        if not newline:
            rest.append(chunk)
            rest_bytes += len(chunk)
            continue
        lines = b"".join([*rest, head]).split(b"\n")
        yield [line.removesuffix(b"\r") for line in lines]
        number += len(lines)
        rest, rest_bytes = [tail], len(tail)
    if rest_bytes:
        yield [b"".join(rest).removesuffix(b"\r")]
