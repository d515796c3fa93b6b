"""Compacted logs before Apache Kafka: it finds in them what we find, and cleans them as we do.

The logs are written here, without a broker, so that both are given the same: transactions, tombstones, producers with
sequences, every codec; and logs whose cleaning was interrupted by the end of the process at one operation or another.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.interchange.nodes import Node, Software
from tests.kafka.log.clean_kit import COMPACT, HOUR_MS, clean, put, put_all, roll
from tests.kafka.log.kit import TOPIC_ID

from riverport.base.files import Buffer, File, OsFiles
from riverport.kafka.log import Log, Origin
from riverport.kafka.log.directory import CLEAN_SHUTDOWN, CLEANED
from riverport.kafka.log.manager import LogManager
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.builder import NewRecord
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.control import end_txn_marker
from riverport.kafka.records.record import iter_records

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

WAIT = 60
BEGUN_MS = int(time.time() * 1000)
NEVER_DUE = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1.0"}
ALWAYS_DUE = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.0"}


class Killed(BaseException):
    """The process ends here."""


class KillingFiles(OsFiles):
    """The machine's files, until the `kill_at`-th change from now."""

    def __init__(self) -> None:
        self.done = 0
        self.kill_at = -1

    def _changes(self) -> None:
        self.done += 1
        if 0 < self.kill_at <= self.done:
            raise Killed

    def open(self, path: str, *, create: bool = False) -> File:
        if create:
            self._changes()
        return super().open(path, create=create)

    def write(self, path: str, content: Buffer, *, sync: bool = True) -> None:
        self._changes()
        super().write(path, content, sync=sync)

    def rename(self, old: str, new: str) -> None:
        self._changes()
        super().rename(old, new)

    def remove(self, path: str) -> None:
        self._changes()
        super().remove(path)


def a_log(files: OsFiles, root: Path, topic: str) -> tuple[LogManager, Log]:
    numbers = iter(range(1, 100))
    manager = LogManager(files, [str(root)], lambda: next(numbers).to_bytes(16, "big"))
    manager.lock({str(root): bytes(15) + b"\1"})
    manager.load(lambda topic: COMPACT, BEGUN_MS)
    return manager, manager.get_or_create(topic, 0, TOPIC_ID, COMPACT, BEGUN_MS)


def end_transaction(log: Log, producer_id: int, commit: bool) -> None:
    marker = end_txn_marker(commit, coordinator_epoch=0, producer_id=producer_id, producer_epoch=0, timestamp=BEGUN_MS)
    log.append_as_leader(marker, 0, BEGUN_MS, origin=Origin.COORDINATOR)
    log.update_high_watermark(log.log_end_offset)


