"""Starting after every kind of stop: what is trusted, what is checked, what is cut."""

import os
from pathlib import Path
from random import Random

import pytest
from tests.kafka.log.kit import (
    DIR,
    NOW_MS,
    SMALL,
    TOPIC_ID,
    append,
    disk_with,
    filled,
    log_path,
    names,
    open_at,
    reopened,
    replace,
    segments,
    values,
)

from riverport.base.files import OsFiles
from riverport.kafka.log import Isolation, Log, LogConfig
from riverport.kafka.log import recovery as recovery_module
from riverport.kafka.log.recovery import open_log
from riverport.kafka.records.batch import check_crc, iter_headers, read_header
from riverport.kafka.records.errors import RecordError
from riverport.sim.disk import SimDisk

ALL = {n: b"%d" % n for n in range(60)}


def killed(disk: SimDisk) -> Log:
    log = filled(disk)
    disk.kill()
    return log


def test_a_clean_stop_is_trusted_and_no_batch_is_read() -> None:
    disk = disk_with()
    log = filled(disk)
    log.close()
    disk.kill()
    disk.reads.clear()
    again = open_at(disk, clean=True, recovery_point=60)
    assert not [path for path in disk.reads if path.endswith((".log", "index"))]
    assert (again.log_end_offset, again.recovery_point) == (60, 60)
    assert values(again) == ALL
    assert append(again, b"60") == 60
    assert values(again) == ALL | {60: b"60"}


def test_a_clean_stop_survives_a_power_cut() -> None:
    for seed in range(30):
        disk = disk_with()
        log = filled(disk)
        log.close()
        disk.crash(Random(seed))
        assert values(open_at(disk, clean=True, recovery_point=60)) == ALL


def test_closing_twice_writes_once() -> None:
    disk = disk_with()
    log = filled(disk)
    log.close()
    content = {name: disk.read(f"{DIR}/{name}") for name in names(disk)}
    again = reopened(log, clean=True)
    disk.fail("write", "*")
    again.close()
    disk.heal()
    assert {name: disk.read(f"{DIR}/{name}") for name in names(disk)} == content


def test_a_killed_process_loses_nothing() -> None:
    disk = disk_with()
    killed(disk)
    again = open_at(disk)
    assert values(again) == ALL
    assert append(again, b"60") == 60


def test_only_segments_from_the_recovery_point_on_are_checked() -> None:
    disk = disk_with()
    log = killed(disk)
    last = segments(log)[-1]
    disk.reads.clear()
    again = open_at(disk, recovery_point=last)
    assert {path for path in disk.reads if path.endswith(".log")} == {log_path(last)}
    assert again.log_end_offset == 60


def test_damage_below_the_recovery_point_is_left_to_its_readers() -> None:
    disk = disk_with()
    log = killed(disk)
    disk.flip(log_path(0), 100, 1)
    again = open_at(disk, recovery_point=segments(log)[-1])
    assert again.log_end_offset == 60
    found = again.read(0, 10**6, isolation=Isolation.LOG_END, min_one=True).records
    checked = [check_crc(found, header) for header in iter_headers(found)]
    assert checked.count(False) == 1
    assert append(again, b"60") == 60


@pytest.mark.parametrize("cut", [1, 11, 12, 16, 17, 60, 61, 70])
def test_a_torn_last_batch_is_cut(cut: int) -> None:
    """`cut` bytes of it are there."""
    disk = disk_with()
    log = killed(disk)
    last = list(open_at(disk).active.headers())[-1]
    disk.kill()
    disk.open(log_path(log.active.base_offset)).truncate(last.position + cut)
    again = open_at(disk)
    assert values(again) == {n: b"%d" % n for n in range(58)}
    assert again.active.size == last.position == disk.size(again.active.path)
    assert append(again, b"58") == 58


@pytest.mark.parametrize("size", [1, 61, 4096, 10_000])
def test_zeros_behind_the_last_batch_are_cut(size: int) -> None:
    """A file that has grown whose pages never came."""
    disk = disk_with()
    log = killed(disk)
    disk.open(log_path(log.active.base_offset)).append([bytes(size)])
    assert values(open_at(disk)) == ALL


def test_a_flipped_bit_anywhere_cuts_the_log_there() -> None:
    log = filled(disk_with())
    first = log.segments[0]
    headers = list(first.headers())
    content = first.file.pread(first.size, 0)
    for header in headers:
        for at in range(header.position, header.end):
            disk = disk_with()
            killed(disk)
            disk.flip(log_path(0), at, 0x04)
            again = open_at(disk)
            field = at - header.position
            if field < 8 or 12 <= field < 16:  # base offset and leader epoch: outside of the checksum
                continue
            assert again.log_end_offset <= header.last_offset + 1, field
            assert values(again) == {n: b"%d" % n for n in range(again.log_end_offset)}
            assert again.log_end_offset >= header.base_offset
        break  # every field of one batch; whole batches are the same
    assert len(content) == first.size


