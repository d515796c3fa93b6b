"""Finding records by time, in indexes that are sparse, torn, missing or wrong."""

import pytest
from tests.kafka.log.kit import DIR, NOW_MS, SMALL, append, batch, disk_with, filled, open_at, reopened, replace, values

from riverport.kafka.log import Log
from riverport.kafka.log.index import OffsetIndex, TimeIndex
from riverport.kafka.log.segment import file_name
from riverport.sim.disk import SimDisk


def expected(times: dict[int, int], timestamp: int, start: int = 0) -> tuple[int, int] | None:
    return next(((time, at) for at, time in sorted(times.items()) if time >= timestamp and at >= start), None)


def shuffled(disk: SimDisk) -> tuple[Log, dict[int, int]]:
    """A log whose times go up and down; the times by offset."""
    log = open_at(disk, DIR, SMALL, clean=True)
    times = {}
    for n in range(80):
        time = NOW_MS + (n * 37) % 50 * 100 + n
        times[append(log, b"v", timestamp=time)] = time
    return log, times


def test_the_first_record_at_or_after_a_time_is_found() -> None:
    log, times = shuffled(disk_with())
    for time in sorted(set(times.values())):
        for probe in (time - 1, time, time + 1):
            assert log.offset_for_timestamp(probe) == expected(times, probe)
    assert log.offset_for_timestamp(max(times.values()) + 1) is None


def test_records_below_the_log_start_are_not_found_by_time() -> None:
    log, times = shuffled(disk_with())
    log.delete_records(33)
    for time in times.values():
        assert log.offset_for_timestamp(time) == expected(times, time, 33)


def test_the_newest_time_is_the_greatest_not_the_last() -> None:
    log, times = shuffled(disk_with())
    greatest = max(times.values())
    assert log.max_timestamp_offset() == (greatest, min(at for at, time in times.items() if time == greatest))


def test_a_log_without_times_has_no_newest() -> None:
    log = open_at(disk_with(), DIR, SMALL, clean=True)
    assert log.max_timestamp_offset() is None
    append(log, timestamp=-5)
    assert log.max_timestamp_offset() is None
    assert log.offset_for_timestamp(0) is None


@pytest.mark.parametrize("clean", [True, False])
def test_times_are_found_after_a_start(clean: bool) -> None:
    log, times = shuffled(disk_with())
    again = reopened(log, clean=clean)
    for time in times.values():
        assert again.offset_for_timestamp(time) == expected(times, time)


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
@pytest.mark.parametrize("content", [None, b"", b"\xff" * 24, b"\x00" * 24, b"torn"])
def test_an_index_that_cannot_be_right_is_built_again(suffix: str, content: bytes | None) -> None:
    """None: the file is gone."""
    disk = disk_with()
    log, times = shuffled(disk)
    log.close()
    for segment in log.segments:
        path = f"{DIR}/{file_name(segment.base_offset, suffix)}"
        disk.remove(path) if content is None else disk.write(path, content)
    disk.kill()
    again = open_at(disk, clean=True, recovery_point=log.log_end_offset)
    assert set(values(again)) == set(times)
    for time in times.values():
        assert again.offset_for_timestamp(time) == expected(times, time)


def test_preallocated_room_behind_the_entries_is_none() -> None:
    """Kafka's index files are as large as they may become while their segment is active."""
    offsets, times = OffsetIndex(), TimeIndex()
    offsets.append(5, 100)
    offsets.append(9, 300)
    times.maybe_append(NOW_MS, 5)
    for loaded in (OffsetIndex(), OffsetIndex()):
        assert loaded.load(offsets.encode() + bytes(80), 400)
        assert (loaded.offsets, loaded.positions) == ([5, 9], [100, 300])
    loaded_times = TimeIndex()
    assert loaded_times.load(times.encode() + bytes(120))
    assert (loaded_times.timestamps, loaded_times.offsets) == ([NOW_MS], [5])


def test_index_entries_are_as_far_apart_as_configured() -> None:
    log = filled(disk_with(), 30, replace(SMALL, segment_bytes=10**6, index_interval_bytes=300))
    size = len(batch(b"10", b"11"))
    gaps = [b - a for a, b in zip(log.active.offset_index.positions, log.active.offset_index.positions[1:])]
    assert len(gaps) > 3
    assert all(300 < gap <= 300 + size for gap in gaps)


def test_an_index_entry_names_the_last_offset_of_its_batch() -> None:
    log = filled(disk_with(), 30, replace(SMALL, segment_bytes=10**6))
    by_position = {header.position: header.last_offset for header in log.active.headers()}
    index = log.active.offset_index
    assert len(index) > 5
    assert [by_position[position] for position in index.positions] == index.offsets
