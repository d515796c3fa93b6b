"""A cleaning that is disturbed: killed, without power, with a failing disk, or with its log cut or deleted under it.

Whatever happens, every segment is found as it was or as the cleaning would have left it, and no last record of a key is
missing.
"""

import errno
from collections.abc import Callable, Generator
from contextlib import suppress
from random import Random

import pytest
from tests.kafka.log.clean_kit import COMPACT, batches, clean, cleaner_of, compacted, put, roll, rows, run_step
from tests.kafka.log.kit import (
    NOW_MS,
    ROOT,
    TOPIC_ID,
    append,
    disk_with,
    end_transaction,
    manager_of,
    names,
    segments,
    values,
)

from riverport.base.files import StorageError
from riverport.kafka.log import Isolation, Log
from riverport.kafka.log.cleaner import Step
from riverport.kafka.log.directory import RECOVERY_POINTS
from riverport.kafka.log.manager import LogManager
from riverport.kafka.log.swap import finish_swaps
from riverport.kafka.log.upkeep import Upkeep
from riverport.kafka.records.batch import iter_headers
from riverport.sim.disk import SimDisk

RECORDS = 100
SEGMENT_BYTES = 1200
Rows = list[tuple[int, str, str | None]]


class Killed(BaseException):
    """The process ends here."""


