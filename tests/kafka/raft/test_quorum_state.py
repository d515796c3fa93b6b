"""`quorum-state`: what a voter must not forget."""

import pytest

from riverport.base.files import StorageError
from riverport.kafka.raft.state import QUORUM_STATE, QuorumState, read_state, write_state
from riverport.sim.disk import SimDisk


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
