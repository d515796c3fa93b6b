"""Leader epochs: where each begins, and what is left of them when the log is cut (KIP-101, KIP-279)."""

from random import Random

import pytest
from tests.kafka.log.kit import DIR, SMALL, append, disk_with, log_path, open_at, reopened

from riverport.base.files import StorageError
from riverport.kafka.log import Log
from riverport.kafka.log.checkpoints import read_epochs
from riverport.sim.disk import SimDisk

PATH = f"{DIR}/leader-epoch-checkpoint"


def led(disk: SimDisk) -> Log:
    """Epochs 0, 3 and 5 begin at 0, 4 and 10; the log ends at 12."""
    log = open_at(disk, DIR, SMALL, clean=True)
    for epoch, count in ((0, 4), (3, 6), (5, 2)):
        for _ in range(count):
            append(log, epoch=epoch)
    return log


def test_an_epoch_ends_where_the_next_begins() -> None:
    log = led(disk_with())
    assert [log.offset_for_leader_epoch(epoch) for epoch in range(-1, 7)] == [
        (-1, -1),
        (0, 4),
        (0, 4),
        (0, 4),
        (3, 10),
        (3, 10),
        (5, 12),
        (-1, -1),
    ]
    assert [log.epoch_for_offset(offset) for offset in (0, 3, 4, 9, 10, 12)] == [0, 0, 3, 3, 5, 5]


def test_a_new_leader_begins_its_epoch_before_its_first_record() -> None:
    log = led(disk_with())
    log.start_leader_epoch(8)
    log.start_leader_epoch(7)
    assert log.offset_for_leader_epoch(5) == (5, 12)
    assert log.offset_for_leader_epoch(8) == (8, 12)
    append(log, epoch=8)
    assert read_epochs(log.files, PATH) == [(0, 0), (3, 4), (5, 10), (8, 12)]


@pytest.mark.parametrize("seed", range(20))
def test_a_new_leaders_epoch_is_on_the_disk_once_its_batches_are_flushed(seed: int) -> None:
    disk = disk_with()
    log = led(disk)
    log.start_leader_epoch(8)
    append(log, epoch=8)
    log.flush()
    disk.crash(Random(seed))
    assert read_epochs(disk, PATH) == [(0, 0), (3, 4), (5, 10), (8, 12)]


@pytest.mark.parametrize("seed", range(20))
def test_a_new_leaders_epoch_that_a_power_cut_takes_leaves_the_others(seed: int) -> None:
    disk = disk_with()
    log = led(disk)
    log.flush()
    log.start_leader_epoch(8)
    disk.crash(Random(seed))
    assert open_at(disk, recovery_point=12).leader_epochs.entries == [(0, 0), (3, 4), (5, 10)]


def test_a_start_that_gives_a_log_a_leader_writes_nothing() -> None:
    disk = disk_with()
    log = led(disk)
    log.close()
    log = open_at(disk, clean=True)
    log.flush()
    disk.fail("write", f"{PATH}.tmp")
    log.start_leader_epoch(8)
    log.flush()
    log.close()
    assert open_at(disk, clean=True).leader_epochs.entries == [(0, 0), (3, 4), (5, 10)]


def test_truncation_takes_the_epochs_that_began_behind_it() -> None:
    log = led(disk_with())
    log.truncate_to(10)
    assert log.leader_epochs.entries == [(0, 0), (3, 4)]
    log.truncate_to(4)
    assert log.leader_epochs.entries == [(0, 0)]


def test_deletion_moves_the_first_epoch_to_the_log_start() -> None:
    log = led(disk_with())
    log.delete_records(6)
    assert log.leader_epochs.entries == [(3, 6), (5, 10)]


def test_epochs_survive_a_start() -> None:
    disk = disk_with()
    assert reopened(led(disk)).leader_epochs.entries == [(0, 0), (3, 4), (5, 10)]


@pytest.mark.parametrize(
    "content",
    [
        b"garbage",
        b"",
        b"1\n0\n",
        b"0\n3\n0 0\n",
        b"0\n2\n3 4\n0 0\n",
        b"0\n1\n0 0 0\n",
        b"0\n1\n-1 0\n",
        b"0\n1\n0 9223372036854775808\n",
        b"\xff\xfe\n",
    ],
)
@pytest.mark.parametrize("clean", [True, False])
def test_a_damaged_checkpoint_is_made_anew_from_the_batches(content: bytes, clean: bool) -> None:
    disk = disk_with()
    log = led(disk)
    log.close()
    disk.write(PATH, content)
    disk.kill()
    again = open_at(disk, clean=clean, recovery_point=12)
    assert again.leader_epochs.entries == [(0, 0), (3, 4), (5, 10)]
    assert read_epochs(disk, PATH) == [(0, 0), (3, 4), (5, 10)]


def test_a_checkpoint_that_is_gone_is_made_from_what_is_checked() -> None:
    disk = disk_with()
    led(disk)
    disk.remove(PATH)
    disk.kill()
    assert open_at(disk).leader_epochs.entries == [(0, 0), (3, 4), (5, 10)]


def test_epochs_behind_what_a_power_cut_left_are_forgotten() -> None:
    disk = disk_with()
    log = led(disk)
    disk.open(log_path(log.active.base_offset)).truncate(0)
    disk.kill()
    again = open_at(disk)
    assert all(start < again.log_end_offset for _, start in again.leader_epochs.entries)
    assert again.leader_epochs.latest == again.epoch_for_offset(again.log_end_offset - 1)


def test_epochs_that_contradict_the_batches_give_way_to_them() -> None:
    """A truncation that a power cut has undone: the epoch that followed it is on the disk, its batches are not."""
    disk = disk_with()
    led(disk)
    disk.write(PATH, b"0\n2\n0 0\n9 4\n")
    disk.kill()
    assert open_at(disk).leader_epochs.entries == [(0, 0), (3, 4), (5, 10)]


def test_a_checkpoint_that_cannot_be_read_is_a_failure_of_the_disk() -> None:
    disk = disk_with()
    led(disk)
    disk.kill()
    disk.fail("read", PATH)
    with pytest.raises(StorageError):
        open_at(disk)