def test_what_lies_behind_a_damaged_segment_goes() -> None:
    disk = disk_with()
    log = killed(disk)
    disk.flip(log_path(0), 100, 1)
    again = open_at(disk)
    assert segments(again) == [0]
    assert again.log_end_offset < segments(log)[1]
    live = {name for name in names(disk) if not name.endswith(".deleted")}
    assert not [name for name in live if name[:20].isdigit() and int(name[:20]) > again.log_end_offset]
    assert append(again, b"new") == values_end(again)


def values_end(log: Log) -> int:
    return max(values(log))


def test_batches_out_of_order_end_the_log() -> None:
    disk = disk_with()
    log = filled(disk, 30, replace(SMALL, segment_bytes=10**6))
    headers = list(log.active.headers())
    disk.kill()
    # The second batch says that it starts where the first does; its checksum does not cover that.
    disk.flip(log_path(0), headers[1].position + 7, 2)
    again = open_at(disk)
    assert again.log_end_offset == 2


def test_a_batch_that_reaches_into_the_next_segment_ends_the_log() -> None:
    disk = disk_with()
    log = killed(disk)
    second = segments(log)[1]
    last = list(open_at(disk).segments[0].headers())[-1]
    disk.kill()
    disk.flip(log_path(0), last.position + 6, 1)
    assert open_at(disk).log_end_offset == second - 2


def test_a_length_that_lies_is_no_reason_to_read_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = disk_with()
    killed(disk)
    disk.flip(log_path(0), 8, 0x40)
    sizes = []
    pread = type(disk.open(log_path(0))).pread

    def watched(file, size: int, offset: int) -> bytes:  # type: ignore[no-untyped-def]
        sizes.append(size)
        return pread(file, size, offset)

    monkeypatch.setattr(type(disk.open(log_path(0))), "pread", watched)
    assert open_at(disk).log_end_offset == 0
    assert max(sizes) <= recovery_module.SCAN_BYTES


def test_a_batch_larger_than_one_read_is_checked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "SCAN_BYTES", 256)
    disk = disk_with()
    log = open_at(disk, DIR, replace(SMALL, segment_bytes=10**6), clean=True)
    for n in range(4):
        append(log, b"%d" % n * 500)
    disk.kill()
    assert open_at(disk).log_end_offset == 4
    disk.kill()
    third = list(open_at(disk).active.headers())[2]
    disk.kill()
    disk.flip(log_path(0), third.end - 3, 1)
    assert open_at(disk).log_end_offset == 2


def test_recovering_twice_gives_the_same_log() -> None:
    for seed in range(60):
        disk = disk_with()
        log = filled(disk)
        log.flush()
        for n in range(60, 80):
            append(log, b"%d" % n)
        disk.crash(Random(seed))
        once = open_at(disk)
        found, ends = values(once), (segments(once), once.log_end_offset, once.size)
        disk.kill()
        twice = open_at(disk)
        assert (values(twice), (segments(twice), twice.log_end_offset, twice.size)) == (found, ends)
        assert {n: value for n, value in found.items() if n < 60} == ALL


def test_a_recovery_that_dies_on_its_way_is_begun_again() -> None:
    for nth in range(1, 40):
        disk = disk_with()
        killed(disk)
        disk.flip(log_path(0), 300, 1)
        disk.kill()
        for operation in ("write", "rename", "remove", "truncate"):
            disk.fail(operation, "*", nth=nth)
        try:
            open_at(disk)
        except Exception:
            disk.kill()
        disk.heal()
        again = open_at(disk)
        assert values(again) == {n: b"%d" % n for n in range(again.log_end_offset)}
        assert 0 < again.log_end_offset < 24, "a hole"


def test_what_a_killed_process_wrote_is_not_taken_for_synced() -> None:
    """It may be in the page cache only: the power cut that follows must find it unvouched for, or flushed."""
    disk = disk_with()
    killed(disk)
    again = open_at(disk)
    assert again.recovery_point == 0
    again.flush()
    assert again.recovery_point == 60
    disk.crash(Random(3))
    assert values(open_at(disk)) == ALL


@pytest.mark.parametrize(
    "name", ["junk", "00000000000000000007.index", f"{2**63:020d}.log", "99999999999999999999.log"]
)
def test_files_that_belong_to_no_segment_do_not_matter(name: str) -> None:
    disk = disk_with()
    killed(disk)
    disk.write(f"{DIR}/{name}", b"junk")
    assert values(open_at(disk)) == ALL
    assert (name in names(disk)) == (not name.endswith("index"))


