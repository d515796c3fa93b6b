"""Producers and consumers that say, a line of JSON each, what became of every record.

Kafka's VerifiableProducer and VerifiableConsumer, and two of the same speech on librdkafka (`librdkafka.py`), each a
process of its own.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.kafka_tools import TOOLS
from tests.system.processes import JAVA, LOGGING

Client = Literal["java", "librdkafka"]

WAIT_SECONDS = 60.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02
CLOSED = ("Cannot perform operation after producer has been closed", "Producer closed while send in progress")
"""What Kafka's tool reports of a record that it wanted to send while it was ending: it was never sent. Without a
throttle that happened in 9 of 32 ends."""
LIBRDKAFKA = Path(__file__).with_name("librdkafka.py")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is."""

    partition: int
    offset: int


class Verifiable(ABC):
    """A client's process; `on` is called with each event as it comes, in a thread of its own."""

    tool = ""

    def __init__(
        self,
        clients: "Clients",
        topic: str,
        words: Sequence[str],
        properties: Mapping[str, object],
        logged: Sequence[str] = (),
    ) -> None:
        """`logged` are loggers of the Java client that write everything to `log`."""
        clients.count += 1
        file = clients.root / f"client-{clients.count}.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        self.topic = topic
        self.log = file.with_suffix(".log")
        self._logging = _logging(file.with_suffix(".xml"), logged) if logged else LOGGING
        self.errors: list[dict[str, Any]] = []  # what the client says went wrong
        self._prefix = clients.prefix
        self._words = ["--bootstrap-server", clients.bootstrap, "--topic", topic, *words, "--command-config", str(file)]
        self._client, self._jars = clients.client, clients.jars
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._is_stopping = False

    def start(self) -> None:
        assert self._process is None
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=subprocess.PIPE, stderr=log, text=True)
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """Asks it to end, and waits until it has: nothing that it said is lost."""
        assert self._process is not None
        self._is_stopping = True
        self._process.send_signal(signal.SIGTERM)
        self.ended()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self.ended()

    def ended(self) -> None:
        """Waits for its end, and takes in what it said until then."""
        assert self._process is not None
        assert self._reader is not None
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.tool} does not end: {self.progress}; {self._last_words()}") from None
        self._reader.join()
        self._process = None
        self.on_end()
        if self._failure:
            raise self._failure

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = WAIT_SECONDS) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if self._failure:
                raise self._failure
            if time.monotonic() > deadline or not self.is_alive:
                state = "waited in vain" if self.is_alive else "it ended"
                if not self.is_alive and self._reader is not None:
                    self._reader.join()  # what it said last may still be on its way
                    if condition():
                        return
                raise AssertionError(f"{self.tool}: {state} for {what}: {self.progress}; {self._last_words()}")
            time.sleep(POLL_SECONDS)

    def _last_words(self) -> list[object]:
        return [*self.errors[-3:], self.log.read_text()[-2000:]]

    @property
    @abstractmethod
    def progress(self) -> str:
        """How far it has come, in words."""

    @abstractmethod
    def on(self, event: dict[str, Any]) -> None:
        """It has told something."""

    def on_end(self) -> None:  # noqa: B027  not all have something to do then
        """The process has ended, whether it said so or not."""

    def _command(self) -> list[str]:
        if self._client == "java":
            command = [*JAVA, f"-Dlog4j2.configurationFile={self._logging}", "-cp", self._jars, TOOLS[self.tool]]
        else:
            command = [sys.executable, str(LIBRDKAFKA), self.tool.removeprefix("kafka-verifiable-")]
        return [*self._prefix, *command, *self._words]

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                if line.startswith("{"):
                    self.on(json.loads(line))
            except BaseException as error:  # told to who waits, and at the end
                self._failure = self._failure or error


class Producer(Verifiable):
    """Sends the numbers from 0 on, and knows which were acknowledged, and where they are."""

    tool = "kafka-verifiable-producer"

    def __init__(
        self,
        clients: "Clients",
        topic: str,
        *,
        throughput: int = 1000,
        max_messages: int = -1,
        acks: int = -1,
        keys: int = 0,
        prefix: int | None = None,
        idempotent: bool = True,
        properties: Mapping[str, object] | None = None,
    ) -> None:
        words = ["--throughput", f"{throughput}", "--max-messages", f"{max_messages}", "--acks", f"{acks}"]
        words += ["--repeating-keys", f"{keys}"] if keys else []
        words += ["--value-prefix", f"{prefix}"] if prefix is not None else []
        safe = {"retries": 1_000_000, "max.in.flight.requests.per.connection": 5, "enable.idempotence": "true"}
        super().__init__(clients, topic, words, {**(safe if idempotent else {}), **(properties or {})})
        self.acked: dict[str, Place] = {}

    @property
    def progress(self) -> str:
        return f"{len(self.acked)} acknowledged, {len(self.errors)} failed"

    def wait_acked(self, more: int) -> None:
        """Until so many more than now are acknowledged."""
        wanted = len(self.acked) + more
        self.wait_until(lambda: len(self.acked) >= wanted, f"{wanted} acknowledgements")

    def on(self, event: dict[str, Any]) -> None:
        if event["name"] == "producer_send_success":
            assert event["value"] not in self.acked, f"acknowledged twice: {event}"
            self.acked[event["value"]] = Place(event["partition"], event["offset"])
        elif event["name"] == "producer_send_error" and not (self._is_stopping and event.get("message") in CLOSED):
            self.errors.append(event)


