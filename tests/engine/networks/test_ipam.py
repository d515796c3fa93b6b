"""Subnets and addresses: what is given, in which order, and what is said when nothing is left."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.errors import Conflict, Forbidden, InvalidParameter, SystemFailure
from riverport.engine.networks import ipam


def net(text: str) -> ipam.IpNetwork:
    return ipaddress.ip_network(text)


def ip(text: str) -> ipam.IpAddress:
    return ipaddress.ip_address(text)


def test_the_gateway_is_the_first_address_and_containers_follow() -> None:
    subnet = ipam.make_subnet(net("172.17.0.0/16"))
    assert str(subnet.gateway) == "172.17.0.1"
    assert [str(subnet.take()) for _ in range(3)] == ["172.17.0.2", "172.17.0.3", "172.17.0.4"]


def test_a_freed_address_is_the_next_to_be_given() -> None:
    subnet = ipam.make_subnet(net("172.17.0.0/16"))
    taken = [subnet.take() for _ in range(4)]
    for address in (taken[2], taken[0]):
        assert address is not None
        subnet.release(address)
    assert [subnet.take(), subnet.take()] == [taken[0], taken[2]]
    assert str(subnet.take()) == "172.17.0.6"


def test_network_and_broadcast_addresses_are_given_to_nobody() -> None:
    subnet = ipam.make_subnet(net("10.0.0.0/30"))
    assert str(subnet.take()) == "10.0.0.2"
    assert subnet.take() is None


def test_an_ipv6_subnet_has_no_broadcast_address() -> None:
    subnet = ipam.make_subnet(net("fd00::/126"))
    assert [str(subnet.take()) for _ in range(2)] == ["fd00::2", "fd00::3"]
    assert subnet.take() is None


def test_addresses_come_from_the_range_and_auxiliary_ones_are_left_out() -> None:
    subnet = ipam.make_subnet(
        net("172.28.0.0/16"), net("172.28.5.0/29"), ip("172.28.5.6"), {"router": ip("172.28.5.1")}
    )
    given = [str(subnet.take()) for _ in range(6)]
    assert given == ["172.28.5.0", "172.28.5.2", "172.28.5.3", "172.28.5.4", "172.28.5.5", "172.28.5.7"]
    assert subnet.take() is None
    assert subnet.claim(ip("172.28.200.9"))  # outside the range, inside the subnet: for who asks


def test_an_address_is_claimed_once() -> None:
    subnets = [ipam.make_subnet(net("10.1.0.0/24"))]
    ipam.claim(subnets, ip("10.1.0.9"))
    with pytest.raises(Forbidden, match="Address already in use"):
        ipam.claim(subnets, ip("10.1.0.9"))
    with pytest.raises(InvalidParameter, match=r"no configured subnet contains IP address 10\.2\.0\.1"):
        ipam.claim(subnets, ip("10.2.0.1"))


def test_exhausted_addresses_are_told_with_their_holders() -> None:
    subnet = ipam.make_subnet(net("10.0.0.0/30"))
    subnet.take()
    with pytest.raises(SystemFailure, match=r"no available IPv4 addresses.*small.*1 containers hold them: web"):
        ipam.choose([subnet], "small", ["web"])


def test_pools_are_docker_s_in_docker_s_order() -> None:
    used: dict[str, list[ipam.IpNetwork]] = {}
    given = []
    for number in range(31):
        given.append(ipam.free_pool(ipam.DEFAULT_POOLS, used, []))
        used[f"n{number}"] = [given[-1]]
    assert [str(pool) for pool in given[:2]] == ["172.17.0.0/16", "172.18.0.0/16"]
    assert [str(pool) for pool in given[14:17]] == ["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]
    with pytest.raises(Conflict, match=r"could not find an available.*held by networks: n0, n1,.* and 11 more"):
        ipam.free_pool(ipam.DEFAULT_POOLS, used, [])


def test_what_the_host_routes_is_no_pool() -> None:
    routed = [net("172.17.128.0/24"), net("172.18.0.0/15"), net("fd00::/8")]
    assert str(ipam.free_pool(ipam.DEFAULT_POOLS, {}, routed)) == "172.20.0.0/16"


def test_own_pools_may_be_small() -> None:
    used = {"a": [net("10.10.0.0/24")]}
    assert str(ipam.free_pool([("10.10.0.0/16", 24)], used, [])) == "10.10.1.0/24"


def test_overlapping_subnets_name_the_network_in_the_way() -> None:
    used = {"web": [net("10.0.0.0/16")]}
    with pytest.raises(Forbidden, match=r"Pool overlaps with other one on this address space \(network web has"):
        ipam.check_overlap(net("10.0.8.0/24"), used)
    ipam.check_overlap(net("10.1.0.0/16"), used)
    ipam.check_overlap(net("fd00::/64"), used)


def test_a_network_s_ipv6_subnet_is_unique_local_and_its_own() -> None:
    first, second = ipam.unique_local("0123456789" + "a" * 54), ipam.unique_local("1123456789" + "a" * 54)
    assert first.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert str(first) == "fd01:2345:6789::/64"
    assert not first.overlaps(second)


def test_the_mac_follows_the_address() -> None:
    assert ipam.mac_of(ip("172.17.0.2")) == "02:42:ac:11:00:02"


@given(st.lists(st.tuples(st.sampled_from(["take", "release", "claim"]), st.integers(0, 31)), max_size=60))
def test_no_address_is_ever_held_twice(steps: list[tuple[str, int]]) -> None:
    subnet = ipam.make_subnet(net("10.0.0.0/27"), net("10.0.0.8/29"))
    held: set[ipam.IpAddress] = set()
    for step, number in steps:
        address = net("10.0.0.0/27")[number]
        if step == "take":
            given_now = subnet.take()
            if given_now is None:
                free = set(net("10.0.0.8/29")) - held - {subnet.gateway}
                assert not free
            else:
                assert given_now not in held
                assert given_now in net("10.0.0.8/29")
                held.add(given_now)
        elif step == "claim":
            reserved = {subnet.gateway, net("10.0.0.0/27")[0], net("10.0.0.0/27")[31]}
            assert subnet.claim(address) == (address not in held and address not in reserved)
            if address not in reserved:
                held.add(address)
        elif address in held:
            subnet.release(address)
            held.remove(address)
