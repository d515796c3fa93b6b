"""A disk that fails under a broker: who is told what, what goes on, and when the node stops (KIP-112).

The broker has two directories on a simulated disk. Its topics have two partitions, one in each.
"""

import asyncio
import copy
import errno
import json
import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from tests.kafka.server import wire as w
from tests.kafka.server.wire import Wire

from riverport.base.files import StorageError
from riverport.base.ids import SystemIds, uuid_text
from riverport.kafka.client.errors import Disconnected
from riverport.kafka.log import Isolation
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.record import iter_records
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.server.settings import BrokerConfig, load
from riverport.kafka.server.storage_format import format_storage
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode
from riverport.sim.disk import SimDisk
from riverport.testing.broker import DEFAULTS
from riverport.testing.loop_thread import LoopThread

ROOTS = ("/one", "/two")
STORAGE = ErrorCode.KAFKA_STORAGE_ERROR


@dataclass
class Hosted:
    """A node in a thread of its own, on a disk that outlives it."""

    disk: SimDisk
    config: BrokerConfig
    thread: LoopThread
    node: Node | None = None

    def start(self) -> None:
        async def started() -> None:
            self.node = Node(self.config, asyncio.get_running_loop(), files=self.disk)
            await self.node.start()

        self.thread.run(started, 20)

    def stop(self) -> None:
        if self.node is not None:
            node, self.node = self.node, None
            self.thread.run(node.stop, 20)

    def cut_power(self, seed: int) -> None:
        """What is written after that moment, by the stop of the node, goes to a disk that nobody looks at again."""
        node, self.node = self.node, None
        assert node is not None

        async def cut() -> None:
            await node.server.close()
            await node.housekeeping.stop()
            await node.compaction.stop()
            left = copy.deepcopy(self.disk)
            await node.stop()
            self.disk = left

        self.thread.run(cut, 20)
        self.disk.crash(Random(seed))
        self.start()

    @property
    def address(self) -> tuple[str, int]:
        assert self.node is not None
        return "127.0.0.1", self.node.ports["PLAINTEXT"]

    def where(self, topic: str) -> dict[int, str]:
        """Partition -> its directory, for those that are online."""
        found = {}
        for root in ROOTS:
            for name in self.disk.listdir(root):
                if name in (f"{topic}-0", f"{topic}-1"):
                    found[int(name[-1])] = root
        return found

    def until_it_gives_up(self) -> Exception:
        node = self.node
        assert node is not None

        async def given_up() -> Exception:
            return await asyncio.wait_for(asyncio.shield(node.failed), 10)

        return self.thread.run(given_up, 20)


@pytest.fixture
def hosted() -> Iterator[Hosted]:
    thread = LoopThread("node-on-a-simulated-disk")
    disk = SimDisk()
    for root in (*ROOTS, "/meta"):
        disk.mkdir(root)
    config = load({**DEFAULTS, "log.dirs": ",".join(ROOTS), "metadata.log.dir": "/meta"})
    format_storage(disk, SystemIds(), config, uuid_text(SystemIds().uuid()), now_ms=0)
    hosted = Hosted(disk, config, thread)
    hosted.start()
    try:
        yield hosted
    finally:
        hosted.stop()
        thread.stop()


@pytest.fixture
def topic(hosted: Hosted) -> tuple[str, bytes]:
    name, id_ = w.make_topic(hosted.address, partitions=2)
    assert set(hosted.where(name).values()) == set(ROOTS)
    return name, id_


def codes(hosted: Hosted, topic: tuple[str, bytes], **options: object) -> list[int]:
    """What Produce says of both partitions."""
    with Wire(hosted.address) as wire:
        answer = wire.ask(w.produce(topic, w.batch(b"v"), w.batch(b"v")))
        entries = sorted(answer.responses[0].partition_responses, key=lambda entry: entry.index)
        # As Apache Kafka answers: nothing but the code.
        refused = [(e.base_offset, e.log_start_offset, e.error_message) for e in entries if e.error_code]
        assert set(refused) <= {(-1, -1, None)}
        return [entry.error_code for entry in entries]


