"""What a Config and a HostConfig mean in an OCI runtime spec."""

from dataclasses import replace
from typing import Any

import pytest

from riverport.engine.errors import InvalidParameter
from riverport.engine.runtime.spec import (
    MASKED,
    READ_ONLY,
    Place,
    build_spec,
    environment,
    exec_process,
    host_limits,
    no_new_privileges,
    oom_score_floor,
    rlimits,
    seccomp_option,
)
from riverport.engine.runtime.users import User

ROOT = User(0, 0, (0,), "/root")
APP = User(1000, 1001, (1001, 50), "/home/app")
PLACE = Place("abc", "/merged", "/docker/abc", 1, "abc123", "/proc/7/ns/net")


def spec(host_config: Any = None, config: Any = None, user: User = ROOT, place: Place = PLACE) -> Any:
    return build_spec(config or {}, host_config or {}, user, place, ["true"])


def mounts(made: Any) -> dict[str, Any]:
    return {mount["destination"]: mount for mount in made["mounts"]}


def kinds(made: Any) -> dict[str, Any]:
    return {entry["type"]: entry.get("path") for entry in made["linux"]["namespaces"]}


def test_a_plain_container() -> None:
    made = spec()
    assert made["hostname"] == "abc123"
    assert made["root"] == {"path": "/merged", "readonly": False}
    assert made["process"]["args"] == ["true"]
    assert made["process"]["cwd"] == "/"
    assert made["process"]["terminal"] is False
    assert made["linux"]["cgroupsPath"] == "/docker/abc"
    assert made["linux"]["maskedPaths"] == list(MASKED)
    assert made["linux"]["readonlyPaths"] == list(READ_ONLY)
    assert kinds(made) == {"mount": None, "network": "/proc/7/ns/net", "uts": None, "ipc": None, "pid": None}
    assert made["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] == "0"
    assert {"/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"} == set(mounts(made))
    assert "ro" in mounts(made)["/sys"]["options"]
    assert "size=67108864" in mounts(made)["/dev/shm"]["options"]
    assert "oomScoreAdj" not in made["process"]


def test_privileged_lifts_what_protects_the_host() -> None:
    made = spec({"Privileged": True})
    assert "maskedPaths" not in made["linux"]
    assert "readonlyPaths" not in made["linux"]
    assert "rw" in mounts(made)["/sys"]["options"]
    assert "rw" in mounts(made)["/sys/fs/cgroup"]["options"]
    assert "CAP_SYS_ADMIN" in made["process"]["capabilities"]["effective"]
    assert made["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert seccomp_option({"Privileged": True}) is None


def test_masked_paths_of_the_client_win() -> None:
    made = spec({"Privileged": True, "MaskedPaths": ["/a"], "ReadonlyPaths": []})
    assert made["linux"]["maskedPaths"] == ["/a"]
    assert made["linux"]["readonlyPaths"] == []


@pytest.mark.parametrize(
    ("host_config", "gone"),
    [({"PidMode": "host"}, "pid"), ({"IpcMode": "host"}, "ipc"), ({"UTSMode": "host"}, "uts")],
)
def test_host_namespaces_are_not_in_the_list(host_config: Any, gone: str) -> None:
    made = spec(host_config)
    assert gone not in kinds(made)
    if gone == "uts":
        assert "hostname" not in made
    if gone == "ipc":
        assert mounts(made)["/dev/shm"]["source"] == "/dev/shm"
        assert mounts(made)["/dev/mqueue"]["type"] == "bind"
        without = spec(host_config, place=replace(PLACE, host_has_mqueue=False))
        assert mounts(without)["/dev/mqueue"]["type"] == "mqueue"


def test_the_hosts_network_has_neither_namespace_nor_sysctls() -> None:
    made = spec({"NetworkMode": "host"}, place=replace(PLACE, network=None))
    assert "network" not in kinds(made)
    assert "sysctl" not in made["linux"]


def test_another_containers_network_keeps_its_sysctls() -> None:
    made = spec({"NetworkMode": "container:x"}, place=replace(PLACE, network="/proc/9/ns/net"))
    assert kinds(made)["network"] == "/proc/9/ns/net"
    assert "sysctl" not in made["linux"]


def test_namespaces_of_other_containers() -> None:
    made = spec(place=replace(PLACE, pid="/proc/9/ns/pid", ipc="/proc/9/ns/ipc", shm="/run/shm"))
    assert kinds(made)["pid"] == "/proc/9/ns/pid"
    assert kinds(made)["ipc"] == "/proc/9/ns/ipc"
    assert mounts(made)["/dev/shm"]["source"] == "/run/shm"


@pytest.mark.parametrize(
    ("mode", "privileged", "version", "private"),
    [
        ("", False, 1, False),
        ("", False, 2, True),
        ("", True, 2, False),
        ("private", True, 1, True),
        ("host", False, 2, False),
    ],
)
def test_the_cgroup_namespace_follows_the_version(mode: str, privileged: bool, version: int, private: bool) -> None:
    made = spec({"CgroupnsMode": mode, "Privileged": privileged}, place=replace(PLACE, cgroup_version=version))
    assert ("cgroup" in kinds(made)) == private


def test_no_shared_memory_with_ipc_none() -> None:
    assert "/dev/shm" not in mounts(spec({"IpcMode": "none"}))


def test_given_mounts_replace_standard_ones_and_come_by_depth() -> None:
    given = [
        {"destination": "/a/b/c", "type": "bind", "source": "/1", "options": []},
        {"destination": "/a", "type": "bind", "source": "/2", "options": []},
        {"destination": "/dev/shm/", "type": "bind", "source": "/3", "options": []},
    ]
    made = spec(place=replace(PLACE, mounts=given))
    order = [mount["destination"] for mount in made["mounts"]]
    assert order.index("/a") < order.index("/a/b/c")
    assert [mount["source"] for mount in made["mounts"] if mount["destination"].startswith("/dev/shm")] == ["/3"]


def test_init_is_bound_and_started_first() -> None:
    made = spec(place=replace(PLACE, init_path="/usr/bin/tini"))
    assert made["process"]["args"] == ["/sbin/docker-init", "--", "true"]
    assert mounts(made)["/sbin/docker-init"]["source"] == "/usr/bin/tini"


def test_a_user_has_groups_and_no_capabilities_of_its_own() -> None:
    process = spec(user=APP)["process"]
    assert process["user"] == {"uid": 1000, "gid": 1001, "additionalGids": [1001, 50], "umask": 0o022}
    assert process["capabilities"]["effective"] == []
    assert len(process["capabilities"]["bounding"]) == 14


def test_the_environment_has_each_name_once_and_the_containers_own_wins() -> None:
    config = {"Env": ["PATH=/p", "A=1", "A=2=3", "HOSTNAME", "EMPTY="], "Tty": True}
    assert environment(config, APP, "h") == ["PATH=/p", "TERM=xterm", "A=2=3", "EMPTY=", "HOME=/home/app"]
    assert "HOME=/x" in environment({"Env": ["HOME=/x"]}, APP, "h")


def test_a_terminal_has_the_size_of_the_clients() -> None:
    made = spec({"ConsoleSize": [24, 80]}, {"Tty": True})
    assert made["process"]["consoleSize"] == {"height": 24, "width": 80}
    assert "consoleSize" not in spec({"ConsoleSize": [24, 80]})["process"]


def test_ulimits_are_cut_to_what_we_may_give() -> None:
    limits = {
        "Ulimits": [
            {"Name": "nofile", "Soft": 1048576, "Hard": 1048576},
            {"Name": "NPROC", "Soft": 10, "Hard": 20},
            {"Name": "core", "Soft": -1, "Hard": -1},
        ]
    }
    unlimited = (1 << 64) - 1
    assert rlimits(limits, {"nofile": 20000}) == [
        {"type": "RLIMIT_NOFILE", "soft": 20000, "hard": 20000},
        {"type": "RLIMIT_NPROC", "soft": 10, "hard": 20},
        {"type": "RLIMIT_CORE", "soft": unlimited, "hard": unlimited},
    ]
    assert rlimits(limits, {"core": 5})[2] == {"type": "RLIMIT_CORE", "soft": 5, "hard": 5}


def test_limits_and_scores_are_free_with_the_capability_for_them() -> None:
    every = (1 << 41) - 1
    assert host_limits(every) == {}
    assert oom_score_floor(every) is None
    assert isinstance(oom_score_floor(0), int)


def test_the_oom_score_is_no_lower_than_we_may_set() -> None:
    assert spec({"OomScoreAdj": -500})["process"]["oomScoreAdj"] == -500
    assert spec({"OomScoreAdj": -500}, place=replace(PLACE, oom_score_floor=0))["process"]["oomScoreAdj"] == 0
    assert spec({"OomScoreAdj": 300}, place=replace(PLACE, oom_score_floor=0))["process"]["oomScoreAdj"] == 300


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], False),
        (["no-new-privileges"], True),
        (["no-new-privileges:true"], True),
        (["no-new-privileges=true"], True),
        (["no-new-privileges:false"], False),
    ],
)
def test_no_new_privileges(options: list[str], expected: bool) -> None:
    assert no_new_privileges({"SecurityOpt": options}) is expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ""),
        (["seccomp=unconfined"], None),
        (["seccomp:unconfined"], None),
        (["seccomp=builtin"], ""),
        (['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}'], '{"defaultAction":"SCMP_ACT_ALLOW"}'),
    ],
)
def test_the_seccomp_option(options: list[str], expected: str | None) -> None:
    assert seccomp_option({"SecurityOpt": options}) == expected


