"""Gateway modes of bridge networks, with another machine that has a route to the containers."""

import ipaddress
import subprocess
from pathlib import Path

import pytest
from tests.engine.networks.own_network import Box, alone, container_id, host, member, reaches, talk, wire_to_outside

from riverport.engine.errors import SystemFailure
from riverport.engine.linux.netlink import Netlink
from riverport.engine.networks.gateway_mode import GATEWAY_MODE4_OPTION, GATEWAY_MODE6_OPTION

pytestmark = pytest.mark.usefixtures("namespaces")


def pings(box: Box, address: str) -> bool:
    command = ["nsenter", f"--net={box.path}", "busybox", "ping", "-c", "1", "-W", "1", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_routed_network_is_open_at_published_ports_of_the_containers_themselves(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "lan", "Options": {GATEWAY_MODE4_OPTION: "routed"}})
            with Box() as box, Box() as outside, Box() as other:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                joined = await engine.join(box, "one", "lan", ports={"80/tcp": "8080"})
                await engine.join(other, "other")
                assert joined.ports == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}
                listener, closed = box.listen(80), box.listen(81)
                assert outside.do(lambda: talk(listener, "172.18.0.2", 80)) == "192.0.2.9"
                assert other.do(lambda: talk(listener, "172.18.0.2", 80)) == "172.17.0.2"
                assert not outside.do(lambda: reaches("172.18.0.2", 81))
                assert not other.do(lambda: reaches("172.18.0.2", 81))
                assert talk(closed, "172.18.0.2", 81)  # from the host
                assert pings(outside, "172.18.0.2")
                with pytest.raises(ConnectionRefusedError):
                    outside.do(lambda: talk(listener, "192.0.2.1", 8080))  # nothing of the host leads there
                out = outside.listen(80)
                assert box.do(lambda: talk(out, "192.0.2.9", 80)) == "172.18.0.2"
                await engine.networks.leave(container_id("one"))
                assert not outside.do(lambda: reaches("172.18.0.2", 80))

    alone(main)


def test_a_nat_network_is_closed_but_for_published_ports_of_the_host(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "lan", "Options": {GATEWAY_MODE4_OPTION: "nat"}})
            with Box() as box, Box() as outside:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                await engine.join(box, "one", "lan", ports={"80/tcp": "8080"})
                listener = box.listen(80)
                assert outside.do(lambda: talk(listener, "192.0.2.1", 8080)) == "192.0.2.9"
                assert not outside.do(lambda: reaches("172.18.0.2", 80))
                assert not pings(outside, "172.18.0.2")

    alone(main)


def test_an_unprotected_network_is_open_to_who_has_a_route_and_not_to_other_networks(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "lan", "Options": {GATEWAY_MODE4_OPTION: "nat-unprotected"}})
            with Box() as box, Box() as outside, Box() as other:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                await engine.join(box, "one", "lan", ports={"80/tcp": "8080"})
                await engine.join(other, "other")
                published, unpublished = box.listen(80), box.listen(81)
                assert outside.do(lambda: talk(published, "192.0.2.1", 8080)) == "192.0.2.9"
                assert outside.do(lambda: talk(unpublished, "172.18.0.2", 81)) == "192.0.2.9"
                assert not other.do(lambda: reaches("172.18.0.2", 81))
                out = outside.listen(80)
                assert box.do(lambda: talk(out, "192.0.2.9", 80)) == "192.0.2.1"

    alone(main)


def test_firewalled_ports_of_every_mode_wait_for_the_administrator(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path, publish_firewalled=True) as engine:
            for mode in ("routed", "nat-unprotected"):
                await engine.networks.create({"Name": mode, "Options": {GATEWAY_MODE4_OPTION: mode}})
            with Box() as routed, Box() as unprotected, Box() as outside:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                await engine.join(routed, "one", "routed", ports={"80/tcp": ""})
                await engine.join(unprotected, "two", "nat-unprotected")
                routed.listen(80)
                unprotected.listen(80)
                assert not outside.do(lambda: reaches("172.18.0.2", 80))
                assert not outside.do(lambda: reaches("172.19.0.2", 80))

    alone(main)