def fetch_codes(hosted: Hosted, topic: tuple[str, bytes]) -> dict[int, int]:
    with Wire(hosted.address) as wire:
        answer = wire.ask(w.fetch([(topic, [w.asked(0), w.asked(1)])]))
        return {partition.partition_index: partition.error_code for partition in answer.responses[0].partitions}


def directories(hosted: Hosted) -> dict[str, int]:
    """Directory -> error, as DescribeLogDirs has it."""
    with Wire(hosted.address) as wire:
        return {result.log_dir: result.error_code for result in wire.ask(m.DescribeLogDirsRequest(None)).results}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_write_that_fails_takes_its_directory_offline_and_no_other(
    hosted: Hosted, topic: tuple[str, bytes], number: int, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic[0]
    assert codes(hosted, topic) == [0, 0]
    root = hosted.where(name)[0]
    hosted.disk.fail("write", f"{root}/*", number)
    with caplog.at_level(logging.ERROR):
        assert codes(hosted, topic) == [STORAGE, 0]
    (line,) = [record.message for record in caplog.records if "log directory is offline" in record.message]
    assert f"path={root}" in line
    assert StorageError("write", "", number).errno == number
    hosted.disk.heal()
    # It stays offline: what a disk that has failed once says is not to be trusted.
    assert codes(hosted, topic) == [STORAGE, 0]
    assert fetch_codes(hosted, topic) == {0: STORAGE, 1: 0}
    assert directories(hosted) == {other: STORAGE if other == root else 0 for other in ROOTS}


def test_a_read_that_fails_takes_its_directory_offline(hosted: Hosted, topic: tuple[str, bytes]) -> None:
    codes(hosted, topic)
    root = hosted.where(topic[0])[1]
    hosted.disk.fail("read", f"{root}/*.log")
    assert STORAGE in fetch_codes(hosted, topic).values()
    assert fetch_codes(hosted, topic) == {0: 0, 1: STORAGE}
    assert codes(hosted, topic) == [0, STORAGE]


def test_a_flush_that_fails_acknowledges_nothing(hosted: Hosted) -> None:
    topic = w.make_topic(hosted.address, partitions=2, flush_messages=1)
    assert codes(hosted, topic) == [0, 0]
    root = hosted.where(topic[0])[0]
    hosted.disk.fail("sync", f"{root}/*.log")
    with Wire(hosted.address) as wire:
        answer = wire.ask(w.produce(topic, w.batch(b"v")))
    assert w.produced(answer).error_code == STORAGE
    hosted.disk.heal()
    assert codes(hosted, topic) == [STORAGE, 0]


@pytest.mark.parametrize("seed", range(12))
def test_what_was_answered_survives_a_power_cut(hosted: Hosted, seed: int) -> None:
    """Topics always, records where the topic is flushed with each; of others the last may be gone, none is torn."""
    flushed = w.make_topic(hosted.address, flush_messages=1)
    cached = w.make_topic(hosted.address)
    payload = b"x" * 3_000
    with Wire(hosted.address) as wire:
        for number in range(12):
            for topic in (cached, flushed):
                answer = w.produced(wire.ask(w.produce(topic, w.batch(b"%d" % number + payload))))
                assert (answer.error_code, answer.base_offset) == (0, number)
    hosted.cut_power(seed)
    late = w.make_topic(hosted.address, flush_messages=1)
    hosted.cut_power(seed + 1)
    with Wire(hosted.address) as wire:
        found = {}
        for topic in (flushed, cached, late):
            entry = w.fetched(wire.ask(w.fetch([(topic, [w.asked()])])))
            assert entry.error_code == 0
            found[topic[0]] = records_in(bytes(entry.records))
    assert found[flushed[0]] == [b"%d" % number + payload for number in range(12)]
    assert found[cached[0]] == found[flushed[0]][: len(found[cached[0]])]
    assert found[late[0]] == []


def records_in(content: bytes) -> list[bytes]:
    return [bytes(record.value or b"") for header in iter_headers(content) for record in iter_records(content, header)]


def test_a_log_that_was_deleted_meanwhile_is_no_failure_of_its_directory(
    hosted: Hosted, topic: tuple[str, bytes]
) -> None:
    codes(hosted, topic)
    node = hosted.node
    assert node is not None
    partition = node.partitions[(topic[0], 0)]
    with Wire(hosted.address) as wire:
        made = m.DeleteTopicsRequest
        assert wire.ask(made([made.DeleteTopicState(None, topic[1])], [], 10_000)).responses[0].error_code == 0

    async def late() -> list[ErrorCode]:
        found = []
        for access in (
            lambda: partition.append(w.batch(b"v"), 1, 1 << 41),
            lambda: partition.read(0, 100, Isolation.LOG_END, -1, True),
        ):
            try:
                access()
            except ApiError as error:
                found.append(error.code)
            except StorageError as error:
                node.directories.file_failed(error)
                found.append(STORAGE)
        return found

    assert hosted.thread.run(late, 10) == [STORAGE, STORAGE]
    assert directories(hosted) == dict.fromkeys(ROOTS, 0)


def test_a_checkpoint_that_cannot_be_written_takes_its_directory_offline(
    hosted: Hosted, topic: tuple[str, bytes]
) -> None:
    codes(hosted, topic)
    root = hosted.where(topic[0])[0]
    hosted.disk.fail("write", f"{root}/recovery-point*")
    node = hosted.node
    assert node is not None

    async def checkpointed() -> None:
        for log in node.logs:
            log.flush()
        for job in node.upkeep.checkpoint("recovery-point-offset-checkpoint"):
            await node.housekeeping.run(job)

    hosted.thread.run(checkpointed, 10)
    assert codes(hosted, topic) == [STORAGE, 0]


def test_new_topics_go_to_the_directory_that_is_left(hosted: Hosted, topic: tuple[str, bytes]) -> None:
    root = hosted.where(topic[0])[0]
    hosted.disk.fail("write", f"{root}/*")
    codes(hosted, topic)
    made = w.make_topic(hosted.address, partitions=2)
    (other,) = set(ROOTS) - {root}
    assert hosted.where(made[0]) == {0: other, 1: other}
    assert codes(hosted, made) == [0, 0]


def test_the_last_directory_takes_the_node_with_it(hosted: Hosted, topic: tuple[str, bytes]) -> None:
    hosted.disk.fail("write", "/one/*")
    hosted.disk.fail("write", "/two/*")
    assert codes(hosted, topic) == [STORAGE, STORAGE]
    assert isinstance(hosted.until_it_gives_up(), StorageError)


def test_the_directory_of_the_metadata_log_takes_the_node_with_it(hosted: Hosted, topic: tuple[str, bytes]) -> None:
    hosted.disk.fail("sync", "/meta/*")
    with Wire(hosted.address) as wire:
        made = m.CreateTopicsRequest
        wire.send(w.frame(made([made.CreatableTopic("never", 1, 1)])))
        assert isinstance(hosted.until_it_gives_up(), StorageError)


def test_a_directory_that_fails_at_the_start_is_left_out(hosted: Hosted, topic: tuple[str, bytes]) -> None:
    codes(hosted, topic)
    root = hosted.where(topic[0])[0]
    hosted.stop()
    hosted.disk.fail("read", f"{root}/meta.properties")
    hosted.start()
    assert codes(hosted, topic) == [STORAGE, 0]
    assert directories(hosted) == {other: STORAGE if other == root else 0 for other in ROOTS}
    hosted.stop()
    hosted.disk.heal()
    hosted.start()
    assert codes(hosted, topic) == [0, 0]
    assert fetch_codes(hosted, topic) == {0: 0, 1: 0}


def test_a_lost_directory_is_formatted_and_its_partitions_begin_anew(hosted: Hosted, topic: tuple[str, bytes]) -> None:
    """A replaced disk: with one replica what was on it is gone, and nothing else."""
    codes(hosted, topic)
    root = hosted.where(topic[0])[0]
    hosted.stop()
    hosted.disk.rmtree(root)
    hosted.start()
    assert hosted.disk.exists(f"{root}/meta.properties")
    with Wire(hosted.address) as wire:
        answer = wire.ask(w.produce(topic, w.batch(b"v"), w.batch(b"v")))
    offsets = [partition.base_offset for partition in answer.responses[0].partition_responses]
    assert offsets == [0, 1]


def test_a_controller_does_not_start_without_its_metadata(hosted: Hosted, topic: tuple[str, bytes]) -> None:
    """A disk that is not mounted, say: with an empty metadata log every topic would be gone, and its logs with it."""
    codes(hosted, topic)
    hosted.stop()
    hosted.disk.rename("/meta", "/elsewhere")
    with pytest.raises(StorageError, match=r"/meta: no meta\.properties"):
        hosted.start()
    node, hosted.node = hosted.node, None
    assert node is not None
    hosted.thread.run(node.stop, 20)
    hosted.disk.rename("/elsewhere", "/meta")
    hosted.start()
    assert fetch_codes(hosted, topic) == {0: 0, 1: 0}


def test_logs_of_topics_that_are_gone_are_set_aside(hosted: Hosted, topic: tuple[str, bytes]) -> None:
    codes(hosted, topic)
    root = hosted.where(topic[0])[0]
    hosted.stop()
    # As if the topic had been deleted while this broker was away.
    hosted.disk.rename(f"{root}/{topic[0]}-0", f"{root}/gone-0")
    hosted.start()
    assert [name for name in hosted.disk.listdir(root) if name.startswith("gone-0.") and name.endswith("-stray")]
    assert not hosted.disk.exists(f"{root}/gone-0")


def test_a_node_without_a_usable_directory_does_not_start(hosted: Hosted) -> None:
    hosted.stop()
    for root in ROOTS:
        hosted.disk.fail("open", f"{root}/.lock")
    with pytest.raises(StorageError, match="no log directory can be used"):
        hosted.start()
    node, hosted.node = hosted.node, None
    assert node is not None
    hosted.thread.run(node.stop, 20)
    hosted.disk.heal()
    hosted.start()


def test_the_process_ends_with_an_error_when_its_only_directory_fails(tmp_path: Path) -> None:
    """On a real file system: files of this process may grow to 200 kB, and no further."""
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "riverport", "up", "--dir", str(tmp_path / "data"), "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            stderr=log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
        )
    try:
        assert process.stdout is not None
        address = ("127.0.0.1", json.loads(process.stdout.readline())["nodes"][0]["port"])
        topic = w.make_topic(address)
        with Wire(address) as wire:
            assert w.produced(wire.ask(w.produce(topic, w.batch(b"x" * 100_000)))).error_code == 0
            answer = wire.ask(w.produce(topic, w.batch(b"x" * 150_000)))
            assert answer == w.CLOSED or w.produced(answer).error_code == STORAGE
        assert process.wait(20) == 1
        said = (tmp_path / "log").read_text()
        assert f"a log directory is offline path={tmp_path / 'data'}" in said
        assert "the node stops" in said
        assert "File too large" in said
    finally:
        process.kill()
        process.wait()
        process.stdout.close() if process.stdout is not None else None


