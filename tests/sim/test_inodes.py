"""What a power cut may leave: of a file its pages, old, new or torn; of a directory its changes up to some point."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from riverport.sim.inodes import PAGE_BYTES, SECTOR_BYTES, DirInode, FileInode

seeds = st.integers(0, 2**32)


def synced_file(content: bytes) -> FileInode:
    file = FileInode()
    file.put(content, 0)
    file.sync()
    return file


@given(seeds)
def test_what_was_synced_survives_whatever_else_is_lost(seed: int) -> None:
    file = synced_file(b"a" * PAGE_BYTES)
    file.put(b"b" * 100, PAGE_BYTES)
    file.crash(Random(seed))
    assert file.written[:PAGE_BYTES] == b"a" * PAGE_BYTES
    assert len(file.written) <= PAGE_BYTES + 100


@given(seeds)
def test_a_page_that_was_not_synced_is_old_or_new_or_torn_at_a_sector(seed: int) -> None:
    file = synced_file(b"a" * PAGE_BYTES)
    file.put(b"b" * PAGE_BYTES, 0)
    file.crash(Random(seed))
    new = len(file.written) - len(file.written.lstrip(b"b"))
    assert new % SECTOR_BYTES == 0
    assert file.written == b"b" * new + b"a" * (PAGE_BYTES - new)


def test_all_three_fates_of_a_page_occur() -> None:
    found = set()
    for seed in range(50):
        file = synced_file(b"a" * PAGE_BYTES)
        file.put(b"b" * PAGE_BYTES, 0)
        file.crash(Random(seed))
        found.add("torn" if b"a" in file.written and b"b" in file.written else chr(file.written[0]))
    assert found == {"a", "b", "torn"}


@given(seeds)
def test_pages_of_a_failed_sync_do_not_reach_the_disk_with_a_later_one(seed: int) -> None:
    file = synced_file(b"a" * PAGE_BYTES)
    file.put(b"b" * PAGE_BYTES, 0)
    file.sync_failed()
    file.sync()
    file.crash(Random(seed))
    assert file.written == b"a" * PAGE_BYTES


@given(seeds)
def test_changes_of_a_directory_survive_up_to_some_point_in_their_order(seed: int) -> None:
    directory = DirInode()
    directory.change({"old": FileInode()})
    directory.sync()
    for name in ("one", "two", "three"):
        directory.change({name: FileInode()})
    directory.change({"old": None, "new": FileInode()})
    directory.crash(Random(seed))
    assert list(directory.entries) in (
        ["old"],
        ["old", "one"],
        ["old", "one", "two"],
        ["old", "one", "two", "three"],
        ["one", "two", "three", "new"],
    )


@given(seeds)
def test_a_synced_file_is_gone_with_the_name_that_was_not(seed: int) -> None:
    root, inner = DirInode(), DirInode()
    root.change({"inner": inner})
    root.sync()
    inner.change({"file": synced_file(b"a")})
    root.crash(Random(seed))
    assert [bytes(file.written) for file in inner.entries.values() if isinstance(file, FileInode)] in ([], [b"a"])
    assert root.size() == len(inner.entries)


@given(seeds)
def test_a_file_that_was_cut_and_grows_again_has_nothing_of_what_was_cut(seed: int) -> None:
    file = synced_file(b"a" * 2 * PAGE_BYTES)
    file.truncate(100)
    file.truncate(2 * PAGE_BYTES)
    file.sync()
    file.crash(Random(seed))
    assert file.written == b"a" * 100 + bytes(2 * PAGE_BYTES - 100)
