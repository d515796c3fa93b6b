"""One node that either broker can run: one `server.properties`, one directory, started by one and then the other."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

START_SECONDS = 60
STOP_SECONDS = 60
JAVA = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
LOGGING = Path(__file__).parents[1] / "java" / "log4j2.xml"
CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"

Software = Literal["apache", "riverport"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Node:
    """A combined node in `root`. `jars` is Apache Kafka's class path."""

    root: Path
    jars: str

    def __post_init__(self) -> None:
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.data = self.root / "data"
        self.properties = self.root / "server.properties"
        controller = free_port()
        entries = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data),
            "log.segment.bytes": "1048576",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "3",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.backoff.ms": "200",
            "log.flush.start.offset.checkpoint.interval.ms": "100",
            "log.initial.task.delay.ms": "100",
        }
        self.properties.write_text("".join(f"{key}={value}\n" for key, value in entries.items()))
        self._process: subprocess.Popen[bytes] | None = None

    def format(self, software: Software) -> None:
        words = ["format", "-t", CLUSTER_ID, "-c", str(self.properties)]
        subprocess.run([*self._command(software, "kafka.tools.StorageTool"), *words], check=True, capture_output=True)

    def start(self, software: Software) -> None:
        """Returns once the broker answers."""
        words = [str(self.properties)]
        command = self._command(software, "kafka.Kafka")
        if software == "riverport":
            command.append("start")
        with open(self.root / f"{software}.log", "ab") as log:
            self._process = subprocess.Popen([*command, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.port):
            assert self._process.poll() is None, (self.root / f"{software}.log").read_text()[-3000:]
            assert time.monotonic() < deadline, f"{software} does not answer"
            time.sleep(0.05)

    def _command(self, software: Software, main: str) -> list[str]:
        if software == "apache":
            return [*JAVA, f"-Dlog4j2.configurationFile={LOGGING}", "-cp", self.jars, main]
        return [sys.executable, "-m", "riverport", "kafka"]

    def stop(self) -> None:
        """A clean stop."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_SECONDS)
        self._process = None

    def kill(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
            self._process = None

    def tool(self, main: str, *words: str) -> str:
        """What one of Apache Kafka's tools prints; it must end well."""
        done = subprocess.run([*JAVA, "-cp", self.jars, main, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def topics_in_shell(self, file: Path | str, wanted: set[str]) -> set[str]:
        """The topics that `kafka-metadata-shell` finds in a log or snapshot.

        The shell answers as soon as it has read something, which need not be everything, so it is asked again where it
        does not know all that are wanted.
        """
        command = [*JAVA, "-cp", self.jars, "org.apache.kafka.shell.MetadataShell"]
        found: set[str] = set()
        for _ in range(8):
            words = [*command, "--snapshot", str(file), "ls", "/image/topics/byName"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr
            found = set(done.stdout.split())
            if wanted <= found:
                break
        return found

    def dump(self, files: Sequence[Path], *words: str) -> str:
        """What `kafka-dump-log` says of the files."""
        listed = ",".join(str(file) for file in files)
        return self.tool("org.apache.kafka.tools.DumpLogSegments", "--files", listed, *words)


def _answers(port: int) -> bool:
    """Whether Metadata lists a broker on `port`."""
    body = (3).to_bytes(2, "big") + (1).to_bytes(2, "big") + b"\0\0\0\1" + b"\xff\xff" + b"\0\0\0\0"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as peer:
            peer.settimeout(2)
            peer.sendall(len(body).to_bytes(4, "big") + body)
            size = int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")
            return int.from_bytes(peer.recv(size, socket.MSG_WAITALL)[4:8], "big") > 0
    except OSError:
        return False
