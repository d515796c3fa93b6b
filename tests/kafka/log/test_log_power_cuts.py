"""A model of what a log has promised, against a disk that loses, keeps and tears what was not synced.

Whatever happens in whatever order: what was flushed is there, what is there was once written at that very offset, and
what is derived from the batches (producers, aborted transactions, leader epochs, indexes) says what the batches say.
"""

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.kafka.log.kit import (
    NOW_MS,
    ROOT,
    SMALL,
    TOPIC_ID,
    append,
    disk_with,
    end_transaction,
    manager_of,
    values,
)

from riverport.base.files import StorageError
from riverport.kafka.log import Log
from riverport.kafka.log.directory import CHECKPOINTS, RECOVERY_POINTS
from riverport.kafka.log.manager import LogManager
from riverport.kafka.log.retention import drop_old_segments
from riverport.kafka.log.upkeep import Upkeep
from riverport.kafka.records.batch import BatchHeader

PRODUCERS = (None, 1, 2)
SEEDS = st.integers(0, 2**32)
PARTITIONS = st.integers(0, 1)


@dataclass(frozen=True)
class Written:
    """A batch as it was written; `marker` is None for data, else whether it commits."""

    base: int
    last: int
    crc: int
    epoch: int
    producer: int | None = None
    last_sequence: int = -1
    transactional: bool = False
    marker: bool | None = None


@dataclass
class Promise:
    """What a partition's log has to keep."""

    batches: list[Written] = field(default_factory=list)
    end: int = 0  # where the log ends; above the last batch only where a power cut has left an empty segment
    flushed: int = 0  # acknowledged after a flush: the end of what must survive everything
    ever: dict[tuple[int, int, int, int], Written] = field(default_factory=dict)  # what may be at an offset
    epoch: int = 0
    lost: list[Written] = field(default_factory=list)  # by the last start

    @property
    def ends(self) -> list[int]:
        return [0, *(batch.last + 1 for batch in self.ever.values())]

    def add(self, written: Written) -> None:
        self.batches.append(written)
        self.end = written.last + 1
        self.ever[(written.base, written.last, written.crc, written.epoch)] = written

    def next_sequence(self, producer: int) -> int:
        mine = [batch.last_sequence for batch in self.batches if batch.producer == producer and batch.marker is None]
        return mine[-1] + 1 if mine else 0

    def open_transactions(self) -> dict[int, int]:
        """Producer -> first offset."""
        return self._replay()[0]

    def aborted(self) -> list[tuple[int, int]]:
        return self._replay()[1]

    def _replay(self) -> tuple[dict[int, int], list[tuple[int, int]]]:
        ongoing: dict[int, int] = {}
        aborted: list[tuple[int, int]] = []
        for batch in self.batches:
            if batch.producer is None:
                continue
            if batch.marker is not None:
                first = ongoing.pop(batch.producer, None)
                if first is not None and not batch.marker:
                    aborted.append((batch.producer, first))
            elif batch.transactional:
                ongoing.setdefault(batch.producer, batch.base)
        return ongoing, aborted


def headers_in(log: Log) -> list[BatchHeader]:
    return [header for segment in log.segments for header in segment.headers()]


