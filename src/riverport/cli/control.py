"""How `riverport chaos` and the supervisor of `riverport up --brokers N` meet: one line of JSON each way.

The supervisor listens on sockets in Linux' abstract namespace, one named after each node's port for clients. So who
knows a cluster's address finds its supervisor, no file is left behind, and none points to a process that is another by
now. Only the supervisor's own user is heard.
"""

import json
import os
import socket
import struct
from typing import Any

from riverport.cli.command import Problem

LINE_BYTES_MAX = 64 * 1024
ANSWER_S = 10.0
ASKED_S = 1.0
"""Who connects and does not ask holds up the supervisor for so long."""


class Refusal(Exception):
    """What was asked cannot be, in a line."""


def listen(port: int) -> socket.socket:
    """Raises OSError: another supervisor has the port."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(_name(port))
        made.listen()
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def accept(listening: socket.socket) -> socket.socket | None:
    """The next who wants to ask, None where there is none whom we hear."""
    try:
        accepted, _ = listening.accept()
    except OSError:
        return None
    _, uid, _ = struct.unpack("3i", accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid not in (os.getuid(), 0):
        accepted.close()
        return None
    accepted.settimeout(ASKED_S)
    return accepted


def read_line(peer: socket.socket) -> Any:
    """A line of JSON. Raises OSError for a peer that sends none, ValueError for another line."""
    received = b""
    while not received.endswith(b"\n"):
        data = peer.recv(4096)
        if not data or len(received) > LINE_BYTES_MAX:
            raise ConnectionError("the line ended too early")
        received += data
    return json.loads(received)


def write_line(peer: socket.socket, document: Any) -> None:
    peer.sendall(json.dumps(document).encode() + b"\n")


def ask_supervisor(bootstrap: str, request: dict[str, Any]) -> Any:
    """The answer of the supervisor that runs one of these nodes. Raises Problem, also with what it refuses."""
    for address in bootstrap.split(","):
        port = address.rpartition(":")[2]
        if not port.isdecimal():
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(ANSWER_S)
            try:
                peer.connect(_name(int(port)))
                write_line(peer, request)
                answer = read_line(peer)
            except (OSError, ValueError):
                continue
        if "refused" in answer:
            raise Problem(answer["refused"])
        return answer
    raise Problem(
        f"no cluster of `riverport up --brokers N` runs at {bootstrap} on this machine",
        "start one, or name one: -b HOST:PORT",
    )


def _name(port: int) -> str:
    return f"\0riverport/up/{port}"