class Consumer(Verifiable):
    """A member of a group. Checks as it reads that its positions leave nothing out and are the ones it commits."""

    tool = "kafka-verifiable-consumer"

    def __init__(
        self,
        clients: "Clients",
        topic: str,
        *,
        group: str = "verifiers",
        instance: str | None = None,
        session_timeout_ms: int = 10_000,
        autocommit: bool = False,
        reset: str = "earliest",
        assignor: str | None = None,
        verify_offsets: bool = True,
        properties: Mapping[str, object] | None = None,
        logged: Sequence[str] = (),
    ) -> None:
        words = ["--group-id", group, "--session-timeout", f"{session_timeout_ms}", "--reset-policy", reset]
        words += ["--verbose", *(["--enable-autocommit"] if autocommit else [])]
        words += ["--group-instance-id", instance] if instance else []
        words += ["--assignment-strategy", f"org.apache.kafka.clients.consumer.{assignor}"] if assignor else []
        super().__init__(clients, topic, words, properties or {}, logged)
        self.verify_offsets, self.is_cooperative = verify_offsets, assignor == "CooperativeStickyAssignor"
        self.read: list[tuple[Place, str]] = []  # every record, in the order of reading
        self.assigned: set[int] = set()
        self.joined = False
        self.rebalances = 0
        self.revocations = 0
        self.positions: dict[int, int] = {}  # since the assignment
        self.last_positions: dict[int, int] = {}  # likewise, but they outlive it
        self.committed: dict[int, int] = {}

    @property
    def progress(self) -> str:
        return f"{len(self.read)} read, assigned {self.assigned or 'nothing'}, positions {self.positions}"

    def wait_joined(self) -> None:
        self.wait_until(lambda: self.joined, "an assignment")

    def wait_read(self, more: int) -> None:
        """Until so many more records than now have been read."""
        wanted = len(self.read) + more
        self.wait_until(lambda: len(self.read) >= wanted, f"{wanted} records")

    def on(self, event: dict[str, Any]) -> None:
        match event["name"]:
            case "record_data":
                self.read.append((Place(event["partition"], event["offset"]), event["value"]))
            case "records_consumed":
                self._consumed(event)
            case "offsets_committed":
                self._committed(event)
            case "partitions_assigned":
                assigned = {p["partition"] for p in event["partitions"]}
                self.assigned = self.assigned | assigned if self.is_cooperative else assigned
                self.joined = True
                self.rebalances += 1
            case "partitions_revoked":
                self.revocations += 1
                revoked = {p["partition"] for p in event["partitions"]}
                self.assigned = self.assigned - revoked
                self.joined = self.is_cooperative
                self.positions.clear()

    def on_end(self) -> None:
        self.joined = False
        self.assigned = set()

    def _consumed(self, event: dict[str, Any]) -> None:
        for partition in event["partitions"]:
            index, first = partition["partition"], partition["minOffset"]
            assert index in self.assigned, f"reads what it is not assigned ({self.assigned}): {partition}"
            expected = self.positions.get(index, first)
            assert first == expected or not self.verify_offsets, f"expected {expected}: {partition}"
            self.positions[index] = self.last_positions[index] = partition["maxOffset"] + 1

    def _committed(self, event: dict[str, Any]) -> None:
        if not event["success"]:
            self.errors.append(event)
            return
        for partition in event["offsets"]:
            index, offset = partition["partition"], partition["offset"]
            assert self.positions.get(index, -1) >= offset, f"commits what it has not read ({self.positions}): {event}"
            self.committed[index] = offset


class Clients:
    """Makes the clients of a test, and ends those that still run at its end."""

    def __init__(self, root: Path, jars: str, bootstrap: str, client: Client, prefix: Sequence[str]) -> None:
        self.root, self.jars, self.bootstrap, self.client, self.prefix = root, jars, bootstrap, client, list(prefix)
        self.count = 0
        self._made: list[Verifiable] = []

    def producer(self, topic: str, **options: Any) -> Producer:
        """Started; options as those of `Producer`."""
        return self._started(Producer(self, topic, **options))

    def consumer(self, topic: str, **options: Any) -> Consumer:
        """Started; options as those of `Consumer`."""
        return self._started(Consumer(self, topic, **options))

    def close(self) -> None:
        for client in self._made:
            if client.is_alive:
                client.kill()

    def _started(self, client: Any) -> Any:
        self._made.append(client)
        client.start()
        return client


def _logging(file: Path, loggers: Sequence[str]) -> Path:
    named = "".join(f'<Logger name="{name}" level="DEBUG"/>' for name in loggers)
    file.write_text(LOGGING.read_text().replace("<Root", f"{named}<Root"))
    return file