def test_an_exec_inherits_and_overrides() -> None:
    container = spec({"OomScoreAdj": 5}, {"Env": ["A=1"], "WorkingDir": "/w", "Tty": True}, APP)
    plain = exec_process(container, {"Cmd": ["ls"]}, None, {}, (1 << 41) - 1)
    assert plain["user"]["uid"] == 1000
    assert plain["cwd"] == "/w"
    assert plain["args"] == ["ls"]
    assert "A=1" in plain["env"]
    assert not any(entry.startswith("TERM=") for entry in plain["env"])
    assert plain["terminal"] is False
    assert "oomScoreAdj" not in plain
    given = {"Cmd": ["ls"], "Env": ["A=2", "B=3"], "WorkingDir": "/x", "Tty": True, "Privileged": True}
    other = exec_process(container, given, ROOT, {}, (1 << 41) - 1)
    assert other["user"]["uid"] == 0
    assert other["cwd"] == "/x"
    assert {"A=2", "B=3", "HOME=/root", "TERM=xterm"} <= set(other["env"])
    assert len(other["capabilities"]["effective"]) == 41
    assert container["process"]["terminal"] is True  # the container's own is not touched


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidParameter):
        spec({"CapAdd": ["FOO"]})
    with pytest.raises(InvalidParameter):
        spec({"DeviceCgroupRules": ["x"]})
