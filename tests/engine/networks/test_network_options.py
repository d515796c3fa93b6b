"""What a create request for a network says, and what is wrong with it."""

import ipaddress

import pytest

from riverport.engine.errors import Conflict, Forbidden, InvalidParameter, NotFound
from riverport.engine.networks import options
from riverport.engine.networks.endpoint import check_settings, endpoint_sysctls, next_interface
from riverport.engine.networks.gateway_mode import GATEWAY_MODE4_OPTION, GATEWAY_MODE6_OPTION


def test_a_bridge_is_named_after_its_network_unless_told_otherwise() -> None:
    assert options.read_options("bridge", "0123456789abcdef" * 4, {}).bridge == "br-0123456789ab"
    assert options.read_options("bridge", "0" * 64, {options.NAME_OPTION: "lab0"}).bridge == "lab0"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (options.NAME_OPTION, "a-name-that-is-too-long"),
        (options.NAME_OPTION, "with space"),
        (options.ICC_OPTION, "maybe"),
        (options.MASQUERADE_OPTION, "2"),
        (options.MTU_OPTION, "12"),
        (options.MTU_OPTION, "big"),
        (options.BINDING4_OPTION, "localhost"),
        (options.BINDING4_OPTION, "::1"),
        (GATEWAY_MODE4_OPTION, "bridged"),
        (GATEWAY_MODE6_OPTION, ""),
    ],
)
def test_an_option_with_a_wrong_value_is_refused(key: str, value: str) -> None:
    with pytest.raises(InvalidParameter):
        options.read_options("bridge", "0" * 64, {key: value})


def test_options_are_read() -> None:
    read = options.read_options(
        "bridge",
        "0" * 64,
        {
            options.ICC_OPTION: "false",
            options.MASQUERADE_OPTION: "0",
            options.MTU_OPTION: "1400",
            options.BINDING4_OPTION: "127.0.0.1",
            "com.example.unknown": "kept",
        },
    )
    assert (read.icc, read.masquerade, read.mtu, read.binding4) == (False, False, 1400, "127.0.0.1")


def test_names_are_checked() -> None:
    with pytest.raises(InvalidParameter, match="name is empty"):
        options.check_name(" ", [])
    with pytest.raises(Forbidden, match="operation is not permitted on predefined bridge network "):
        options.check_name("bridge", [])
    with pytest.raises(Conflict, match="network with name web already exists"):
        options.check_name("web", ["web"])


def test_drivers_are_checked() -> None:
    with pytest.raises(Forbidden, match='only one instance of "host" network is allowed'):
        options.check_driver("host")
    with pytest.raises(NotFound, match='plugin "weave" not found'):
        options.check_driver("weave")
    with pytest.raises(Forbidden, match="This node is not a swarm manager"):
        options.check_driver("overlay")


def test_networks_of_a_swarm_are_refused() -> None:
    with pytest.raises(Forbidden, match="This node is not a swarm manager"):
        options.check_kind({"Scope": "swarm"})
    options.check_kind({"Scope": "local"})


def test_every_fault_of_the_subnets_is_told_at_once() -> None:
    with pytest.raises(InvalidParameter) as raised:
        options.read_ipam(
            [
                {"Subnet": "10.0.0.1/24"},
                {"Subnet": "10.0.1.0/24", "Gateway": "10.0.2.1"},
                {"Subnet": "10.0.2.0/24", "IPRange": "10.0.0.0/16"},
                {"Subnet": "10.0.3.0/24", "IPRange": "fd00::/80"},
                {"Subnet": "nonsense"},
            ]
        )
    assert str(raised.value).split("\n") == [
        "invalid network config:",
        "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24",
        "invalid gateway 10.0.2.1: parent subnet 10.0.1.0/24 doesn't contain this address",
        "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.2.0/24",
        "invalid ip-range fd00::/80: parent subnet is an IPv4 block",
        "invalid subnet nonsense: invalid CIDR block notation",
    ]


def test_a_document_s_subnets_come_back_as_they_were() -> None:
    config = [
        {
            "Subnet": "172.28.0.0/16",
            "IPRange": "172.28.5.0/24",
            "Gateway": "172.28.5.254",
            "AuxiliaryAddresses": {"a": "172.28.1.5", "b": "172.28.1.6"},
        },
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
    ]
    assert options.ipam_config(options.subnets_of(options.read_ipam(config))) == config


def test_an_entry_without_anything_is_no_entry() -> None:
    assert options.read_ipam([{}, {"Subnet": ""}]) == []
    assert options.read_ipam(None) == []
    (asked,) = options.read_ipam([{"Gateway": "fd00::1"}])
    assert (asked.subnet, asked.version, asked.gateway) == (None, 6, ipaddress.ip_address("fd00::1"))


def test_endpoint_settings_are_checked_all_at_once() -> None:
    with pytest.raises(InvalidParameter) as raised:
        check_settings(
            "bridge",
            {"IPAMConfig": {"IPv4Address": "172.17.0.9"}, "Aliases": ["db"], "MacAddress": "02:42"},
        )
    assert str(raised.value).split("\n") == [
        "invalid endpoint settings:",
        "user-specified IP address is supported on user-defined networks only",
        "network-scoped aliases are only supported for user-defined networks",
        "invalid MAC address: 02:42",
    ]
    check_settings("web", {"IPAMConfig": {"IPv4Address": "10.0.0.9"}, "Aliases": ["db"]})


def test_interfaces_fill_gaps() -> None:
    assert next_interface("eth", []) == "eth0"
    assert next_interface("eth", ["eth0", "eth2"]) == "eth1"


def test_sysctls_of_an_endpoint_reach_its_interface_only() -> None:
    settings = {"DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"}}
    assert endpoint_sysctls(settings, "eth1") == [("net/ipv4/conf/eth1/log_martians", "1")]
    for wrong in (
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.all.log_martians=1",
        "net.ipv4.conf.IFNAME.../x=1",
        "kernel.x=1",
    ):
        with pytest.raises(InvalidParameter, match="unrecognised network interface sysctl"):
            endpoint_sysctls({"DriverOpts": {"com.docker.network.endpoint.sysctls": wrong}}, "eth0")
