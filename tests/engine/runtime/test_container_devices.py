"""Device nodes and the control group's list of what may be used."""

import os
import stat
from pathlib import Path

import pytest

from riverport.engine.errors import InvalidParameter
from riverport.engine.runtime.devices import parse_rule, plan


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("c 1:3 mr", {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "mr"}),
        ("a *:* rwm", {"allow": True, "type": "a", "access": "rwm"}),
        ("b 8:* w", {"allow": True, "type": "b", "major": 8, "access": "w"}),
    ],
)
def test_rules_in_the_kernels_form(text: str, rule: dict[str, object]) -> None:
    assert parse_rule(text) == rule


@pytest.mark.parametrize("text", ["", "c 1:3", "x 1:3 r", "c 1 r", "c 1:3 z", "c 1:3 rwmr", "c -1:3 r"])
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid device cgroup rule format"):
        parse_rule(text)


def test_nothing_is_allowed_beyond_the_standard_devices() -> None:
    nodes, rules = plan({})
    assert nodes == []
    assert rules[0] == {"allow": False, "access": "rwm"}
    usable = {(rule.get("major"), rule.get("minor")) for rule in rules if rule["allow"] and "w" in rule["access"]}
    assert usable == {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None)}


def test_a_device_is_mapped_under_another_name_with_its_permissions() -> None:
    nodes, rules = plan(
        {"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}]}
    )
    assert [(node["path"], node["type"], node["major"], node["minor"]) for node in nodes] == [("/dev/x", "c", 1, 3)]
    assert rules[-1] == {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}


def test_a_link_stands_for_its_device_and_a_directory_for_all_below(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/zero")
    nodes, _ = plan({"Devices": [{"PathOnHost": str(link)}]})
    assert [(node["path"], node["minor"]) for node in nodes] == [(str(link), 5)]
    if os.geteuid() == 0:
        made = tmp_path / "devices"
        (made / "sub").mkdir(parents=True)
        os.mknod(made / "a", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(made / "sub/b", stat.S_IFBLK | 0o600, os.makedev(7, 0))
        (made / "file").touch()
        nodes, _ = plan({"Devices": [{"PathOnHost": str(made), "PathInContainer": "/dev/d"}]})
        assert [(node["path"], node["type"]) for node in nodes] == [("/dev/d/a", "c"), ("/dev/d/sub/b", "b")]


@pytest.mark.parametrize(
    ("path", "words"), [("/dev/nosuch", "no such file or directory"), (__file__, "not a device node")]
)
def test_what_is_no_device_is_refused_in_dockers_words(path: str, words: str) -> None:
    with pytest.raises(InvalidParameter, match="error gathering device information while adding custom device") as e:
        plan({"Devices": [{"PathOnHost": path}]})
    assert words in str(e.value)


def test_a_privileged_container_gets_the_hosts_devices() -> None:
    nodes, rules = plan({"Privileged": True})
    assert "/dev/null" in {node["path"] for node in nodes}
    assert not any(node["path"].startswith(("/dev/pts/", "/dev/shm/")) for node in nodes)
    assert rules == [{"allow": True, "access": "rwm"}]
