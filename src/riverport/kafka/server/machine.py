"""What a node takes of its machine besides files and clocks: threads, and sockets to listen on.

The simulator puts a machine of its own in its place; everything else of a node runs there unchanged.
"""

import socket
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol

from riverport.kafka.server import pacing


class Machine(Protocol):
    def executor(self, threads: int, name: str) -> Executor:
        """Up to `threads` threads, for work that waits for the disk."""
        ...

    def bind(self, host: str, port: int) -> Any:
        """A stream socket bound to the address, for `loop.create_server`. Raises OSError with the system's reason."""
        ...


class SystemMachine:
    """The machine that the process runs on."""

    def executor(self, threads: int, name: str) -> Executor:
        return ThreadPoolExecutor(threads, thread_name_prefix=name)

    def bind(self, host: str, port: int) -> socket.socket:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and not host:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(address)
            pacing.stop_on_loopback(sock)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        return sock
