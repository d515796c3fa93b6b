"""A client that is attached to a container, as the shim has it: what it has still to take, and what it has given."""

import select
import socket

from riverport.engine.runtime.loop import Loop

TYPE_CHECKING = False  # `typing` would cost the shim memory
if TYPE_CHECKING:
    from riverport.engine.runtime.stdio import Stdio

INPUT_BYTES = 32768
"""Of input that waits for the process; no more is read from the client meanwhile."""


class Client:
    """An attached connection. `streams` holds 1 and 2 for stdout and stderr."""

    def __init__(self, loop: Loop, connection: socket.socket, stdin: bool, streams: "frozenset[int]") -> None:
        self.streams = streams
        self.stdin = stdin
        self.stdio: Stdio | None = None
        self._loop = loop
        self._socket = connection
        self._queue: list[bytes] = []
        self.queued_bytes = 0
        self._input = b""
        self._takes_input = True  # False once the client's input has ended
        self._ending = False
        self.closed = False
        self._arm()

    def send(self, data: bytes) -> None:
        if self.closed:
            return
        self._queue.append(data)
        self.queued_bytes += len(data)
        if self.queued_bytes == len(data):
            self._flush()
        self._arm()

    def end(self) -> None:
        """No more output: close once the queue is empty."""
        self._ending = True
        if not self._queue:
            self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._queue.clear()
        self.queued_bytes = 0
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        if self.stdio is not None:
            self.stdio.client_gone(self)

    def take_input(self) -> bytes:
        taken, self._input = self._input, b""
        self._arm()
        return taken

    @property
    def busy(self) -> bool:
        return not self.closed and bool(self._queue)

    @property
    def input_ended(self) -> bool:
        return (self.closed or not self._takes_input) and not self._input

    def _arm(self) -> None:
        if self.closed:
            return
        wanted = select.EPOLLHUP | select.EPOLLERR
        if self._takes_input and len(self._input) < INPUT_BYTES and (self.stdio is not None and self.stdio.started):
            wanted |= select.EPOLLIN
        if self._queue:
            wanted |= select.EPOLLOUT
        self._loop.watch(self._socket.fileno(), wanted, self._ready)

    def arm(self) -> None:
        self._arm()

    def _ready(self, events: int) -> None:
        if events & select.EPOLLIN:
            self._read()
        if not self.closed and events & select.EPOLLOUT:
            self._flush()
            self._arm()
        if not self.closed and events & (select.EPOLLHUP | select.EPOLLERR) and not events & select.EPOLLIN:
            self.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(INPUT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._takes_input = False
        elif self.stdin:
            self._input += data
        self._arm()
        if self.stdio is not None:
            self.stdio.pump_input()

    def _flush(self) -> None:
        while self._queue:
            data = self._queue[0]
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            self.queued_bytes -= sent
            if sent < len(data):
                self._queue[0] = data[sent:]
                break
            del self._queue[0]
        if self.stdio is not None:
            self.stdio.client_drained()
        if self._ending and not self._queue:
            self.close()
