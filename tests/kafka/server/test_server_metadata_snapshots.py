"""The metadata log of a node with snapshots: nothing that was promised is lost, whenever the power goes."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from random import Random
from typing import Any

import pytest

from riverport.base.clock import ManualClock
from riverport.base.files import StorageError
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.log import LogConfig
from riverport.kafka.raft.snapshots import SnapshotId, snapshots_in
from riverport.kafka.raft.voters import ReplicaKey, Voter, VoterSet
from riverport.kafka.server.flusher import Flusher
from riverport.kafka.server.metadata_shell import MetadataShell
from riverport.kafka.server.metadata_snapshots import MetadataSnapshots
from riverport.kafka.server.metadata_writer import MetadataEncodeError
from riverport.kafka.server.quorum_member import Member
from riverport.kafka.wire import messages as m
from riverport.sim.disk import SimDisk

DIR = "/data/__cluster_metadata-0"
MEMBER = Member(ReplicaKey(1), "cluster", VoterSet([Voter(ReplicaKey(1), ())]))
OFTEN = {
    "metadata.log.max.record.bytes.between.snapshots": 600,
    "metadata.log.max.snapshot.interval.ms": 3_600_000,
    "metadata.max.retention.bytes": 2_000,
    "metadata.max.retention.ms": 604_800_000,
}


class AtOnce(Executor):
    """Does in the caller's thread what it is given, so that a run is the same every time."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class FailingPower(SimDisk):
    """From a number of operations on, none comes through."""

    left: int | None = None

    def check(self, operation: str, path: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise StorageError(operation, path, errno.EIO, "the power is gone")
        super().check(operation, path)


class Node:
    """A metadata log that leads itself, and its snapshots."""

    def __init__(self, disk: SimDisk, clock: ManualClock, **config: int) -> None:
        loop = asyncio.get_running_loop()
        executor = AtOnce()
        flusher = Flusher(loop, executor, lambda log, error: None)
        segments = LogConfig(segment_bytes=1_000, delete=False)
        self.disk, self.clock = disk, clock
        self.metadata = MetadataShell(disk, clock, loop, flusher, "/data", MEMBER, segments)
        self.metadata.open(clean=False)
        settings = {**OFTEN, **{key.replace("_", "."): value for key, value in config.items()}}
        self.snapshots = MetadataSnapshots(self.metadata, disk, loop, executor, settings)

    async def set_config(self, name: str, value: str) -> None:
        """Returns once it is committed, and what follows from that is done."""
        await self.metadata.submit(lambda: Outcome(None, [m.ConfigRecord(16, name, "interval.ms", value)]))
        await self.snapshots.close()
        await asyncio.sleep(0)

    def configs(self) -> dict[str, str]:
        return {
            name: values["interval.ms"] for (kind, name), values in self.metadata.image.configs.items() if kind == 16
        }


def run(scenario: Callable[[SimDisk, ManualClock], Awaitable[None]], disk: SimDisk | None = None) -> None:
    disk = SimDisk() if disk is None else disk
    if not disk.exists("/data"):
        disk.mkdir("/data")
    asyncio.run(scenario(disk, ManualClock()))  # type: ignore[arg-type]


def test_a_snapshot_is_taken_when_enough_was_committed_and_the_log_begins_behind_it() -> None:
    async def scenario(disk: SimDisk, clock: ManualClock) -> None:
        node = Node(disk, clock)
        for n in range(100):
            await node.set_config(f"c{n}", "1")
        ids = node.metadata.snapshots
        assert ids
        assert ids == snapshots_in(disk, DIR)
        assert node.metadata.log.log_start_offset == ids[0].end_offset > 0
        assert node.metadata.log.segments[0].base_offset > 0
        assert node.metadata.newest_snapshot() == ids[-1]

    run(scenario)


def test_a_start_from_a_snapshot_has_everything() -> None:
    async def scenario(disk: SimDisk, clock: ManualClock) -> None:
        first = Node(disk, clock)
        for n in range(60):
            await first.set_config(f"c{n}", str(n))
        await first.metadata.close()
        again = Node(disk, clock)
        assert again.metadata.snapshots
        assert again.configs() == {f"c{n}": str(n) for n in range(60)}
        assert vars(again.metadata.pending).keys() == vars(again.metadata.image).keys()
        assert again.metadata.pending.configs == again.metadata.image.configs
        assert again.metadata.image.features == first.metadata.image.features

    run(scenario)


def test_time_alone_takes_a_snapshot_once_there_is_anything_new() -> None:
    async def scenario(disk: SimDisk, clock: ManualClock) -> None:
        node = Node(disk, clock, metadata_log_max_record_bytes_between_snapshots=10**9)
        await node.set_config("c", "1")
        assert node.metadata.snapshots == []
        clock.advance(3_600_000)
        await node.set_config("c", "2")
        assert node.metadata.snapshots == [SnapshotId(node.metadata.image.offset + 1, 1)]
        await node.set_config("c", "3")
        assert len(node.metadata.snapshots) == 1

    run(scenario)


def test_old_snapshots_go_by_time_and_the_newest_stays() -> None:
    async def scenario(disk: SimDisk, clock: ManualClock) -> None:
        node = Node(disk, clock, metadata_max_retention_bytes=10**9, metadata_max_retention_ms=1_000)
        for n in range(60):
            await node.set_config(f"c{n}", "1")
        assert len(node.metadata.snapshots) > 2
        newest = node.metadata.snapshots[-1]
        clock.advance(5_000)
        node.snapshots.clean()
        assert node.metadata.snapshots == [newest] == snapshots_in(disk, DIR)
        assert node.metadata.log.log_start_offset == newest.end_offset

    run(scenario)


def test_a_snapshot_that_cannot_be_written_loses_nothing_and_is_tried_again() -> None:
    async def scenario(disk: SimDisk, clock: ManualClock) -> None:
        node = Node(disk, clock)
        fault = disk.fail("write", "*.checkpoint.tmp", errno.ENOSPC)
        for n in range(40):
            await node.set_config(f"c{n}", "1")
        assert fault.met > 1
        assert node.metadata.snapshots == []
        disk.heal()
        for n in range(40):
            await node.set_config(f"d{n}", "1")
        assert node.metadata.snapshots
        await node.metadata.close()
        assert len(Node(disk, clock).configs()) == 80

    run(scenario)


def test_a_log_that_begins_behind_its_newest_snapshot_is_not_opened() -> None:
    async def scenario(disk: SimDisk, clock: ManualClock) -> None:
        node = Node(disk, clock)
        for n in range(60):
            await node.set_config(f"c{n}", "1")
        await node.metadata.close()
        for id_ in snapshots_in(disk, DIR):
            disk.remove(f"{DIR}/{id_.file_name}")
        with pytest.raises(StorageError, match="begins at"):
            Node(disk, clock)

    run(scenario)


def test_a_record_that_cannot_be_encoded_is_an_error_of_ours_and_leaves_no_trace() -> None:
    async def scenario(disk: SimDisk, clock: ManualClock) -> None:
        node = Node(disk, clock)
        end = node.metadata.log.log_end_offset
        wrong = [m.ConfigRecord(16, "c", "interval.ms", "1"), m.ConfigRecord(4711, "c", "k", "v")]
        with pytest.raises(MetadataEncodeError):
            await node.metadata.submit(lambda: Outcome(None, wrong))
        assert (node.metadata.log.log_end_offset, node.metadata.pending.configs) == (end, {(4, ""): CLUSTER_DEFAULT})
        await node.set_config("c", "2")
        assert node.configs() == {"c": "2"}

    run(scenario)


CLUSTER_DEFAULT = {"min.insync.replicas": "1"}


def operations_of_a_run() -> int:
    disk = FailingPower()
    disk.left = 10**9
    run(write_until_the_power_goes([]), disk)
    return 10**9 - disk.left


def write_until_the_power_goes(promised: list[str]) -> Callable[[SimDisk, ManualClock], Awaitable[None]]:
    async def scenario(disk: SimDisk, clock: ManualClock) -> None:
        try:
            node = Node(disk, clock)
            for n in range(30):
                await node.set_config(f"c{n}", "1")
                promised.append(f"c{n}")
        except StorageError:
            pass

    return scenario


@pytest.mark.parametrize("seed", range(3))
def test_the_power_may_go_at_any_operation(seed: int) -> None:
    total, rng = operations_of_a_run(), Random(seed)
    for left in range(seed, total, 3):
        disk = FailingPower()
        disk.mkdir("/data")
        disk.sync_dir("/")
        disk.left = left
        promised: list[str] = []
        run(write_until_the_power_goes(promised), disk)
        disk.left = None
        disk.crash(rng)

        async def look(disk: SimDisk, clock: ManualClock, left: int = left, promised: Any = promised) -> None:
            node = Node(disk, clock)
            lost = set(promised) - set(node.configs())
            assert not lost, (left, lost)
            assert node.metadata.pending.configs == node.metadata.image.configs
            await node.set_config("after", "1")

        run(look, disk)
