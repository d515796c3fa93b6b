"""Transactions through cleanings: what was aborted goes, markers stay as long as somebody may need them."""

from tests.kafka.log.clean_kit import HOUR_MS, batches, clean, compacted, put, roll, rows
from tests.kafka.log.kit import NOW_MS, disk_with, end_transaction, reopened, values

from riverport.kafka.log import Isolation, Log

LATER_MS = NOW_MS + 2 * HOUR_MS


def begin(log: Log, producer_id: int, sequence: int, key: str, *texts: str) -> int:
    return put(log, key, *texts, producer=(producer_id, 0, sequence), transactional=True)


def markers(log: Log) -> list[int]:
    """Offsets of the markers that still say something."""
    return [header.base_offset for header, found in batches(log) if header.is_control and found]


def committed_values(log: Log) -> dict[int, bytes]:
    """Offset -> value as a consumer of committed records sees them: it skips what the index says is aborted."""
    found = {}
    for offset, value in values(log, isolation=Isolation.LAST_STABLE).items():
        _, header = next(log.headers(offset))
        aborted = {producer_id for producer_id, first in log.aborted.between(offset, offset + 1) if first <= offset}
        if not header.is_transactional or header.producer_id not in aborted:
            found[offset] = value
    return found


def test_aborted_records_go_and_replace_nothing() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", "1")
    begin(log, 5, 0, "a", "aborted")
    end_transaction(log, 5, commit=False)
    put(log, "b", "1")
    roll(log)
    clean(manager)
    assert rows(log) == [(0, "a", "1"), (3, "b", "1")]


def test_committed_records_replace_what_came_before() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", "1")
    begin(log, 5, 0, "a", "2")
    end_transaction(log, 5, commit=True)
    put(log, "b", "1")
    roll(log)
    clean(manager)
    assert rows(log) == [(1, "a", "2"), (3, "b", "1")]


def test_of_transactions_that_overlap_each_record_belongs_to_its_own() -> None:
    manager, log = compacted(disk_with())
    begin(log, 1, 0, "a", "of 1, aborted")
    begin(log, 2, 0, "a", "of 2")
    begin(log, 1, 1, "b", "of 1, aborted")
    end_transaction(log, 2, commit=True)
    begin(log, 2, 1, "b", "of 2, next one")
    end_transaction(log, 1, commit=False)
    begin(log, 1, 2, "c", "of 1, next one")
    end_transaction(log, 1, commit=True)
    end_transaction(log, 2, commit=True)
    roll(log)
    clean(manager)
    assert [(key, value) for _, key, value in rows(log)] == [
        ("a", "of 2"),
        ("b", "of 2, next one"),
        ("c", "of 1, next one"),
    ]


def test_what_an_open_transaction_may_still_change_is_left_alone() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", "1")
    roll(log)
    begin(log, 5, 0, "a", "2")
    put(log, "a", "3")
    roll(log)
    put(log, "a", "4")
    roll(log)
    clean(manager)
    assert log.cleaned_to == 1
    assert len(rows(log)) == 4
    end_transaction(log, 5, commit=False)
    roll(log)
    clean(manager)
    assert rows(log) == [(3, "a", "4")]


def test_the_marker_stays_for_a_horizon_after_the_last_of_its_records() -> None:
    manager, log = compacted(disk_with())
    begin(log, 5, 0, "a", "1")
    end_transaction(log, 5, commit=True)
    put(log, "b", "1")
    roll(log)
    clean(manager, NOW_MS)
    assert markers(log) == [1]  # its record is there
    put(log, "a", "2")
    log.producers.expire(NOW_MS + 1)
    roll(log)
    clean(manager, NOW_MS)
    assert markers(log) == [1]  # its record went just now
    put(log, "c", "1")
    roll(log)
    clean(manager, NOW_MS)
    assert markers(log) == [1]
    assert [header.has_delete_horizon for header, _ in batches(log) if header.is_control] == [True]
    put(log, "d", "1")
    roll(log)
    clean(manager, LATER_MS)
    assert markers(log) == []


