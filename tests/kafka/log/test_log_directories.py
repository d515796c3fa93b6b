"""All logs of a node: several directories, of which one may fail, and what is found in them at a start (KIP-112)."""

import errno
from random import Random

import pytest
from tests.kafka.log.kit import NOW_MS, SMALL, TOPIC_ID, append, disk_with, manager_of, names, replace, values

from riverport.base.files import Files, StorageError
from riverport.kafka.log import Log
from riverport.kafka.log.checkpoints import read_offsets
from riverport.kafka.log.directory import CHECKPOINTS, CLEAN_SHUTDOWN, LOG_STARTS, RECOVERY_POINTS
from riverport.kafka.log.flush import PARTITION_METADATA
from riverport.kafka.log.manager import DuplicateLog, LogManager
from riverport.kafka.log.upkeep import Upkeep
from riverport.sim.disk import SimDisk

ROOTS = ("/one", "/two")


def made(manager: LogManager, topic: str, partition: int = 0, topic_id: bytes = TOPIC_ID) -> Log:
    return manager.get_or_create(topic, partition, topic_id, SMALL, NOW_MS)


def two_logs(files: Files, failures: list[str] | None = None) -> tuple[LogManager, Log, Log]:
    """One log in each of two directories."""
    told = failures if failures is not None else []
    manager = manager_of(files, ROOTS, failed_dir=lambda path, error: told.append(path))
    first, second = made(manager, "a"), made(manager, "b")
    assert (first.dir, second.dir) == ("/one/a-0", "/two/b-0")
    for log in (first, second):
        append(log, b"0")
    return manager, first, second


def test_new_logs_go_where_there_are_fewest() -> None:
    manager = manager_of(disk_with(*ROOTS), ROOTS)
    dirs = [made(manager, "t", partition).dir.split("/")[1] for partition in range(6)]
    assert dirs == ["one", "two"] * 3


def test_logs_are_found_again_with_what_the_checkpoints_say() -> None:
    disk = disk_with(*ROOTS)
    manager, first, second = two_logs(disk)
    for n in range(1, 30):
        append(first, b"%d" % n)
    first.delete_records(7)
    manager.close(41)
    disk.kill()
    again = manager_of(disk, ROOTS)
    assert again.broker_epoch == 41
    found = again.get("a", 0)
    assert found is not None
    assert (found.log_start_offset, found.high_watermark, found.log_end_offset) == (7, 30, 30)
    assert values(found) == {n: b"%d" % n for n in range(7, 30)}
    other = again.get("b", 0)
    assert other is not None
    assert (other.topic_id, other.log_end_offset) == (TOPIC_ID, second.log_end_offset)


def test_a_clean_stop_is_believed_once() -> None:
    disk = disk_with()
    manager = manager_of(disk)
    append(made(manager, "t"))
    manager.close(1)
    assert disk.exists(f"/data/{CLEAN_SHUTDOWN}")
    disk.kill()
    assert manager_of(disk).directories["/data"].clean
    disk.crash(Random(1))
    assert not disk.exists(f"/data/{CLEAN_SHUTDOWN}")
    again = manager_of(disk)
    assert not again.directories["/data"].clean
    assert again.broker_epoch == -1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"brokerEpoch":null}', b"\xff\xfe"])
def test_a_mark_of_a_clean_stop_that_says_nothing_is_one_nevertheless(content: bytes) -> None:
    disk = disk_with()
    manager_of(disk).close(1)
    disk.write(f"/data/{CLEAN_SHUTDOWN}", content)
    disk.kill()
    again = manager_of(disk)
    assert (again.directories["/data"].clean, again.broker_epoch) == (True, -1)


def test_a_stop_was_clean_where_every_directory_says_so_in_the_same_epoch() -> None:
    """Else the broker may have lost what it had acknowledged, and must not be taken for one that has it (KIP-966)."""
    for marks, epoch in (([5, 5], 5), ([5, None], -1), ([None, 5], -1), ([5, 4], -1)):
        disk = disk_with(*ROOTS)
        manager_of(disk, ROOTS).close(0)
        for root, mark in zip(ROOTS, marks, strict=True):
            if mark is None:
                disk.remove(f"{root}/{CLEAN_SHUTDOWN}")
            else:
                disk.write(f"{root}/{CLEAN_SHUTDOWN}", b'{"version":0,"brokerEpoch":%d}' % mark)
        disk.kill()
        again = manager_of(disk, ROOTS)
        assert again.broker_epoch == epoch, marks
        assert [directory.clean for directory in again.directories.values()] == [mark is not None for mark in marks]


def test_a_directory_that_is_offline_may_have_lost_something() -> None:
    disk = disk_with(*ROOTS)
    manager_of(disk, ROOTS).close(5)
    disk.kill()
    disk.fail("open", f"{ROOTS[0]}/*")
    again = manager_of(disk, ROOTS)
    assert (again.is_online(ROOTS[0]), again.is_online(ROOTS[1])) == (False, True)
    assert again.broker_epoch == -1