def write_story(log: Log, *, records: int = 60) -> None:
    """Records of all kinds, most of which a cleaning replaces; the last ones lie in the active segment."""
    codecs = list(Codec)
    for n in range(records):
        value = None if n % 11 == 3 else f"{n}" * 5
        batch = [NewRecord(b"k%d" % (n % 7), value and value.encode(), (("h", b"%d" % n),), BEGUN_MS + n)]
        batch.append(NewRecord(b"%d" % (n % 13), b"second", (), BEGUN_MS + n))
        put_all(log, batch, now_ms=BEGUN_MS, codec=codecs[n % len(codecs)])
        if n % 4 == 0:
            put(log, f"t{n % 8}", f"{n}", now_ms=BEGUN_MS, producer=(20 + n % 3, 0, 2 * (n // 12)), transactional=True)
            put(
                log, f"k{n % 7}", "in", now_ms=BEGUN_MS, producer=(20 + n % 3, 0, 2 * (n // 12) + 1), transactional=True
            )
        if n % 4 == 2:
            end_transaction(log, 20 + (n - 2) % 3, commit=n % 8 == 2)
        if n % 5 == 0:
            put(log, f"i{n % 3}", f"{n}", now_ms=BEGUN_MS, producer=(40, 0, n // 5))
    roll(log, BEGUN_MS)
    put(log, "k1", "in the active segment", now_ms=BEGUN_MS)


@dataclass
class Pair:
    """The same data directory twice."""

    apache: Node
    riverport: Node

    def start(self) -> None:
        for software in ("apache", "riverport"):
            self.of(software).start(software)

    def of(self, software: Software) -> Node:
        return self.apache if software == "apache" else self.riverport

    def stop(self) -> None:
        self.apache.stop()
        self.riverport.stop()


@pytest.fixture
def make_pair(tmp_path: Path, jars: Callable[[str], str]) -> Iterator[Callable[..., Pair]]:
    nodes: list[Node] = []

    def make(logs: dict[str, Path], config: dict[str, str]) -> Pair:
        """Brokers that have these logs, as a killed process left them."""
        roots = [tmp_path / "apache", tmp_path / "riverport"]
        for root in roots:
            root.mkdir()
        apache, riverport = (Node(root, jars("broker")) for root in roots)
        nodes.extend((apache, riverport))
        riverport.format("riverport")
        riverport.start("riverport")
        admin = AdminClient({"bootstrap.servers": riverport.bootstrap})
        topics = [NewTopic(topic, 1, 1, config=config) for topic in logs]
        for done in admin.create_topics(topics, operation_timeout=WAIT).values():
            done.result(WAIT)
        riverport.stop()
        for topic, log in logs.items():
            home = riverport.data / f"{topic}-0"
            metadata = (home / "partition.metadata").read_bytes()
            shutil.rmtree(home)
            shutil.copytree(log, home)
            (home / "partition.metadata").write_bytes(metadata)
        (riverport.data / CLEAN_SHUTDOWN).unlink()
        shutil.copytree(riverport.data, apache.data)
        return Pair(apache, riverport)

    yield make
    for node in nodes:
        node.kill()


def read_all(node: Node, topics: Iterable[str], isolation: str) -> dict[str, list[tuple[object, ...]]]:
    """By topic, (offset, key, value, timestamp, headers) of what a consumer is given."""
    consumer = Consumer(
        {
            "bootstrap.servers": node.bootstrap,
            "group.id": "reader",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": isolation,
        }
    )
    found: dict[str, list[tuple[object, ...]]] = {topic: [] for topic in topics}
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in found])
    unfinished = set(found)
    while unfinished:
        message: Message | None = consumer.poll(WAIT)
        assert message is not None, f"no end of {unfinished}"
        topic = message.topic()
        if message.error() is not None:
            assert message.error().name() == "_PARTITION_EOF", message.error()
            unfinished.discard(topic)
        else:
            row = (message.offset(), message.key(), message.value(), message.timestamp(), message.headers())
            found[topic].append(row)
    consumer.close()
    return found


def test_an_interrupted_cleaning_ends_the_same_with_both(
    tmp_path: Path,
    make_pair: Callable[..., Pair],
) -> None:
    logs: dict[str, Path] = {}
    left_half_done = set()
    at = 1
    while True:
        files, root = KillingFiles(), tmp_path / f"written-{at}"
        manager, log = a_log(files, root, f"killed-at-{at}")
        write_story(log, records=25)
        log.flush()
        files.done, files.kill_at = 0, at
        try:
            clean(manager, BEGUN_MS)
        except Killed:
            logs[f"killed-at-{at}"] = Path(log.dir)
            left_half_done |= {path.suffix for path in Path(log.dir).iterdir()}
            at += 3
            continue
        break
    assert len(logs) > 10
    assert {".cleaned", ".swap", ".deleted"} <= left_half_done
    pair = make_pair(logs, NEVER_DUE)
    pair.start()
    for isolation in ("read_committed", "read_uncommitted"):
        assert read_all(pair.riverport, logs, isolation) == read_all(pair.apache, logs, isolation)
    pair.stop()
    for topic in logs:
        assert filled_files(pair.riverport, topic) == filled_files(pair.apache, topic)


def batches(node: Node, topic: str) -> list[tuple[object, ...]]:
    """Every batch of the topic's logs, but what of it follows from the time of the cleaning."""
    found: list[tuple[object, ...]] = []
    for path in sorted((node.data / f"{topic}-0").glob("*.log")):
        raw = path.read_bytes()
        for header in iter_headers(raw):
            rows = [
                (r.offset, r.timestamp, r.key, r.value, [(name, value) for name, value in r.headers])
                for r in iter_records(raw, header)
            ]
            found.append(
                (
                    path.name,
                    header.base_offset,
                    header.last_offset,
                    header.leader_epoch,
                    header.attributes,
                    header.max_timestamp,
                    (header.producer_id, header.producer_epoch, header.base_sequence),
                    header.count,
                    None if header.has_delete_horizon else header.base_timestamp,
                    rows,
                )
            )
    return found


def filled_files(node: Node, topic: str) -> list[str]:
    """Logs and indexes of aborted transactions that have something in them."""
    home = node.data / f"{topic}-0"
    return sorted(path.name for kind in ("log", "txnindex") for path in home.glob(f"*.{kind}") if path.stat().st_size)


def cleaned_to(node: Node) -> dict[str, int]:
    path = node.data / CLEANED
    lines = path.read_text().splitlines()[2:] if path.exists() else []
    return {line.split()[0]: int(line.split()[2]) for line in lines}


def wait_until_clean(pair: Pair, end: int) -> None:
    deadline = time.monotonic() + WAIT
    while any(cleaned_to(node).get("story") != end for node in (pair.apache, pair.riverport)):
        assert time.monotonic() < deadline, (end, cleaned_to(pair.apache), cleaned_to(pair.riverport))
        time.sleep(0.1)


def check_is_the_same(pair: Pair) -> None:
    assert batches(pair.riverport, "story") == batches(pair.apache, "story")
    assert filled_files(pair.riverport, "story") == filled_files(pair.apache, "story")


def check_readers(pair: Pair) -> None:
    for isolation in ("read_committed", "read_uncommitted"):
        assert read_all(pair.riverport, ["story"], isolation) == read_all(pair.apache, ["story"], isolation)


def test_both_clean_a_log_to_the_same(tmp_path: Path, make_pair: Callable[..., Pair]) -> None:
    _, log = a_log(OsFiles(), tmp_path / "written", "story")
    write_story(log)
    log.flush()
    pair = make_pair({"story": Path(log.dir)}, {**ALWAYS_DUE, "delete.retention.ms": str(HOUR_MS)})
    before = batches(pair.apache, "story")
    pair.start()
    wait_until_clean(pair, log.active.base_offset)
    check_readers(pair)
    pair.stop()
    check_is_the_same(pair)
    assert 10 < len(batches(pair.riverport, "story")) < len(before)
    home = pair.riverport.data / "story-0"
    assert "isvalid: false" not in pair.riverport.dump(sorted(home.glob("*.log")), "--deep-iteration")
    indexes = sorted([*home.glob("*.index"), *home.glob("*.timeindex")])
    assert "mismatch" not in pair.riverport.dump(indexes, "--verify-index-only").lower()
    assert "lastStableOffset" in pair.riverport.dump(sorted(home.glob("*.txnindex")))


def test_both_drop_the_same_once_the_horizon_is_over(tmp_path: Path, make_pair: Callable[..., Pair]) -> None:
    """Tombstones, markers and the index entries of what was aborted, in one cleaning after the other."""
    _, log = a_log(OsFiles(), tmp_path / "written", "story")
    write_story(log)
    log.flush()
    pair = make_pair({"story": Path(log.dir)}, {**ALWAYS_DUE, "delete.retention.ms": "0", "segment.ms": "1"})
    pair.start()
    wait_until_clean(pair, log.active.base_offset)
    for n in range(4):
        # Each record closes the segment before it.
        for node in (pair.apache, pair.riverport):
            producer = Producer({"bootstrap.servers": node.bootstrap})
            producer.produce("story", b"%d" % n, b"k%d" % n, timestamp=BEGUN_MS + 1000 * (n + 1))
            assert producer.flush(WAIT) == 0
        wait_until_clean(pair, log.log_end_offset + n)
    check_readers(pair)
    pair.stop()
    check_is_the_same(pair)
    ours = batches(pair.riverport, "story")
    assert not [row for batch in ours for row in batch[-1] if row[3] is None]  # type: ignore[attr-defined]
