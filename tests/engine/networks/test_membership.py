"""A container's endpoints together: the way out, where ports lead, which networks it asks for."""

from typing import Any

import pytest

from riverport.engine.errors import InvalidParameter
from riverport.engine.networks.endpoint import Endpoint
from riverport.engine.networks.gateway_mode import GATEWAY_MODE4_OPTION, GATEWAY_MODE6_OPTION
from riverport.engine.networks.member import Member
from riverport.engine.networks.membership import (
    Membership,
    default_routes,
    gateway_network,
    publish_target,
    wanted_networks,
)
from riverport.engine.networks.network import Network


def network(name: str, *subnets: str, internal: bool = False, **options: str) -> Network:
    return Network(
        {
            "Id": name.ljust(64, "0"),
            "Name": name,
            "Driver": "bridge",
            "Internal": internal,
            "Options": options,
            "Labels": {},
            "ConfigOnly": False,
            "IPAM": {"Config": [{"Subnet": subnet} for subnet in subnets]},
        }
    )


def joined(*places: tuple[Network, int]) -> tuple[Membership, dict[str, Network]]:
    """A container in these networks, with the priority of each as a gateway."""
    membership = Membership(Member("c" * 64, "c", {}, {}), None, "s")
    for number, (place, priority) in enumerate(places):
        addresses = place.take_addresses({})
        membership.endpoints[place.id] = Endpoint.place(
            f"{number}" * 64, place.id, f"eth{number}", "02:42:00:00:00:01", addresses, {"GwPriority": priority}
        )
    return membership, {place.id: place for place, _ in places}


def test_the_way_out_is_by_the_first_name_unless_a_priority_says_otherwise() -> None:
    beta, alpha = network("beta", "10.1.0.0/24"), network("alpha", "10.2.0.0/24")
    membership, networks = joined((beta, 0), (alpha, 0))
    assert gateway_network(membership.endpoints.values(), networks, 4) is alpha
    membership, networks = joined((beta, 1), (alpha, 0))
    assert gateway_network(membership.endpoints.values(), networks, 4) is beta


def test_no_way_leads_out_of_an_internal_network() -> None:
    inner = network("inner", "10.1.0.0/24", internal=True)
    membership, networks = joined((inner, 9))
    assert default_routes(membership, networks) == []
    assert publish_target(membership, networks, "").addresses == {}


def test_each_ip_version_has_its_own_way() -> None:
    four, both = network("a", "10.1.0.0/24"), network("b", "10.2.0.0/24", "fd00::/64")
    membership, networks = joined((four, 0), (both, 0))
    routes = {route.version: (route.interface, str(route.gateway)) for route in default_routes(membership, networks)}
    assert routes == {4: ("eth0", "10.1.0.1"), 6: ("eth1", "fd00::1")}


def test_ports_are_published_where_the_network_or_the_engine_says() -> None:
    membership, networks = joined((network("a", "10.1.0.0/24", "fd00::/64"), 0))
    assert publish_target(membership, networks, "").defaults == {4: "0.0.0.0", 6: "::"}
    assert publish_target(membership, networks, "127.0.0.1").defaults == {4: "127.0.0.1", 6: ""}
    bound = network("b", "10.1.0.0/24", **{"com.docker.network.bridge.host_binding_ipv4": "192.0.2.1"})
    membership, networks = joined((bound, 0))
    assert publish_target(membership, networks, "127.0.0.1").defaults == {4: "192.0.2.1"}


def test_nothing_of_the_host_is_taken_for_ports_of_a_routed_network() -> None:
    mixed = network("a", "10.1.0.0/24", "fd00::/64", **{GATEWAY_MODE6_OPTION: "routed"})
    membership, networks = joined((mixed, 0))
    assert publish_target(membership, networks, "").routed == {6}


def test_the_host_has_no_address_in_an_isolated_network() -> None:
    inner = network("inner", "10.1.0.0/24", "fd00::/64", internal=True, **{GATEWAY_MODE4_OPTION: "isolated"})
    assert [str(interface) for interface in inner.bridge_addresses()] == ["fd00::1/64"]
    assert [str(interface) for interface in inner.take_addresses({})] == ["10.1.0.1/24", "fd00::2/64"]


def asks(mode: str, endpoints: dict[str, Any] | None) -> list[str]:
    member = Member("c" * 64, "c", {}, {"NetworkMode": mode}, endpoints)
    return [reference for reference, _ in wanted_networks(member)]


def test_the_network_of_the_mode_comes_first() -> None:
    assert asks("web", {"db": {}, "web": {}}) == ["web", "db"]
    assert asks("default", None) == ["bridge"]
    assert asks("default", {"default": {}}) == ["bridge"]


def test_a_container_that_was_disconnected_from_everything_joins_nothing() -> None:
    assert asks("web", {}) == []


def test_who_shares_a_namespace_has_no_networks_of_its_own() -> None:
    assert asks("container:abc", {}) == []
    with pytest.raises(InvalidParameter, match="container sharing network namespace with another container"):
        asks("container:abc", {"web": {}})


def test_addresses_are_given_back_if_one_of_them_cannot_be_had() -> None:
    both = network("both", "10.1.0.0/24", "fd00::/126")
    both.take_addresses({})
    both.take_addresses({})
    with pytest.raises(Exception, match="no available"):
        both.take_addresses({})
    assert [str(interface) for interface in network("both", "10.1.0.0/24").take_addresses({})] == ["10.1.0.2/24"]
    four = next(subnet for subnet in both.subnets if subnet.version == 4)
    assert str(four.take()) == "10.1.0.4"
