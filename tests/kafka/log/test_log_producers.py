"""What a log remembers of its producers, in memory and in snapshots (KIP-98, KIP-360, KIP-890)."""

import pytest
from tests.kafka.log.kit import (
    DIR,
    NOW_MS,
    SMALL,
    append,
    batch,
    disk_with,
    end_transaction,
    names,
    open_at,
    reopened,
    replace,
    segments,
)

from riverport.kafka.log import Isolation, Log
from riverport.kafka.log.producers import CorruptSnapshot, Producers
from riverport.kafka.log.segment import file_name
from riverport.kafka.records.batch import read_header
from riverport.kafka.wire.errors import ApiError, ErrorCode
from riverport.sim.disk import SimDisk


def busy(disk: SimDisk) -> Log:
    """Producer 1 idempotent, 2 with an open transaction, 3 with an aborted one, 4 with a committed one."""
    log = open_at(disk, DIR, replace(SMALL, segment_bytes=400), clean=True)
    for sequence in range(12):
        append(log, b"v", producer=(1, 2, sequence))
    append(log, b"v", producer=(3, 0, 0), transactional=True)
    append(log, b"v", producer=(4, 0, 0), transactional=True)
    end_transaction(log, 3, commit=False, coordinator_epoch=9)
    end_transaction(log, 4, commit=True)
    append(log, b"v", b"w", producer=(2, 7, 0), transactional=True)
    return log


def state_of(log: Log) -> dict[int, tuple[int, int, int, int]]:
    return {
        state.producer_id: (
            state.producer_epoch,
            state.last_sequence,
            state.current_txn_first_offset,
            state.coordinator_epoch,
        )
        for state in log.active_producers()
    }


EXPECTED = {1: (2, 11, -1, -1), 2: (7, 1, 16, -1), 3: (0, 0, -1, 9), 4: (0, 0, -1, 0)}


@pytest.mark.parametrize("clean", [True, False])
def test_producers_are_known_after_a_start(clean: bool) -> None:
    log = busy(disk_with())
    assert state_of(log) == EXPECTED
    again = reopened(log, clean=clean)
    assert state_of(again) == EXPECTED
    assert (again.producers.first_unstable_offset, again.aborted.between(0, 99)) == (16, [(3, 12)])


@pytest.mark.parametrize("clean", [True, False])
def test_a_batch_sent_again_after_a_start_is_known(clean: bool) -> None:
    """As far as the snapshot has it: the last batch of each producer, and all behind it."""
    again = reopened(busy(disk_with()), clean=clean)
    for producer, last, offset in (((1, 2, 11), b"v", 11), ((4, 0, 0), b"v", 13)):
        repeated = batch(last, producer=producer, transactional=producer[0] == 4)
        info = again.append_as_leader(repeated, 0, NOW_MS)
        assert (info.duplicate, info.first_offset) == (True, offset)
    with pytest.raises(ApiError) as raised:
        append(again, producer=(1, 2, 13))
    assert raised.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


LED_BEFORE, LED_NOW = 7, 9  # leader epochs


@pytest.mark.parametrize("led_before", [True, False], ids=["itself", "another"])
def test_what_was_in_flight_to_the_leader_before_is_known_however_much_follows(led_before: bool) -> None:
    """A client that learns of the new leader sends it new batches; those to the old one fail later, and come again."""
    log = open_at(disk_with(), DIR, clean=True)
    before = {n: append(log, b"v", b"w", epoch=LED_BEFORE, producer=(1, 2, 2 * n)) for n in range(9)}
    if not led_before:
        other, log = log, open_at(disk_with(), DIR, clean=True)
        log.append_as_follower(other.read(0, 10_000, isolation=Isolation.LOG_END, min_one=True).records, NOW_MS)
    after = {n: append(log, b"v", b"w", epoch=LED_NOW, producer=(1, 2, 2 * n)) for n in range(9, 29)}
    end = log.log_end_offset
    for n in [*range(4, 9), *range(24, 29)]:
        info = log.append_as_leader(batch(b"v", b"w", producer=(1, 2, 2 * n)), LED_NOW, NOW_MS)
        assert (info.duplicate, info.first_offset) == (True, {**before, **after}[n])
    for n in [3, 9, 23]:  # what is no longer known is refused, as Kafka does
        with pytest.raises(ApiError) as raised:
            append(log, b"v", b"w", epoch=LED_NOW, producer=(1, 2, 2 * n))
        assert raised.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log.log_end_offset == end


def test_numbers_that_begin_anew_are_no_repetition_of_an_earlier_leaders_batch() -> None:
    log = open_at(disk_with(), DIR, clean=True)
    append(log, epoch=LED_BEFORE, producer=(1, 2, 0))
    for n in range(1, 6):
        append(log, epoch=LED_NOW, producer=(1, 2, n))
    assert log.append_as_leader(batch(producer=(1, 2, 0)), LED_NOW, NOW_MS).duplicate
    log.producers.states[1].batches[-1].last_sequence = 2**31 - 1
    assert append(log, epoch=LED_NOW, producer=(1, 2, 0)) == 6


