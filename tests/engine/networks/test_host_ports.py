"""Ports of the host, held by sockets: on loopback addresses, which every machine has."""

import socket

import pytest

from riverport.engine.errors import SystemFailure
from riverport.engine.networks.ports import Ports, Target
from riverport.engine.networks.publish import Binding, Wanted

HERE = "127.0.0.1"
TARGET = Target({4: "172.17.0.2"}, {4: HERE})


def free_port() -> int:
    with socket.create_server((HERE, 0)) as server:
        return int(server.getsockname()[1])


def wanted(low: int, high: int = 0, host_ip: str = "", protocol: str = "tcp") -> Wanted:
    return Wanted(80, protocol, host_ip, low, high or low)


def test_a_held_port_is_taken_from_everyone_else() -> None:
    ports, port = Ports(), free_port()
    made = ports.reserve([wanted(port)], TARGET)
    assert made == [Binding("tcp", 80, HERE, port, "172.17.0.2")]
    with pytest.raises(OSError, match="in use"):
        socket.create_server((HERE, port))
    ports.release(made)
    socket.create_server((HERE, port)).close()


def test_nobody_is_let_in_at_a_held_port() -> None:
    ports, port = Ports(), free_port()
    ports.reserve([wanted(port)], TARGET)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HERE, port), timeout=1)
    ports.close()


def test_any_port_is_one_that_was_free() -> None:
    ports = Ports()
    made = ports.reserve([wanted(0), wanted(0, protocol="udp")], TARGET)
    assert all(binding.host_port > 0 for binding in made)
    ports.close()


def test_the_same_port_may_be_of_two_protocols_or_two_addresses() -> None:
    ports, port = Ports(), free_port()
    made = ports.reserve([wanted(port), wanted(port, protocol="udp"), wanted(port, host_ip="127.0.0.2")], TARGET)
    assert len(made) == 3
    with pytest.raises(SystemFailure, match=rf"^Bind for 127.0.0.2:{port} failed: port is already allocated$"):
        ports.reserve([wanted(port, host_ip="127.0.0.2")], TARGET)
    ports.close()


def test_a_routed_port_takes_none_of_the_host_and_is_open_once() -> None:
    ports, port = Ports(), free_port()
    target = Target({4: "172.17.0.2", 6: "fd00::2"}, {4: HERE, 6: "::"}, frozenset({6}))
    made = ports.reserve([wanted(port), wanted(0, host_ip="::1")], target)
    assert made == [Binding("tcp", 80, "::", 0, "fd00::2"), Binding("tcp", 80, HERE, port, "172.17.0.2")]
    ports.release(made)
    ports.hold_again(made)
    with pytest.raises(OSError, match="in use"):
        socket.create_server((HERE, port))
    ports.close()


def test_all_ports_of_a_container_or_none() -> None:
    ports, first, second = Ports(), free_port(), free_port()
    held = ports.reserve([wanted(second)], TARGET)
    with pytest.raises(SystemFailure, match="already allocated"):
        ports.reserve([wanted(first), wanted(second)], TARGET)
    assert len(ports.reserve([wanted(first)], TARGET)) == 1
    ports.release(held)
    ports.close()


def test_a_range_gives_its_first_free_port() -> None:
    ports = Ports()
    for port in range(free_port(), 65000):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind((HERE, port))
                second.bind((HERE, port + 1))
            except OSError:
                continue
            second.close()
            (binding,) = ports.reserve([wanted(port, port + 1)], TARGET)
            assert binding.host_port == port + 1
            break
    ports.close()


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(SystemFailure, match=r"failed to bind host port for 192\.0\.2\.9:8080:172\.17\.0\.2:80/tcp: "):
        Ports().reserve([wanted(8080, host_ip="192.0.2.9")], TARGET)


def test_an_ipv6_address_needs_a_container_with_ipv6() -> None:
    assert Ports().reserve([wanted(8080, host_ip="::1")], TARGET) == []


def test_connections_that_linger_from_before_do_not_keep_a_port() -> None:
    server = socket.create_server((HERE, 0))
    port = server.getsockname()[1]
    client = socket.create_connection((HERE, port))
    accepted, _ = server.accept()
    accepted.close()  # closes first: its side stays in TIME_WAIT
    client.close()
    server.close()
    ports = Ports()
    assert len(ports.reserve([wanted(port)], TARGET)) == 1
    with pytest.raises(OSError, match="in use"):
        socket.create_server((HERE, port))
    ports.close()


def test_after_a_restart_a_port_that_was_lost_stays_promised() -> None:
    ports, port = Ports(), free_port()
    binding = Binding("tcp", 80, HERE, port, "172.17.0.2")
    with socket.create_server((HERE, port)):
        ports.hold_again([binding])
        with pytest.raises(SystemFailure, match="already allocated"):
            ports.reserve([wanted(port)], TARGET)
    ports.release([binding])
    ports.close()
