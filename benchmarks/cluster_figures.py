"""What is measured of three brokers: every partition has three replicas, every record waits for all in-sync ones."""

import time

from benchmarks import load
from benchmarks.clusters import Cluster
from benchmarks.figures import Figure, Values, latency, loaded_memory, settle, start, throughput
from benchmarks.nodes import Product
from benchmarks.results import Measure
from benchmarks.stage import Stage

KILLS = 3
BEFORE_A_KILL = 2
"""Seconds of producing before the leader is killed: connections and metadata are there by then."""
GAP_MS = 100
"""No acknowledgement for as long, and then one: that was it."""
AFTER_A_KILL = 20
"""Twice what Apache Kafka takes to notice."""
BEGINNINGS = 5
"""A machine that does something else for GAP_MS looks like a killed leader; the producer then begins again."""


def _kill_leader(stage: Stage, product: Product) -> Values:
    """Each kill takes another node: who leads next is killed next."""
    gaps = []
    with stage.fresh_node(product) as cluster:
        assert isinstance(cluster, Cluster)
        cluster.start()
        stage.client(cluster, "ready", partitions=0, in_sync=stage.replicas, seconds=120)
        stage.create(cluster, topic="led", topics=1, partitions=1)
        for _ in range(KILLS):
            leader = cluster.nodes[int(stage.client(cluster, "leader", topic="led")["leader"])]
            producer = _quiet_producer(stage, cluster)
            leader.kill()
            gaps.append(load.finish(producer, cluster.check_alive)["gap_s"])
            leader.start()
            stage.client(cluster, "ready", topic="led", partitions=1, in_sync=stage.replicas, seconds=120)
    return {"median": sorted(gaps)[len(gaps) // 2], "worst": max(gaps)}


def _quiet_producer(stage: Stage, cluster: Cluster) -> load.Client:
    """A producer that has been acknowledged without a gap for a while, and now waits for one."""
    for _ in range(BEGINNINGS):
        producer = stage.begin_client(
            cluster,
            "gap",
            {"acks": "all"},
            topic="led",
            size=100,
            gap_ms=GAP_MS,
            seconds=BEFORE_A_KILL + AFTER_A_KILL,
        )
        time.sleep(BEFORE_A_KILL)
        if producer.poll() is None:
            return producer
        load.finish(producer, cluster.check_alive)
    raise load.LoadFailed(f"there was a gap before the leader was killed, {BEGINNINGS} times")


def _made(stage: Stage, product: Product) -> Values:
    topics, each = stage.scale.topics, stage.scale.partitions
    with stage.fresh_node(product) as cluster:
        cluster.start()
        stage.client(cluster, "ready", partitions=0, in_sync=stage.replicas, seconds=120)
        created = stage.create(cluster, topic="many", topics=topics, partitions=each, seconds=280)
        return {"answered": created["answered_s"], "in_sync": created["ready_s"], "memory": cluster.memory().rss}


def _restarted(stage: Stage, product: Product) -> Values:
    topics, each = stage.scale.topics, stage.scale.partitions
    with stage.fresh_node(product) as cluster:
        assert isinstance(cluster, Cluster)
        cluster.start()
        stage.client(cluster, "ready", partitions=0, in_sync=stage.replicas, seconds=120)
        stage.create(cluster, topic="many", topics=topics, partitions=each, seconds=280)
        settle(cluster)
        before = time.monotonic()
        cluster.stop()
        stopped = time.monotonic() - before
        wanted = {"partitions": topics * each, "in_sync": stage.replicas}
        started = stage.time_start(cluster, "ready", topic="many", seconds=280, **wanted)
    return {"stop": stopped, "restart": started}


CLUSTER_FIGURES = (
    throughput("cluster-100b-12", "100 B, 12 partitions x 3", 100, 12, 2.0, consume_target=None, cpu_target=None),
    throughput("cluster-1kb-12", "1 KB, 12 partitions x 3", 1000, 12, 2.0, consume_target=None, cpu_target=None),
    Figure(
        "cluster-latency",
        "one record x 3, one in flight",
        (
            Measure("p50", "p50", "ms", False, 0.5),
            Measure("p99", "p99", "ms", False, 0.5),
            Measure("p999", "p99.9", "ms", False),
        ),
        latency,
        seconds=20,
    ),
    Figure(
        "cluster-start",
        "start of three",
        (
            Measure("start", "exec to first acked record", "s", False, 0.1),
            Measure("idle", "memory of all, idle (RSS)", "MB", False, 0.15),
        ),
        start,
        seconds=45,
        on_fresh_nodes=True,
    ),
    Figure(
        "cluster-kill",
        "kill -9 of a leader",
        (
            Measure("median", "to the next acked record", "s", False, 0.1),
            Measure("worst", f"the longest of {KILLS}", "s", False),
        ),
        _kill_leader,
        seconds=45,
        on_fresh_nodes=True,
    ),
    Figure(
        "cluster-made",
        "10,000 partitions x 3 made",
        (
            Measure("answered", "answered", "s", False),
            Measure("in_sync", "all in sync", "s", False, 1.0),
            Measure("memory", "memory of all (RSS)", "MB", False),
        ),
        _made,
        seconds=60,
        on_fresh_nodes=True,
        once=True,
    ),
    Figure(
        "cluster-restart",
        "10,000 partitions x 3 restarted",
        (
            Measure("stop", "clean stop of all", "s", False),
            Measure("restart", "start until all in sync", "s", False, 0.2),
        ),
        _restarted,
        seconds=240,
        on_fresh_nodes=True,
        once=True,
    ),
    Figure(
        "cluster-memory",
        "memory of three after the load",
        (
            Measure("loaded", "RSS", "MB", False, 0.15),
            Measure("loaded_pss", "PSS", "MB", False, 0.15),
        ),
        loaded_memory,
        seconds=0.1,
        once=True,
    ),
)