def test_a_start_that_fails_does_not_make_a_clean_stop_of_an_unclean_one() -> None:
    """Locked, not loaded, closed: the directory is what it was."""
    for clean in (False, True):
        disk = disk_with()
        before = manager_of(disk)
        append(made(before, "t"))
        if clean:
            before.close(5)
        disk.kill()
        halfway = LogManager(disk, ["/data"], lambda: bytes(16))
        halfway.lock({"/data": bytes(16)})
        halfway.close(-1)
        assert disk.exists(f"/data/{CLEAN_SHUTDOWN}") == clean
        disk.kill()
        again = manager_of(disk)
        assert (again.directories["/data"].clean, again.broker_epoch) == (clean, 5 if clean else -1)


def test_a_directory_belongs_to_one_process() -> None:
    disk = disk_with(*ROOTS)
    manager = manager_of(disk, ROOTS)
    with pytest.raises(StorageError, match="another process") as raised:
        manager_of(disk, ROOTS)
    assert raised.value.operation == "lock"
    manager.close(1)
    manager_of(disk, ROOTS)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_failed_directory_takes_only_its_own_logs(number: int) -> None:
    failures: list[str] = []
    disk = disk_with(*ROOTS)
    manager, first, second = two_logs(disk, failures)
    disk.fail("write", "/one/*", number)
    with pytest.raises(StorageError) as raised:
        append(first)
    manager.fail("/one", raised.value)
    manager.fail("/one", raised.value)
    assert failures == ["/one"]
    assert (manager.is_online("/one"), manager.is_online("/two")) == (False, True)
    assert first.failed is raised.value
    assert append(second) == 1
    assert made(manager, "c").dir == "/two/c-0"


def test_a_full_disk_refuses_and_keeps_what_it_has() -> None:
    disk = SimDisk(capacity=20_000)
    disk.mkdir("/data")
    manager = manager_of(disk)
    log = made(manager, "t")
    count = 0
    try:
        while count < 100:
            append(log, b"x" * 400)
            count += 1
    except StorageError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017
    assert 30 < count < 100
    assert set(values(log)) == set(range(count))
    disk.kill()
    disk.capacity = 10**6
    again = manager_of(disk).get("t", 0)
    assert again is not None
    again.update_high_watermark(again.log_end_offset)
    assert set(values(again)) == set(range(count))
    assert append(again) == count


def test_a_directory_that_cannot_be_used_is_left_out_at_the_start() -> None:
    for operation, pattern in (("open", "/one/.lock"), ("read", "/one/*-checkpoint"), ("list", "/one"), ("open", "*")):
        disk = disk_with(*ROOTS)
        manager, *_ = two_logs(disk)
        manager.close(1)
        disk.kill()
        disk.fail(operation, pattern if pattern != "*" else "/one/*")
        again = manager_of(disk, ROOTS)
        assert again.get("b", 0) is not None
        assert not again.is_online("/one")
        assert {log.topic for log in again if log.failed is None} == {"b"}
        again.close(2)
        disk.heal()
        disk.kill()
        assert manager_of(disk, ROOTS).get("a", 0) is not None


def test_a_lost_directory_costs_the_logs_in_it() -> None:
    disk = disk_with(*ROOTS)
    manager, *_ = two_logs(disk)
    manager.close(1)
    disk.kill()
    disk.rmtree("/one")
    again = manager_of(disk, ROOTS)
    assert [log.topic for log in again] == ["b"]


def test_a_log_that_may_lie_in_a_failed_directory_is_not_made_elsewhere() -> None:
    disk = disk_with(*ROOTS)
    manager, *_ = two_logs(disk)
    manager.close(1)
    disk.kill()
    disk.fail("open", "/one/.lock")
    again = manager_of(disk, ROOTS)
    with pytest.raises(StorageError, match="/one are offline"):
        again.get_or_create("a", 0, TOPIC_ID, SMALL, NOW_MS, is_new=False)
    assert again.get_or_create("new", 0, TOPIC_ID, SMALL, NOW_MS, is_new=True).dir == "/two/new-0"


def test_nothing_starts_without_a_directory() -> None:
    disk = disk_with(*ROOTS)
    disk.fail("open", "*.lock")
    with pytest.raises(StorageError, match="no log directory can be used"):
        manager_of(disk, ROOTS)


def test_a_log_is_made_in_the_next_directory_when_the_first_fails() -> None:
    failures: list[str] = []
    disk = disk_with(*ROOTS)
    manager = manager_of(disk, ROOTS, failed_dir=lambda path, error: failures.append(path))
    disk.fail("mkdir", "/one/*")
    assert made(manager, "t").dir == "/two/t-0"
    assert failures == ["/one"]
    disk.fail("mkdir", "/two/*")
    with pytest.raises(StorageError):
        made(manager, "u")


