"""Apache Kafka's own tools against three nodes, each a broker and a voter."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_tools import TOOLS, Tools
from tests.system.cluster import Cluster
from tests.system.processes import JAVA, Software
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

SHELL_TRIES = 8


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, jars: Callable[[str], str], software: Software
) -> Iterator[Cluster]:
    options: dict[str, Any] = {"brokers": 3, "controllers": 3, "combined": True, "dirs": 2, "software": software}
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), jars("broker"), **options)
    try:
        yield cluster.start()
    finally:
        for node in cluster.nodes.values():
            node.process.kill()


@pytest.fixture
def tools(cluster: Cluster, kafka_tools: Tools) -> Tools:
    kafka_tools.bootstrap = cluster.bootstrap
    return kafka_tools


def fill(tools: Tools, topic: str, records: int = 100, size: int = 100) -> None:
    words = ["--num-records", f"{records}", "--record-size", f"{size}", "--throughput", "-1"]
    tools("kafka-producer-perf-test", "--topic", topic, *words)


def test_metadata_quorum(cluster: Cluster, tools: Tools) -> None:
    leader = cluster.quorum().leader
    by_broker = tools("kafka-metadata-quorum", "describe", "--status").out
    assert re.search(rf"LeaderId: +{leader}\n", by_broker)
    assert re.search(r"MaxFollowerLag: +\d+\n", by_broker)
    (voters,) = re.findall(r"CurrentVoters: +(\[.*\])", by_broker)
    assert {voter["id"] for voter in json.loads(voters)} == {1, 2, 3}
    words = ["--bootstrap-controller", cluster.controllers_bootstrap, "describe", "--replication"]
    by_controller = tools.run("kafka-metadata-quorum", *words)
    assert by_controller.status == 0, by_controller.err
    rows = [line.split() for line in by_controller.lines[1:]]
    assert sorted((int(row[0]), row[-1]) for row in rows) == [
        (id_, "Leader" if id_ == leader else "Follower") for id_ in (1, 2, 3)
    ]


def test_topics_say_where_replicas_are(cluster: Cluster, tools: Tools) -> None:
    tools("kafka-topics", "--create", "--topic", "placed", "--replica-assignment", "1:2:3,2:3:1,3:1:2")
    described = tools("kafka-topics", "--describe", "--topic", "placed").out
    found = re.findall(r"Partition: (\d)\s+Leader: (\d)\s+Replicas: (\S+)\s+Isr: (\S+)", described)
    assert [(p, leader, replicas) for p, leader, replicas, _ in found] == [
        ("0", "1", "1,2,3"), ("1", "2", "2,3,1"), ("2", "3", "3,1,2")
    ]  # fmt: skip
    cluster.wait_in_sync("placed")
    cluster.stop(3)
    cluster.wait_until(lambda: 3 not in cluster.topic("placed")[2].isr, "broker 3 to leave")
    behind = tools("kafka-topics", "--describe", "--under-replicated-partitions", "--topic", "placed").lines
    assert len(behind) == 3
    assert tools("kafka-topics", "--describe", "--unavailable-partitions", "--topic", "placed").lines == []
    cluster.start(3)
    cluster.wait_in_sync("placed")
    assert tools("kafka-topics", "--describe", "--under-replicated-partitions", "--topic", "placed").lines == []


def test_leader_election(cluster: Cluster, tools: Tools) -> None:
    cluster.create_topic("elected", assignment=[[1, 2, 3], [2, 3, 1]])
    cluster.restart(1)
    cluster.wait_in_sync("elected")
    assert cluster.leader("elected") != 1
    words = ["--election-type", "preferred", "--topic", "elected"]
    said = tools("kafka-leader-election", *words, "--partition", "0")
    assert "Successfully completed leader election (PREFERRED) for partitions elected-0" in said.out
    assert cluster.leader("elected") == 1
    again = tools("kafka-leader-election", *words, "--partition", "1")
    assert "Valid replica already elected for partitions elected-1" in again.out


def test_unclean_leader_election(cluster: Cluster, tools: Tools) -> None:
    cluster.create_topic("unclean", assignment=[[3, 2]])
    cluster.stop(2)
    cluster.wait_until(lambda: cluster.topic("unclean", asked=1)[0].isr == (3,), "broker 2 to leave")
    cluster.wait_until(lambda: cluster.quorum().leader > 0, "a leader of the quorum")
    epoch = cluster.topic("unclean", asked=1)[0].leader_epoch
    cluster.kill(3)
    cluster.start(2)

    def is_leaderless() -> bool:
        """By the metadata: a broker that has just lost its connection to the leader does not name it either."""
        found = cluster.topic("unclean", asked=1)[0]
        return found.leader == -1 and found.leader_epoch > epoch

    cluster.wait_until(is_leaderless, "no leader")
    words = ["--topic", "unclean", "--partition", "0", "--election-type"]
    refused = tools("kafka-leader-election", *words, "preferred", status=1)
    assert "unclean-0" in refused.out + refused.err
    said = tools("kafka-leader-election", *words, "unclean")
    assert "Successfully completed leader election (UNCLEAN) for partitions unclean-0" in said.out
    assert cluster.leader("unclean") == 2
    cluster.start(3)
    cluster.wait_in_sync("unclean")


def test_reassignment_with_a_throttle(cluster: Cluster, tools: Tools, tmp_path: Path) -> None:
    cluster.create_topic("moved", assignment=[[1, 2], [2, 3]])
    fill(tools, "moved", records=8000, size=1000)  # more than the first fetch takes, whatever the throttle
    file = tmp_path / "topics.json"
    file.write_text(json.dumps({"version": 1, "topics": [{"topic": "moved"}]}))
    words = ["--topics-to-move-json-file", str(file), "--broker-list", "1,2,3", "--generate"]
    proposed = tools("kafka-reassign-partitions", *words).out
    assert json.loads(proposed.split("Proposed partition reassignment configuration")[1])["partitions"]

    wanted = tmp_path / "plan.json"
    moves = [{"topic": "moved", "partition": 0, "replicas": [3, 1]}]
    wanted.write_text(json.dumps({"version": 1, "partitions": moves}))
    plan = ["--reassignment-json-file", str(wanted)]
    slow = tools("kafka-reassign-partitions", "--execute", *plan, "--throttle", "1000").out
    assert "Successfully started partition reassignment for moved-0" in slow
    assert "moved-0: replicas: 3,1,2. adding: 3. removing: 2." in tools("kafka-reassign-partitions", "--list").out
    described = tools("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", "moved").out
    assert "leader.replication.throttled.replicas=0:1,0:2" in described
    assert "follower.replication.throttled.replicas=0:3" in described
    cancelled = tools("kafka-reassign-partitions", "--cancel", *plan).out
    assert "Successfully cancelled partition reassignment for: moved-0" in cancelled
    assert cluster.topic("moved")[0].replicas == (1, 2)

    tools("kafka-reassign-partitions", "--execute", *plan, "--throttle", "100000000")

    def complete() -> bool:
        return "moved-0 is completed" in tools("kafka-reassign-partitions", "--verify", *plan).out

    cluster.wait_until(complete, "the reassignment to be complete")
    assert cluster.topic("moved")[0].replicas == (3, 1)
    described = tools("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", "moved").out
    assert "throttled" not in described


def test_log_dirs_and_a_move_between_them(cluster: Cluster, tools: Tools, tmp_path: Path) -> None:
    cluster.create_topic("directories", assignment=[[1, 2, 3]])
    fill(tools, "directories")

    def directories() -> dict[int, str]:
        (line,) = (x for x in tools("kafka-log-dirs", "--describe", "--topic-list", "directories").lines if x[0] == "{")
        found = {}
        for broker in json.loads(line)["brokers"]:
            assert len(broker["logDirs"]) == 2
            for folder in broker["logDirs"]:
                assert folder["error"] is None
                if any(not partition["isFuture"] for partition in folder["partitions"]):
                    found[broker["broker"]] = folder["logDir"]
        return found

    before = directories()
    assert set(before) == {1, 2, 3}
    (target,) = (str(d) for d in cluster.nodes[2].dir.glob("data*") if str(d) != before[2])
    move = {"topic": "directories", "partition": 0, "replicas": [1, 2, 3], "log_dirs": ["any", target, "any"]}
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"version": 1, "partitions": [move]}))
    plan = ["--reassignment-json-file", str(file)]
    slow = tools("kafka-reassign-partitions", "--execute", *plan, "--replica-alter-log-dirs-throttle", "1000000").out
    assert "The replica-alter-dir throttle limit was set to 1000000 B/s" in slow
    cluster.wait_until(lambda: directories() == {**before, 2: target}, "the replica to be in the other directory")
    verified = tools("kafka-reassign-partitions", "--verify", *plan).out
    assert "Reassignment of replica directories-0-2 completed successfully." in verified
    assert "Clearing broker-level throttles" in verified


def test_features(cluster: Cluster, tools: Tools) -> None:
    described = tools("kafka-features", "describe").out
    assert re.search(r"Feature: metadata.version\s.*FinalizedVersionLevel: \d", described)
    by_controller = tools.run("kafka-features", "--bootstrap-controller", cluster.controllers_bootstrap, "describe")
    assert by_controller.status == 0, by_controller.err
    assert re.search(r"Feature: kraft.version\s.*FinalizedVersionLevel: 0", by_controller.out)
    lowered = tools("kafka-features", "downgrade", "--feature", "eligible.leader.replicas.version=0")
    assert "eligible.leader.replicas.version was downgraded to 0" in lowered.out
    raised = tools("kafka-features", "upgrade", "--feature", "eligible.leader.replicas.version=1")
    assert "eligible.leader.replicas.version was upgraded to 1" in raised.out


def test_replica_verification(cluster: Cluster, tools: Tools, make_clients: Callable[..., Clients]) -> None:
    cluster.create_topic("verified", assignment=[[1, 2, 3]])
    fill(tools, "verified", records=1000)
    command = [*JAVA, "-cp", cluster.nodes[1].process.jars, TOOLS["kafka-replica-verification"]]
    words = ["--broker-list", cluster.bootstrap, "--topics-include", "verified", "--report-interval-ms", "1000"]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        reports = (line for line in process.stdout if "max lag is" in line)
        assert "max lag is 0 for partition verified-0 at offset 1000 among 1 partitions" in next(reports)
    finally:
        process.kill()
        process.wait()


def test_every_voter_has_the_same_metadata(cluster: Cluster, tools: Tools) -> None:
    cluster.create_topic("metadata", partitions=5, replication_factor=3)

    def dumped(id_: int) -> dict[int, tuple[str, str]]:
        """Epoch and payload of each record, by offset."""
        files = sorted(cluster.nodes[id_].metadata_dir.glob("*.log"))
        words = ["--cluster-metadata-decoder", "--files", ",".join(map(str, files))]
        said = tools.run("kafka-dump-log", *words)
        assert said.status == 0, said.err
        found, epoch = {}, ""
        for line in said.lines:
            if batch := re.search(r"partitionLeaderEpoch: (\d+)", line):
                epoch = batch[1]
            elif record := re.search(r"\| offset: (\d+) .*(payload|LeaderChange|endTxnMarker|KRaft|Snapshot).*", line):
                found[int(record[1])] = (epoch, line.split("payload: ")[-1])
        return found

    logs = [dumped(id_) for id_ in (1, 2, 3)]
    assert any('"name":"metadata"' in payload for _, payload in logs[0].values())
    end = min(max(log) for log in logs)
    assert end > 20
    known = [{offset: record for offset, record in log.items() if offset <= end} for log in logs]
    assert known[0] == known[1] == known[2]


def test_metadata_shell(cluster: Cluster) -> None:
    cluster.create_topic("shell", assignment=[[1, 2, 3]])
    command = [*JAVA, "-cp", cluster.nodes[1].process.jars, TOOLS["kafka-metadata-shell"]]

    def shell(id_: int, *words: str) -> str:
        log = max(cluster.nodes[id_].metadata_dir.glob("*.log"))
        done = subprocess.run([*command, "--snapshot", str(log), *words], capture_output=True, text=True, timeout=60)
        return done.stdout

    for id_ in (1, 2, 3):
        # The shell answers as soon as it has read something, which need not be everything.
        tries = (shell(id_, "ls", "/image/topics/byName").split() for _ in range(SHELL_TRIES))
        assert any("shell" in found for found in tries)
    brokers = (shell(1, "ls", "/image/cluster/brokers").split() for _ in range(SHELL_TRIES))
    assert any(sorted(found) == ["1", "2", "3"] for found in brokers)
