"""Broker processes, of either kind, each on a directory of its own. All read the same `server.properties`."""

import base64
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_SECONDS = 120
STOP_SECONDS = 120

SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Deleted topics must be gone before the next run, or their pages are written back during it.
    "log.segment.delete.delay.ms": "500",
}
"""What both brokers are told; everything else has Apache Kafka's default in both."""

# Those of kafka-server-start.sh and kafka-run-class.sh.
KAFKA_HEAP = ["-Xmx1G", "-Xms1G"]
KAFKA_JVM = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
]
LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <Console name="stderr" target="SYSTEM_ERR"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="stderr"/></Root></Loggers>
</Configuration>
"""


class NodeFailed(Exception):
    """A broker did not start, or did not stop."""


class Product(ABC):
    """One of the two brokers: how its storage is formatted and how a node of it is started."""

    key: str
    title: str

    @abstractmethod
    def format_command(self, properties: Path, cluster_id: str) -> list[str]: ...

    @abstractmethod
    def start_command(self, properties: Path) -> list[str]: ...


class Riverport(Product):
    key = "riverport"

    def __init__(self) -> None:
        from riverport import __version__

        self.title = f"Riverport {__version__}"
        self._command = [sys.executable, "-m", "riverport.cli.main", "kafka"]

    def format_command(self, properties: Path, cluster_id: str) -> list[str]:
        return [*self._command, "format", "-t", cluster_id, "-c", str(properties)]

    def start_command(self, properties: Path) -> list[str]:
        return [*self._command, "start", str(properties)]


class ApacheKafka(Product):
    """With the JVM flags of its own start script; only warnings are logged."""

    key = "kafka"

    def __init__(self, work: Path) -> None:
        fetched = subprocess.run([sys.executable, ROOT / "scripts" / "fetch-kafka"], capture_output=True, text=True)
        if fetched.returncode:
            raise NodeFailed(f"Apache Kafka's jars could not be had:\n{fetched.stderr.strip()}")
        if shutil.which("java") is None:
            raise NodeFailed("Java 17 is needed to run Apache Kafka: scripts/setup-debian installs it")
        self._class_path = fetched.stdout.strip()
        self.title = f"Apache Kafka {Path(self._class_path).parent.name.rpartition('-')[2]}"
        self._log4j = work / "log4j2.xml"
        self._log4j.write_text(LOG4J)

    def _java(self, flags: list[str], main: str, arguments: list[str]) -> list[str]:
        options = [f"-Dlog4j2.configurationFile={self._log4j}", "-cp", self._class_path]
        return ["java", *flags, *options, main, *arguments]

    def format_command(self, properties: Path, cluster_id: str) -> list[str]:
        return self._java(["-Xmx256m"], "kafka.tools.StorageTool", ["format", "-t", cluster_id, "-c", str(properties)])

    def start_command(self, properties: Path) -> list[str]:
        return self._java([*KAFKA_HEAP, *KAFKA_JVM], "kafka.Kafka", [str(properties)])


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MB (10^6 bytes): `rss` counts shared pages whole, `pss` its share of them."""

    rss: float
    pss: float


@dataclass(frozen=True, slots=True)
class Place:
    """Who a node is, and where it listens."""

    node_id: int
    port: int
    controller_port: int


def free_places(count: int) -> list[Place]:
    ports = _free_ports(2 * count)
    return [Place(at + 1, ports[2 * at], ports[2 * at + 1]) for at in range(count)]


class Node:
    """A broker that may be started and stopped several times on its directory; alone, or one of several voters."""

    def __init__(
        self,
        product: Product,
        root: Path,
        voters: Sequence[Place] = (),
        node_id: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.product = product
        self.root = root
        voters = voters or free_places(1)
        (self.place,) = (voter for voter in voters if voter.node_id == node_id)
        self.bootstrap = f"127.0.0.1:{self.place.port}"
        self._process: subprocess.Popen[bytes] | None = None
        root.mkdir(parents=True)
        self._properties = root / "server.properties"
        given = {
            **(SETTINGS if settings is None else settings),
            "node.id": str(node_id),
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.place.controller_port}",
            "controller.quorum.voters": ",".join(f"{v.node_id}@127.0.0.1:{v.controller_port}" for v in voters),
            "log.dirs": str(root / "data"),
        }
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in given.items()))

    def format(self, cluster_id: str | None = None) -> None:
        """Raises NodeFailed."""
        cluster_id = cluster_id or new_cluster_id()
        command = self.product.format_command(self._properties, cluster_id)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NodeFailed(f"{self.product.title} could not format its storage:\n{done.stdout}{done.stderr}")

    def start(self) -> float:
        """Start the process; returns the time of it on CLOCK_MONOTONIC. It does not answer yet."""
        assert self._process is None, "started twice"
        with open(self.root / "log", "ab") as log:
            started = time.clock_gettime(time.CLOCK_MONOTONIC)
            self._process = subprocess.Popen(
                self.product.start_command(self._properties), stdout=log, stderr=log, start_new_session=True
            )
        return started

    def ask_to_stop(self) -> None:
        """Begin a clean stop, and wait for nothing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """A clean stop. Raises NodeFailed for one that does not come to an end."""
        self.ask_to_stop()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise NodeFailed(f"{self.product.title} did not stop within {STOP_SECONDS} s") from None

    def kill(self) -> None:
        """What a crash of the process leaves."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """Kill it and remove its directory."""
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def check_alive(self) -> None:
        """Raises NodeFailed with the end of the broker's log if the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            tail = (self.root / "log").read_text(errors="replace").splitlines()[-15:]
            text = "\n".join(tail)
            raise NodeFailed(f"{self.product.title} has ended with status {self._process.returncode}:\n{text}")

    def cpu_seconds(self) -> float:
        """User and system time of the process and all its threads so far, to the nanosecond."""
        # The clock of another process (clock_getcpuclockid in glibc): /proc counts in ticks of 10 ms.
        return time.clock_gettime(~self.pid << 3 | 2)

    def open_files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def memory(self) -> Memory:
        found = {}
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, rest = line.partition(":")
            found[name] = int(rest.split()[0]) * 1024 / 1e6
        return Memory(found["Rss"], found["Pss"])


def new_cluster_id() -> str:
    return base64.urlsafe_b64encode(b"\1" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()
