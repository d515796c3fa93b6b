"""COPY into a root: merging, replacing, owners and modes, links that must not lead out."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from riverport.engine.build.copying import Copier, Manner
from riverport.engine.build.dockerignore import Ignore
from riverport.engine.build.modes import parse_mode
from riverport.engine.linux.inroot import Root

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files are given to other users: needs root")


@dataclass
class Roots:
    source: Path
    target: Path

    def directory(self, path: str, target: str, manner: Manner = Manner()) -> None:  # noqa: B008
        with Root(self.source) as source, Root(self.target) as into:
            Copier(source, into, manner).directory(path, target)

    def file(self, path: str, target: str, manner: Manner = Manner()) -> None:  # noqa: B008
        with Root(self.source) as source, Root(self.target) as into:
            Copier(source, into, manner).file(path, path.rpartition("/")[2], target)

    def text(self, content: bytes, target: str, manner: Manner = Manner()) -> None:  # noqa: B008
        with Root(self.source) as source, Root(self.target) as into:
            Copier(source, into, manner).text(content, "here", target)

    def mode(self, path: str) -> int:
        return stat.S_IMODE((self.target / path).lstat().st_mode)

    def owner(self, path: str) -> tuple[int, int]:
        status = (self.target / path).lstat()
        return status.st_uid, status.st_gid


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "dir" / "sub").mkdir(parents=True)
    target.mkdir()
    (source / "dir").chmod(0o700)
    (source / "dir" / "sub").chmod(0o2750)
    (source / "dir" / "f").write_text("hi")
    (source / "dir" / "l").symlink_to("/etc/passwd")
    os.chown(source / "dir" / "f", 5, 6)
    (source / "dir" / "f").chmod(0o4640)
    (source / "file").write_text("x")
    os.utime(source / "file", ns=(0, 1_000_000_000_500_000_000))
    return Roots(source, target)


def test_a_directory_gives_its_content_and_keeps_modes_not_owners(roots: Roots) -> None:
    roots.directory("dir", "/new/deep")
    assert (roots.target / "new/deep/f").read_text() == "hi"
    assert [roots.mode(path) for path in ("new", "new/deep", "new/deep/sub", "new/deep/f")] == [
        0o755, 0o755, 0o2750, 0o640,
    ]  # fmt: skip
    assert roots.owner("new/deep/f") == (0, 0)
    assert os.readlink(roots.target / "new/deep/l") == "/etc/passwd"


def test_an_existing_directory_keeps_what_it_is(roots: Roots) -> None:
    (roots.target / "tmp").mkdir()
    (roots.target / "tmp").chmod(0o1777)
    roots.directory("dir", "/tmp", Manner(owner=(7, 8)))
    assert roots.mode("tmp") == 0o1777
    assert roots.owner("tmp") == (0, 0)
    assert roots.owner("tmp/f") == (7, 8)
    assert roots.owner("tmp/l") == (7, 8)


def test_a_new_directory_belongs_to_the_given_owner_but_its_parents_to_root(roots: Roots) -> None:
    roots.directory("dir", "/a/b", Manner(owner=(7, 8)))
    assert roots.owner("a") == (0, 0)
    assert roots.owner("a/b") == (7, 8)


def test_a_file_into_its_place_or_into_a_directory(roots: Roots) -> None:
    roots.file("file", "/a/b/c")
    roots.file("file", "/a/b/")
    roots.file("file", "/a/b")
    assert sorted(os.listdir(roots.target / "a/b")) == ["c", "file"]
    assert (roots.target / "a/b/c").stat().st_mtime_ns == 1_000_000_000 * 10**9


def test_new_parents_of_a_file_belong_to_the_given_owner(roots: Roots) -> None:
    roots.file("file", "/a/b/c", Manner(owner=(7, 8)))
    assert [roots.owner(path) for path in ("a", "a/b", "a/b/c")] == [(7, 8)] * 3


def test_owners_are_kept_where_none_is_given(roots: Roots) -> None:
    roots.directory("dir", "/x", Manner(owner=None))
    assert roots.owner("x/f") == (5, 6)
    assert roots.mode("x/f") == 0o4640


def test_set_id_bits_can_be_asked_for(roots: Roots) -> None:
    roots.file("file", "/s", Manner(mode=parse_mode("4755")))
    assert roots.mode("s") == 0o4755


def test_what_stands_in_the_way_is_replaced(roots: Roots) -> None:
    (roots.target / "x" / "f" / "inner").mkdir(parents=True)
    (roots.target / "x" / "sub").write_text("a file where a directory comes")
    (roots.target / "victim").write_text("stays")
    (roots.target / "x" / "l").symlink_to("../victim")
    roots.directory("dir", "/x")
    assert (roots.target / "x/f").read_text() == "hi"
    assert (roots.target / "x/sub").is_dir()
    assert (roots.target / "victim").read_text() == "stays"


def test_links_in_the_target_lead_nowhere_else(roots: Roots, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (roots.target / "evil").symlink_to(outside)
    (roots.target / "up").symlink_to("../../../../../../../.." + str(outside))
    roots.file("file", "/evil/a")
    roots.directory("dir", "/up")
    roots.text(b"x", "/evil/b")
    assert os.listdir(outside) == []


def test_a_file_through_a_link_replaces_what_the_link_means(roots: Roots) -> None:
    (roots.target / "real").write_text("old")
    (roots.target / "link").symlink_to("/real")
    roots.file("file", "/link")
    assert (roots.target / "real").read_text() == "x"
    assert (roots.target / "link").is_symlink()


def test_hard_links_and_fifos_are_kept(roots: Roots) -> None:
    os.link(roots.source / "dir/f", roots.source / "dir/sub/g")
    os.mkfifo(roots.source / "dir/p")
    roots.directory("dir", "/x")
    assert (roots.target / "x/f").stat().st_ino == (roots.target / "x/sub/g").stat().st_ino
    assert stat.S_ISFIFO((roots.target / "x/p").stat().st_mode)


def test_capabilities_stay_only_with_their_owner(roots: Roots) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    try:
        os.setxattr(roots.source / "file", "security.capability", capability)
    except OSError:
        pytest.skip("capabilities of files are not supported here")
    roots.file("file", "/kept", Manner(owner=None))
    roots.file("file", "/dropped")
    assert os.getxattr(roots.target / "kept", "security.capability")
    assert "security.capability" not in os.listxattr(roots.target / "dropped")


def test_exclusions_and_what_is_taken_back(roots: Roots) -> None:
    (roots.source / "dir/sub/keep").write_text("k")
    (roots.source / "dir/sub/drop").write_text("d")
    roots.directory("dir", "/x", Manner(exclude=Ignore(["l", "sub", "!sub/keep"])))
    assert sorted(os.listdir(roots.target / "x")) == ["f", "sub"]
    assert os.listdir(roots.target / "x/sub") == ["keep"]
    roots.directory("dir", "/y", Manner(exclude=Ignore(["sub", "l"])))
    assert os.listdir(roots.target / "y") == ["f"]


def test_a_heredoc_is_a_file(roots: Roots) -> None:
    roots.text(b"echo\n", "/bin/", Manner(mode=parse_mode("755")))
    assert (roots.target / "bin/here").read_bytes() == b"echo\n"
    assert roots.mode("bin/here") == 0o755
    roots.text(b"", "/bin/here")
    assert roots.mode("bin/here") == 0o644


@pytest.mark.parametrize(
    ("text", "mode", "is_directory", "result"),
    [
        ("755", 0o640, False, 0o755),
        ("4711", 0o640, True, 0o4711),
        ("u+x", 0o640, False, 0o740),
        ("go-rwx", 0o755, False, 0o700),
        ("a=r", 0o755, False, 0o444),
        ("=rX", 0o640, False, 0o444),
        ("=rX", 0o750, False, 0o555),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("g=u", 0o750, False, 0o770),
        ("+t,u+s", 0o755, True, 0o5755),
        ("u-w+x", 0o640, False, 0o540),
        ("g=", 0o2770, True, 0o2700),
    ],
)
def test_modes_are_read_as_chmod_reads_them(text: str, mode: int, is_directory: bool, result: int) -> None:
    assert parse_mode(text)(mode, is_directory) == result


@pytest.mark.parametrize("text", ["", "9", "u+q", "x+r", "u", "77777", "0o7", "u+x,", "-1"])
def test_bad_modes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid chmod parameter"):
        parse_mode(text)
