"""The image's files in a new volume: everything that a file has comes along, and nothing leads out."""

import os
import stat
from pathlib import Path

import pytest

from riverport.engine.volumes.copy_up import copy_up

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make devices and to give files away")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "data").mkdir(parents=True)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    made = tmp_path / "target"
    made.mkdir()
    return made


def test_contents_modes_and_times_come_along(root: Path, target: Path) -> None:
    big = os.urandom(300_000)
    (root / "data" / "big").write_bytes(big)
    (root / "data" / "below").mkdir(mode=0o750)
    (root / "data" / "below" / "tool").write_bytes(b"")
    (root / "data" / "below" / "tool").chmod(0o4755)
    os.utime(root / "data" / "big", ns=(1_000_000_007, 2_000_000_011))
    os.utime(root / "data", ns=(3_000_000_013, 4_000_000_017))
    assert copy_up(root, "/data", target)
    assert (target / "big").read_bytes() == big
    assert (target / "big").stat().st_mtime_ns == 2_000_000_011
    assert target.stat().st_mtime_ns == 4_000_000_017
    assert stat.S_IMODE((target / "below" / "tool").stat().st_mode) == 0o4755
    assert stat.S_IMODE((target / "below").stat().st_mode) == 0o750


def test_links_stay_links(root: Path, target: Path) -> None:
    (root / "data" / "a" / "b").mkdir(parents=True)
    (root / "data" / "a" / "first").write_text("x")
    os.link(root / "data" / "a" / "first", root / "data" / "a" / "b" / "second")
    (root / "data" / "out").symlink_to("/etc/passwd")
    copy_up(root, "/data", target)
    assert (target / "a" / "first").stat().st_ino == (target / "a" / "b" / "second").stat().st_ino
    assert os.readlink(target / "out") == "/etc/passwd"


def test_a_link_on_the_way_stays_inside_the_image(root: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    (root / "escape").symlink_to(f"../../../..{tmp_path}/outside")
    assert not copy_up(root, "/escape", target)
    assert os.listdir(target) == []


@needs_root
def test_owners_devices_and_attributes_come_along(root: Path, target: Path) -> None:
    data = root / "data"
    (data / "file").touch()
    os.chown(data / "file", 1234, 4321)
    os.setxattr(data / "file", "user.note", b"text")
    os.mknod(data / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(data / "fifo")
    os.chown(data, 70, 70)
    copy_up(root, "/data", target)
    found = (target / "file").stat()
    assert (found.st_uid, found.st_gid, target.stat().st_uid) == (1234, 4321, 70)
    assert os.getxattr(target / "file", "user.note") == b"text"
    assert (target / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)