class KillingDisk(SimDisk):
    """Counts operations. From the one of `kill_at` on none happens any more; an `error` strikes that one only."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0
        self.kill_at = -1
        self.error_at = -1

    def check(self, operation: str, path: str) -> None:
        self.done += 1
        if 0 < self.kill_at <= self.done:
            raise Killed
        if self.done == self.error_at:
            raise StorageError(operation, path, errno.EIO)
        super().check(operation, path)


def dirty_log() -> tuple[KillingDisk, LogManager, Log]:
    """Small segments from a cleaning, which the next one merges, and large ones with aborted records behind them."""
    disk = KillingDisk()
    disk.mkdir(ROOT)
    disk.sync_dir("/")
    manager, log = compacted(disk, segment_bytes=SEGMENT_BYTES, index_interval_bytes=50)
    for n in range(RECORDS // 2):
        put(log, f"k{n % 4}" if n % 3 else f"first{n}", f"{n}")
    roll(log)
    clean(manager)
    for n in range(RECORDS // 2, RECORDS):
        put(log, f"k{n % 4}" if n % 3 else f"last{n}", f"{n}")
    put(log, "k0", "aborted", producer=(9, 0, 0), transactional=True)
    end_transaction(log, 9, commit=False)
    roll(log)
    put(log, "k1", "in the active segment")
    log.flush()
    upkeep = Upkeep(manager)
    for job in (*upkeep.checkpoint(RECOVERY_POINTS), *upkeep.remove_dropped(1e9), *upkeep.remove_dropped(2e9)):
        job.run()
    disk.sync_dir(log.dir)
    return disk, manager, log


def contents(log: Log) -> dict[int, bytes]:
    return {segment.base_offset: bytes(segment.file.pread(1 << 20, 0)) for segment in log.segments}


def expected() -> tuple[Rows, Rows, dict[int, bytes], dict[int, bytes], int, Log]:
    """Rows and files without a cleaning and with one, the operations that one takes, and the log after it."""
    disk, manager, log = dirty_log()
    old_rows, old_files = rows(log), contents(log)
    disk.done = 0
    clean(manager)
    operations = disk.done
    return old_rows, rows(log), old_files, contents(log), operations, log


OLD_ROWS, NEW_ROWS, OLD_FILES, NEW_FILES, OPERATIONS, SHOWN = expected()


def check_is_old_or_new(log: Log) -> None:
    found = rows(log)
    assert found == sorted(found)
    assert set(NEW_ROWS) <= set(found) <= set(OLD_ROWS)
    assert log.log_end_offset == RECORDS + 3
    for base, content in contents(log).items():
        assert content in (OLD_FILES.get(base), NEW_FILES.get(base)), base
    temporary = [name for name in names(log.files, log.dir) if name.endswith((".cleaned", ".swap", ".deleted"))]
    assert temporary == []


def check_indexes(log: Log) -> None:
    """Whether every record that is left is found by its offset."""
    for header, kept in batches(log):
        for record in kept:
            read = log.read(record.offset, 1, isolation=Isolation.LOG_END, min_one=True)
            assert next(iter_headers(read.records)).base_offset == header.base_offset, record


def check_next_start(disk: SimDisk) -> None:
    """The log is sound, and cleaning it again leaves what one cleaning would have left."""
    manager = manager_of(disk, config=COMPACT)
    log = manager.get("t", 0)
    assert log is not None
    log.update_high_watermark(log.log_end_offset)
    check_is_old_or_new(log)
    check_indexes(log)
    log.cleaned_to = -1
    clean(manager)
    assert rows(log) == NEW_ROWS
    put(log, "more", "v")


def test_the_story_has_all_that_it_is_to_have() -> None:
    assert len(OLD_FILES) > len(NEW_FILES) > 2
    assert 10 < len(NEW_ROWS) < len(OLD_ROWS) - 5
    assert any(".txnindex" in name for name in names(SHOWN.files, SHOWN.dir))
    assert OPERATIONS > 50


@pytest.mark.slow
def test_killed_before_any_operation() -> None:
    for at in range(1, OPERATIONS + 1):
        disk, manager, _ = dirty_log()
        disk.done, disk.kill_at = 0, at
        with pytest.raises(Killed):
            clean(manager)
        disk.kill_at = -1
        disk.kill()
        check_next_start(disk)


@pytest.mark.slow
def test_without_power_before_any_operation() -> None:
    for at in range(1, OPERATIONS + 2):
        disk, manager, _ = dirty_log()
        disk.done, disk.kill_at = 0, at
        with suppress(Killed):
            clean(manager)
        disk.kill_at = -1
        disk.crash(Random(at))
        check_next_start(disk)


def test_killed_again_while_the_start_finishes_the_swap() -> None:
    for at in range(OPERATIONS // 2, OPERATIONS + 1, 19):
        again = 0
        while True:
            disk, manager, _ = dirty_log()
            disk.done, disk.kill_at = 0, at
            with pytest.raises(Killed):
                clean(manager)
            disk.crash(Random(at))
            again += 1
            disk.done, disk.kill_at = 0, again
            try:
                finish_swaps(disk, f"{ROOT}/t-0")
            except Killed:
                disk.kill_at = -1
                disk.crash(Random(again))
                check_next_start(disk)
                continue
            break
        assert again > 1


def test_a_disk_that_fails_goes_offline_and_keeps_its_records() -> None:
    for at in range(1, OPERATIONS + 1, 2):
        disk, manager, log = dirty_log()
        disk.done, disk.error_at = 0, at
        cleaner = clean(manager)
        assert log.failed is not None or cleaner.uncleanable or rows(log) == NEW_ROWS, at
        assert not log.is_being_cleaned
        disk.kill()
        check_next_start(disk)


def pending_swap(merged: bool) -> tuple[KillingDisk, LogManager, Log, Generator[Step, None, None]]:
    """A cleaning right before the rename of what a cleaned segment stands for: several ones, or a single one."""
    disk, manager, log = dirty_log()
    steps = cleaner_of(manager).clean_dirtiest(NOW_MS)
    assert steps is not None
    while log.swap is None or (len(log.swap.old) > 1) is not merged:
        run_step(next(steps))
    return disk, manager, log, steps


@pytest.mark.parametrize("merged", [True, False])
def test_killed_while_a_swap_is_abandoned(merged: bool) -> None:
    ends = 0
    for at in range(1, 20):
        disk, _, log, steps = pending_swap(merged)
        disk.done, disk.kill_at = 0, at
        with suppress(Killed):
            log.abandon_swap()
            ends += 1
        with suppress(Killed):
            steps.close()
        disk.kill_at = -1
        disk.kill()
        check_next_start(disk)
    assert 0 < ends < 19


@pytest.mark.parametrize("merged", [True, False])
def test_a_cut_is_not_undone_by_a_swap_that_was_pending(merged: bool) -> None:
    disk, _, log, steps = pending_swap(merged)
    log.truncate_to(RECORDS // 4)
    end, left = log.log_end_offset, rows(log)
    log.flush()
    disk.kill_at = 1
    with suppress(Killed):
        steps.close()
    disk.kill_at = -1
    disk.crash(Random(1))
    again = manager_of(disk, config=COMPACT).get("t", 0)
    assert again is not None
    assert (again.log_end_offset, rows(again)) == (end, left)


def test_a_clean_stop_at_any_moment_leaves_files_that_every_reader_of_the_directory_knows() -> None:
    moments = 0
    while True:
        disk, manager, log = dirty_log()
        steps = cleaner_of(manager).clean_dirtiest(NOW_MS)
        assert steps is not None
        taken = [run_step(step) for _, step in zip(range(moments + 1), steps, strict=False)]
        steps.close()
        manager.close(1)
        shown = [name for name in names(disk, log.dir) if name.endswith(".log")]
        assert shown == [f"{segment.base_offset:020}.log" for segment in log.segments], moments
        assert not [name for name in names(disk, log.dir) if name.endswith((".cleaned", ".swap"))], moments
        check_next_start(disk)
        if len(taken) <= moments:
            break
        moments += 1
    assert moments > 9


# --- the log goes on living


def between_steps(disturb: Callable[[LogManager, Log, int], None], after: int) -> tuple[LogManager, Log, bool]:
    """Clean, and disturb after so many steps; False where the cleaning was over before."""
    _, manager, log = dirty_log()
    steps = cleaner_of(manager).clean_dirtiest(NOW_MS)
    assert steps is not None
    done = 0
    for step in steps:
        step_was_last_moment = done == after
        if step_was_last_moment:
            disturb(manager, log, done)
        run_step(step)
        done += 1
    return manager, log, done > after


def every_moment(disturb: Callable[[LogManager, Log, int], None], check: Callable[[LogManager, Log], None]) -> None:
    after = 0
    while True:
        manager, log, was_disturbed = between_steps(disturb, after)
        if not was_disturbed:
            break
        check(manager, log)
        after += 1
    assert after > 9


def test_readers_see_old_or_new_at_any_moment() -> None:
    def read(manager: LogManager, log: Log, _: int) -> None:
        found = {offset: value.decode() for offset, value in values(log).items()}
        old = {offset: value for offset, _, value in OLD_ROWS}
        assert found.items() <= old.items()
        assert {offset: value for offset, _, value in NEW_ROWS}.items() <= found.items()

    every_moment(read, lambda manager, log: check_only(rows(log) == NEW_ROWS))


def check_only(holds: bool) -> None:
    assert holds


def test_records_may_be_appended_at_any_moment() -> None:
    def write(manager: LogManager, log: Log, _: int) -> None:
        put(log, "k2", "while it was cleaned")
        roll(log)

    def check(manager: LogManager, log: Log) -> None:
        assert rows(log) == [*NEW_ROWS, (RECORDS + 3, "k2", "while it was cleaned")]
        assert log.cleaned_to == RECORDS + 2
        clean(manager)
        assert len(rows(log)) == len(NEW_ROWS) - 1

    every_moment(write, check)


@pytest.mark.parametrize("offset", [3, 17, 33, RECORDS + 2])
def test_a_log_may_be_cut_at_any_moment(offset: int) -> None:
    def cut(manager: LogManager, log: Log, _: int) -> None:
        log.truncate_to(offset)

    def check(manager: LogManager, log: Log) -> None:
        left = [row for row in OLD_ROWS if row[0] < offset]
        last = {key: (at, key, value) for at, key, value in left if value != "aborted"}
        found = rows(log)
        # A key's last record may be gone with the cut, and the one before it with the cleaning.
        assert set(found) <= set(left)
        assert {row for row in last.values() if row in NEW_ROWS} <= set(found)
        assert log.log_end_offset <= offset
        assert not log.is_being_cleaned
        assert log.swap is None
        assert not [name for name in names(log.files, log.dir) if name.endswith((".cleaned", ".swap"))]
        put(log, "k0", "after the cut")
        roll(log)
        clean(manager)
        assert rows(log)[-1][1:] == ("k0", "after the cut")
        keys = [key for _, key, _ in rows(log)]
        assert len(keys) == len(set(keys))
        assert not [name for name in names(log.files, log.dir) if name.endswith((".cleaned", ".swap"))]

    every_moment(cut, check)


def test_a_log_may_be_begun_anew_at_any_moment() -> None:
    def begin_anew(manager: LogManager, log: Log, _: int) -> None:
        log.truncate_fully_and_start_at(5, NOW_MS)
        put(log, "new", "life")

    def check(manager: LogManager, log: Log) -> None:
        assert rows(log) == [(5, "new", "life")]
        assert segments(log) == [5]
        assert log.cleaned_to == -1

    every_moment(begin_anew, check)


def test_a_log_may_be_deleted_and_made_again_at_any_moment() -> None:
    def delete(manager: LogManager, log: Log, _: int) -> None:
        manager.delete("t", 0, 0)
        made = manager.get_or_create("t", 0, TOPIC_ID, COMPACT, NOW_MS)
        append(made, b"mine")

    def check(manager: LogManager, log: Log) -> None:
        made = manager.get("t", 0)
        assert made is not None
        assert made is not log
        assert rows(made) == [(0, "k", "mine")]
        assert [name for name in names(made.files, made.dir) if name.endswith((".cleaned", ".swap", ".deleted"))] == []
        assert made.failed is None

    every_moment(delete, check)


def test_a_cleaner_that_stops_gives_up_at_any_moment() -> None:
    after = 0
    while True:
        disk, manager, log = dirty_log()
        cleaner = cleaner_of(manager)
        steps = cleaner.clean_dirtiest(NOW_MS)
        assert steps is not None
        for done, step in enumerate(steps):
            if done == after:
                cleaner.stop()
            run_step(step)
        if done < after:
            break
        assert log.swap is None
        assert cleaner.clean_dirtiest(NOW_MS) is None
        assert set(NEW_ROWS) <= set(rows(log)) <= set(OLD_ROWS)
        manager.close(1)
        check_next_start(disk)
        after += 1
    assert after > 9


def test_a_worker_that_is_cancelled_leaves_the_log_sound() -> None:
    for after in range(1, 10):
        disk, manager, log = dirty_log()
        steps = cleaner_of(manager).clean_dirtiest(NOW_MS)
        assert steps is not None
        for _ in range(after):
            run_step(next(steps))
        steps.close()
        assert not log.is_being_cleaned
        assert log.swap is None
        manager.close(1)
        check_next_start(disk)


# --- what an interrupted cleaning has left


def test_a_swap_beside_an_unfinished_one_of_a_lower_offset_is_not_valid() -> None:
    disk = disk_with()
    disk.mkdir("/data/t-0")
    for name in ("07.log.swap", "07.index.swap", "05.log.cleaned", "07.log", "03.log.swap", "03.log"):
        base, kind = name.split(".", 1)
        disk.write(f"/data/t-0/{int(base):020d}.{kind}", b"")
    left = finish_swaps(disk, "/data/t-0")
    assert [name.lstrip("0") for name in left] == ["3.log", "7.log"]
