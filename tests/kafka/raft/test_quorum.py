"""A voter that is its own majority, and what it must remember."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.base.files import StorageError
from riverport.kafka.raft.quorum import AppendLeaderChange, Committed, Flushed, Persist, Quorum, Started
from riverport.kafka.raft.state import QUORUM_STATE, QuorumState, read_state, write_state
from riverport.sim.disk import SimDisk


def test_a_start_persists_a_new_epoch_before_it_leads_in_it() -> None:
    quorum = Quorum(1, (1,), QuorumState(1, 7, voters=(1,)), data_version=0)
    effects = quorum.step(Started(log_end=40))
    assert effects == [Persist(QuorumState(1, 8, voters=(1,))), AppendLeaderChange(8, (1,))]
    assert (quorum.leader_id, quorum.epoch) == (1, 8)


def test_what_is_flushed_is_committed_once() -> None:
    quorum = Quorum(1, (1,), None, data_version=0)
    quorum.step(Started(0))
    assert quorum.step(Flushed(5)) == [Committed(5)]
    assert quorum.step(Flushed(5)) == []
    assert quorum.step(Flushed(4)) == []
    assert quorum.high_watermark == 5


@given(st.lists(st.integers(0, 100)))
def test_the_high_watermark_never_goes_back(offsets: list[int]) -> None:
    quorum = Quorum(1, (1,), None, data_version=0)
    quorum.step(Started(0))
    seen = [quorum.high_watermark]
    for offset in offsets:
        quorum.step(Flushed(offset))
        seen.append(quorum.high_watermark)
    assert seen == sorted(seen)
    assert seen[-1] == max([0, *offsets])


def test_a_quorum_that_has_become_dynamic_writes_the_newer_state() -> None:
    quorum = Quorum(1, (1,), QuorumState(1, 3, voters=(1,), data_version=0), data_version=1)
    persisted = quorum.step(Started(0))[0]
    assert persisted == Persist(QuorumState(1, 4, data_version=1))


@pytest.mark.parametrize(
    "state",
    [
        QuorumState(),
        QuorumState(3, 9, 3, voters=(1, 2, 3)),
        QuorumState(3, 9, 3, bytes(range(16)), data_version=1),
    ],
)
def test_a_state_is_read_as_it_was_written(state: QuorumState) -> None:
    disk = SimDisk()
    disk.mkdir("/m")
    assert read_state(disk, "/m") is None
    write_state(disk, "/m", state)
    assert read_state(disk, "/m") == state


def test_a_state_of_apache_kafka_is_read() -> None:
    disk = SimDisk()
    disk.mkdir("/m")
    text = (
        b'{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],'
    )
    disk.write(f"/m/{QUORUM_STATE}", text + b'"data_version":0}')
    assert read_state(disk, "/m") == QuorumState(1, 2, voters=(1,))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"data_version":"x"}', b"\xff"])
def test_a_damaged_state_is_a_storage_error(content: bytes) -> None:
    disk = SimDisk()
    disk.mkdir("/m")
    disk.write(f"/m/{QUORUM_STATE}", content)
    with pytest.raises(StorageError):
        read_state(disk, "/m")
