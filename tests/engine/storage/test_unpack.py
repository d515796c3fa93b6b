"""Archives become directories, and hostile ones become nothing outside of them."""

import io
import os
import struct
import tarfile
from pathlib import Path

import pytest
from tests.engine.storage.archives import NEEDS_ROOT, TIME, Archive, tree

from riverport.engine.linux.inroot import Root
from riverport.engine.storage import unpack as unpacking
from riverport.engine.storage.tar_reader import InvalidArchive, TarReader
from riverport.engine.storage.unpack import Unpacked, Unpacker, clean, unpack

pytestmark = NEEDS_ROOT

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service, VFS_CAP_REVISION_2
WHITEOUT = (0, 0)


def unpacked(archive: Archive | bytes, root: Path) -> Unpacked:
    data = archive if isinstance(archive, bytes) else archive.bytes()
    return unpack(io.BytesIO(data), root)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def is_opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


def test_files_links_and_devices_are_what_the_archive_says(tmp_path: Path) -> None:
    archive = Archive().dir("d", mode=0o2755, uid=3, gid=4).file("d/f", b"data", mode=0o4711, uid=1, gid=2)
    archive.link("d/hard", "d/f").symlink("s", "../../etc/passwd").device("null", 1, 3).add("p", tarfile.FIFOTYPE)
    result = unpacked(archive, tmp_path)
    assert tree(tmp_path) == {
        "d": "directory", "d/f": b"data", "d/hard": b"data", "s": "-> ../../etc/passwd", "null": (1, 3), "p": "other",
    }  # fmt: skip
    status = (tmp_path / "d/f").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_nlink) == (0o4711, 1, 2, 2)
    assert status.st_mtime == TIME
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o2755
    assert (tmp_path / "d").stat().st_mtime == TIME, "although files were made in it afterwards"
    assert (result.size, result.entries, result.implied) == (4, 6, [])


def test_the_root_has_attributes_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    unpacked(Archive().dir("./", mode=0o700, uid=5).file("./a"), root)
    assert (root.stat().st_mode & 0o777, root.stat().st_uid) == (0o700, 5)


def test_file_capabilities_survive(tmp_path: Path) -> None:
    unpacked(Archive().xattr("ping", b"x", security__capability=CAPABILITY, user__note=b"n"), tmp_path)
    assert os.getxattr(tmp_path / "ping", "security.capability") == CAPABILITY
    assert os.getxattr(tmp_path / "ping", "user.note") == b"n"


def test_attributes_of_overlayfs_are_dropped(tmp_path: Path) -> None:
    """A redirect would let a layer show any directory of the layers below, metacopy any file."""
    unpacked(Archive().xattr("f", b"", trusted__overlay__redirect=b"/x", user__overlay__opaque=b"y"), tmp_path)
    assert os.listxattr(tmp_path / "f") == []


def test_whiteouts_hide_and_opaque_directories_do(tmp_path: Path) -> None:
    unpacked(Archive().file("d/.wh.gone").file("e/.wh..wh..opq").file(".wh..wh.plnk").file("e/kept", b"1"), tmp_path)
    assert tree(tmp_path) == {"d": "directory", "d/gone": WHITEOUT, "e": "directory", "e/kept": b"1"}
    assert is_opaque(tmp_path / "e")
    assert not is_opaque(tmp_path / "d")


@pytest.mark.parametrize("whiteout_first", [True, False])
def test_a_whiteout_never_hides_what_its_own_layer_brings(tmp_path: Path, whiteout_first: bool) -> None:
    archive = Archive()
    for step in ("whiteout", "entry") if whiteout_first else ("entry", "whiteout"):
        if step == "whiteout":
            archive.file(".wh.f").file(".wh.d")
        else:
            archive.file("f", b"new").dir("d").file("d/x", b"1")
    unpacked(archive, tmp_path)
    assert tree(tmp_path) == {"f": b"new", "d": "directory", "d/x": b"1"}
    assert is_opaque(tmp_path / "d"), "the directory below was removed: the new one must not show its files"


def test_a_file_below_a_removed_directory_makes_it_anew(tmp_path: Path) -> None:
    unpacked(Archive().file(".wh.d").file("d/x", b"1"), tmp_path)
    assert tree(tmp_path) == {"d": "directory", "d/x": b"1"}
    assert is_opaque(tmp_path / "d")


def test_a_later_entry_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    archive = (
        Archive().file("a", b"1").file("a", b"2").dir("b").file("b/x").file("b", b"file").symlink("c", "b").dir("c")
    )
    unpacked(archive, tmp_path)
    assert tree(tmp_path) == {"a": b"2", "b": b"file", "c": "directory"}


def test_directories_without_an_entry_are_made_and_told(tmp_path: Path) -> None:
    result = unpacked(Archive().file("a/b/c", b"1").dir("a"), tmp_path)
    assert result.implied == [b"a", b"a/b"]
    assert (tmp_path / "a/b/c").read_bytes() == b"1"


