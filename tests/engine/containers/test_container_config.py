"""Create requests: what they are completed to, how an image comes in, and what is refused in which words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.containers import config
from riverport.engine.containers.checks import Machine, parse_set, parse_size, port_name
from riverport.engine.errors import InvalidParameter

MACHINE = Machine("host1", 4, frozenset(range(4)), frozenset({0}), False, ("crun", "runc"))
NEWEST = (1, 50)


def read(body: dict[str, Any], version: tuple[int, int] = NEWEST) -> config.Creation:
    return config.read_creation(body, version, MACHINE)


def refusal(body: dict[str, Any], version: tuple[int, int] = NEWEST) -> str:
    with pytest.raises(InvalidParameter) as refused:
        read(body, version)
    return str(refused.value)


def host(**host_config: Any) -> dict[str, Any]:
    return {"Image": "busybox", "HostConfig": host_config}


def test_an_empty_request_is_refused() -> None:
    assert refusal({}) == "config cannot be empty in order to create a container"
    assert refusal({"HostConfig": {}}) == "config cannot be empty in order to create a container"


def test_what_nobody_asked_for_has_dockers_defaults() -> None:
    creation = read({"Image": "busybox"})
    config.complete(creation.config, creation.host_config, "ab" * 32, MACHINE)
    assert creation.config["Hostname"] == "abababababab"
    shown = {
        name: creation.host_config[name] for name in ("NetworkMode", "IpcMode", "CgroupnsMode", "ShmSize", "Runtime")
    }
    assert shown == {"NetworkMode": "bridge", "IpcMode": "private", "CgroupnsMode": "host", "ShmSize": 67108864,
                     "Runtime": "runc"}  # fmt: skip
    assert creation.host_config["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert creation.host_config["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert creation.host_config["Binds"] is None
    assert "/proc/kcore" in creation.host_config["MaskedPaths"]


def test_a_privileged_container_masks_nothing() -> None:
    creation = read(host(Privileged=True))
    config.complete(creation.config, creation.host_config, "a" * 64, MACHINE)
    assert creation.host_config["MaskedPaths"] is None


def test_memory_without_swap_gets_as_much_swap_again() -> None:
    creation = read(host(Memory=64 << 20))
    config.complete(creation.config, creation.host_config, "a" * 64, MACHINE)
    assert creation.host_config["MemorySwap"] == 128 << 20


def test_a_command_may_be_one_string() -> None:
    assert read({"Image": "x", "Cmd": "date"}).config["Cmd"] == ["date"]


def test_field_names_in_other_spelling_are_taken_unless_the_exact_one_is_there() -> None:
    assert read({"image": "x", "cmd": ["a"]} | {"Cmd": ["b"]}).config["Cmd"] == ["b"]
    assert read({"Image": "x", "hostname": "h"}).config["Hostname"] == "h"


def test_ports_without_protocol_are_tcp() -> None:
    creation = read({"Image": "x", "ExposedPorts": {"80": {}, "53/UDP": {}},
                     "HostConfig": {"PortBindings": {"80": [{"HostPort": "8080"}]}}})  # fmt: skip
    assert creation.config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert creation.host_config["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"Image": 1}, "invalid JSON: json: cannot unmarshal number into Go struct field Config.Image of type string"),
        ({"Env": ["=a"]}, "invalid environment variable: =a"),
        ({"StopSignal": "FOO"}, "invalid signal: FOO"),
        ({"WorkingDir": "x"}, "the working directory 'x' is invalid, it needs to be an absolute path"),
        ({"Healthcheck": {"Interval": 1000}}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Healthcheck": {"Retries": -1}}, "Retries in Healthcheck cannot be negative"),
        (host(Memory=1024), "Minimum memory limit allowed is 6MB"),
        (host(Memory=64 << 20, MemorySwap=32 << 20),
         "Minimum memoryswap limit should be larger than memory limit, see usage"),
        (host(MemorySwap=32 << 20), "You should always set the Memory limit when using Memoryswap limit, see usage"),
        (host(MemorySwappiness=200), "Invalid value: 200, valid memory swappiness range is 0-100"),
        (host(NanoCpus=9_000_000_000), "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"),
        (host(NanoCpus=1, CpuPeriod=1000), "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
        (host(CpusetCpus="7"), "Requested CPUs are not available - requested 7, available: 0,1,2,3"),
        (host(CpusetCpus="a"), "Invalid value a for cpuset cpus"),
        (host(CpuShares=-1), "invalid CPU shares (-1): value must be a positive integer"),
        (host(AutoRemove=True, RestartPolicy={"Name": "always"}),
         "can't create 'AutoRemove' container with restart policy"),
        (host(RestartPolicy={"Name": "often"}),
         "invalid restart policy: unknown policy 'often'; use one of 'no', 'always', 'on-failure', or "
         "'unless-stopped'"),
        (host(RestartPolicy={"Name": "always", "MaximumRetryCount": 3}),
         "invalid restart policy: maximum retry count can only be used with 'on-failure'"),
        (host(LogConfig={"Type": "x"}), "logger: no log driver named 'x' is registered"),
        (host(LogConfig={"Type": "json-file", "Config": {"foo": "1"}}),
         "unknown log opt 'foo' for json-file log driver"),
        (host(LogConfig={"Config": {"max-buffer-size": "1m"}}),
         "logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
        (host(OomScoreAdj=2000), "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
        (host(IpcMode="x"), "invalid IPC mode: x"),
        (host(PidMode="x"), "invalid PID mode: x"),
        (host(Runtime="kata"), "unknown or invalid runtime name: kata"),
        (host(ExtraHosts=["a"]), 'bad format for add-host: "a"'),
        (host(ExtraHosts=["a:b"]), 'invalid IP address in add-host: "b"'),
        (host(PortBindings={"80/tcp": [{"HostPort": "x"}]}), 'invalid port specification: "x"'),
        (host(PortBindings={"0/tcp": []}), 'invalid port specification: "0/tcp"'),
        (host(NetworkMode="container:"), "invalid network mode: invalid container format container:<name|id>"),
        (host(NetworkMode="container:x", Dns=["1.1.1.1"]), "conflicting options: dns and the network mode"),
        (host(NetworkMode="container:x", PublishAllPorts=True),
         "conflicting options: port publishing and the container type network mode"),
        ({"Hostname": "h", "HostConfig": {"UTSMode": "host"}}, "conflicting options: hostname and the UTS mode"),
        (host(DeviceRequests=[{"Capabilities": [["gpu"]]}]),
         'could not select device driver "" with capabilities: [[gpu]]'),
        (host(Mounts=[{"Type": "bind", "VolumeOptions": {}}]),
         'VolumeOptions must not be specified on mount type "bind"'),
    ],
)  # fmt: skip
def test_refusals_have_dockers_words(body: dict[str, Any], text: str) -> None:
    assert refusal(body) == text


def test_several_endpoints_need_api_1_44() -> None:
    body = {"Image": "x", "NetworkingConfig": {"EndpointsConfig": {"a": None, "b": {"Aliases": ["c"]}}}}
    assert refusal(body, (1, 43)) == "Container cannot be created with multiple network endpoints: a, b"
    assert read(body).endpoints["b"]["Aliases"] == ["c"]


def test_old_clients_share_ipc_and_have_no_annotations() -> None:
    creation = read(host(Annotations={"a": "b"}), (1, 39))
    assert creation.host_config["IpcMode"] == "shareable"
    assert creation.host_config["Annotations"] is None


def test_the_default_network_is_the_bridge_also_among_endpoints() -> None:
    creation = read({"Image": "x", "HostConfig": {"NetworkMode": "default"},
                     "NetworkingConfig": {"EndpointsConfig": {"default": {"DriverOpts": {"a": "b"}}}}})  # fmt: skip
    assert creation.host_config["NetworkMode"] == "bridge"
    assert creation.endpoints["bridge"]["DriverOpts"] == {"a": "b"}


@pytest.mark.parametrize(("version", "warnings"), [((1, 43), []), (NEWEST, [config.MAC_DEPRECATED])])
def test_a_mac_address_of_the_container_belongs_to_its_network(version: tuple[int, int], warnings: list[str]) -> None:
    creation = read({"Image": "x", "MacAddress": "02:42:ac:11:00:0a"}, version)
    assert creation.config["MacAddress"] == ""
    assert creation.endpoints["bridge"]["MacAddress"] == "02:42:ac:11:00:0a"
    assert creation.warnings == warnings


def merged(own: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    return config.merge_image(read({"Image": "x", **own}).config, image)


@pytest.mark.parametrize(
    ("own", "image", "words"),
    [
        ({}, {"Cmd": ["a"], "Entrypoint": ["e"]}, ["e", "a"]),
        ({"Cmd": ["b"]}, {"Cmd": ["a"], "Entrypoint": ["e"]}, ["e", "b"]),
        ({"Entrypoint": ["f"]}, {"Cmd": ["a"], "Entrypoint": ["e"]}, ["f"]),
        ({"Entrypoint": ["f"], "Cmd": ["b"]}, {"Cmd": ["a"]}, ["f", "b"]),
        ({"Entrypoint": [""], "Cmd": ["b"]}, {"Cmd": ["a"], "Entrypoint": ["e"]}, ["b"]),
        ({"Cmd": ["b", ""]}, {}, ["b", ""]),
    ],
)
def test_command_and_entrypoint_of_request_and_image(
    own: dict[str, Any], image: dict[str, Any], words: list[str]
) -> None:
    path, args = config.command(merged(own, image))
    assert [path, *args] == words


@pytest.mark.parametrize("own", [{}, {"Entrypoint": [""]}, {"Entrypoint": []}])
def test_no_command_at_all_is_refused(own: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter, match="no command specified"):
        config.command(merged(own, {"Cmd": ["a"], "Entrypoint": ["e"]} if own.get("Entrypoint") == [""] else {}))


def test_environment_merges_by_name_and_lists_unite() -> None:
    result = merged(
        {"Env": ["A=1", "B"], "Labels": {"l": "own"}, "Volumes": {"/v": {}}, "ExposedPorts": {"1/tcp": {}}},
        {"Env": ["A=0", "B=0", "C=3"], "Labels": {"l": "image", "m": "image"}, "Volumes": {"/w": {}},
         "ExposedPorts": {"2": {}}, "User": "u", "WorkingDir": "/d", "StopSignal": "SIGINT",
         "OnBuild": ["RUN x"]})  # fmt: skip
    assert result["Env"] == ["A=1", "B", "C=3"]
    assert result["Labels"] == {"l": "own", "m": "image"}
    assert result["Volumes"] == {"/v": {}, "/w": {}}
    assert result["ExposedPorts"] == {"1/tcp": {}, "2/tcp": {}}
    assert (result["User"], result["WorkingDir"], result["StopSignal"]) == ("u", "/d", "SIGINT")
    assert result["OnBuild"] is None


def test_a_health_check_is_merged_field_by_field() -> None:
    result = merged({"Healthcheck": {"Interval": 5_000_000}}, {"Healthcheck": {"Test": ["CMD", "a"], "Retries": 7}})
    assert result["Healthcheck"] == {"Test": ["CMD", "a"], "Interval": 5_000_000, "Retries": 7}


def test_a_variable_without_value_is_taken_away_from_the_environment() -> None:
    creation = read({"Image": "x", "Env": ["HOSTNAME", "A=1", "PATH=/bin"]})
    assert config.environment(creation.config, "h", True) == ["PATH=/bin", "TERM=xterm", "A=1"]


@pytest.mark.parametrize(
    ("text", "size"), [("10", 10), ("10k", 10240), ("1.5m", 1572864), ("2GB", 2 << 30), ("-1", -1)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.sets(st.integers(0, 300), min_size=1))
def test_sets_of_processors_are_read_as_they_are_written(numbers: set[int]) -> None:
    assert parse_set(",".join(str(number) for number in numbers)) == numbers


@given(st.integers(1, 65535), st.sampled_from(["tcp", "udp", "sctp"]))
def test_port_names_are_stable(port: int, protocol: str) -> None:
    name = port_name(f"{port}/{protocol.upper()}")
    assert name == f"{port}/{protocol}"
    assert port_name(name) == name
