"""Rows and filters of `ps`, links, limits, statistics: decisions on plain data."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.api.filters import Filters
from riverport.engine.containers import links, stats
from riverport.engine.containers.checks import Machine
from riverport.engine.containers.config import read_creation
from riverport.engine.containers.container import Container, ContainerState
from riverport.engine.containers.directory import log_attributes
from riverport.engine.containers.inspect import show, with_short_id
from riverport.engine.containers.limits import plan_update
from riverport.engine.containers.listing import Listing, list_ports, row
from riverport.engine.containers.times import SECOND_NS
from riverport.engine.errors import Conflict, InvalidParameter
from riverport.engine.volumes.mount_point import MountPoint

MACHINE = Machine("host1", 4, frozenset(range(4)), frozenset({0}), False, ("crun", "runc"))
NEWEST = (1, 50)
NOW = 1_700_000_000 * SECOND_NS


def container(number: int = 0, state: ContainerState | None = None, **body: Any) -> Container:
    creation = read_creation({"Image": "busybox", **body}, NEWEST, MACHINE)
    return Container(
        f"{number:064x}", f"name{number}", NOW + number, "sh", ["-c", "echo hi"], "sha256:1", creation.config,
        creation.host_config, creation.endpoints, [], state=state or ContainerState())  # fmt: skip


def chosen(containers: list[Container], filters: dict[str, list[str]], **settings: Any) -> list[int]:
    listing = Listing(Filters(filters), settings.pop("everything", True), **settings)
    found = listing.choose(containers, lambda container: list_ports(container.network))
    return [int(container.id, 16) for container in found]


RUNNING = ContainerState(running=True, started_at_ns=NOW)


def test_only_what_runs_is_listed_unless_a_limit_or_a_status_asks_for_more() -> None:
    both = [container(1), container(2, RUNNING)]
    assert chosen(both, {}, everything=False) == [2]
    assert chosen(both, {}, everything=False, limit=5) == [2, 1]
    assert chosen(both, {"status": ["created"]}, everything=False) == [1]


def test_the_list_is_cut_before_and_since_containers() -> None:
    three = [container(number) for number in (1, 2, 3)]
    assert chosen(three, {}, before=three[2].id) == [2, 1]
    assert chosen(three, {}, since=three[0].id) == [3, 2]
    assert chosen(three, {}, before=three[2].id, since=three[0].id) == [2]


@given(st.permutations([1, 2, 3, 4, 5]), st.integers(0, 6))
def test_the_newest_come_first_and_no_more_than_asked_for(order: list[int], limit: int) -> None:
    expected = [5, 4, 3, 2, 1]
    assert chosen([container(number) for number in order], {}, limit=limit) == expected[: limit or None]


def test_filters_by_volume_network_health_and_port() -> None:
    full = container(1, replace(RUNNING, health={"Status": "healthy"}))
    full.mounts = [MountPoint("volume", "/data", "/somewhere", "vol")]
    full.network = {"Networks": {"net1": {"NetworkID": "abcdef"}},
                    "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": None}}  # fmt: skip
    both = [full, container(2, RUNNING)]
    for filters in (
        {"volume": ["vol"]}, {"volume": ["/data"]}, {"network": ["net1"]}, {"network": ["abc"]},
        {"health": ["healthy"]}, {"publish": ["8080"]}, {"publish": ["8000-8100/tcp"]},
        {"expose": ["53/udp"]}, {"expose": ["80"]},
    ):  # fmt: skip
        assert chosen(both, filters) == [1], filters
    assert chosen(both, {"publish": ["80"]}) == []
    assert chosen(both, {"health": ["none"]}) == [2]


@pytest.mark.parametrize(
    "filters",
    [{"exited": ["x"]}, {"status": ["up"]}, {"health": ["fine"]}, {"publish": ["a"]}, {"expose": ["1:2"]},
     {"publish": ["9-8"]}],
)  # fmt: skip
def test_filters_that_mean_nothing_are_refused(filters: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidParameter):
        Listing(Filters(filters))


def test_a_row_has_all_fields_in_dockers_form() -> None:
    one = container(1, RUNNING, Labels={"l": "v"}, HostConfig={"Annotations": {"a": "b"}})
    network = {"Networks": {"bridge": {}}, "Ports": {"80/tcp": [{"HostIp": "", "HostPort": "81"}], "1/udp": None}}
    shown = row(one, "busybox", network, NOW + 2 * SECOND_NS, NEWEST)
    assert shown == {
        "Id": one.id, "Names": ["/name1"], "Image": "busybox", "ImageID": "sha256:1", "Command": "sh -c 'echo hi'",
        "Created": 1_700_000_000,
        "Ports": [{"PrivatePort": 1, "Type": "udp"}, {"IP": "", "PrivatePort": 80, "PublicPort": 81, "Type": "tcp"}],
        "Labels": {"l": "v"}, "State": "running", "Status": "Up 2 seconds",
        "HostConfig": {"NetworkMode": "bridge", "Annotations": {"a": "b"}},
        "NetworkSettings": {"Networks": {"bridge": {}}}, "Mounts": [],
    }  # fmt: skip
    assert row(one, "busybox", network, NOW, (1, 45))["HostConfig"] == {"NetworkMode": "bridge"}


def test_inspect_leaves_out_what_is_optional_and_not_there() -> None:
    paths = dict.fromkeys(("ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"), "")
    shown = show(container(1), paths, {"Name": "overlay2", "Data": {}}, {}, NEWEST, MACHINE)
    assert "Health" not in shown["State"]
    assert not {"Healthcheck", "Shell", "StopTimeout", "MacAddress"} & set(shown["Config"])
    assert not {"Mounts", "Tmpfs", "Init"} & set(shown["HostConfig"])
    assert (shown["ExecIDs"], shown["State"]["StartedAt"]) == (None, "0001-01-01T00:00:00Z")
    assert show(container(1), paths, {"Name": "", "Data": {}}, {}, (1, 43), MACHINE)["Config"]["MacAddress"] == ""


def test_old_versions_see_the_short_id_among_the_aliases() -> None:
    one = container(1)
    one.config["Hostname"] = "host"
    old = with_short_id({"Networks": {"bridge": {"Aliases": None}, "own": {"Aliases": ["a"]}}}, one)
    assert old["Networks"] == {"bridge": {"Aliases": None}, "own": {"Aliases": ["a", one.id[:12], "host"]}}


@pytest.mark.parametrize(
    ("text", "name", "alias"), [("db:d", "db", "d"), ("db", "db", "db"), ("/db:/web/d", "db", "d"), ("/db", "db", "db")]
)
def test_links_in_every_form(text: str, name: str, alias: str) -> None:
    assert links.parse_link(text) == links.Link(name, alias)


def test_a_link_gives_variables_for_ports_and_environment() -> None:
    made = links.environment(
        links.Link("db", "my-db"), "web", "172.17.0.2", ["53/udp", "80/tcp"], ["A=1", "PATH=/", "B"]
    )
    assert made == [
        "MY_DB_PORT=tcp://172.17.0.2:80", "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80", "MY_DB_PORT_80_TCP_ADDR=172.17.0.2",
        "MY_DB_PORT_80_TCP_PORT=80", "MY_DB_PORT_80_TCP_PROTO=tcp", "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
        "MY_DB_PORT_53_UDP_ADDR=172.17.0.2", "MY_DB_PORT_53_UDP_PORT=53", "MY_DB_PORT_53_UDP_PROTO=udp",
        "MY_DB_NAME=/web/my-db", "MY_DB_ENV_A=1",
    ]  # fmt: skip


def test_links_belong_to_the_default_bridge() -> None:
    assert links.links_of(container(HostConfig={"Links": ["a:b"]}).host_config) == [links.Link("a", "b")]
    assert links.links_of(container(HostConfig={"Links": ["a:b"], "NetworkMode": "own"}).host_config) == []


def update(body: dict[str, Any], **host_config: Any) -> tuple[dict[str, Any], dict[str, Any] | None, list[str]]:
    return plan_update(container(HostConfig=host_config).host_config, body, MACHINE, NEWEST)


def test_an_update_changes_what_it_names() -> None:
    assert update({"CpuShares": 512, "Memory": 0, "PidsLimit": 0}) == ({"CpuShares": 512, "PidsLimit": 0}, None, [])
    changes, policy, _ = update({"PidsLimit": -5, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 4}})
    assert (changes, policy) == ({"PidsLimit": 0}, {"Name": "on-failure", "MaximumRetryCount": 4})
    assert update({"RestartPolicy": {"Name": ""}})[1] is None


def test_real_time_fits_into_its_period_where_the_kernel_has_it() -> None:
    machine = replace(MACHINE, realtime=True)
    host_config = container().host_config
    body = {"CpuRealtimePeriod": 5000, "CpuRealtimeRuntime": 4000}
    assert plan_update(host_config, body, machine, NEWEST) == (body, None, [])
    with pytest.raises(InvalidParameter, match=r"^cpu real-time runtime cannot be higher than cpu real-time period"):
        plan_update(host_config, {**body, "CpuRealtimeRuntime": 5001}, machine, NEWEST)


def test_weights_are_discarded_where_the_kernel_has_none() -> None:
    machine = replace(MACHINE, block_weight=False)
    text = "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
    assert plan_update(container().host_config, {"BlkioWeight": 300}, machine, NEWEST) == ({}, None, [text])


@pytest.mark.parametrize(
    ("body", "host_config", "text"),
    [
        ({"Memory": 64 << 20}, {"Memory": 16 << 20, "MemorySwap": 32 << 20},
         "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"),
        ({"CpuQuota": 5000}, {"NanoCpus": 1}, "CPU Quota cannot be updated as NanoCPUs has already been set"),
        ({"NanoCpus": 5000}, {"CpuPeriod": 5000}, "Nano CPUs cannot be updated as CPU Period has already been set"),
        ({"Memory": 5}, {}, "Minimum memory limit allowed is 6MB"),
        ({"RestartPolicy": {"Name": "always"}}, {"AutoRemove": True},
         "Restart policy cannot be updated because AutoRemove is enabled for the container"),
        ({"RestartPolicy": {"Name": "x"}}, {}, "unknown policy 'x'"),
        ({"BlkioWeight": 5}, {}, "Range of blkio weight is from 10 to 1000"),
        ({"CpuRealtimeRuntime": 9000}, {}, "kernel does not support CPU real-time scheduler"),
    ],
)  # fmt: skip
def test_updates_that_do_not_fit(body: dict[str, Any], host_config: dict[str, Any], text: str) -> None:
    with pytest.raises((Conflict, InvalidParameter), match=text):
        update(body, **host_config)


def test_statistics_hold_the_measurement_before() -> None:
    before = {"read": "then", "cpu_stats": {"a": 1}}
    now = {"read": "now", "cpu_stats": {"a": 2}, "memory_stats": {}}
    shown = stats.document(container(1), now, before)
    assert (shown["read"], shown["preread"], shown["precpu_stats"], shown["name"]) == (
        "now",
        "then",
        {"a": 1},
        "/name1",
    )
    assert stats.document(container(1), stats.NOTHING, None)["precpu_stats"]["cpu_usage"]["total_usage"] == 0


def test_log_records_carry_the_labels_and_variables_that_were_chosen() -> None:
    config = container(Labels={"a": "1", "b": "2", "com.x": "3"}, Env=["V=4", "W=5"]).config
    assert log_attributes(config, {"labels": "a,nosuch", "env": "V", "labels-regex": "^com"}) == {
        "a": "1", "com.x": "3", "V": "4"}  # fmt: skip
    assert log_attributes(config, {}) == {}
