"""Work done inside another network namespace: a thread goes there, does it, and comes back.

setns(2) moves one thread, and a socket stays in the namespace in which it was opened; so whatever needs a container's
network (its links, the sockets of its name server) is opened by a thread that is there for a moment. The daemon's
event loop never leaves home.
"""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from riverport.engine.linux.syscalls import setns

_CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def inside(namespace_fd: int, work: Callable[[], T]) -> T:
    """What `work` returns or raises, done in the network namespace behind `namespace_fd`. Blocks the caller.

    A thread of its own (0.1 ms): one that could not come home would poison a pool.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            setns(namespace_fd, _CLONE_NEWNET)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def same(first_fd: int, second_fd: int) -> bool:
    """Whether two descriptors stand for the same namespace."""
    first, second = os.fstat(first_fd), os.fstat(second_fd)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