class PromisedLogs(RuleBasedStateMachine):
    """Two partitions in one directory."""

    manager: LogManager

    @initialize()
    def make(self) -> None:
        self.disk = disk_with()
        self.promises = [Promise(), Promise()]
        self._start()

    # --- writing

    @rule(
        at=PARTITIONS,
        count=st.integers(1, 3),
        size=st.sampled_from([1, 90, 700, 5_000]),
        producer=st.sampled_from(PRODUCERS),
        transactional=st.booleans(),
    )
    def write(self, at: int, count: int, size: int, producer: int | None, transactional: bool) -> None:
        log, promise = self._log(at), self.promises[at]
        transactional = producer is not None and (transactional or producer in promise.open_transactions())
        sequence = -1 if producer is None else promise.next_sequence(producer)
        append(
            log,
            *[b"%d" % log.log_end_offset + b"x" * size for _ in range(count)],
            epoch=promise.epoch,
            producer=None if producer is None else (producer, 0, sequence),
            transactional=transactional,
        )
        self._written(at, producer, sequence + count - 1, transactional)

    @rule(at=PARTITIONS, producer=st.sampled_from((1, 2)), commit=st.booleans())
    def end(self, at: int, producer: int, commit: bool) -> None:
        end_transaction(self._log(at), producer, commit=commit, leader_epoch=self.promises[at].epoch)
        self._written(at, producer, marker=commit)

    @rule(at=PARTITIONS)
    def elect(self, at: int) -> None:
        self.promises[at].epoch += 1
        self._log(at).start_leader_epoch(self.promises[at].epoch)

    @rule(at=PARTITIONS)
    def roll(self, at: int) -> None:
        log = self._log(at)
        if log.active.base_offset < log.log_end_offset:
            log.roll(NOW_MS)

    @rule(at=PARTITIONS, part=st.floats(0, 1))
    def truncate(self, at: int, part: float) -> None:
        log, promise = self._log(at), self.promises[at]
        log.truncate_to(int(log.log_end_offset * part))
        promise.batches = [batch for batch in promise.batches if batch.last < log.log_end_offset]
        promise.end = log.log_end_offset
        promise.flushed = min(promise.flushed, promise.end)
        self.checkpoint(RECOVERY_POINTS)

    # --- the disk

    @rule(at=PARTITIONS, meanwhile=st.booleans())
    def flush(self, at: int, meanwhile: bool) -> None:
        """`meanwhile` something is appended: it is not promised."""
        log, promise = self._log(at), self.promises[at]
        job = log.flush_job()
        end = log.log_end_offset
        if meanwhile:
            self.write(at, 1, 50, None, False)
        job.run()
        job.finish()
        promise.flushed = max(promise.flushed, end)

    @rule(name=st.sampled_from(CHECKPOINTS))
    def checkpoint(self, name: str) -> None:
        for job in Upkeep(self.manager).checkpoint(name):
            job.run()
            job.finish()

    @rule()
    def stop_and_start(self) -> None:
        """A clean stop; not even a power cut takes anything after it."""
        self.manager.close(1)
        for at, promise in enumerate(self.promises):
            promise.flushed = self._log(at).log_end_offset
        self.disk.crash(Random(0))
        self._start()
        self._check_nothing_lost()

    @rule()
    def kill(self) -> None:
        self.disk.kill()
        self._start()
        self._check_nothing_lost()

    @rule(seed=SEEDS)
    def power_cut(self, seed: int) -> None:
        self.disk.crash(Random(seed))
        self._start()

    @rule(at=PARTITIONS, seed=SEEDS, pattern=st.sampled_from(["*.log", "*.snapshot", "*.txnindex", "/data/t-?"]))
    def flush_in_vain(self, at: int, seed: int, pattern: str) -> None:
        """After a failed sync the pages look clean and are not on the disk; the broker gives the directory up."""
        self.disk.fail("sync", pattern)
        job = self._log(at).flush_job()
        end = self._log(at).log_end_offset
        try:
            job.run()
            job.finish()
            self.promises[at].flushed = max(self.promises[at].flushed, end)
        except StorageError:
            pass
        self.disk.heal()
        self.power_cut(seed)

    # --- what must hold

    @invariant()
    def agreed(self) -> None:
        for at, promise in enumerate(self.promises):
            log = self._log(at)
            assert log.log_end_offset == promise.end
            assert log.recovery_point <= max(promise.flushed, 0)

    def _log(self, at: int) -> Log:
        found = self.manager.get("t", at)
        assert found is not None
        return found

    def _written(
        self, at: int, producer: int | None, sequence: int = -1, transactional: bool = False, marker: bool | None = None
    ) -> None:
        promise = self.promises[at]
        header = [header for _, header in self._log(at).headers(self._log(at).log_end_offset - 1)][-1]
        promise.add(
            Written(
                header.base_offset,
                header.last_offset,
                header.crc,
                header.leader_epoch,
                producer,
                sequence if producer is not None else -1,
                transactional,
                marker,
            )
        )

    def _start(self) -> None:
        self.manager = manager_of(self.disk, (ROOT,), SMALL)
        for at, promise in enumerate(self.promises):
            log = self.manager.get_or_create("t", at, TOPIC_ID, SMALL, NOW_MS)
            log.update_high_watermark(log.log_end_offset)
            self._check(log, promise)
            promise.epoch = max(promise.epoch, log.leader_epochs.latest)

    def _check(self, log: Log, promise: Promise) -> None:
        found = [promise.ever.get((h.base_offset, h.last_offset, h.crc, h.leader_epoch)) for h in headers_in(log)]
        assert None not in found, "a batch that was never written here"
        batches = [batch for batch in found if batch is not None]
        must = [batch for batch in promise.batches if batch.last < promise.flushed]
        assert batches[: len(must)] == must, "something that was flushed is gone"
        promise.lost = [batch for batch in promise.batches if batch not in batches]
        assert (batches[-1].last + 1 if batches else 0) <= log.log_end_offset <= max(promise.ends)
        promise.batches, promise.end = batches, log.log_end_offset
        ongoing, aborted = promise.open_transactions(), promise.aborted()
        assert log.producers.first_unstable_offset == min(ongoing.values(), default=None)
        assert log.aborted.between(0, 2**63) == aborted
        assert [log.epoch_for_offset(batch.base) for batch in batches] == [batch.epoch for batch in batches]
        for producer in (1, 2):
            state = log.producers.states.get(producer)
            assert (state.last_sequence + 1 if state else 0) == promise.next_sequence(producer)
        data = {offset for batch in batches if batch.marker is None for offset in range(batch.base, batch.last + 1)}
        assert set(values(log)) == data

    def _check_nothing_lost(self) -> None:
        for promise in self.promises:
            assert promise.lost == []


