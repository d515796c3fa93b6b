"""Where the system paces, connections within the machine do not; and nothing else is touched."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from riverport.kafka.server import pacing
from riverport.kafka.server.machine import SystemMachine

if not hasattr(socket, "TCP_CONGESTION"):  # pragma: no cover
    pytest.skip("congestion control is chosen on Linux only", allow_module_level=True)

LISTENERS = ["127.0.0.1", "::1"]


def control_of(sock: socket.socket) -> str:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


class PacedByDefault(socket.socket):
    """A socket of a system whose congestion control is BBR, which not every machine has."""

    chosen = b"bbr\0"

    def getsockopt(self, level: int, option: int, size: int = 0) -> bytes:  # type: ignore[override]
        assert (level, option, size) == (socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        return self.chosen

    def setsockopt(self, level: int, option: int, value: bytes) -> None:  # type: ignore[override]
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_CONGESTION)
        super().setsockopt(level, option, value)  # the system takes the name
        self.chosen = value


@contextmanager
def connection(host: str, own: str = "") -> Iterator[PacedByDefault]:
    """Our end of a connection to `host`, from the address `own`."""
    with closing(socket.create_server((host, 0))) as listening, closing(PacedByDefault()) as sock:
        if own:
            sock.bind((own, 0))
        sock.connect(listening.getsockname())
        yield sock


@pytest.mark.parametrize("host", LISTENERS)
def test_a_listener_on_loopback_accepts_connections_without_pacing(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(PacedByDefault(family, socket.SOCK_STREAM)) as listening:
        listening.bind((host, 0))
        pacing.stop_on_loopback(listening)
        assert listening.chosen == b"reno"
        listening.listen()
        with closing(socket.create_connection(listening.getsockname()[:2])):
            accepted, _ = listening.accept()
            with closing(accepted):
                assert control_of(accepted) == "reno"


def test_a_listener_on_every_address_is_left_alone() -> None:
    with closing(PacedByDefault(socket.AF_INET, socket.SOCK_STREAM)) as listening:
        listening.bind(("", 0))
        pacing.stop_on_loopback(listening)
        assert listening.chosen == b"bbr\0"


def test_a_connection_within_the_machine_is_paced_no_more() -> None:
    with connection("127.0.0.1") as sock:
        pacing.stop_within_machine(sock)
        assert sock.chosen == b"reno"


def test_a_connection_between_two_addresses_is_left_alone() -> None:
    with connection("127.0.0.1", own="127.0.0.2") as sock:
        pacing.stop_within_machine(sock)
        assert sock.chosen == b"bbr\0"


def test_what_does_not_pace_is_left_alone() -> None:
    with connection("127.0.0.1") as sock:
        sock.chosen = b"cubic\0"
        pacing.stop_within_machine(sock)
        assert sock.chosen == b"cubic\0"


def test_a_connection_that_is_gone_and_a_socket_without_addresses_are_no_error() -> None:
    with closing(socket.socket()) as unconnected:
        pacing.stop_within_machine(unconnected)
    one, other = socket.socketpair()
    with closing(one), closing(other):
        pacing.stop_within_machine(one)


@pytest.mark.parametrize("host", LISTENERS)
def test_no_listener_of_a_node_on_loopback_is_paced(host: str) -> None:
    with closing(SystemMachine().bind(host, 0)) as listening:
        assert not control_of(listening).startswith("bbr")
