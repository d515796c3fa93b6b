"""Networks with the kernel's own bridges, links and rules, in a namespace of the test's own."""

import asyncio
import socket
import time
from pathlib import Path

import pytest
from tests.engine.networks.own_network import (
    Box,
    alone,
    container_id,
    host,
    member,
    reaches,
    talk,
    wire_to_outside,
)

from riverport.engine.errors import Forbidden, NotFound, SystemFailure
from riverport.engine.linux import netlink
from riverport.engine.linux.netlink import Netlink
from riverport.engine.linux.nft import Nft
from riverport.engine.networks import options

pytestmark = pytest.mark.usefixtures("namespaces")


def links() -> set[str]:
    with Netlink() as here:
        return {link.name for link in here.links()}


def test_the_default_network_is_docker_s(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            assert sorted(network.name for network in engine.networks.all()) == ["bridge", "host", "none"]
            with Netlink() as here:
                bridge = here.link("docker0")
                assert bridge is not None
                assert bridge.up
                assert [str(found) for found in here.addresses(bridge.index)] == ["172.17.0.1/16"]
            with Box() as box:
                joined = await engine.join(box, "one")
                assert box.addresses() == {"eth0": ["172.17.0.2/16"]}
            told = joined.networks["bridge"]
            assert (told["IPAddress"], told["IPPrefixLen"], told["Gateway"]) == ("172.17.0.2", 16, "172.17.0.1")
            assert told["MacAddress"] == "02:42:ac:11:00:02"
            assert "172.17.0.2\tone" in joined.hosts.splitlines()
            (shown,) = engine.networks.inspect(engine.networks.find("bridge"))["Containers"].values()
            assert shown["IPv4Address"] == "172.17.0.2/16"

    alone(main)


def test_containers_of_a_network_meet_and_those_of_two_do_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as one, Box() as two, Box() as other:
                await engine.join(one, "one", "web")
                await engine.join(two, "two", "web")
                await engine.join(other, "other")
                listener = one.listen(80)
                assert two.do(lambda: talk(listener, "172.18.0.2", 80)) == "172.18.0.3"
                assert talk(listener, "172.18.0.2", 80) == "172.18.0.1"
                assert not other.do(lambda: reaches("172.18.0.2", 80))

    alone(main)


def test_a_published_port_is_reached_from_everywhere(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as box, Box() as other, Box() as outside:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                joined = await engine.join(box, "one", "web", ports={"80/tcp": "8080"})
                await engine.join(other, "other")
                assert joined.ports == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
                listener = box.listen(80)
                assert talk(listener, "127.0.0.1", 8080) == "172.18.0.1"
                assert talk(listener, "192.0.2.1", 8080)
                assert outside.do(lambda: talk(listener, "192.0.2.1", 8080)) == "192.0.2.9"
                assert other.do(lambda: talk(listener, "172.17.0.1", 8080)) == "172.17.0.2"
                assert box.do(lambda: talk(listener, "192.0.2.1", 8080))  # by itself, through the host
                assert not outside.do(lambda: reaches("172.18.0.2", 80))
                await engine.networks.leave(container_id("one"))
                assert outside.do(lambda: reaches("192.0.2.1", 8080))  # refused by the host: nobody has it
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", 8080), timeout=1)

    alone(main)


def test_udp_ports_are_published(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            with Box() as box:
                await engine.join(box, "one", ports={"53/udp": "5353"})
                with box.listen(53, socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
                    server.settimeout(1)
                    client.settimeout(1)
                    client.connect(("127.0.0.1", 5353))
                    client.send(b"ping")
                    data, peer = server.recvfrom(100)
                    server.sendto(data.upper(), peer)
                    assert client.recv(100) == b"PING"

    alone(main)


def test_the_outside_sees_the_host_s_address(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            plain = {options.MASQUERADE_OPTION: "false"}
            await engine.networks.create({"Name": "plain", "Options": plain})
            await engine.networks.create({"Name": "inner", "Internal": True})
            with Box() as outside, Box() as one, Box() as two, Box() as three:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                await engine.join(one, "one")
                await engine.join(two, "two", "plain")
                await engine.join(three, "three", "inner")
                listener = outside.listen(80)
                assert one.do(lambda: talk(listener, "192.0.2.9", 80)) == "192.0.2.1"
                assert two.do(lambda: talk(listener, "192.0.2.9", 80)) == "172.18.0.2"
                assert not three.do(lambda: reaches("192.0.2.9", 80))

    alone(main)


def test_without_icc_containers_meet_only_at_published_ports(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web", "Options": {options.ICC_OPTION: "false"}})
            with Box() as one, Box() as two:
                await engine.join(one, "one", "web", ports={"80/tcp": "8080"})
                await engine.join(two, "two", "web")
                listener = one.listen(80)
                assert not two.do(lambda: reaches("172.18.0.2", 80))
                assert talk(listener, "172.18.0.2", 80)
                assert two.do(lambda: talk(listener, "172.18.0.1", 8080))

    alone(main)


def test_a_taken_port_is_told_in_docker_s_words_and_nothing_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            with Box() as one, Box() as two:
                await engine.join(one, "one", ports={"80/tcp": "8080"})
                before = links()
                with pytest.raises(
                    SystemFailure,
                    match=r"driver failed programming external connectivity on endpoint two \(\w{64}\): "
                    r"Bind for 0\.0\.0\.0:8080 failed: port is already allocated$",
                ):
                    await engine.join(two, "two", ports={"81/tcp": "8081", "80/tcp": "8080"})
                assert links() == before
                assert engine.state.load("memberships").keys() == {container_id("one")}
                joined = await engine.join(two, "two", ports={"81/tcp": "8081"})
                assert joined.networks["bridge"]["IPAddress"] == "172.17.0.3"

    alone(main)


def test_a_port_of_another_process_is_told_apart(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            with Box() as box, socket.create_server(("0.0.0.0", 8080)):
                with pytest.raises(SystemFailure, match=r"failed to bind host port .*: address already in use"):
                    await engine.join(box, "one", ports={"80/tcp": "8080"})
                joined = await engine.join(box, "one", ports={"80/tcp": "8080-8082"})
                assert joined.ports == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8081"}]}

    alone(main)


def test_a_running_container_is_plugged_and_unplugged(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as box:
                await engine.join(box, "one", ports={"80/tcp": "8080"})
                wanted = {"IPAMConfig": {"IPv4Address": "172.18.0.77"}, "GwPriority": 1, "Aliases": ["db"]}
                joined = await engine.networks.connect(member("one"), box.path, "web", wanted)
                assert box.addresses() == {"eth0": ["172.17.0.2/16"], "eth1": ["172.18.0.77/16"]}
                assert "nameserver 127.0.0.11" in joined.resolv_conf
                listener = box.listen(80)
                assert talk(listener, "127.0.0.1", 8080) == "172.18.0.1"  # the way out leads through web now
                with pytest.raises(Forbidden, match="already exists in network web"):
                    await engine.networks.connect(member("one"), box.path, "web", {})
                joined = await engine.networks.disconnect(container_id("one"), "web")
                assert box.addresses() == {"eth0": ["172.17.0.2/16"]}
                assert list(joined.networks) == ["bridge"]
                assert talk(listener, "127.0.0.1", 8080) == "172.17.0.1"
                await engine.networks.remove("web")

    alone(main)


def test_a_network_in_use_stays_and_an_empty_one_goes_with_its_bridge(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web", "Options": {options.NAME_OPTION: "lab0"}})
            with Box() as box:
                await engine.join(box, "one", "web")
                with pytest.raises(Forbidden, match=r'network web has active endpoints \(name:"one" id:"\w{12}"\)'):
                    await engine.networks.remove("web")
                assert await engine.networks.prune() == []
                await engine.networks.leave(container_id("one"))
                assert await engine.networks.prune() == ["web"]
            assert "lab0" not in links()
            with pytest.raises(NotFound, match="network web not found"):
                engine.networks.find("web")

    alone(main)


def test_a_bridge_that_cannot_be_made_leaves_no_network(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            with pytest.raises(SystemFailure, match="lo exists and is no bridge"):
                await engine.networks.create({"Name": "web", "Options": {options.NAME_OPTION: "lo"}})
            assert [network.name for network in engine.networks.all() if not network.predefined] == []
            assert len(engine.state.load("networks")) == 3
            assert "lo" in links()

    alone(main)


def test_a_bridge_that_was_there_is_used_and_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            with Netlink() as here:
                here.do([netlink.bridge("lab0", 1500)])
            await engine.networks.create({"Name": "web", "Options": {options.NAME_OPTION: "lab0"}})
            await engine.restart()
            await engine.networks.remove("web")
            assert "lab0" in links()

    alone(main)


def test_ipv6(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            ipam = {"Config": [{"Subnet": "fd00:1::/64"}]}
            await engine.networks.create({"Name": "six", "EnableIPv6": True, "IPAM": ipam})
            await engine.networks.create({"Name": "only", "EnableIPv6": True, "EnableIPv4": False})
            with Box() as one, Box() as two, Box() as outside, Box() as only:
                wire_to_outside(outside, "2001:db8::1/64", "2001:db8::9/64")
                joined = await engine.join(one, "one", "six", ports={"80/tcp": "8080"})
                await engine.join(two, "two", "six")
                assert one.addresses() == {"eth0": ["172.18.0.2/16", "fd00:1::2/64"]}
                assert joined.ports["80/tcp"] == [
                    {"HostIp": "0.0.0.0", "HostPort": "8080"},
                    {"HostIp": "::", "HostPort": "8080"},
                ]
                listener = one.listen(80, address="::")
                assert two.do(lambda: talk(listener, "fd00:1::2", 80)) == "fd00:1::3"
                assert outside.do(lambda: talk(listener, "2001:db8::1", 8080)) == "2001:db8::9"
                outer = outside.listen(81, address="::")
                assert two.do(lambda: talk(outer, "2001:db8::9", 81)) == "2001:db8::1"
                joined = await engine.join(only, "only", "only")
                assert joined.networks["only"]["IPAddress"] == ""
                assert joined.networks["only"]["GlobalIPv6Address"].startswith("fd")

    alone(main)


def test_an_address_moves_to_its_next_owner_at_once(tmp_path: Path) -> None:
    """The old link stays in the bridge until the kernel has taken the namespace apart."""

    async def main() -> None:
        async with host(tmp_path) as engine:
            with Box() as client, Box() as old, Box() as new:
                await engine.join(client, "client", endpoints={"bridge": {}})
                await engine.join(old, "old")
                listener = old.listen(80)
                assert client.do(lambda: talk(listener, "172.17.0.3", 80))
                await engine.networks.leave(container_id("old"))
                await engine.networks.join(
                    member("new", endpoints={"bridge": {"MacAddress": "02:42:ac:11:99:99"}}), new.path
                )
                await asyncio.sleep(0.05)
                listener = new.listen(80)
                assert client.do(lambda: talk(listener, "172.17.0.3", 80))
                assert talk(listener, "172.17.0.3", 80)

    alone(main)


def test_links_of_a_namespace_that_something_else_holds_are_removed(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            with Box() as box:
                await engine.join(box, "one")
                await engine.networks.leave(container_id("one"))
                deadline = asyncio.get_running_loop().time() + 10
                while box.addresses():
                    assert asyncio.get_running_loop().time() < deadline
                    await asyncio.sleep(0.05)

    alone(main)


def test_a_table_that_somebody_emptied_is_built_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            with Box() as one, Box() as two:
                await engine.join(one, "one", ports={"80/tcp": "8080"})
                with Nft() as nft:
                    nft.run("flush ruleset")
                await engine.join(two, "two", ports={"80/tcp": "8081"})
                first, second = one.listen(80), two.listen(80)
                assert talk(first, "127.0.0.1", 8080)
                assert talk(second, "127.0.0.1", 8081)

    alone(main)


def test_a_machine_that_forwards_nothing_forwards_for_containers(tmp_path: Path) -> None:
    async def main() -> None:
        with Nft() as nft:
            nft.run(
                "add table ip filter\n"
                "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }\n"
            )
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web", "Options": {options.NAME_OPTION: "lab0"}})
            with Box() as outside, Box() as box, Box() as other:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                await engine.join(box, "one", "web", ports={"80/tcp": "8080"})
                await engine.join(other, "other")
                outer, listener = outside.listen(80), box.listen(80)
                assert box.do(lambda: talk(outer, "192.0.2.9", 80)) == "192.0.2.1"
                assert outside.do(lambda: talk(listener, "192.0.2.1", 8080)) == "192.0.2.9"
                assert not other.do(lambda: reaches("172.18.0.2", 80))
                await engine.networks.leave(container_id("one"))
            await engine.networks.remove("web")
            with Nft() as nft:
                rules = nft.run("list chain ip filter FORWARD")
            assert "lab0" not in rules
            assert rules.count("docker0") == 2

    alone(main)


def test_the_administrator_s_rules_come_first_and_stay(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            with Box() as outside, Box() as box:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                joined = member("one", ports={"80/tcp": "8080"})
                await engine.networks.join(joined, box.path)
                listener = box.listen(80)
                with Nft() as nft:
                    nft.run("add rule inet riverport user ip saddr 192.0.2.9 drop")
                assert not outside.do(lambda: reaches("192.0.2.1", 8080))
                await engine.restart((joined, box.path))
                assert not outside.do(lambda: reaches("192.0.2.1", 8080))
                assert talk(listener, "127.0.0.1", 8080)

    alone(main)


def test_firewalled_ports_are_open_where_the_administrator_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path, publish_firewalled=True) as engine:
            with Box() as outside, Box() as box, Box() as other:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                await engine.join(box, "one", ports={"80/tcp": "8080"})
                await engine.join(other, "other")
                listener = box.listen(80)
                assert not outside.do(lambda: reaches("192.0.2.1", 8080))
                assert talk(listener, "127.0.0.1", 8080)
                assert other.do(lambda: talk(listener, "172.17.0.1", 8080))
                with Nft() as nft:
                    nft.run("add rule inet riverport user ip saddr 192.0.2.0/24 accept")
                assert outside.do(lambda: talk(listener, "192.0.2.1", 8080))

    alone(main)


def test_a_default_address_keeps_ports_on_this_machine(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path, publish_address="127.0.0.1") as engine:
            with Box() as outside, Box() as box:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                joined = await engine.join(box, "one", ports={"80/tcp": "8080"})
                assert joined.ports == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
                listener = box.listen(80)
                assert talk(listener, "127.0.0.1", 8080)
                with pytest.raises(OSError, match=r"refused|timed out"):
                    outside.do(lambda: socket.create_connection(("192.0.2.1", 8080), timeout=1))

    alone(main)


def test_after_a_kill_the_living_keep_what_they_have_and_the_dead_keep_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web"})
            with Box() as living, Box() as dead, Box() as fresh:
                survivor = member("living", "web", ports={"80/tcp": "8080"})
                await engine.networks.join(survivor, living.path)
                await engine.join(dead, "dead", "web", ports={"80/tcp": "8081"})
                before = engine.networks.joined(survivor.id)
                await engine.restart((survivor, living.path))
                assert engine.networks.joined(survivor.id) == before
                assert dead.addresses() == {}
                assert engine.state.load("memberships").keys() == {survivor.id}
                listener = living.listen(80)
                assert talk(listener, "127.0.0.1", 8080)
                with pytest.raises(SystemFailure, match="port is already allocated"):
                    await engine.join(fresh, "fresh", "web", ports={"80/tcp": "8080"})
                joined = await engine.join(fresh, "fresh", "web", ports={"80/tcp": "8081"})
                assert joined.networks["web"]["IPAddress"] == "172.18.0.3"
                with Nft() as nft:
                    assert "172.18.0.2 . 80" in nft.run("list map inet riverport any4")

    alone(main)


def test_bridges_come_back_after_a_reboot(tmp_path: Path) -> None:
    async def first() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create({"Name": "web", "Options": {options.NAME_OPTION: "lab0"}})

    async def second() -> None:
        assert "lab0" not in links()
        async with host(tmp_path) as engine:
            with Box() as one, Box() as two:
                await engine.join(one, "one", "web")
                await engine.join(two, "two", "web")
                listener = one.listen(80)
                assert two.do(lambda: talk(listener, "172.18.0.2", 80)) == "172.18.0.3"

    alone(first)
    alone(second)


def test_macvlan_puts_a_container_beside_the_host(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            with Box() as outside, Box() as box:
                wire_to_outside(outside, "192.0.2.1/24", "192.0.2.9/24")
                ipam = {"Config": [{"Subnet": "192.0.2.0/24", "IPRange": "192.0.2.128/25", "Gateway": "192.0.2.1"}]}
                await engine.networks.create(
                    {"Name": "lan", "Driver": "macvlan", "Options": {"parent": "wan"}, "IPAM": ipam}
                )
                passthru = {"parent": "wan", "macvlan_mode": "passthru"}
                with pytest.raises(SystemFailure, match=r"^cannot use mode passthru, macvlan network \w{64} is"):
                    await engine.networks.create({"Name": "other", "Driver": "macvlan", "Options": passthru})
                with pytest.raises(SystemFailure, match="loopback interface is not a valid macvlan parent link"):
                    await engine.networks.create({"Name": "other", "Driver": "macvlan", "Options": {"parent": "lo"}})
                await engine.join(box, "one", "lan")
                assert box.addresses() == {"eth0": ["192.0.2.128/24"]}
                listener = outside.listen(80)
                assert box.do(lambda: talk(listener, "192.0.2.9", 80)) == "192.0.2.128"

    alone(main)


def test_events_tell_who_came_and_went(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            network_id = await engine.networks.create({"Name": "web"})
            with Box() as box:
                await engine.join(box, "one", "web")
                await engine.networks.leave(container_id("one"))
            await engine.networks.remove("web")
            told = [event async for event in engine.events.subscribe(since_ns=0, until_ns=time.time_ns())]
            assert [event.action for event in told] == ["create", "connect", "disconnect", "destroy"]
            assert {event.actor for event in told} == {network_id}
            assert told[1].attributes == {"container": container_id("one"), "name": "web", "type": "bridge"}

    alone(main)
