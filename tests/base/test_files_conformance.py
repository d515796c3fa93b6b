"""What the log expects of a file system: the machine's and the simulated one are held to the same."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from riverport.base.files import Files, OsFiles, StorageError
from riverport.sim.disk import SimDisk


@pytest.fixture(params=["os", "sim"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Files, str]:
    if request.param == "os":
        return OsFiles(), str(tmp_path)
    disk = SimDisk()
    disk.mkdir("/data")
    return disk, "/data"


def refused(action: Callable[[], object]) -> StorageError:
    with pytest.raises(StorageError) as raised:
        action()
    return raised.value


def test_appended_chunks_are_read_where_they_were_written(place: tuple[Files, str]) -> None:
    files, root = place
    file = files.open(f"{root}/a.log", create=True)
    assert file.append([b"one", memoryview(b"two"), bytearray(b"three")]) == 11
    assert file.append([b"4"]) == 1
    assert (file.pread(3, 0), file.pread(100, 3), file.pread(5, 12)) == (b"one", b"twothree4", b"")
    assert (file.size(), files.size(f"{root}/a.log"), files.read(f"{root}/a.log")) == (12, 12, b"onetwothree4")


def test_many_chunks_are_one_append(place: tuple[Files, str]) -> None:
    files, root = place
    file = files.open(f"{root}/a.log", create=True)
    chunks = [bytes([n % 256]) for n in range(3_000)]
    assert file.append(chunks) == 3_000
    assert files.read(f"{root}/a.log") == b"".join(chunks)


def test_a_truncated_file_goes_on_at_its_new_end(place: tuple[Files, str]) -> None:
    files, root = place
    file = files.open(f"{root}/a.log", create=True)
    file.append([b"0123456789"])
    file.truncate(4)
    file.append([b"ab"])
    file.sync()
    assert files.read(f"{root}/a.log") == b"0123ab"


def test_an_opened_file_continues_behind_what_it_holds(place: tuple[Files, str]) -> None:
    files, root = place
    files.write(f"{root}/a.log", b"abc", sync=False)
    file = files.open(f"{root}/a.log")
    assert file.size() == 3
    file.append([b"d"])
    file.close()
    assert files.read(f"{root}/a.log") == b"abcd"


def test_a_closed_file_can_be_closed_again_and_nothing_else(place: tuple[Files, str]) -> None:
    files, root = place
    file = files.open(f"{root}/a.log", create=True)
    file.close()
    file.close()
    for action in (file.sync, lambda: file.append([b"x"]), lambda: file.pread(1, 0), lambda: file.truncate(0)):
        assert refused(action).errno == errno.EBADF


def test_an_open_file_outlives_its_name(place: tuple[Files, str]) -> None:
    files, root = place
    file = files.open(f"{root}/a.log", create=True)
    file.append([b"abc"])
    files.remove(f"{root}/a.log")
    assert file.pread(3, 0) == b"abc"
    file.sync()
    assert not files.exists(f"{root}/a.log")


def test_missing_files_are_named_in_the_error(place: tuple[Files, str]) -> None:
    files, root = place
    path = f"{root}/none"
    for operation, action in (
        ("open", lambda: files.open(path)),
        ("read", lambda: files.read(path)),
        ("stat", lambda: files.size(path)),
        ("list", lambda: files.listdir(path)),
        ("rename", lambda: files.rename(path, f"{root}/other")),
        ("sync", lambda: files.sync_dir(path)),
    ):
        error = refused(action)
        assert (error.operation, error.path, error.errno) == (operation, path, errno.ENOENT)
    assert not files.exists(path)
    assert not files.is_dir(path)


def test_removing_what_is_not_there_is_no_error(place: tuple[Files, str]) -> None:
    files, root = place
    files.remove(f"{root}/none")
    files.rmtree(f"{root}/none")


def test_directories_are_made_with_their_parents_and_listed_in_order(place: tuple[Files, str]) -> None:
    files, root = place
    files.mkdir(f"{root}/a/b")
    files.mkdir(f"{root}/a/b")
    for name in ("z", "m", "a"):
        files.write(f"{root}/a/b/{name}", b"")
    assert files.listdir(f"{root}/a/b") == ["a", "m", "z"]
    assert files.is_dir(f"{root}/a")
    assert not files.is_dir(f"{root}/a/b/z")
    assert refused(lambda: files.mkdir(f"{root}/a/b/z")).errno == errno.EEXIST


def test_a_tree_goes_as_a_whole(place: tuple[Files, str]) -> None:
    files, root = place
    files.mkdir(f"{root}/a/b")
    files.write(f"{root}/a/b/c", b"c")
    files.write(f"{root}/a/d", b"d")
    files.rmtree(f"{root}/a")
    assert files.listdir(root) == []


def test_writing_replaces_the_whole_content(place: tuple[Files, str]) -> None:
    files, root = place
    files.write(f"{root}/a", b"a long content")
    files.write(f"{root}/a", b"short", sync=False)
    assert files.read(f"{root}/a") == b"short"
    files.replace(f"{root}/a", b"new")
    assert files.read(f"{root}/a") == b"new"
    assert files.listdir(root) == ["a"]


def test_renaming_replaces_a_file_and_moves_a_directory(place: tuple[Files, str]) -> None:
    files, root = place
    files.write(f"{root}/old", b"old")
    files.write(f"{root}/new", b"new")
    files.rename(f"{root}/old", f"{root}/new")
    assert files.read(f"{root}/new") == b"old"
    files.mkdir(f"{root}/t-0")
    files.write(f"{root}/t-0/x", b"x")
    files.rename(f"{root}/t-0", f"{root}/t-0.1-delete")
    assert files.read(f"{root}/t-0.1-delete/x") == b"x"
    files.mkdir(f"{root}/full")
    files.write(f"{root}/full/y", b"")
    assert refused(lambda: files.rename(f"{root}/t-0.1-delete", f"{root}/full")).errno == errno.ENOTEMPTY


def test_a_directory_is_locked_once(place: tuple[Files, str]) -> None:
    files, root = place
    lock = files.lock(f"{root}/.lock")
    error = refused(lambda: files.lock(f"{root}/.lock"))
    assert (error.operation, error.errno) == ("lock", errno.EWOULDBLOCK)
    lock.release()
    lock.release()
    files.lock(f"{root}/.lock").release()


def test_usage_says_how_much_is_free(place: tuple[Files, str]) -> None:
    files, root = place
    total, free = files.disk_usage(root)
    assert 0 < free <= total