def test_ipv6_may_be_routed_where_ipv4_is_translated(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            ipam = {"Config": [{"Subnet": "fd00:1::/64"}]}
            await engine.networks.create(
                {"Name": "dual", "EnableIPv6": True, "IPAM": ipam, "Options": {GATEWAY_MODE6_OPTION: "routed"}}
            )
            with Box() as box, Box() as outside:
                wire_to_outside(outside, "2001:db8::1/64", "2001:db8::9/64")
                joined = await engine.join(box, "one", "dual", ports={"80/tcp": "8080"})
                assert joined.ports["80/tcp"] == [
                    {"HostIp": "0.0.0.0", "HostPort": "8080"},
                    {"HostIp": "::", "HostPort": ""},
                ]
                listener = box.listen(80, address="::")
                assert outside.do(lambda: talk(listener, "fd00:1::2", 80)) == "2001:db8::9"
                assert talk(listener, "127.0.0.1", 8080)
                await engine.restart((member("one", "dual"), box.path))
                assert outside.do(lambda: talk(listener, "fd00:1::2", 80)) == "2001:db8::9"

    alone(main)


def test_ports_of_the_host_come_and_go_with_the_mode_of_the_way_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "lan", "Options": {GATEWAY_MODE4_OPTION: "routed"}})
            with Box() as box:
                joined = await engine.join(box, "one", ports={"80/tcp": "8080"})
                assert joined.ports == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
                one = member("one", ports={"80/tcp": "8080"})
                joined = await engine.networks.connect(one, box.path, "lan", {"GwPriority": 1})
                assert joined.ports == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}
                joined = await engine.networks.disconnect(container_id("one"), "lan")
                assert joined.ports == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
                listener = box.listen(80)
                assert talk(listener, "127.0.0.1", 8080)

    alone(main)


def test_a_way_out_whose_ports_are_taken_is_refused_and_leaves_the_old_one_open(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "lan", "Options": {GATEWAY_MODE4_OPTION: "routed"}})
            with Box() as box, Box() as other, Box() as outside:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                await engine.join(box, "one", "lan", ports={"80/tcp": "8080"})
                await engine.join(other, "two", ports={"80/tcp": "8080"})
                one = member("one", "lan", ports={"80/tcp": "8080"})
                with pytest.raises(SystemFailure, match="port is already allocated"):
                    await engine.networks.connect(one, box.path, "bridge", {"GwPriority": 1})
                listener = box.listen(80)
                assert outside.do(lambda: talk(listener, "172.18.0.2", 80)) == "192.0.2.9"

    alone(main)


def test_the_host_has_no_address_in_an_isolated_network(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            modes = {GATEWAY_MODE4_OPTION: "isolated", GATEWAY_MODE6_OPTION: "isolated"}
            request = {"Name": "inner", "EnableIPv6": True, "Options": modes}
            with pytest.raises(SystemFailure, match="'isolated' can only be used for an internal network"):
                await engine.networks.create(request)
            ipam = {"Config": [{"Subnet": "10.9.0.0/24"}, {"Subnet": "fd00:9::/64"}]}
            await engine.networks.create({**request, "Internal": True, "IPAM": ipam})
            network = engine.networks.find("inner")
            assert network.document["IPAM"]["Config"] == ipam["Config"]
            with Netlink() as here:
                bridge = here.link(network.options.bridge)
                assert bridge is not None
                assert here.addresses(bridge.index) == []
            with Box() as one, Box() as two:
                await engine.join(one, "one", "inner")
                await engine.join(two, "two", "inner")
                (v4, v6) = one.addresses()["eth0"]
                listener = one.listen(80, address="::")
                for address in (v4, v6):
                    peer = str(ipaddress.ip_interface(address).ip)
                    assert two.do(lambda peer=peer: talk(listener, peer, 80))  # type: ignore[misc]
                assert not reaches(str(ipaddress.ip_interface(v4).ip), 80)

    alone(main)