class TestPromises(PromisedLogs.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=120,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
class TestPromisesAtLength(PromisedLogs.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=250,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("seed", range(40))
def test_deletions_take_what_was_deleted_and_no_more(seed: int) -> None:
    """DeleteRecords, retention, power cuts and kills in any order: what was flushed above the log start is there."""
    rng, disk = Random(seed), disk_with()
    manager = manager_of(disk)
    written: dict[int, bytes] = {}
    ever: set[tuple[int, bytes]] = set()  # a power cut may bring back what was deleted, if nobody has written that down
    flushed = start = 0
    log = manager.get_or_create("t", 0, TOPIC_ID, SMALL, NOW_MS)
    for _ in range(60):
        match rng.randrange(10):
            case 0 | 1 | 2 | 3:
                value = b"%d" % log.log_end_offset + b"x" * rng.choice((1, 300, 900))
                at = append(log, value)
                written[at] = value
                ever.add((at, value))
            case 4:
                log.flush()
                flushed = log.log_end_offset
            case 5:
                start = max(start, rng.randint(log.log_start_offset, log.high_watermark))
                log.delete_records(start)
            case 6:
                drop_old_segments(log, NOW_MS)
                start = max(start, log.log_start_offset)
            case 7:
                for name in CHECKPOINTS:
                    for job in Upkeep(manager).checkpoint(name):
                        job.run()
                        job.finish()
            case 8:
                for removal in Upkeep(manager).remove_dropped(10**9):
                    removal.run()
                    removal.finish()
            case _:
                disk.crash(rng) if rng.random() < 0.7 else disk.kill()
                manager = manager_of(disk)
                log = manager.get_or_create("t", 0, TOPIC_ID, SMALL, NOW_MS)
                log.update_high_watermark(log.log_end_offset)
                found = values(log)
                assert found.items() <= ever
                assert {n for n in written if start <= n < flushed} <= set(found)
                written = found
                start = min(start, log.log_end_offset)
                flushed = min(flushed, log.log_end_offset)
    assert {n for n in written if start <= n} == set(values(log, max(start, log.log_start_offset)))
