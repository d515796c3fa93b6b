"""What is measured. A figure is one shape of load and the measures that come out of it.

The targets are ratios to Apache Kafka on the same machine in the same run.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.nodes import Product
from benchmarks.results import Measure
from benchmarks.stage import Stage, Subject

Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """`run` measures once on one product and returns a value for each measure, by its key."""

    name: str
    title: str
    measures: tuple[Measure, ...]
    run: Callable[[Stage, Product], Values]
    seconds: float  # that one run takes, about: what the progress bar counts with
    on_fresh_nodes: bool = False
    once: bool = False  # in the last round only


PRODUCER = {"linger.ms": 5, "acks": "all"}
SETTLE_S = 120
IDLE_CPU_S = 0.3
"""CPU time in a second in which a node, or three, have nothing to do any more."""
CONSUMERS = 3
FLOOD = 4
"""Times as many records where the client costs nothing."""
SINGLE = {"linger.ms": 0, "batch.num.messages": 1, "acks": "all"}


def throughput(
    name: str,
    title: str,
    size: int,
    partitions: int,
    target: float | None,
    codec: str = "none",
    *,
    consume_target: float | None = 1.0,
    cpu_target: float | None = 0.5,
) -> Figure:
    """Produce as fast as it goes, then consume it all, some times: one takes a few tenths of a second only."""
    unit, per = ("k/s", 1e3) if size < 1000 else ("MB/s", 1e6 / size)
    measures = (
        Measure("produce", "produce", unit, True, target),
        Measure("produce_cpu", "broker CPU, produce", "ms/MB", False, cpu_target),
        Measure("consume", "consume", unit, True, consume_target),
        Measure("consume_cpu", "broker CPU, consume", "ms/MB", False, cpu_target),
    )

    def run(stage: Stage, product: Product) -> Values:
        node = stage.node(product)
        records = stage.scale.small_records if size < 1000 else stage.scale.large_records
        with stage.topic(node, partitions) as topic:
            produced = stage.client(
                node, "produce", {**PRODUCER, "compression.codec": codec}, topic=topic, records=records, size=size
            )
            consumed = [stage.client(node, "consume", topic=topic, records=records) for _ in range(CONSUMERS)]
        return {
            "produce": produced.rate / per,
            "produce_cpu": produced.broker_cpu_s * 1e3 / produced.megabytes,
            "consume": CONSUMERS * records / sum(run["seconds"] for run in consumed) / per,
            "consume_cpu": sum(run.broker_cpu_s for run in consumed) * 1e3 / sum(run.megabytes for run in consumed),
        }

    return Figure(name, title, measures, run, seconds=10)


def flood(name: str, title: str, size: int, partitions: int, target: float) -> Figure:
    """Produce as above, from a client that only sends: what is measured is the broker, and not librdkafka beside it."""
    unit, per = ("k/s", 1e3) if size < 1000 else ("MB/s", 1e6 / size)
    measures = (
        Measure("produce", "produce", unit, True, target),
        Measure("produce_cpu", "broker CPU, produce", "ms/MB", False, 0.5),
    )

    def run(stage: Stage, product: Product) -> Values:
        node = stage.node(product)
        records = FLOOD * (stage.scale.small_records if size < 1000 else stage.scale.large_records)
        with stage.topic(node, partitions) as topic:
            ran = stage.client(node, "flood", topic=topic, records=records, size=size, partitions=partitions)
        return {"produce": ran.rate / per, "produce_cpu": ran.broker_cpu_s * 1e3 / ran.megabytes}

    return Figure(name, title, measures, run, seconds=8)


def _single(stage: Stage, product: Product) -> Values:
    node = stage.node(product)
    with stage.topic(node, 1) as topic:
        ran = stage.client(node, "produce", SINGLE, topic=topic, records=stage.scale.single_requests, size=100)
    return {"rate": ran.rate, "cpu": ran.broker_cpu_s * 1e6 / ran["records"]}


def latency(stage: Stage, product: Product) -> Values:
    node, count = stage.node(product), stage.scale.latency_requests
    with stage.topic(node, 1) as topic:
        ran = stage.client(node, "latency", {"acks": "all"}, topic=topic, records=count, size=100, warmup=count // 10)
    return {"p50": ran["p50_ms"], "p99": ran["p99_ms"], "p999": ran["p999_ms"]}


def start(stage: Stage, product: Product) -> Values:
    with stage.fresh_node(product) as node:
        # The topic is there: librdkafka looks for one that is being made once a second, whoever the broker is.
        node.start()
        stage.client(node, "ready", partitions=0, in_sync=stage.replicas, seconds=120)
        stage.create(node, topic="first", topics=1, partitions=1)
        node.stop()
        started = stage.time_start(node, "first", topic="first", size=100, seconds=120)
        time.sleep(stage.scale.settle_seconds)
        return {"start": started, "idle": node.memory().rss}


def loaded_memory(stage: Stage, product: Product) -> Values:
    memory = stage.node(product).memory()
    return {"loaded": memory.rss, "loaded_pss": memory.pss}


def settle(node: Subject) -> None:
    """Replicas count as in sync before brokers have made them all: what a stop finds unmade is no part of a restart."""
    for _ in range(SETTLE_S):
        before = node.cpu_seconds()
        time.sleep(1)
        if node.cpu_seconds() - before < IDLE_CPU_S:
            return


def _partitions(stage: Stage, product: Product) -> Values:
    topics, each = stage.scale.topics, stage.scale.partitions
    with stage.fresh_node(product) as node:
        node.start()
        stage.client(node, "ready", partitions=0, in_sync=stage.replicas, seconds=120)
        created = stage.create(node, topic="many", topics=topics, partitions=each, seconds=240)
        listed = stage.client(node, "list", topic="many", times=20)
        settle(node)
        memory = node.memory().rss
        before = time.monotonic()
        node.stop()
        stopped = time.monotonic() - before
        restarted = stage.time_start(node, "ready", topic="many", partitions=topics * each, seconds=240)
        node.kill()
        recovered = stage.time_start(node, "ready", topic="many", partitions=topics * each, seconds=240)
    return {
        "create": created["ready_s"],
        "list": listed["p50_ms"],
        "memory": memory,
        "stop": stopped,
        "restart": restarted,
        "recover": recovered,
    }


FIGURES = (
    throughput("100b-1", "100 B, 1 partition", 100, 1, 1.5),
    throughput("100b-12", "100 B, 12 partitions", 100, 12, 1.5),
    throughput("1kb-1", "1 KB, 1 partition", 1000, 1, 2.0),
    throughput("1kb-12", "1 KB, 12 partitions", 1000, 12, 2.0),
    throughput("gzip", "1 KB in gzip", 1000, 1, None, "gzip"),
    throughput("lz4", "1 KB in lz4", 1000, 1, None, "lz4"),
    throughput("zstd", "1 KB in zstd", 1000, 1, None, "zstd"),
    flood("flood-100b", "100 B, batches made before", 100, 12, 1.5),
    flood("flood-1kb", "1 KB, batches made before", 1000, 12, 2.0),
    Figure(
        "single",
        "one record a request",
        (
            Measure("rate", "pipelined", "1/s", True, 4.0),
            Measure("cpu", "broker CPU", "µs each", False, 0.5),
        ),
        _single,
        seconds=9,
    ),
    Figure(
        "latency",
        "one record, one in flight",
        (
            Measure("p50", "p50", "ms", False, 0.9),
            Measure("p99", "p99", "ms", False, 0.7),
            Measure("p999", "p99.9", "ms", False, 0.5),
        ),
        latency,
        seconds=8,
    ),
    Figure(
        "start",
        "start",
        (
            Measure("start", "exec to first acked record", "s", False, 0.1),
            Measure("idle", "memory, idle (RSS)", "MB", False, 0.12),
        ),
        start,
        seconds=16,
        on_fresh_nodes=True,
    ),
    Figure(
        "partitions",
        "2,000 partitions",
        (
            Measure("create", "created, all with leaders", "s", False),
            Measure("list", "metadata of all", "ms", False),
            Measure("memory", "memory (RSS)", "MB", False),
            Measure("stop", "clean stop", "s", False),
            Measure("restart", "restart, all with leaders", "s", False),
            Measure("recover", "restart after kill -9", "s", False),
        ),
        _partitions,
        seconds=25,
        on_fresh_nodes=True,
    ),
    Figure(
        "memory",
        "memory after the load",
        (
            Measure("loaded", "RSS", "MB", False, 0.15),
            Measure("loaded_pss", "PSS", "MB", False, 0.15),
        ),
        loaded_memory,
        seconds=0.1,
        once=True,
    ),
)


def chosen(names: list[str], among: Sequence[Figure]) -> list[Figure]:
    """Figures by name, in their own order; all of them for no names. Raises ValueError."""
    unknown = sorted(set(names) - {figure.name for figure in among})
    if unknown:
        raise ValueError(f"no figure is called {', '.join(unknown)}; there are {', '.join(f.name for f in among)}")
    return [figure for figure in among if not names or figure.name in names]
