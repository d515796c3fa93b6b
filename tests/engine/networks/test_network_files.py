"""/etc/hosts and /etc/resolv.conf of containers."""

import pytest

from riverport.engine.errors import InvalidParameter
from riverport.engine.networks.files import (
    ResolvConf,
    direct_resolv_conf,
    embedded_resolv_conf,
    extra_hosts,
    host_network_hosts,
    hosts_text,
    merged,
    parse_resolv_conf,
)

HOST = """\
# by hand
nameserver 192.0.2.1
nameserver 127.0.0.53   ; stub
search a.example b.example
domain c.example
options edns0
options trust-ad timeout:2
nonsense
"""


def test_resolv_conf_is_read_as_the_manual_says() -> None:
    assert parse_resolv_conf(HOST) == ResolvConf(
        ("192.0.2.1", "127.0.0.53"), ("c.example",), ("edns0", "trust-ad", "timeout:2")
    )


def test_the_default_bridge_gets_the_host_s_servers_without_loopback() -> None:
    text = direct_resolv_conf(parse_resolv_conf(HOST), own=False)
    assert text == "nameserver 192.0.2.1\nsearch c.example\noptions edns0 trust-ad timeout:2\n"


def test_a_host_with_loopback_servers_only_leaves_public_ones() -> None:
    assert direct_resolv_conf(ResolvConf(("127.0.0.1", "::1")), own=False) == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"


def test_a_loopback_server_that_was_asked_for_stays() -> None:
    assert direct_resolv_conf(ResolvConf(("127.0.0.1",)), own=True) == "nameserver 127.0.0.1\n"


def test_what_a_container_names_itself_replaces_the_host_s() -> None:
    host = parse_resolv_conf(HOST)
    assert merged(host, ["1.1.1.1"], ["."], ["ndots:2"]) == ResolvConf(("1.1.1.1",), (), ("ndots:2",))
    assert merged(host) == host


def test_other_networks_ask_the_embedded_server() -> None:
    assert embedded_resolv_conf(ResolvConf(("1.1.1.1",), ("x.example",), ("edns0",))) == (
        "nameserver 127.0.0.11\nsearch x.example\noptions edns0 ndots:0\n"
    )
    assert embedded_resolv_conf(ResolvConf(options=("ndots:3",))) == "nameserver 127.0.0.11\noptions ndots:3\n"


def test_hosts_name_the_container_last() -> None:
    text = hosts_text(["172.17.0.2", "fd00::2"], "web", "example.org", [("10.0.0.1", "db")])
    assert text.splitlines()[-3:] == [
        "10.0.0.1\tdb",
        "172.17.0.2\tweb.example.org web",
        "fd00::2\tweb.example.org web",
    ]
    assert text.startswith("127.0.0.1\tlocalhost\n")


def test_a_host_s_own_file_is_kept_in_its_network() -> None:
    assert host_network_hosts("127.0.0.1 localhost", [("10.0.0.1", "db")]) == "127.0.0.1 localhost\n10.0.0.1\tdb\n"


def test_extra_hosts() -> None:
    given = ["db:10.0.0.1", "six:fd00::1", "bracketed:[fd00::2]", "host.docker.internal:host-gateway", "eq=10.0.0.2"]
    assert extra_hosts(given, ["172.17.0.1", "fd01::1"]) == [
        ("10.0.0.1", "db"),
        ("fd00::1", "six"),
        ("fd00::2", "bracketed"),
        ("172.17.0.1", "host.docker.internal"),
        ("fd01::1", "host.docker.internal"),
        ("10.0.0.2", "eq"),
    ]


@pytest.mark.parametrize("text", ["db", "db:", ":10.0.0.1", "db:nowhere"])
def test_wrong_extra_hosts_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        extra_hosts([text], [])


def test_a_host_gateway_must_be_known() -> None:
    with pytest.raises(InvalidParameter, match="unable to derive the IP value for host-gateway"):
        extra_hosts(["h:host-gateway"], [])