class DeafController:
    """The controller cannot be reached with what a broker has to say of its directories."""

    def __init__(self, node: Node) -> None:
        self._channel = node.channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, body: Any) -> "asyncio.Future[Any]":
        if not isinstance(body, m.BrokerHeartbeatRequest):
            return self._channel.send(body)
        refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        refused.set_exception(Disconnected("nobody listens"))
        return refused


@pytest.mark.parametrize("is_deaf", [True, False])
def test_a_node_goes_on_with_a_failed_directory_only_if_the_controller_hears_of_it(
    hosted: Hosted, topic: tuple[str, bytes], *, is_deaf: bool
) -> None:
    codes(hosted, topic)
    hosted.stop()
    hosted.config = load(
        {**DEFAULTS, "log.dirs": ",".join(ROOTS), "metadata.log.dir": "/meta", "log.dir.failure.timeout.ms": "100"}
    )
    hosted.start()
    node = hosted.node
    assert node is not None
    if is_deaf:
        node.channel = cast(Any, DeafController(node))
    root = hosted.where(topic[0])[0]
    hosted.disk.fail("write", f"{root}/*")
    assert codes(hosted, topic) == [STORAGE, 0]
    if is_deaf:
        failed = hosted.until_it_gives_up()
        assert str(failed) == f"the controller could not be told of the failed log directories {root}"
        return

    async def rest() -> bool:
        await asyncio.sleep(0.3)
        return node.failed.done()

    assert not hosted.thread.run(rest, 20)
    assert codes(hosted, topic) == [STORAGE, 0]
