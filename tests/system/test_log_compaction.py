"""Compaction keeps the last value of every key, on every replica (after kafkatest's log_compaction_test)."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.system.cluster import Cluster
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "compacted"
KEYS, RECORDS = 50, 50_000
COMPACTED_BYTES = 100_000


def test_the_last_value_of_every_key_stays_on_every_replica(
    make_cluster: Callable[..., Cluster], make_clients: Callable[..., Clients]
) -> None:
    cluster = make_cluster(brokers=3, controllers=1, config={"log.cleaner.backoff.ms": 200}).start()
    compact = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": 0.01, "segment.ms": 1000}
    cluster.create_topic(TOPIC, assignment=[[1, 2, 3]], config=compact)
    clients = make_clients(cluster)
    producer = clients.producer(TOPIC, throughput=-1, keys=KEYS, max_messages=RECORDS)
    producer.wait_until(lambda: len(producer.acked) == RECORDS, "every record")
    producer.stop()
    # New records begin new segments, so that everything before may be cleaned. Key 0 is all that they change.
    trickle = clients.producer(TOPIC, throughput=2, keys=1)
    folders = [next(cluster.nodes[id_].dir.glob(f"data*/{TOPIC}-0")) for id_ in (1, 2, 3)]
    cluster.wait_until(lambda: all(_size(folder) < COMPACTED_BYTES for folder in folders), "three replicas to compact")
    trickle.stop()
    cluster.stop()
    last: dict[str, tuple[int, str]] = {}
    for value in sorted(producer.acked, key=int):
        last[str(int(value) % KEYS)] = (producer.acked[value].offset, value)
    del last["0"]
    for folder in folders:
        left = _records(folder)
        assert {key: max(found) for key, found in left.items() if key != "0"} == last, f"{folder}"
        assert sum(map(len, left.values())) < RECORDS / 2


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.log"))


def _records(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Offsets and values by key, of what has a key."""
    words = [sys.executable, "-m", "riverport", "log", "dump", "--json", "--records"]
    found: dict[str, list[tuple[int, str]]] = {}
    for file in sorted(folder.glob("*.log")):
        done = subprocess.run([*words, str(file)], capture_output=True, text=True, check=True)
        for item in map(json.loads, done.stdout.splitlines()):
            if item["kind"] == "record" and item["key"] is not None:
                found.setdefault(item["key"], []).append((item["offset"], item["value"]))
    return found
