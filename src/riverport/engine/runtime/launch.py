"""A run of crun or runc by the shim: the descriptors that the process gets, and what the runtime says."""

import os
import signal
import socket

from riverport.engine.runtime.control import Control
from riverport.engine.runtime.programs import Programs
from riverport.engine.runtime.stdio import Stdio

TYPE_CHECKING = False  # `typing` would cost the shim memory
if TYPE_CHECKING:
    from typing import Any

IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
_DEFAULTED = (*IGNORED, signal.SIGXFSZ, signal.SIGCHLD)


class Launch:
    """A run of crun or runc that is under way."""

    def __init__(self, key: str, request: "dict[str, Any]", control: Control, stdio: Stdio) -> None:
        self.key = key
        self.request = request
        self.control = control
        self.stdio = stdio
        self.stdin = -1
        self.outputs: dict[int, int] = {}
        self.console: socket.socket | None = None
        self.theirs: list[int] = []  # descriptors for the process; ours to close after the spawn

    def close(self) -> None:
        for fd in {self.stdin, *self.outputs} - {-1}:
            os.close(fd)
        self.stdin, self.outputs = -1, {}
        if self.console is not None:
            self.console.close()

    def open_stdio(self) -> None:
        """Pipes, or a socket on which the runtime hands over the terminal."""
        io = self.request["io"]
        if io["tty"]:
            path = self.request["console"]
            if os.path.exists(path):
                os.unlink(path)
            self.console = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            self.console.bind(path)
            self.console.listen(1)
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            self.theirs = [null, null, null]
            return
        if io["open_stdin"]:
            theirs, self.stdin = os.pipe2(os.O_CLOEXEC)
        else:
            theirs = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.theirs.append(theirs)
        for stream in (1, 2):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            self.outputs[ours] = stream
            self.theirs.append(theirs)

    def take_terminal(self) -> None:
        if self.console is None:
            return
        self.console.setblocking(False)
        connection, _ = self.console.accept()
        with connection:
            connection.setblocking(False)
            _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        self.console.close()
        self.console = None
        os.set_inheritable(fds[0], False)
        self.outputs, self.stdin = {fds[0]: 1}, fds[0]

    def spawn(self, programs: Programs) -> int:
        """The runtime's process id."""
        request = self.request
        try:
            self.open_stdio()
            actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(self.theirs)]
            return os.posix_spawn(
                programs.executable(request["argv"][0]),
                request["argv"],
                request["env"],
                file_actions=actions,
                setsigdef=_DEFAULTED,
            )
        except BaseException:
            self.close()
            raise
        finally:
            for fd in set(self.theirs):
                os.close(fd)
