"""Apache Kafka's own command-line tools, one after the other in one JVM (tests/java/Tools.java)."""

import base64
import json
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass

TOOLS = {
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-metadata-shell": "org.apache.kafka.shell.MetadataShell",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-replica-verification": "org.apache.kafka.tools.ReplicaVerificationTool",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool wrote."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.strip().splitlines()

    @property
    def rows(self) -> list[dict[str, str]]:
        """The lines as JSON objects, those that are."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]


class Tools:
    """Runs a tool against the cluster: `tools("kafka-topics", "--list")`.

    `command` runs tests/java/Tools.java; its last word is that class. Threads may share one.
    """

    def __init__(self, command: Sequence[str], bootstrap: str = "") -> None:
        self.command, self.bootstrap = list(command), bootstrap
        self._lock = threading.Lock()
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def __call__(self, name: str, *arguments: str, text: str = "", status: int = 0) -> Said:
        said = self.run(name, "--bootstrap-server", self.bootstrap, *arguments, text=text)
        assert said.status == status, said.out + said.err
        return said

    def run(self, name: str, *arguments: str, text: str = "") -> Said:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        words = (TOOLS[name], text, *arguments)
        with self._lock:
            process.stdin.write(" ".join(base64.b64encode(w.encode()).decode() or "-" for w in words) + "\n")
            process.stdin.flush()
            status, out, err = process.stdout.readline().split()
        return Said(int(status), *(base64.b64decode(t).decode() if t != "-" else "" for t in (out, err)))

    def alone(self, name: str, *arguments: str) -> Said:
        """In a JVM of its own: for a tool that does its last work as the JVM ends."""
        command = [*self.command[:-1], TOOLS[name], "--bootstrap-server", self.bootstrap, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return Said(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
