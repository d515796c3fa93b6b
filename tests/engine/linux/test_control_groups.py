"""Which hierarchies there are, and groups in trees of plain files."""

import os
import subprocess
from pathlib import Path

import pytest

from riverport.engine.linux import cgroups
from riverport.engine.linux.cgroups import parse_layout

TMPFS = "24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755"


def v1(number: int, place: str, options: str) -> str:
    return f"{number} 24 0:{number} / {place} rw,relatime - cgroup cgroup rw,{options}"


def v2(number: int, place: str) -> str:
    return f"{number} 24 0:{number} / {place} rw,relatime - cgroup2 cgroup2 rw,nsdelegate"


def test_version_1_with_controllers_mounted_together() -> None:
    layout = parse_layout(
        "\n".join(
            [
                TMPFS,
                v1(30, "/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"),
                v1(31, "/sys/fs/cgroup/memory", "memory"),
                v1(32, "/sys/fs/cgroup/systemd", "xattr,name=systemd"),
                v1(33, "/elsewhere/memory", "memory"),
            ]
        )
    )
    assert (layout.version, layout.hybrid) == (1, False)
    assert set(layout.mounts) == {"cpu", "cpuacct", "memory", "name=systemd"}
    assert layout.directory("cpuacct", "/docker/a") == "/sys/fs/cgroup/cpu,cpuacct/docker/a"
    assert layout.directory("pids", "/docker/a") is None
    assert layout.directories("/d") == [
        "/sys/fs/cgroup/cpu,cpuacct/d",
        "/sys/fs/cgroup/memory/d",
        "/sys/fs/cgroup/systemd/d",
    ]


def test_hybrid_is_version_1_with_something_beside_it() -> None:
    layout = parse_layout("\n".join([v1(30, "/sys/fs/cgroup/memory", "memory"), v2(31, "/sys/fs/cgroup/unified")]))
    assert (layout.version, layout.hybrid) == (1, True)
    assert layout.directories("/d") == ["/sys/fs/cgroup/memory/d"]


def test_version_2() -> None:
    layout = parse_layout(v2(30, "/sys/fs/cgroup"), "cpuset cpu io memory pids\n")
    assert (layout.version, layout.hybrid) == (2, False)
    assert "memory" in layout.controllers
    assert layout.directory("memory", "/docker/a") == "/sys/fs/cgroup/docker/a"
    assert layout.directories("/docker/a") == ["/sys/fs/cgroup/docker/a"]


def test_a_machine_without_control_groups() -> None:
    layout = parse_layout(TMPFS)
    assert layout.directories("/d") == []


def test_kills_out_of_memory_are_counted_in_either_version(tmp_path: Path) -> None:
    assert cgroups.oom_kills(str(tmp_path)) == 0
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\n")
    assert cgroups.oom_kills(str(tmp_path)) == 2
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    assert cgroups.oom_kills(str(tmp_path)) == 4


@pytest.mark.parametrize(
    ("file", "frozen", "thawed"), [("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0")]
)
def test_freezing(tmp_path: Path, file: str, frozen: str, thawed: str) -> None:
    group = str(tmp_path)
    assert not cgroups.freeze([group])
    assert cgroups.is_frozen(group) is None
    (tmp_path / file).write_text("")
    assert cgroups.freeze([group])
    assert (tmp_path / file).read_text() == frozen
    cgroups.thaw(group)
    assert (tmp_path / file).read_text().startswith(thawed)
    assert sorted(os.listdir(tmp_path)) == [file]  # nothing is made that was not there


def test_frozen_is_what_the_kernel_says_has_been_reached(tmp_path: Path) -> None:
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert cgroups.is_frozen(str(tmp_path)) is False
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    assert cgroups.is_frozen(str(tmp_path)) is True
    (tmp_path / "freezer.state").write_text("FREEZING\n")
    assert cgroups.is_frozen(str(tmp_path)) is False


def test_version_2_kills_by_one_write(tmp_path: Path) -> None:
    (tmp_path / "cgroup.kill").write_text("")
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    cgroups.kill([str(tmp_path)])  # we are still here
    assert (tmp_path / "cgroup.kill").read_text() == "1"


def test_version_1_kills_each_process_of_the_group_and_of_those_inside(tmp_path: Path) -> None:
    victims = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    (tmp_path / "cgroup.procs").write_text(f"{victims[0].pid}\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/cgroup.procs").write_text(f"{victims[1].pid}\n")
    assert sorted(cgroups.processes(str(tmp_path))) == sorted(victim.pid for victim in victims)
    cgroups.kill([str(tmp_path)])
    assert [victim.wait() for victim in victims] == [-9, -9]
    cgroups.kill([str(tmp_path), str(tmp_path / "absent")])  # they have gone


def test_groups_are_removed_with_those_inside(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/d").mkdir()
    assert cgroups.remove([str(tmp_path / "a"), str(tmp_path / "absent")]) == []
    assert os.listdir(tmp_path) == []


def test_the_own_group_is_where_the_kernel_says_this_process_is(tmp_path: Path) -> None:
    table = tmp_path / "cgroup"
    table.write_text("9:cpu,cpuacct:/elsewhere\n8:pids:/one\n0::/two\n")
    version_1 = cgroups.Layout(1, {"cpu": f"{tmp_path}/cpu", "pids": f"{tmp_path}/pids"}, frozenset(), True)
    version_2 = cgroups.Layout(2, {"": f"{tmp_path}/unified"}, frozenset(), False)
    assert cgroups.own_group(version_1, str(table)) is None, "out of sight, as from a namespace"
    for group in ("pids/one", "unified/two"):
        (tmp_path / group).mkdir(parents=True)
        (tmp_path / group / "cgroup.procs").touch()
    assert cgroups.own_group(version_1, str(table)) == f"{tmp_path}/pids/one"
    assert cgroups.own_group(version_2, str(table)) == f"{tmp_path}/unified/two"


def test_waiting_for_the_kernel_moves_nothing(tmp_path: Path) -> None:
    """A process that somebody has moved stays where it was moved to."""
    layout = cgroups.Layout(2, {"": str(tmp_path)}, frozenset(), False)
    table = tmp_path / "cgroup"
    for group in ("one", "two"):
        (tmp_path / group).mkdir()
        (tmp_path / group / "cgroup.procs").touch()
        table.write_text(f"0::/{group}\n")
        cgroups.await_quiet(layout, str(table))
        assert (tmp_path / group / "cgroup.procs").read_text() == "0", "itself, to where it is"
        (tmp_path / group / "cgroup.procs").write_text("")
    assert (tmp_path / "one/cgroup.procs").read_text() == ""
    table.write_text("0::/gone\n")
    cgroups.await_quiet(layout, str(table))
