"""One node as a process of either software: `riverport kafka start FILE`, or Apache Kafka's own main class."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Software = Literal["apache", "riverport"]

STOP_SECONDS = 60
JAVA = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
LOGGING = Path(__file__).parents[1] / "java" / "log4j2.xml"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class NodeProcess:
    """Runs what `properties` says, in its folder. `prefix` are words before the command, as `ip netns exec NAME`."""

    def __init__(self, properties: Path, software: Software, jars: str, prefix: Sequence[str] = ()) -> None:
        self.properties, self.software, self.jars, self.prefix = properties, software, jars, list(prefix)
        self.log = properties.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def format(self, cluster_id: str, *words: str) -> None:
        command = [*self._command("kafka.tools.StorageTool"), "format", "-t", cluster_id, "-c", str(self.properties)]
        done = subprocess.run([*command, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Returns at once: `check` tells whether it still runs."""
        assert self._process is None, f"{self.properties} runs already"
        start = [] if self.software == "apache" else ["start"]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [*self._command("kafka.Kafka"), *start, str(self.properties)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.properties.parent,
            )

    def check(self) -> None:
        """Fails with the end of the log where the process has ended by itself."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise AssertionError(f"{self.properties} ended with {status}: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """A clean stop."""
        if self._process is not None:
            self._signal(signal.SIGTERM)
            self._process.wait(STOP_SECONDS)
            self._process = None

    def kill(self) -> None:
        """Whatever became of it, it does not run afterwards."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def pause(self) -> None:
        """The process stands still until `resume`; its connections stay."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, sent: signal.Signals) -> None:
        self.check()
        assert self._process is not None, f"{self.properties} does not run"
        os.kill(self._process.pid, sent)

    def _command(self, main: str) -> list[str]:
        if self.software == "apache":
            return [*self.prefix, *JAVA, f"-Dlog4j2.configurationFile={LOGGING}", "-cp", self.jars, main]
        return [*self.prefix, sys.executable, "-m", "riverport", "kafka"]