def test_a_partition_in_two_directories_is_for_the_operator() -> None:
    disk = disk_with(*ROOTS)
    manager, *_ = two_logs(disk)
    manager.close(1)
    disk.mkdir("/two/a-0")
    disk.write("/two/a-0/partition.metadata", disk.read("/one/a-0/partition.metadata"))
    disk.kill()
    with pytest.raises(DuplicateLog, match="Duplicate log directories for a-0 are found in both /one/a-0 and /two/a-0"):
        manager_of(disk, ROOTS)


def test_a_deleted_log_is_renamed_at_once_and_removed_later() -> None:
    disk = disk_with()
    manager = manager_of(disk)
    log = made(manager, "t" * 249)
    append(log)
    manager.delete(log.topic, 0, 1_000)
    assert manager.get(log.topic, 0) is None
    (doomed,) = [name for name in names(disk, "/data") if name.endswith("-delete")]
    assert len(doomed) <= 255
    upkeep = Upkeep(manager)
    assert upkeep.remove_dropped(1_000 + SMALL.file_delete_delay_ms - 1) == []
    for job in upkeep.remove_dropped(1_000 + SMALL.file_delete_delay_ms):
        job.run()
    assert doomed not in names(disk, "/data")


def test_what_cannot_be_removed_does_not_keep_the_rest() -> None:
    disk = disk_with(*ROOTS)
    manager, first, second = two_logs(disk)
    for log in (first, second):
        manager.delete(log.topic, 0, 0)
    disk.fail("remove", "/one/*")
    (job,) = Upkeep(manager).remove_dropped(1e9)
    job.run()
    job.finish()
    assert [len([name for name in names(disk, root) if name.endswith("-delete")]) for root in ROOTS] == [1, 0]


def test_a_stray_log_is_kept_under_another_name() -> None:
    disk = disk_with()
    manager = manager_of(disk)
    append(made(manager, "t"), b"precious")
    manager.set_aside("t", 0)
    assert manager.get("t", 0) is None
    (stray,) = [name for name in names(disk, "/data") if name.endswith("-stray")]
    assert b"precious" in disk.read(f"/data/{stray}/{0:020d}.log")
    disk.kill()
    assert len(manager_of(disk)) == 0
    assert stray in names(disk, "/data")


def test_what_a_killed_process_had_deleted_is_removed_by_the_next() -> None:
    disk = disk_with()
    manager = manager_of(disk)
    made(manager, "t")
    manager.delete("t", 0, 0)
    disk.kill()
    again = manager_of(disk)
    assert len(again) == 0
    for job in Upkeep(again).remove_dropped(0):
        job.run()
    assert not [name for name in names(disk, "/data") if name.startswith("t-")]


def test_a_topic_made_again_has_nothing_of_the_old_one() -> None:
    disk = disk_with()
    manager = manager_of(disk)
    append(made(manager, "t"))
    log = made(manager, "t", topic_id=bytes(15) + b"\x09")
    assert log.log_end_offset == 0
    assert manager.get("t", 0) is log


@pytest.mark.parametrize("is_being_written", [False, True])
def test_a_topic_made_again_does_not_begin_where_the_old_one_did(is_being_written: bool) -> None:
    """Killed before the next checkpoints: those of the old topic say nothing of the new one."""
    disk = disk_with()
    manager = manager_of(disk)
    log = made(manager, "t")
    for _ in range(40):
        append(log, b"old")
    log.delete_records(40)
    upkeep = Upkeep(manager)
    jobs = [job for name in CHECKPOINTS for job in upkeep.checkpoint(name)]
    if not is_being_written:
        for job in jobs:
            job.run()
            job.finish()
    manager.delete("t", 0, 0)
    log = made(manager, "t", topic_id=bytes(15) + b"\x09")
    for n in range(5):
        append(log, b"%d" % n)
    if is_being_written:
        for job in jobs:
            job.run()
            job.finish()
    disk.kill()
    again = manager_of(disk).get("t", 0)
    assert again is not None
    again.update_high_watermark(again.log_end_offset)
    assert values(again) == {n: b"%d" % n for n in range(5)}


def test_a_log_whose_topic_is_not_known_is_set_aside_if_there_is_something_in_it() -> None:
    for content in (None, b"", b"garbage\n", b"version: 0\ntopic_id: short\n", b"\xff"):
        disk = disk_with()
        manager = manager_of(disk)
        append(made(manager, "full"))
        made(manager, "empty")
        for topic in ("full", "empty"):
            path = f"/data/{topic}-0/partition.metadata"
            disk.remove(path) if content is None else disk.write(path, content)
        disk.kill()
        assert len(manager_of(disk)) == 0
        left = [name for name in names(disk, "/data") if "-0" in name]
        assert [name.endswith("-stray") and name.startswith("full-0.") for name in left] == [True]


