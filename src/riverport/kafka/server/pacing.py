"""No pacing within the machine: where the system paces (BBR), connections that never leave it use Reno instead.

BBR sends by timers, at a pace that it has measured. On loopback there is no queue that this would keep short, and what
it measures is the scheduler: consuming 1 KB records took the broker 0.3 to 1.0 ms of CPU time for each MB, run by run,
and takes 0.2 to 0.35 without. Reno is in every Linux, and every process may choose it. Other systems and other
congestion controls are left alone, and so is what comes from another machine.
"""

import contextlib
import socket

_NAME_BYTES = 16  # TCP_CA_NAME_MAX


def stop_on_loopback(listening: socket.socket) -> None:
    """For a listener on a loopback address. Accepted connections inherit it, and have never been paced."""
    host = listening.getsockname()[0]
    if host.startswith("127.") or host == "::1":
        _stop(listening)


def stop_within_machine(connection: socket.socket) -> None:
    """For a connection whose two ends have one address. The kernel paces it still, but at twice what it carries."""
    with contextlib.suppress(OSError):  # the other side may be gone
        if _is_tcp(connection) and connection.getsockname()[0] == connection.getpeername()[0]:
            _stop(connection)


def _is_tcp(sock: socket.socket) -> bool:
    return sock.family in (socket.AF_INET, socket.AF_INET6)


def _stop(sock: socket.socket) -> None:
    if not hasattr(socket, "TCP_CONGESTION"):
        return
    with contextlib.suppress(OSError):  # what is paced works as well
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES).startswith(b"bbr"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
