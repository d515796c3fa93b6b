"""What several followers want of a log is read once, and never anything that is not there any more."""

import pytest
from tests.kafka.log.kit import DIR, SMALL, append, batch, disk_with, open_at

from riverport.kafka.log import Log
from riverport.kafka.server import shared_reads
from riverport.kafka.server.shared_reads import SharedReads


@pytest.fixture
def log() -> Log:
    log = open_at(disk_with(), DIR, SMALL)
    append(log, b"a")
    return log


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets at which a log was read."""
    found: list[int] = []
    read = Log.read

    def watched(self: Log, offset: int, *given: int, **options: bool) -> object:
        found.append(offset)
        return read(self, offset, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Log, "read", watched)
    return found


def test_second_follower_gets_what_the_first_got(log: Log, reads: list[int]) -> None:
    shared = SharedReads()
    first = shared.read(log, 0, 1_000, True)
    assert shared.read(log, 0, 1_000, True) is first
    append(log, b"b")
    assert len(shared.read(log, 0, 1_000, True)) > len(first)
    shared.read(log, 1, 1_000, True)
    assert reads == [0, 0, 1]


def test_follower_that_wants_less_gets_less(log: Log) -> None:
    shared = SharedReads()
    append(log, b"b")
    both = shared.read(log, 0, 1_000, True)
    assert len(shared.read(log, 0, len(both) - 1, True)) < len(both)


def test_log_that_was_cut_is_read_again(log: Log) -> None:
    shared = SharedReads()
    before = bytes(shared.read(log, 0, 1_000, True))
    log.truncate_to(0)
    append(log, b"b")
    after = shared.read(log, 0, 1_000, True)
    assert len(after) == len(before)
    assert after != before


def test_what_is_kept_is_bounded(log: Log, reads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_reads, "MAX_BYTES", len(batch(b"a")))
    shared = SharedReads()
    other = open_at(disk_with(), DIR, SMALL)
    append(other, b"a")
    for each in (log, other, other, log):
        shared.read(each, 0, 1_000, True)
    assert reads == [0, 0, 0]
