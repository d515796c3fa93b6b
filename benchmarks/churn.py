"""Whether a broker's memory stays flat: rounds of producing, consuming, latency and deleting, each with new clients.

Every round opens new connections, makes a topic, fills it, reads it, and deletes it. What a broker forgets to let go of
shows as memory that grows with the rounds. The first third of the time is for caches and the allocator to take their
size.
"""

import time

from benchmarks.figures import PRODUCER, SINGLE
from benchmarks.nodes import Node
from benchmarks.stage import Stage

RECORDS = 100_000
REQUESTS = 3_000
GROWTH_ALLOWED_MB = 4.0
"""Between the mean of the second third of the run and that of the last: an allocator's noise is about one."""


def run(stage: Stage, seconds: float) -> int:
    """Print a line per reading; 1 where memory grew, 0 where it did not."""
    node = stage.node(stage.products[0])
    assert isinstance(node, Node)
    started = last_line = time.monotonic()
    readings: list[tuple[float, float]] = []
    rounds = 0
    print(f"{'seconds':>8} {'rounds':>7} {'RSS MB':>8} {'files':>6}")
    while (elapsed := time.monotonic() - started) < seconds:
        _round(stage, node)
        rounds += 1
        readings.append((elapsed, node.memory().rss))
        if time.monotonic() - last_line >= seconds / 20:
            last_line = time.monotonic()
            print(f"{elapsed:8.0f} {rounds:7} {readings[-1][1]:8.1f} {node.open_files():6}", flush=True)
    growth = growth_of(readings, seconds)
    print(f"{rounds} rounds; from the second third to the last the mean grew by {growth:+.1f} MB")
    return 1 if growth > GROWTH_ALLOWED_MB else 0


def growth_of(readings: list[tuple[float, float]], seconds: float) -> float:
    """Mean of the readings of the last third of the time less that of the second."""
    second = [value for at, value in readings if seconds / 3 <= at < seconds * 2 / 3]
    last = [value for at, value in readings if at >= seconds * 2 / 3]
    return sum(last) / len(last) - sum(second) / len(second) if second and last else 0.0


def _round(stage: Stage, node: Node) -> None:
    with stage.topic(node, 6) as topic:
        stage.client(node, "produce", {**PRODUCER, "compression.codec": "lz4"}, topic=topic, records=RECORDS, size=200)
        stage.client(node, "produce", SINGLE, topic=topic, records=REQUESTS, size=100)
        stage.client(node, "consume", topic=topic, records=RECORDS + REQUESTS)
        stage.client(node, "latency", topic=topic, records=200, size=100)
