"""One node of `riverport up --brokers N` as a process: forked from its supervisor, which has imported all it needs.

Importing is four fifths of a node's start, so it is done once. The supervisor has neither threads nor an event loop,
so that a fork of it is a sound process at any time. Supervisor and node hold the ends of a socket pair: the node says
when it answers, the supervisor asks for faults, and a node whose supervisor is gone stops.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

PRELOADED = (
    "uvloop",
    "encodings.idna",  # asyncio's connect asks for it
    "tempfile",
    "riverport.cli.command",
    "riverport.cli.node_faults",
    "riverport.kafka.server.main",
    "riverport.kafka.server.broker",
    "riverport.kafka.server.storage_format",
    "riverport.kafka.server.api.api_versions",
    "riverport.kafka.server.api.begin_quorum_epoch",
    "riverport.kafka.server.api.vote",
)
"""What a node has imported when it answers. One that there is not, such as uvloop, is left out."""
LINE_BYTES_MAX = 64 * 1024
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
"""Those that the supervisor handles, and a node by itself."""


class NodeProcess:
    """The supervisor's end."""

    def __init__(self, pid: int, link: socket.socket) -> None:
        self.pid = pid
        self.link = link
        self._received = b""

    def told(self) -> list[dict[str, Any]]:
        """What the node has said since this was last asked; its link is readable."""
        try:
            data = self.link.recv(LINE_BYTES_MAX)
        except OSError:
            return []
        *lines, self._received = (self._received + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def ask(self, fault: Mapping[str, Any]) -> None:
        """Have the node do something to itself. A node that has just died does nothing."""
        try:
            self.link.sendall(json.dumps(fault).encode() + b"\n")
        except OSError:
            return

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)  # not reaped yet, so the id is still its own


def preload() -> None:
    """Import what every node needs, once. Nothing of it starts a thread."""
    gc.disable()
    for name in PRELOADED:
        try:
            import_module(name)
        except ModuleNotFoundError:
            if name.startswith("riverport"):
                raise
    # Pages of what stays are shared with the nodes as long as no collection writes to them.
    gc.freeze()
    gc.enable()


def fork_node(id_: int, properties: dict[str, str], cluster_id: str, inherited: Iterable[socket.socket]) -> NodeProcess:
    """Start a node. `inherited` are sockets of the supervisor, which are not the node's business. Raises OSError."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal for the node must not meet the supervisor's handler in it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            for held in (ours, *inherited):
                held.close()
            _be(id_, properties, cluster_id, theirs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    ours.setblocking(False)
    return NodeProcess(pid, ours)


def _be(id_: int, properties: dict[str, str], cluster_id: str, link: socket.socket) -> NoReturn:
    """The whole life of the forked process: nothing of the supervisor's goes on in it, not even its exit handlers."""
    status = 1
    stderr = PrefixedLines(f"[{id_}] ", sys.__stderr__)
    try:
        # Ctrl-C goes to a terminal's foreground group: the supervisor alone hears it, and stops us in order.
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _name_process(f"riverport-{id_}")
        sys.stderr = cast(TextIO, stderr)
        status = _run(properties, cluster_id, link)
    except BaseException:
        traceback.print_exc()
    finally:
        stderr.finish()
        os._exit(status)


def _run(properties: dict[str, str], cluster_id: str, link: socket.socket) -> int:
    from riverport.base.logging import configure
    from riverport.cli.command import guarded
    from riverport.cli.embedded import format_if_new
    from riverport.kafka.server.main import run

    configure()

    def live() -> int:
        format_if_new(properties, cluster_id)
        return run(properties, lambda ports: _say(link, {"ports": ports}), lambda node: _listen(node, link))

    return guarded(live)


def _say(link: socket.socket, what: dict[str, Any]) -> None:
    link.sendall(json.dumps(what).encode() + b"\n")


def _listen(node: "Broker", link: socket.socket) -> None:
    """Hear the supervisor on the node's event loop."""
    from riverport.cli.node_faults import NodeFaults

    faults = NodeFaults(node)
    received = b""

    def heard() -> None:
        nonlocal received
        data = link.recv(LINE_BYTES_MAX)
        if not data:
            node.loop.remove_reader(link)
            os.kill(os.getpid(), signal.SIGTERM)  # the supervisor is gone: nobody would ever stop us
        *lines, received = (received + data).split(b"\n")
        for line in lines:
            match json.loads(line):
                case {"do": "cut"}:
                    _say(link, {"cut": faults.cut_off()})
                case {"do": "ignore", "ports": ports}:
                    faults.ignore(ports)
                case {"do": "slow", "ms": ms}:
                    faults.slow(ms)
                case {"do": "heal"}:
                    faults.heal()
                case {"do": "end"}:
                    node.takes_leave = False

    node.loop.add_reader(link, heard)


def _name_process(name: str) -> None:
    """What `ps` and `top` show."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name)
    except OSError:
        return


class PrefixedLines:
    """A text stream whose every line says which node wrote it. Lines of several processes do not mix."""

    def __init__(self, prefix: str, stream: TextIO | None) -> None:
        assert stream is not None
        self._prefix = prefix
        self._stream = stream
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            self._emit(lines)
        return len(text)

    def flush(self) -> None:
        """Whole lines are out already; a line that has only begun waits for its end."""

    def finish(self) -> None:
        """The process ends: so does the line."""
        if self._begun:
            self._emit([self._begun])
            self._begun = ""

    def _emit(self, lines: list[str]) -> None:
        self._stream.write("".join(f"{self._prefix}{line}\n" for line in lines))
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
