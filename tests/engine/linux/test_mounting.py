"""mountinfo, and overlays in a mount namespace of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from riverport.engine.linux.mounts import MountPoint, mount_of, mount_points

LINE = r"36 35 98:0 /mnt1 /mnt\0402/x rw,noatime shared:7 master:1 - ext3 /dev/ro\134ot rw,errors=continue"

OVERLAY = """
import os, sys
from riverport.engine.linux import mounts, syscalls
base, count = sys.argv[1], int(sys.argv[2])
syscalls.unshare(syscalls.CLONE_NEWNS)
syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
lowers = []
for number in range(count):
    lower = f"{base}/lower:{number}," + "x" * 60
    os.makedirs(lower)
    open(f"{lower}/f{number}", "w").close()
    with open(f"{lower}/all", "w") as file:
        file.write(str(number))
    lowers.append(lower)
for name in ("upper", "work", "merged"):
    os.mkdir(f"{base}/{name}")
mounts.mount_overlay(lowers, f"{base}/upper", f"{base}/work", f"{base}/merged")
merged = f"{base}/merged"
assert len(os.listdir(merged)) == count + 1
assert open(f"{merged}/all").read() == "0"
open(f"{merged}/new", "w").close()
assert os.listdir(f"{base}/upper") == ["new"]
syscalls.umount(merged)
assert os.listdir(merged) == []
"""


def test_a_line_of_mountinfo() -> None:
    point = MountPoint(LINE)
    assert (point.place, point.source, point.fstype, point.root) == ("/mnt 2/x", "/dev/ro\\ot", "ext3", "/mnt1")
    assert (point.shared, point.slave) == (True, True)
    assert point.options == ["rw", "noatime"]


def test_the_mount_of_a_path_is_the_longest_and_the_last() -> None:
    def point(place: str, source: str) -> MountPoint:
        return MountPoint(f"1 0 0:1 / {place} rw - ext4 {source} rw")

    points = [point("/", "root"), point("/a", "first"), point("/a", "second"), point("/a/b", "deep")]
    assert mount_of("/a/c", points).source == "second"
    assert mount_of("/a/b", points).source == "deep"
    assert mount_of("/abc", points).source == "root"


def test_our_own_root_is_mounted() -> None:
    assert any(point.place == "/" for point in mount_points())


@pytest.mark.containers
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("count", [1, 3, 200])
def test_an_overlay_of_few_and_of_many_layers(count: int, tmp_path: Path) -> None:
    """With 200 layers the options do not fit the page that mount(2) takes."""
    done = subprocess.run(
        [sys.executable, "-c", OVERLAY, str(tmp_path), str(count)], capture_output=True, text=True, timeout=60
    )
    if "fsopen" in done.stderr or "Function not implemented" in done.stderr:
        pytest.skip("needs fsconfig(lowerdir+), Linux 6.5")
    assert done.returncode == 0, done.stderr
