"""A broker whose controller no longer has the beginning of the metadata log begins with its snapshot (KIP-630)."""

import asyncio
from pathlib import Path
from typing import Any

from riverport.kafka.client.connection import Connection
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.server.settings import load
from riverport.kafka.server.storage_format import format_storage
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing.hosted_node import UnsyncedFiles

CLUSTER = "AAAAAAAAAAAAAAAAAAAAAQ"
SMALL_STEPS = {
    "metadata.log.max.record.bytes.between.snapshots": "2000",
    "metadata.max.retention.bytes": "5000",
    "controller.quorum.fetch.snapshot.max.bytes": "700",
}


class Ids:
    def __init__(self) -> None:
        self._last = 1000  # below lie the ids that stand for something else than a directory

    def uuid(self) -> bytes:
        self._last += 1
        return self._last.to_bytes(16, "big")


async def started(properties: dict[str, str], ids: Ids) -> Node:
    config, files = load(properties), UnsyncedFiles()
    format_storage(files, ids, config, CLUSTER, now_ms=1, ignore_formatted=True)
    node = Node(config, asyncio.get_running_loop(), files=files)
    await node.start()
    return node


def controller(dir: Path) -> dict[str, str]:
    return {
        "process.roles": "controller",
        "node.id": "1",
        "controller.listener.names": "CONTROLLER",
        "listeners": "CONTROLLER://127.0.0.1:0",
        "controller.quorum.voters": "1@127.0.0.1:0",
        "log.dirs": str(dir / "controller"),
        **SMALL_STEPS,
    }


def broker(dir: Path, id_: int, controller_port: int) -> dict[str, str]:
    return {
        "process.roles": "broker",
        "node.id": str(id_),
        "controller.listener.names": "CONTROLLER",
        "listeners": "PLAINTEXT://127.0.0.1:0",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "log.dirs": str(dir / f"broker-{id_}"),
        **SMALL_STEPS,
    }


async def set_many(node: Node, count: int) -> None:
    for n in range(count):
        record = m.ConfigRecord(16, f"metrics-{n}", "interval.ms", "5000")
        await node.metadata.submit(lambda record=record: Outcome(None, [record]))  # type: ignore[misc]


def test_a_broker_begins_with_the_controller_s_snapshot_and_takes_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        ids = Ids()
        leader = await started(controller(tmp_path), ids)
        try:
            await set_many(leader, 120)
            assert leader.metadata.log.log_start_offset > 0
            follower = await started(broker(tmp_path, 2, leader.ports["CONTROLLER"]), ids)
            try:
                await follower.metadata.reach(leader.metadata.image.offset)
                assert follower.metadata.image.configs == leader.metadata.image.configs
                assert follower.metadata.log.log_start_offset > 0
                first = follower.metadata.snapshots[0]
                await set_many(leader, 120)
                await follower.metadata.reach(leader.metadata.image.offset)
                assert follower.metadata.snapshots[-1] > first
            finally:
                await follower.stop()
        finally:
            await leader.stop()

    asyncio.run(scenario())


def test_slices_of_a_snapshot_are_given_only_for_what_there_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        leader = await started(controller(tmp_path), Ids())
        try:
            await set_many(leader, 60)
            newest, epoch = leader.metadata.snapshots[-1], leader.metadata.epoch
            connection = await Connection.open("127.0.0.1", leader.ports["CONTROLLER"], client_id="test")
            of = m.FetchSnapshotRequest

            async def ask(position: int, end_offset: int = newest.end_offset, leader_epoch: int = epoch) -> Any:
                id_ = of.SnapshotId(end_offset, newest.epoch)
                asked = of.PartitionSnapshot(0, leader_epoch, id_, position)
                topic = of.TopicSnapshot("__cluster_metadata", [asked])
                answer = await connection.request(of(None, 2, topics=[topic]), timeout_ms=5000)
                return answer.topics[0].partitions[0]

            content = leader.files.read(leader.metadata.snapshot_path(newest))
            first = await ask(0)
            assert (first.error_code, first.size, bytes(first.unaligned_records)) == (0, len(content), content[:700])
            assert bytes((await ask(700)).unaligned_records) == content[700:1400]
            assert (await ask(len(content))).error_code == ErrorCode.POSITION_OUT_OF_RANGE
            assert (await ask(-1)).error_code == ErrorCode.POSITION_OUT_OF_RANGE
            assert (await ask(0, end_offset=1)).error_code == ErrorCode.SNAPSHOT_NOT_FOUND
            assert (await ask(0, leader_epoch=epoch - 1)).error_code == ErrorCode.FENCED_LEADER_EPOCH
            assert (await ask(0, leader_epoch=epoch + 1)).error_code == ErrorCode.UNKNOWN_LEADER_EPOCH
            await connection.close()
        finally:
            await leader.stop()

    asyncio.run(scenario())
