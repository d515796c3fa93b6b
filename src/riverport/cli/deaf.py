"""Makes TCP sockets of this process deaf, without asking for any privilege.

A socket filter of the kernel (SO_ATTACH_FILTER) drops whatever arrives for a socket: requests, answers,
acknowledgements, and the first segment of new connections. To its peers the process looks as behind an unplugged cable:
they wait. When the filter goes, TCP goes on where it was by sending again.

The filter sees only what comes in. To cut off a process altogether it becomes deaf on every socket, and its peers
become deaf to it: on the sockets whose other end is one of its ports.
"""

import os
import socket
import stat
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)
"""The classic BPF program `ret #0`: of each packet keep no byte."""


def set_deaf(everywhere: bool, to_ports: Collection[int] = ()) -> None:
    """Be deaf on all TCP sockets that the process has now, or on those whose other end has one of these ports.

    On all others it hears again. Sockets that are made later are not deaf. Raises OSError.
    """
    for held in _tcp_sockets():
        _filter(held, everywhere or _peer_port(held) in to_ports)


def local_ports() -> list[int]:
    """The ports of this process's ends of its TCP connections, and those on which it listens."""
    return sorted({held.getsockname()[1] for held in _tcp_sockets()} - {0})


def _tcp_sockets() -> Iterator[socket.socket]:
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            duplicate = os.dup(fd)
        except OSError:
            continue  # closed meanwhile: the listing's own
        with socket.socket(fileno=duplicate) as held:
            if held.family in (socket.AF_INET, socket.AF_INET6) and held.type == socket.SOCK_STREAM:
                yield held


def _peer_port(held: socket.socket) -> int:
    try:
        port: int = held.getpeername()[1]
    except OSError:
        return 0  # it listens, or its peer is gone
    return port


def _filter(held: socket.socket, deaf: bool) -> None:
    if deaf:
        from ctypes import addressof, create_string_buffer

        program = create_string_buffer(RETURN_NOTHING, len(RETURN_NOTHING))
        held.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 1, addressof(program)))
        return
    with suppress(FileNotFoundError):  # it has none
        held.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
