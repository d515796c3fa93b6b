"""The shim's end of a connection to its socket: control, or a client's stdio from its first line on (`shim.py`)."""

import json
import select
import socket
from contextlib import suppress

from riverport.engine.runtime.client import Client

TYPE_CHECKING = False  # `typing` would cost the shim memory
if TYPE_CHECKING:
    from typing import Any

    from riverport.engine.runtime.shim import Shim

_LINE_BYTES = 1 << 20
_RECEIVE_BYTES = 8192


class Control:
    """A control connection; requests and answers are lines of JSON."""

    def __init__(self, shim: "Shim", connection: socket.socket) -> None:
        self._shim = shim
        self._socket = connection
        self._received = b""
        self._queue = b""
        self.closed = False
        self.is_daemon = False  # once it has asked for anything
        connection.setblocking(False)
        self._arm()

    def send(self, message: "dict[str, Any]") -> None:
        if not self.closed:
            self._queue += json.dumps(message, separators=(",", ":")).encode() + b"\n"
            self._flush()

    def hang_up(self) -> None:
        """The other side sees the end now. By itself it would see it after the kernel has taken all mounts back."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._shim.loop.forget(self._socket.fileno())
            self._socket.close()
            self._shim.control_gone(self)

    def _arm(self) -> None:
        events = select.EPOLLIN | (select.EPOLLOUT if self._queue else 0)
        self._shim.loop.watch(self._socket.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if not self.closed and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._read()

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._queue)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._queue = self._queue[sent:]
        self._arm()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(self._received) > _LINE_BYTES:
            self.close()
            return
        self._received += data
        while not self.closed and b"\n" in self._received:
            line, self._received = self._received.split(b"\n", 1)
            try:
                request = json.loads(line)
                if "attach" in request:
                    self._become_client(request)
                    return
                self.is_daemon = True
                self._shim.request(self, request)
            except (ValueError, TypeError, KeyError):  # not what a daemon writes
                self.close()

    def _become_client(self, request: "dict[str, Any]") -> None:
        self.closed = True
        self._shim.loop.forget(self._socket.fileno())
        self._shim.control_gone(self)
        streams = frozenset(number for number, name in ((1, "stdout"), (2, "stderr")) if request[name])
        # The confirmation is one byte: the daemon may start the process as soon as it has it.
        try:
            self._socket.send(b"\n")
        except OSError:
            self._socket.close()
            return
        client = Client(self._shim.loop, self._socket, request["stdin"], streams)
        self._shim.stdio_of(request["attach"]).attach(client)
