"""TCP ports for nodes that come and go."""

import random
import socket

SYSTEM_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
LOWEST = 10_000
"""Below it are the ports that services are known by."""


def steady_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that were free just now and that the system gives to nobody by itself.

    A node keeps its port over its restarts. One of the range that the system takes for outgoing connections would not
    do: while the node is down a client's own end may get it, or even connect to itself, and the node cannot come back.
    Raises OSError where none is left.
    """
    first_given = _first_given()
    candidates = random.sample(range(LOWEST, first_given), min(first_given - LOWEST, 500 + count))
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if _is_free(host, port):
            found.append(port)
    if len(found) < count:
        raise OSError(f"no {count} free ports between {LOWEST} and {first_given}")
    return found


def _first_given() -> int:
    """The lowest port that the system gives to outgoing connections."""
    try:
        with open(SYSTEM_RANGE, encoding="ascii") as file:
            first = int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return first if first > LOWEST + 1_000 else 32_768


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As a server binds: what an earlier connection left in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