@pytest.mark.parametrize(
    "name",
    [
        "t",
        "t-",
        "t-x",
        "t-01",
        "-0",
        "t-0-future.tmp",
        "t-99999999999",
        "ü-0",
        "to-delete",
        "t-0-delete",
        "t-x.y-future",
    ],
)
def test_what_is_no_partition_is_left_alone(name: str) -> None:
    disk = disk_with()
    disk.mkdir(f"/data/{name}")
    disk.write("/data/a-0", b"a file")
    manager = manager_of(disk)
    assert len(manager) == 0
    for job in Upkeep(manager).remove_dropped(1e9):
        job.run()
    assert disk.is_dir(f"/data/{name}")


def test_checkpoints_are_each_directorys_own() -> None:
    disk = disk_with(*ROOTS)
    manager, first, second = two_logs(disk)
    second.delete_records(1)
    manager.close(1)
    assert read_offsets(disk, f"/one/{RECOVERY_POINTS}") == {("a", 0): 1}
    assert read_offsets(disk, f"/two/{RECOVERY_POINTS}") == {("b", 0): 1}
    assert read_offsets(disk, f"/one/{LOG_STARTS}") == {}
    assert read_offsets(disk, f"/two/{LOG_STARTS}") == {("b", 0): 1}
    assert first.log_end_offset == 1


def test_what_a_start_has_cut_is_checked_again_until_it_is_flushed() -> None:
    """The cut is not on the disk yet: no recovery point may vouch for what a power cut would bring back."""
    disk = disk_with()
    manager = manager_of(disk)
    log = made(manager, "t")
    append(log, b"0")
    manager.close(1)
    disk.kill()
    log = made(manager_of(disk), "t")
    append(log, b"1")
    disk.flip(log.active.path, log.active.size - 1, 1)
    disk.kill()
    again = manager_of(disk)
    found = again.get("t", 0)
    assert found is not None
    assert (found.log_end_offset, found.recovery_point) == (1, 0)
    assert read_offsets(disk, f"/data/{RECOVERY_POINTS}") == {("t", 0): 0}
    found.flush()
    assert found.recovery_point == 1


def test_a_stop_with_a_failing_directory_closes_the_other_cleanly() -> None:
    disk = disk_with(*ROOTS)
    manager, *_ = two_logs(disk)
    disk.fail("sync", "/one/*")
    manager.close(1)
    assert [disk.exists(f"{root}/{CLEAN_SHUTDOWN}") for root in ROOTS] == [False, True]
    disk.heal()
    disk.kill()
    again = manager_of(disk, ROOTS)
    assert [directory.clean for directory in again.directories.values()] == [False, True]


def test_new_settings_reach_every_log_of_the_topic() -> None:
    manager = manager_of(disk_with())
    logs = [made(manager, "t", partition) for partition in range(3)]
    other = made(manager, "u")
    manager.update_config("t", replace(SMALL, retention_ms=5))
    assert {log.config.retention_ms for log in logs} == {5}
    assert other.config == SMALL


def test_a_log_that_was_never_written_is_a_directory_with_its_topics_id() -> None:
    disk = disk_with()
    manager = manager_of(disk)
    log = made(manager, "t")
    manager.close(1)
    assert names(disk, log.dir) == [PARTITION_METADATA]
    again = manager_of(disk).get("t", 0)
    assert again is not None
    assert (again.log_start_offset, again.log_end_offset, again.size, again.topic_id) == (0, 0, 0, TOPIC_ID)
    assert append(again, b"0") == 0
    assert values(again) == {0: b"0"}


def test_a_stop_syncs_no_log_in_which_nothing_has_changed_since_the_last_one() -> None:
    disk = disk_with()
    manager = manager_of(disk)
    made(manager, "empty")
    append(made(manager, "t"), b"0")
    manager.close(1)
    manager = manager_of(disk)
    disk.fail("sync", "/data/*-0*")
    manager.close(2)
    assert [directory.failed for directory in manager.directories.values()] == [None]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_first_batch_of_a_log_survives_a_power_cut_once_it_is_flushed(seed: int, is_stopped: bool) -> None:
    disk = disk_with()
    manager = manager_of(disk)
    log = made(manager, "t")
    if is_stopped:
        manager.close(1)
        disk.crash(Random(seed))
        manager = manager_of(disk)
        found = manager.get("t", 0)
        assert found is not None
        log = found
    append(log, b"0")
    log.flush()
    disk.crash(Random(seed))
    again = manager_of(disk).get("t", 0)
    assert again is not None
    again.update_high_watermark(1)
    assert values(again) == {0: b"0"}