def test_a_new_epoch_of_a_producer_knows_none_of_its_earlier_batches() -> None:
    log = open_at(disk_with(), DIR, clean=True)
    for leader_epoch in (LED_BEFORE, LED_NOW):
        for n in range(6):
            append(log, epoch=leader_epoch, producer=(1, 2, n + 6 * (leader_epoch == LED_NOW)))
    append(log, epoch=LED_NOW, producer=(1, 3, 0))
    assert append(log, epoch=LED_NOW, producer=(1, 3, 1)) == 13, "not the batch of the epoch before"
    with pytest.raises(ApiError) as raised:
        append(log, epoch=LED_NOW, producer=(1, 2, 5))
    assert raised.value.code is ErrorCode.INVALID_PRODUCER_EPOCH


def test_a_snapshot_is_taken_at_each_roll_and_at_a_clean_stop() -> None:
    disk = disk_with()
    log = busy(disk)
    log.close()
    snapshots = [int(name[:20]) for name in names(disk) if name.endswith(".snapshot")]
    assert snapshots == [*segments(log)[1:], log.log_end_offset]


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"\x00" * 56, b"\xff" * 56, None])
def test_snapshots_that_cannot_be_used_are_made_from_the_log(content: bytes | None, clean: bool) -> None:
    disk = disk_with()
    log = busy(disk)
    log.close()
    for name in names(disk):
        if name.endswith(".snapshot"):
            disk.remove(f"{DIR}/{name}") if content is None else disk.write(f"{DIR}/{name}", content)
    disk.kill()
    again = open_at(disk, DIR, log.config, clean=clean, recovery_point=log.log_end_offset)
    assert state_of(again) == EXPECTED
    assert again.producers.first_unstable_offset == 16


def test_a_snapshot_of_batches_that_a_power_cut_took_is_not_believed() -> None:
    disk = disk_with()
    log = open_at(disk, DIR, SMALL, clean=True)
    append(log, producer=(1, 0, 0))
    log.flush()
    append(log, producer=(1, 0, 1))
    log.close()
    disk.open(log.active.path).truncate(log.active.size // 2)
    disk.kill()
    again = open_at(disk, DIR, SMALL, recovery_point=1)
    assert state_of(again) == {1: (0, 0, -1, -1)}
    assert append(again, producer=(1, 0, 1)) == 1


def test_a_snapshot_above_the_recovery_point_is_replaced_by_what_the_batches_say() -> None:
    """It may be older than they are: written before a truncation that it has outlived."""
    disk = disk_with()
    log = busy(disk)
    for base in segments(log)[1:]:
        disk.write(f"{DIR}/{file_name(base, '.snapshot')}", Producers().encode())
    for recovery_point in (0, segments(log)[1]):
        disk.kill()
        again = open_at(disk, DIR, log.config)
        assert state_of(again) == EXPECTED
        assert recovery_point <= again.log_end_offset


def test_a_snapshot_keeps_what_it_must_and_refuses_damage() -> None:
    log = busy(disk_with())
    content = log.producers.encode()
    loaded = Producers()
    loaded.load(content)
    assert loaded.first_unstable_offset == 16
    assert {id_: state.last_sequence for id_, state in loaded.states.items()} == {1: 11, 2: 1, 3: 0, 4: 0}
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        with pytest.raises(CorruptSnapshot):
            Producers().load(bytes(damaged))
    for cut in range(len(content)):
        with pytest.raises(CorruptSnapshot):
            Producers().load(content[:cut])


def test_idle_producers_are_forgotten_but_not_their_transactions() -> None:
    log = busy(disk_with())
    log.producers.expire(NOW_MS + 1)
    assert set(log.producers.states) == {2}
    append(log, producer=(1, 0, 77))
    assert log.producers.states[1].last_sequence == 77


def test_a_marker_of_a_new_epoch_begins_the_sequences_anew() -> None:
    log = busy(disk_with())
    end_transaction(log, 2, commit=True, epoch=8)
    assert state_of(log)[2] == (8, -1, -1, 0)
    with pytest.raises(ApiError):
        append(log, producer=(2, 8, 5), transactional=True)
    append(log, producer=(2, 8, 0), transactional=True)


def test_sequences_wrap() -> None:
    log = open_at(disk_with(), DIR, SMALL, clean=True)
    append(log, b"a", b"b", producer=(1, 0, 2**31 - 2))
    append(log, b"c", producer=(1, 0, 0))
    header = read_header(batch(b"a", b"b", b"c", producer=(1, 0, 2**31 - 2)))
    assert header.last_sequence == 0


@pytest.mark.parametrize("damage", [b"\xff", b"\xff" * 34, b"\x00" * 34])
@pytest.mark.parametrize("clean", [True, False])
def test_a_damaged_index_of_aborted_transactions_is_built_again(damage: bytes, clean: bool) -> None:
    disk = disk_with()
    log = busy(disk)
    log.close()
    path = next(f"{DIR}/{name}" for name in names(disk) if name.endswith(".txnindex"))
    disk.write(path, damage)
    disk.kill()
    again = open_at(disk, DIR, log.config, clean=clean, recovery_point=log.log_end_offset)
    assert again.aborted.between(0, 99) == [(3, 12)]
    assert state_of(again) == EXPECTED
    disk.kill()
    assert open_at(disk, DIR, log.config, recovery_point=log.log_end_offset).aborted.between(0, 99) == [(3, 12)]