def test_the_marker_stays_as_long_as_a_record_of_its_transaction_does() -> None:
    manager, log = compacted(disk_with())
    begin(log, 5, 0, "a", "1")
    end_transaction(log, 5, commit=True)
    put(log, "b", "1")
    log.producers.expire(NOW_MS + 1)
    for now_ms in (NOW_MS, LATER_MS, LATER_MS):
        put(log, "b", "again")
        roll(log)
        clean(manager, now_ms)
        assert markers(log) == [1]
        assert not any(header.has_delete_horizon for header, _ in batches(log))


def test_the_marker_of_an_aborted_transaction_goes_likewise() -> None:
    manager, log = compacted(disk_with())
    begin(log, 5, 0, "a", "1")
    end_transaction(log, 5, commit=False)
    put(log, "b", "1")
    log.producers.expire(NOW_MS + 1)
    for now_ms, expected in ((NOW_MS, [1]), (NOW_MS, [1]), (LATER_MS, [])):
        put(log, "b", "again")
        roll(log)
        clean(manager, now_ms)
        assert markers(log) == expected


def test_of_a_producer_that_is_remembered_the_last_marker_stays_empty() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    end_transaction(log, 5, commit=False, epoch=3)
    put(log, "b", "1")
    for now_ms in (NOW_MS, LATER_MS, LATER_MS):
        put(log, "b", "again")
        roll(log)
        clean(manager, now_ms)
    first = batches(log)[0][0]
    assert (first.is_control, first.producer_id, first.producer_epoch, first.count) == (True, 5, 3, 0)
    put(log, "c", "1")
    assert reopened(log).last_stable_offset == log.log_end_offset


def test_the_index_of_aborted_transactions_keeps_those_whose_records_were_met() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    begin(log, 5, 0, "a", "1")
    end_transaction(log, 5, commit=False)
    roll(log)
    begin(log, 5, 1, "a", "2")
    end_transaction(log, 5, commit=False)
    put(log, "b", "1")
    roll(log)
    clean(manager)
    # A reader may have been within the transaction: the marker and the entry are there for one more cleaning.
    assert [entry[0] for entry in log.aborted.entries()] == [1, 3]
    assert reopened(log, clean=True).aborted.entries() == log.aborted.entries()


def test_entries_without_records_leave_the_index_with_the_next_cleaning() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    begin(log, 5, 0, "a", "1")
    end_transaction(log, 5, commit=False)
    put(log, "b", "1")
    log.producers.expire(NOW_MS + 1)
    for _ in range(2):
        put(log, "b", "again")
        roll(log)
        clean(manager)
    assert log.aborted.entries() == []
    names = [name for name in disk.listdir(log.dir) if name.endswith(".txnindex")]
    assert names == []
    assert reopened(log, clean=True).aborted.entries() == []


def test_a_transaction_that_ends_behind_what_is_cleaned_stays_in_the_index() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    put(log, "a", "0")
    begin(log, 5, 0, "a", "1")
    roll(log)
    put(log, "b", "1")
    end_transaction(log, 5, commit=False)
    clean(manager)
    assert rows(log) == [(0, "a", "0"), (2, "b", "1")]
    assert [entry[0] for entry in log.aborted.entries()] == [3]
    again = reopened(log)
    assert committed_values(again) == {0: b"0", 2: b"1"}
    assert [entry[0] for entry in again.aborted.entries()] == [3]


def test_consumers_of_committed_records_find_the_same_last_record_of_each_key() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    for n in range(20):
        put(log, f"k{n % 5}", "before")
        begin(log, 5, 3 * n, f"k{n % 5}", f"{n}")
        begin(log, 6, n, f"x{n % 3}", f"{n}")
        begin(log, 5, 3 * n + 1, f"y{n}", "first", "second")
        end_transaction(log, 5, commit=n % 3 == 0)
        end_transaction(log, 6, commit=n % 2 == 0)
    roll(log)
    keys = {offset: key for offset, key, _ in rows(log)}
    last = {keys[offset]: (offset, value) for offset, value in committed_values(log).items()}
    clean(manager)
    assert committed_values(log) == dict(sorted(last.values()))
    assert {offset for offset, _, _ in rows(log)} == set(committed_values(log))
    before = committed_values(log)
    assert committed_values(reopened(log)) == before
