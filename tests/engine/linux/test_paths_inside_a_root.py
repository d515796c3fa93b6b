"""Whatever links an image holds, no path leads out of its root."""

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riverport.engine.linux.inroot import Root


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/name").write_text("inside")
    return root


def content(root: Root, path: str) -> str:
    return root.read_bytes(path).decode()


@pytest.mark.parametrize("target", ["../../secret", "/../secret", "../../../../../../secret"])
def test_dots_stop_at_the_root(place: Path, target: str) -> None:
    with Root(place) as root:
        with pytest.raises(FileNotFoundError):
            root.open(target)
        (place / "link").symlink_to(target)
        with pytest.raises(FileNotFoundError):
            root.open("link")
        assert content(root, "/../../etc/name") == "inside"


def test_absolute_links_start_at_the_root(place: Path) -> None:
    (place / "link").symlink_to("/etc/name")
    (place / "outside").symlink_to(place.parent / "secret")
    with Root(place) as root:
        assert content(root, "link") == "inside"
        assert not root.exists("outside")
        assert root.exists("outside", follow=False)
        assert root.readlink("link") == "/etc/name"
        assert root.real_path("link") == "/etc/name"
        assert root.real_path("/") == "/"


def test_the_last_part_is_not_followed_where_it_is_changed(place: Path) -> None:
    (place / "link").symlink_to("/etc/name")
    with Root(place) as root:
        assert stat.S_ISLNK(root.stat("link", follow=False).st_mode)
        assert stat.S_ISREG(root.stat("link").st_mode)
        with pytest.raises(OSError) as refused:
            os.close(root.create("link"))
        assert refused.value.errno == errno.ELOOP
        root.unlink("link")
        assert content(root, "etc/name") == "inside"


def test_directories_are_made_where_links_lead_inside(place: Path) -> None:
    (place / "var").symlink_to("/data/var")
    with Root(place) as root:
        root.make_dirs("/var/lib/x")
        assert (place / "data/var/lib/x").is_dir()
        root.make_dirs("/var/lib/x")  # again
        (place / "up").symlink_to("../../../made")
        root.make_dirs("/up/here")
        assert (place / "made/here").is_dir()
        assert not (place.parent / "made").exists()


def test_directories_that_cannot_be_made(place: Path) -> None:
    (place / "loop").symlink_to("loop")
    with Root(place) as root:
        for path in ("/etc/name/x", "/loop/x"):
            with pytest.raises(OSError):
                root.make_dirs(path)
        for path in ("", "/", "a/..", "."):
            with pytest.raises(OSError) as refused:
                root.mkdir(path)
            assert refused.value.errno == errno.EINVAL


def test_devices_and_fifos_are_not_read(place: Path) -> None:
    os.mkfifo(place / "fifo")
    with Root(place) as root, pytest.raises(OSError):
        root.read_bytes("fifo")


def test_names_are_made_moved_and_removed(place: Path) -> None:
    with Root(place) as root:
        os.close(root.create("/etc/new", 0o600))
        root.link("/etc/new", "/etc/hard")
        root.symlink("nowhere", "/etc/soft")
        root.link("/etc/soft", "/etc/soft2")  # the link itself
        root.rename("/etc/hard", "/moved")
        root.mknod("/pipe", stat.S_IFIFO | 0o606)
        assert sorted(root.listdir("/etc")) == ["name", "new", "soft", "soft2"]
        assert stat.S_IMODE(root.stat("/pipe").st_mode) == 0o606
        assert root.readlink("/etc/soft2") == "nowhere"
        assert (place / "moved").stat().st_ino == (place / "etc/new").stat().st_ino


def test_a_tree_is_removed_and_what_its_links_point_to_is_not(place: Path) -> None:
    (place / "tree/deep/deeper").mkdir(parents=True)
    (place / "tree/deep/file").touch()
    (place / "tree/out").symlink_to("/etc")
    with Root(place) as root:
        root.remove_tree("/tree")
        root.remove_tree("/tree")  # absent is fine
        assert sorted(root.listdir("/")) == ["etc"]
        assert content(root, "/etc/name") == "inside"


parts = st.sampled_from(["..", ".", "a", "b", "etc", "name", "link", "up", "abs", ""])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(parts, max_size=8).map("/".join))
def test_no_path_reads_what_is_outside(place: Path, path: str) -> None:
    for name, target in {"up": "..", "abs": "/", "link": "../../secret"}.items():
        if not (place / name).is_symlink():
            (place / name).symlink_to(target)
    with Root(place) as root:
        try:
            fd = root.open(path, os.O_PATH)
        except OSError:
            return
        try:
            found = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        assert found == str(place) or found.startswith(f"{place}/")