def test_links_of_the_archive_are_followed_inside_the_root_only(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    same = str(outside).lstrip("/")
    archive = Archive().dir("inner").dir(same).symlink("up", f"../../../../{same}").symlink("abs", str(outside))
    archive.symlink("in", "/inner").file("in/f", b"1").file("up/one").file("abs/two")
    unpacked(archive, root)
    assert list(outside.iterdir()) == []
    assert (root / "inner/f").read_bytes() == b"1", "/inner is the archive's"
    assert sorted(path.name for path in (root / same).iterdir()) == ["one", "two"]


@pytest.mark.parametrize(
    "archive",
    [
        Archive().file("../evil"),
        Archive().file("a/../../evil"),
        Archive().file("/../evil"),
        Archive().file("a").link("b", "../../etc/passwd"),
        Archive().link("b", "../outside"),
        Archive().link("b", "nowhere"),
        Archive().link("b", "/"),
        Archive().dir("d").link("e", "d"),
        Archive().symlink("d", "loop").symlink("loop", "d").file("d/x"),
        Archive().file("f").file("f/x"),
        Archive().symlink("proc", "/proc/self/fd").file("proc/../../evil/x").file("../x"),
        Archive().device("sda", 8, 0, tarfile.BLKTYPE),
        Archive().device("mem", 1, 1),
        Archive().device("hidden", 0, 0),
        Archive().file(".wh."),
        Archive().file(".wh..."),
        Archive().file("x" * 300),
        Archive().symlink("d", "nowhere").file("d/x"),
        Archive().add("s", tarfile.SYMTYPE, linkname=""),
        Archive(tarfile.GNU_FORMAT).file("f", uid=2**32 - 1),
    ],
)
def test_hostile_entries_are_refused(tmp_path: Path, archive: Archive) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(InvalidArchive):
        unpacked(archive, root)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_link_to_the_process_itself_leads_into_the_archive(tmp_path: Path) -> None:
    unpacked(Archive().dir("proc/self/cwd").symlink("q", "/proc/self/cwd").file("q/f", b"1"), tmp_path)
    assert (tmp_path / "proc/self/cwd/f").read_bytes() == b"1"


def test_an_archive_has_a_limited_number_of_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 2)
    with pytest.raises(InvalidArchive, match="more than 2 entries"):
        unpacked(Archive().file("a").file("b").file("c"), tmp_path)


def test_directories_that_a_name_implies_count_as_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may have two thousand of them, and packs well."""
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 10)
    assert unpacked(Archive().file("a/" * 9 + "f"), _made(tmp_path / "ten")).entries == 10
    with pytest.raises(InvalidArchive, match="more than 10 entries"):
        unpacked(Archive().file("a/" * 10 + "f"), _made(tmp_path / "eleven"))


def test_a_name_that_cannot_be_made_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a/" + "n" * 256 + "/f", "a/" * 3000 + "f"):
        with pytest.raises(InvalidArchive, match="name too long"):
            unpacked(Archive().file(name), tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_more_directories_than_are_kept_open(tmp_path: Path) -> None:
    archive = Archive()
    for number in range(200):
        archive.file(f"d{number}/f", b"%d" % number)
    for number in range(200):
        archive.link(f"d{number}/hard", f"d{199 - number}/f")
    before = len(os.listdir("/proc/self/fd"))
    unpacked(archive, tmp_path)
    assert (tmp_path / "d0/hard").read_bytes() == b"199"
    assert len(os.listdir("/proc/self/fd")) == before


def test_plain_files_into_a_directory_that_is_in_use(tmp_path: Path) -> None:
    """As `docker cp` and ADD do it: below a path, whiteouts are files, the owner is given."""
    (tmp_path / "srv").mkdir()
    data = Archive().file(".wh.x", b"1", uid=7).dir("d").bytes()
    with Root(tmp_path) as root:
        unpacker = Unpacker(root, b"/srv", layer=False, owner=(9, 9))
        unpacker.run(TarReader(io.BytesIO(data)))
        unpacker.close()
    assert tree(tmp_path / "srv") == {".wh.x": b"1", "d": "directory"}
    assert (tmp_path / "srv/.wh.x").stat().st_uid == 9


def test_a_sparse_file_beyond_what_the_kernel_can_say_is_refused(tmp_path: Path) -> None:
    """Found by `fuzz/fuzz_layer.py`: an OverflowError."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 63)}
    with pytest.raises(InvalidArchive, match="invalid sparse map"):
        unpacked(Archive().file("a", b"0\n".ljust(512, b"\0"), pax_headers=records), tmp_path)


@pytest.mark.parametrize("target", ["a", "nowhere"])
def test_the_time_of_a_directory_whose_place_a_link_took_is_not_set(tmp_path: Path, target: str) -> None:
    """Found by `fuzz/fuzz_layer.py`: an OSError, of a link to itself ELOOP, of one to nothing EEXIST."""
    unpacked(Archive().dir("a").dir("a/b").symlink("a", target), tmp_path)
    assert tree(tmp_path) == {"a": f"-> {target}"}


def test_names_are_cleaned_lexically() -> None:
    assert clean(b"./a//b/./c/") == b"a/b/c"
    assert clean(b"/a/../b") == b"b"
    assert clean(b"./") == clean(b"/") == b""
    with pytest.raises(InvalidArchive):
        clean(b"a/../..")
