"""Which ports a container publishes, and what it is told about them."""

import pytest

from riverport.engine.errors import InvalidParameter
from riverport.engine.networks.publish import (
    Binding,
    Wanted,
    exposed_ports,
    parse_port,
    ports_told,
    wanted_bindings,
)


def published(**bindings: list[dict[str, str]] | None) -> dict[str, object]:
    return {"PortBindings": {key.replace("_", "/"): value for key, value in bindings.items()}}


def test_a_port_without_a_protocol_is_tcp() -> None:
    assert parse_port("80") == (80, "tcp")
    assert parse_port("53/UDP") == (53, "udp")


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "80/icmp", "-1/tcp", "80/tcp/udp"])
def test_nonsense_is_no_port(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_port(text)


def test_fixed_ports_come_before_ranges_and_ranges_before_any() -> None:
    host_config = published(
        **{
            "80_tcp": [{"HostIp": "", "HostPort": ""}],
            "81_tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000-8010"}],
            "82_udp": [{"HostIp": "", "HostPort": "8005"}],
        }
    )
    assert wanted_bindings({}, host_config) == [
        Wanted(82, "udp", "", 8005, 8005),
        Wanted(81, "tcp", "127.0.0.1", 8000, 8010),
        Wanted(80, "tcp", "", 0, 0),
    ]


def test_publish_all_leaves_alone_what_is_published_already() -> None:
    config = {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}
    host_config = {**published(**{"80_tcp": [{"HostIp": "", "HostPort": "8080"}]}), "PublishAllPorts": True}
    assert wanted_bindings(config, host_config) == [Wanted(80, "tcp", "", 8080, 8080), Wanted(53, "udp", "", 0, 0)]


def test_a_binding_without_places_is_any_port() -> None:
    assert wanted_bindings({}, published(**{"80_tcp": None})) == [Wanted(80, "tcp", "", 0, 0)]


@pytest.mark.parametrize(
    "place",
    [
        {"HostIp": "nowhere", "HostPort": "80"},
        {"HostIp": "", "HostPort": "80-"},
        {"HostIp": "", "HostPort": "90-80"},
        {"HostIp": "", "HostPort": "70000"},
    ],
)
def test_a_place_that_is_none_is_refused(place: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter):
        wanted_bindings({}, published(**{"80_tcp": [place]}))


def test_exposed_and_published_ports_are_told_and_only_these_have_places() -> None:
    config = {"ExposedPorts": {"443/tcp": {}}}
    host_config = published(**{"80_tcp": [{"HostIp": "", "HostPort": "8080"}]})
    bindings = [
        Binding("tcp", 80, "::", 8080, "fd00::2"),
        Binding("tcp", 80, "0.0.0.0", 8080, "172.17.0.2"),
    ]
    assert ports_told(exposed_ports(config, host_config), bindings) == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "443/tcp": None,
    }


def test_a_binding_survives_its_document() -> None:
    binding = Binding("udp", 53, "127.0.0.1", 5353, "172.17.0.2")
    assert Binding.read(binding.document()) == binding