def test_files_left_by_deletion_and_compaction_are_removed() -> None:
    disk = disk_with()
    killed(disk)
    for name in ("00000000000000000000.log.deleted", "00000000000000000000.log.cleaned", "x.tmp"):
        disk.write(f"{DIR}/{name}", b"left")
    assert values(open_at(disk)) == ALL
    assert not [name for name in names(disk) if name.endswith((".deleted", ".cleaned", ".tmp"))]


def test_an_empty_directory_is_a_new_log() -> None:
    disk = disk_with()
    log = open_at(disk, log_start=500)
    assert (log.log_start_offset, log.log_end_offset, segments(log)) == (500, 500, [500])
    assert append(log, b"v") == 500


def test_a_log_that_was_closed_cleanly_and_does_not_look_so_is_checked() -> None:
    disk = disk_with()
    log = filled(disk)
    log.close()
    disk.remove(f"{DIR}/{60:020d}.snapshot")
    disk.open(log.active.path).append([b"torn"])
    disk.kill()
    again = open_at(disk, clean=True, recovery_point=60)
    assert values(again) == ALL
    assert again.active.size == disk.size(again.active.path) == log.active.size


def test_nothing_is_appended_behind_a_torn_batch() -> None:
    disk = disk_with()
    log = filled(disk)
    log.close()
    disk.open(log.active.path).append([read_bytes(log)[:40]])
    disk.kill()
    again = open_at(disk, clean=True, recovery_point=60)
    with pytest.raises(RecordError):
        append(again, b"60")
    assert (again.log_end_offset, again.active.size) == (60, disk.size(again.active.path))


def read_bytes(log: Log) -> bytes:
    raw = log.active.file.pread(1_000, 0)
    log.active.release()
    return raw[: read_header(raw).size]


def test_kill_after_every_append_of_a_rolling_log() -> None:
    disk = disk_with()
    log = open_at(disk, DIR, SMALL, clean=True)
    for n in range(40):
        append(log, b"%d" % n, timestamp=NOW_MS + n)
        log = reopened(log)
        assert log.log_end_offset == n + 1
    assert values(log) == {n: b"%d" % n for n in range(40)}


def test_room_that_a_killed_process_had_reserved_is_given_back(tmp_path: Path) -> None:
    path = str(tmp_path / "t-0")
    files = OsFiles()
    files.mkdir(path)

    def opened() -> tuple[Log, int]:
        """And the bytes that the active segment takes on the disk."""
        log = open_log(files, path, "t", 0, TOPIC_ID, LogConfig(max_message_bytes=1 << 22), NOW_MS, clean=False)
        log.active.file.sync()
        return log, os.stat(log.active.path).st_blocks * 512

    log, _ = opened()
    append(log, b"x" * (1 << 20))
    again, taken = opened()  # the first is still open, and gives nothing back
    assert taken - again.active.size in range(4096)
    assert again.log_end_offset == 1
    for each in (log, again):
        each.active.release()


@pytest.mark.parametrize("seed", range(30))
def test_batches_of_an_older_epoch_are_no_part_of_the_log_behind_newer_ones(seed: int) -> None:
    """A power cut undid the truncation and kept the batch that was written in the place of the first one."""
    disk = disk_with()
    log = open_at(disk, clean=True)
    append(log, b"old")
    append(log, b"old")
    log.flush()
    log.truncate_to(0)
    append(log, b"new", epoch=1)
    disk.crash(Random(seed))
    again = open_at(disk)
    epochs = [header.leader_epoch for _, header in again.headers()]
    assert epochs in ([], [0], [0, 0], [1])


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("is_killed", [False, True])
def test_indexes_of_batches_that_are_gone_do_not_come_back(seed: int, is_killed: bool) -> None:
    disk = disk_with()
    config = LogConfig(index_interval_bytes=100)
    log = open_at(disk, DIR, config, clean=True)
    for n in range(12):
        append(log, b"x" * (40 if n % 2 else 1))
    log.close()
    for name in names(disk):
        disk.open(f"{DIR}/{name}").sync()  # as the system does of its own accord, in time
    log = open_at(disk, DIR, config, clean=True, recovery_point=12)
    log.truncate_to(0)
    if is_killed:
        disk.kill()
        log = open_at(disk, DIR, config)
    written = {n: b"y" * (1 if n % 2 else 55) for n in range(12)}
    for value in written.values():
        append(log, value)
    log.close()
    disk.crash(Random(seed))
    again = open_at(disk, DIR, config, clean=True, recovery_point=12)
    for start in written:
        assert values(again, start) == {n: value for n, value in written.items() if n >= start}
