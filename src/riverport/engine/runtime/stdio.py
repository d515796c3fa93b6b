"""A process' stdin, stdout and stderr in the shim: from pipes or a terminal to the log and to the attached clients.

    pipe 1, pipe 2 | pty master ──▶ Stdio ──▶ log file
                                      ├─────▶ client (framed, or raw from a terminal)
    pipe 0 | pty master ◀─────────────┴────── client's input

Nothing here waits. A client that reads too slowly has at most `CLIENT_BYTES` queued; then the process' output is left
in its pipe until the client has caught up, as in a shell's pipeline: output is never dropped while somebody is attached
for it. Input is read from a client only while the process takes it.
"""

import errno
import fcntl
import os
import select
import struct
import termios
import time

from riverport.engine.runtime.client import Client
from riverport.engine.runtime.logs import LogWriter
from riverport.engine.runtime.loop import Loop

TYPE_CHECKING = False  # `typing` would cost the shim memory
if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT_BYTES = 1 << 20
_READ_BYTES = 32768
_DRAIN_READS = 64  # more than any pipe holds (/proc/sys/fs/pipe-max-size is 1 MiB)
_NAMES = {1: "stdout", 2: "stderr"}
_HEADER = struct.Struct(">BxxxI")


class Stdio:
    """The streams of one process. Clients may be there before `start`."""

    def __init__(self, loop: Loop, on_drained: "Callable[[], None]") -> None:
        self._loop = loop
        self._on_drained = on_drained
        self._clients: list[Client] = []
        self._outputs: dict[int, int] = {}  # file descriptor → 1 or 2
        self._stdin = -1
        self._pending_input = b""
        self._log: LogWriter | None = None
        self._tty = False
        self._stdin_once = False
        self._stdin_closing = False  # the one client is gone: close once the process has taken what is pending
        self._paused = False
        self._ending = False
        self.started = False
        self.ended = False

    def start(self, stdin: int, outputs: dict[int, int], tty: bool, stdin_once: bool, log: "LogWriter | None") -> None:
        """Own these descriptors from now on. `stdin` is -1 where the process has none; a terminal is both."""
        self._stdin, self._outputs, self._tty, self._stdin_once, self._log = stdin, dict(outputs), tty, stdin_once, log
        self.started = True
        for fd in {stdin, *outputs} - {-1}:
            os.set_blocking(fd, False)
        self._arm()
        for client in list(self._clients):
            client.arm()

    @property
    def busy(self) -> bool:
        """Whether a client still has to take output."""
        return any(client.busy for client in self._clients)

    def attach(self, client: Client) -> None:
        client.stdio = self
        if self.ended:
            client.end()
            return
        self._clients.append(client)
        client.arm()

    def resize(self, height: int, width: int) -> None:
        if self._tty:
            for fd in self._outputs:
                fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def process_ended(self) -> None:
        """Everything the process wrote is in its pipes: read until they are empty, then say so.

        That is at most what pipes hold, so it is read in spite of slow clients: an end is never late for their sake.
        """
        self._ending, self._paused = True, False
        self._close_stdin()
        for fd in list(self._outputs):
            self._drain(fd)
        if not self._outputs:
            self._finish()

    def client_gone(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._pending_input += client.take_input()
        if client.stdin and self._stdin_once and not self._tty:
            self._stdin_closing = True
            self.pump_input()
        self.client_drained()

    def client_drained(self) -> None:
        if self._paused and not any(client.queued_bytes > CLIENT_BYTES // 2 for client in self._clients):
            self._paused = False
            self._arm()

    def pump_input(self) -> None:
        while True:
            if not self._pending_input:
                for client in self._clients:
                    if client.stdin and (data := client.take_input()):
                        self._pending_input = data
                        break
                else:
                    break
            if self._stdin < 0:
                self._pending_input = b""
                continue
            try:
                written = os.write(self._stdin, self._pending_input)
            except BlockingIOError:
                break
            except OSError:  # the process has closed its stdin
                self._close_stdin()
                continue
            self._pending_input = self._pending_input[written:]
        if not self._pending_input and (
            self._stdin_closing
            or (self._stdin_once and not self._tty and any(c.stdin and c.input_ended for c in self._clients))
        ):
            self._close_stdin()
        self._arm()

    def close(self) -> None:
        """Let go of everything at once; for a shim that is told to end."""
        for fd in list(self._outputs):
            self._close_output(fd)
        self._close_stdin()
        self._finish()

    # ---- output

    def _arm(self) -> None:
        wanted = dict.fromkeys(self._outputs, 0 if self._paused else select.EPOLLIN)
        if self._stdin >= 0:
            wanted[self._stdin] = wanted.get(self._stdin, 0) | (select.EPOLLOUT if self._pending_input else 0)
        for fd, events in wanted.items():
            if events:
                self._loop.watch(fd, events, lambda events, fd=fd: self._ready(fd, events))  # type: ignore[misc]
            else:
                # Not even for EPOLLHUP, which cannot be masked and would spin while paused.
                self._loop.forget(fd)

    def _ready(self, fd: int, events: int) -> None:
        if fd in self._outputs and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._read_once(fd)
        if fd == self._stdin and events & (select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP):
            if events & select.EPOLLOUT:
                self.pump_input()
            elif fd not in self._outputs:
                self._close_stdin()

    def _drain(self, fd: int) -> None:
        for _ in range(_DRAIN_READS):
            if not self._read_once(fd):
                return
        self._emptied(fd)  # somebody else keeps writing

    def _read_once(self, fd: int) -> bool:
        """False once there is nothing to read, now or for ever."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            if self._ending:
                self._emptied(fd)
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: nobody has the terminal open any more
                raise
            data = b""
        if not data:
            self._close_output(fd)
            if self._ending and not self._outputs:
                self._finish()
            return False
        self._deliver(self._outputs[fd], data)
        return True

    def _emptied(self, fd: int) -> None:
        """The process is gone and its pipe empty; others may still hold it, but their output belongs to nobody."""
        del self._outputs[fd]
        self._loop.watch(fd, select.EPOLLIN, lambda events: self._sink(fd))
        if fd == self._stdin:
            self._stdin = -1
        if not self._outputs:
            self._finish()

    def _sink(self, fd: int) -> None:
        """Read on and forget, so that what was left running in the background gets no SIGPIPE."""
        try:
            if os.read(fd, _READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._loop.forget(fd)
        os.close(fd)

    def _deliver(self, stream: int, data: bytes) -> None:
        if self._log is not None:
            self._log.feed(_NAMES[stream], data, time.time_ns())
        if not self._clients:
            return
        framed = data if self._tty else _HEADER.pack(stream, len(data)) + data
        for client in list(self._clients):
            if stream in client.streams:
                client.send(framed)
                if client.queued_bytes > CLIENT_BYTES and not self._paused and not self._ending:
                    self._paused = True
                    self._arm()

    def _close_output(self, fd: int) -> None:
        del self._outputs[fd]
        self._loop.forget(fd)
        if fd == self._stdin:
            self._stdin = -1
        os.close(fd)

    def _close_stdin(self) -> None:
        fd, self._stdin = self._stdin, -1
        self._pending_input = b""
        if fd >= 0 and fd not in self._outputs:
            self._loop.forget(fd)
            os.close(fd)

    def _finish(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self._log is not None:
            self._log.close(time.time_ns())
            self._log = None
        for client in list(self._clients):
            client.end()
        self._on_drained()
