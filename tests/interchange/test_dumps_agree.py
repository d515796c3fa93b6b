"""`riverport log dump` says of the same files what Apache Kafka's own tool says."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.kit import Cli
from tests.cli.log_files import write_partition
from tests.interchange.nodes import Node

from riverport.testing import Broker

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

OF_A_BATCH = {
    "baseOffset": "base_offset",
    "lastOffset": "last_offset",
    "count": "count",
    "partitionLeaderEpoch": "leader_epoch",
    "position": "position",
    "CreateTime": "max_timestamp",
    "size": "size",
    "magic": "magic",
    "compresscodec": "compression",
    "crc": "crc",
    "producerId": "producer_id",
    "producerEpoch": "producer_epoch",
    "baseSequence": "base_sequence",
}
OF_A_RECORD = {"offset": "offset", "CreateTime": "timestamp", "key": "key", "payload": "value"}
OF_A_MARKER = {"offset": "offset", "endTxnMarker": "type", "coordinatorEpoch": "coordinator_epoch"}
OF_AN_ABORT = {
    "version": "version",
    "producerId": "producer_id",
    "firstOffset": "first_offset",
    "lastOffset": "last_offset",
    "lastStableOffset": "last_stable_offset",
}
OF_A_PRODUCER = {
    "producerId": "producer_id",
    "producerEpoch": "producer_epoch",
    "coordinatorEpoch": "coordinator_epoch",
    "currentTxnFirstOffset": "open_transaction_offset",
    "lastTimestamp": "last_timestamp",
    "firstSequence": "first_sequence",
    "lastSequence": "last_sequence",
    "lastOffset": "last_offset",
}
"""Kafka's word -> ours."""


@pytest.fixture
def node(tmp_path: Path, jars: Callable[[str], str]) -> Node:
    return Node(tmp_path, jars("broker"))


def ours(path: Path) -> list[dict[str, Any]]:
    words = [sys.executable, "-m", "riverport", "log", "dump", "--json", "--records", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def theirs(node: Node, files: list[Path], *words: str) -> dict[str, list[dict[str, str]]]:
    """By file, the `name: value` pairs of each line."""
    found: dict[str, list[dict[str, str]]] = {}
    for line in node.dump(files, *words).splitlines():
        if line.startswith("Dumping "):
            lines = found[Path(line.removeprefix("Dumping ")).name] = []
        elif pairs := dict(re.findall(r"(\w+): ?(.*?)(?= \w+: ?|$)", line)):
            lines.append(pairs)
    return found


def rows(items: list[dict[str, Any]], kind: str, names: dict[str, str]) -> list[dict[str, str]]:
    """What we say, in Kafka's words; what it leaves out is left out."""
    found = []
    for item in (item for item in items if item["kind"] == kind):
        row = {their: item.get(our) for their, our in names.items()}
        found.append({name: str(value) for name, value in row.items() if value is not None})
    return found


def told(lines: list[dict[str, str]], mark: str, names: dict[str, str]) -> list[dict[str, str]]:
    """Of the lines that have `mark`: the words of `names`; -1 and `empty` are ways of leaving a word out."""
    found = []
    for line in lines:
        if mark in line:
            row = {
                name: re.sub(r"OptionalLong\[(\d+)\]", r"\1", value) for name, value in line.items() if name in names
            }
            found.append({name: value for name, value in row.items() if value != "OptionalLong.empty"})
    return found


def without_producers(batches: list[dict[str, str]]) -> list[dict[str, str]]:
    """Batches without a producer: Kafka prints -1 three times."""
    return [
        {name: value for name, value in batch.items() if batch.get("producerId") != "-1" or value != "-1"}
        for batch in batches
    ]


def test_segments_indexes_and_snapshots(node: Node) -> None:
    partition = write_partition(node.root / "orders-0")
    files = sorted(file for file in partition.iterdir() if file.name.startswith("0"))
    dumped = theirs(node, files, "--print-data-log", "--deep-iteration")
    assert set(dumped) == {file.name for file in files}
    seen = 0
    for file in files:
        found, lines = ours(file), dumped[file.name]
        match file.suffix:
            case ".log":
                assert rows(found, "batch", OF_A_BATCH) == without_producers(told(lines, "baseOffset", OF_A_BATCH))
                assert rows(found, "record", OF_A_RECORD) == told(lines, "payload", OF_A_RECORD)
                assert rows(found, "control", OF_A_MARKER) == told(lines, "endTxnMarker", OF_A_MARKER)
            case ".index":
                names = {"offset": "offset", "position": "position"}
                assert rows(found, "entry", names) == told(lines, "position", names)
            case ".timeindex":
                names = {"timestamp": "timestamp", "offset": "offset"}
                assert rows(found, "entry", names) == told(lines, "timestamp", names)
            case ".txnindex":
                assert rows(found, "aborted", OF_AN_ABORT) == told(lines, "firstOffset", OF_AN_ABORT)
            case ".snapshot":
                assert rows(found, "producer", OF_A_PRODUCER) == told(lines, "producerId", OF_A_PRODUCER)
        seen += len(found)
    assert seen > 60


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def same_data(data: Any, our: Any) -> bool:
    """Whether ours says what Kafka's JSON says, in names of our own; fields at their defaults Kafka leaves out."""
    if isinstance(data, dict):
        return all(same_data(value, our[snake(name)]) for name, value in data.items())
    if isinstance(data, list):
        return len(data) == len(our) and all(same_data(value, ours) for value, ours in zip(data, our))
    return bool(data == our)


def test_the_metadata_log_and_the_offsets_of_groups(node: Node) -> None:
    with Broker(dir=str(node.data), config={"offsets.topic.num.partitions": 1}) as broker:
        cli = Cli(broker.bootstrap)
        broker.create_topic("orders", partitions=2, config={"retention.ms": 5})
        cli.ok("groups", "reset-offsets", "billing", "--topic", "orders", "--to-earliest", "--execute")
    for directory, decoder in (("__cluster_metadata-0", "cluster-metadata"), ("__consumer_offsets-0", "offsets")):
        (segment,) = (node.data / directory).glob("*.log")
        lines = node.dump([segment], f"--{decoder}-decoder").splitlines()
        payloads = [line for line in lines if "payload: {" in line]
        records = [item for item in ours(segment) if item["kind"] == "record"]
        assert len(payloads) == len(records) > 1
        for line, record in zip(payloads, records):
            payload = json.loads(line.partition("payload: ")[2])
            assert int(payload["version"]) == record.get("version", int(payload["version"]))
            assert same_data(payload["data"], record["data"]), (payload, record)
            if decoder == "offsets":
                key = json.loads(line.partition("key: ")[2].partition(" payload: ")[0])
                assert same_data(key["data"], record["key"]), (key, record)
            else:
                assert payload["type"] == snake(record["type"]).upper()
