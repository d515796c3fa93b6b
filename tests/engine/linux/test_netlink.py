"""rtnetlink and nftables in a namespace of the test's own."""

import errno
import ipaddress
import os
from collections.abc import Callable

import pytest
from tests.engine.networks import own_network

from riverport.engine.linux import netlink
from riverport.engine.linux.netlink import Netlink, NetlinkError
from riverport.engine.linux.netns import inside
from riverport.engine.linux.nft import Nft, NftError

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    if lacking := own_network.missing():
        pytest.skip(lacking)


def alone(work: Callable[[], None]) -> None:
    async def main() -> None:
        work()

    own_network.alone(main)


def interface(text: str) -> netlink.IpInterface:
    return ipaddress.ip_interface(text)


def test_a_bridge_with_addresses_is_told_as_it_was_made() -> None:
    def work() -> None:
        with Netlink() as here:
            here.do([netlink.bridge("br0", 1400, "02:00:00:00:00:01")])
            link = here.link("br0")
            assert link is not None
            assert (link.kind, link.mac, link.mtu, link.up) == ("bridge", "02:00:00:00:00:01", 1400, False)
            addresses = [interface("10.0.0.1/24"), interface("fd00::1/64")]
            here.do([netlink.link_up("br0", link_local=False), *(netlink.address(link.index, a) for a in addresses)])
            assert sorted(here.addresses(link.index), key=str) == addresses
            assert ipaddress.ip_network("10.0.0.0/24") in here.routes()
            # Once more is no error: it is so already.
            here.do([netlink.address(link.index, addresses[0])])
            here.do([netlink.delete_link("br0")])
            here.do([netlink.delete_link("br0")])
            assert here.link("br0") is None

    alone(work)


def test_the_first_refusal_of_several_messages_is_raised_and_the_rest_is_done() -> None:
    def work() -> None:
        with Netlink() as here:
            with pytest.raises(NetlinkError, match="create bridge br0: File exists") as raised:
                here.do([netlink.bridge("br0", 0), netlink.bridge("br0", 0), netlink.bridge("br1", 0)])
            assert raised.value.errno == errno.EEXIST
            assert here.link("br1") is not None
            here.do([])

    alone(work)


def test_a_veth_pair_is_one_message_and_its_port_has_flags() -> None:
    def work() -> None:
        with own_network.Box() as box, Netlink() as here:
            here.do([netlink.bridge("br0", 0), netlink.link_up("br0")])
            parent = here.link("br0")
            assert parent is not None
            messages = netlink.veth(
                "veth0", parent.index, "eth0", box.namespace, "02:42:0a:00:00:02", 1300, hairpin=True, isolated=True
            )
            here.do(messages)
            ours = here.link("veth0")
            assert ours is not None
            assert (ours.master, ours.mtu, ours.up) == (parent.index, 1300, True)
            for name, value in (("hairpin_mode", "1"), ("isolated", "1")):
                assert port_flag("veth0", name) == value

            def look() -> None:
                with Netlink() as there:
                    peer = there.link("eth0")
                    assert peer is not None
                    assert (peer.mac, peer.mtu, peer.up) == ("02:42:0a:00:00:02", 1300, False)

            box.do(look)

    alone(work)


def port_flag(link: str, name: str) -> str:
    """/sys shows the network namespace in which it was mounted; so it is mounted anew, for a process of its own."""
    import subprocess

    command = f"mount -t sysfs sysfs /sys && cat /sys/class/net/{link}/brport/{name}"
    return subprocess.run(["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True).stdout.strip()


def test_work_inside_another_namespace_leaves_the_caller_where_it_is() -> None:
    def work() -> None:
        own = os.readlink("/proc/thread-self/ns/net")
        with own_network.Box() as box:
            assert inside(box.namespace, lambda: os.readlink("/proc/thread-self/ns/net")) == os.readlink(box.path)
            with pytest.raises(ZeroDivisionError):
                inside(box.namespace, lambda: 1 // 0)
        assert os.readlink("/proc/thread-self/ns/net") == own

    alone(work)


def test_a_transaction_of_rules_holds_as_a_whole_or_not_at_all() -> None:
    def work() -> None:
        with Nft() as nft:
            nft.run("add table inet one\nadd chain inet one first\n")
            with pytest.raises(NftError, match="No such file or directory"):
                nft.run("add chain inet one second\nadd chain inet absent third\n")
            listed = nft.run("list ruleset")
            assert "chain first" in listed
            assert "chain second" not in listed

    alone(work)
