"""A broker inside the test process: the one that `riverport kafka start` runs, with defaults for tests.

It has a thread of its own; every method here may be called from any other.
"""

import asyncio
import os
import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TypeVar

from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing.faults import Faults
from riverport.testing.hosted_node import HostedNode
from riverport.testing.log_records import LogRecord, records_of
from riverport.testing.loop_thread import LoopThread

DEFAULTS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listeners": "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
    # The controller is in the same process: nobody looks for it at this address.
    "controller.quorum.voters": "1@127.0.0.1:0",
    "offsets.topic.replication.factor": "1",
    # Nobody waits for more members of a group, nor for fifty partitions of an internal topic to be made.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "100",
    "offsets.topic.num.partitions": "4",
}
"""What differs from Kafka's own defaults; `config` may change all of it."""

START_SECONDS = 30.0
CALL_SECONDS = 10.0
STOP_SECONDS = 30.0

Result = TypeVar("Result")


class BrokerError(Exception):
    """The broker could not do what the test asked, or something went wrong in its thread."""


class Broker:
    """Made stopped; `with Broker() as broker`, `async with`, or `start` and `stop`.

    `config` takes the keys of server.properties. `dir` keeps the data there and leaves it behind; without it the data
    goes with the broker.
    """

    def __init__(
        self, config: Mapping[str, object] | None = None, *, dir: "str | os.PathLike[str] | None" = None
    ) -> None:
        """Raises ConfigError for a wrong value, and for a key that Kafka does not have."""
        self.dir = tempfile.mkdtemp(prefix="riverport-") if dir is None else os.path.abspath(dir)
        self._is_temporary = dir is None
        if dir is None:
            # Also where a run ends without stopping its brokers.
            weakref.finalize(self, shutil.rmtree, self.dir, ignore_errors=True)
        self.faults = Faults()
        given = {key: as_text(value) for key, value in (config or {}).items()}
        self._host = HostedNode({**DEFAULTS, "log.dirs": self.dir, **given}, self.faults)
        self._thread: LoopThread | None = None

    # --- life

    def start(self) -> "Broker":
        """Returns once the broker answers. Raises what kept it from starting."""
        if self._host.node is None:
            if self._thread is None:
                self._thread = LoopThread("riverport-broker")
            try:
                self._thread.run(self._host.start, START_SECONDS)
            except BaseException:
                self._end()
                raise
        return self

    def stop(self) -> None:
        """A clean stop; nothing to do where it is stopped. Raises BrokerError for what went wrong while it ran."""
        if self._thread is None:
            return
        try:
            if self._host.node is not None:
                self._thread.run(self._host.stop, STOP_SECONDS)
            self.check()
        finally:
            self._end()

    def kill(self) -> None:
        """Stop as a killed process does: connections break, the logs are left as they lie."""
        self._in_thread(self._host.kill, STOP_SECONDS)

    def restart(self, *, clean: bool = True) -> None:
        """Stop (or kill) the broker, and start it on the same ports with its data. The faults stay."""
        self._in_thread(self._host.stop if clean else self._host.kill, STOP_SECONDS)
        self.start()

    def check(self) -> None:
        """Raise BrokerError if something went wrong in the broker's thread since the last check."""
        failures = self._thread.take_failures() if self._thread is not None else []
        if failures:
            raise BrokerError("in the broker's thread: " + "; ".join(failures))

    def __enter__(self) -> "Broker":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stop()
        except BrokerError as failure:
            if error is None:
                raise
            error.add_note(f"{failure}")

    async def __aenter__(self) -> "Broker":
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, at)

    # --- what a test asks of it

    @property
    def bootstrap(self) -> str:
        """`bootstrap.servers` for a client: host:port of the first listener."""
        host, port = self._host.address
        if not port:
            raise BrokerError("the broker has not been started")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def create_topic(self, name: str, *, partitions: int = 1, config: Mapping[str, object] | None = None) -> str:
        """Make a topic, and name it. Raises BrokerError where the broker refuses it."""
        entry = m.CreateTopicsRequest.CreatableTopicConfig
        configs = [entry(key, as_text(value)) for key, value in (config or {}).items()]
        request = m.CreateTopicsRequest([m.CreateTopicsRequest.CreatableTopic(name, partitions, 1, configs=configs)])
        (result,) = self.run(lambda node: node.channel.send(request)).topics
        if result.error_code:
            raise BrokerError(f"topic {name}: {ErrorCode(result.error_code).name}: {result.error_message}")
        return name

    def records(self, topic: str, partition: int | None = None) -> list[LogRecord]:
        """Everything that lies in the topic's logs, by partition and offset; control records too."""

        async def read(node: Node) -> list[LogRecord]:
            logs = {p.index: p.log for p in node.partitions.values() if p.topic == topic and p.log is not None}
            if not logs or partition not in (None, *logs):
                raise BrokerError(f"{topic}{'' if partition is None else f'-{partition}'}: the broker does not have it")
            wanted = sorted(logs) if partition is None else [partition]
            return [record for index in wanted for record in records_of(logs[index])]

        return self.run(read)

    def run(self, work: Callable[[Node], Awaitable[Result]]) -> Result:
        """Await something in the broker's thread, with the server itself: for what has no method here."""

        async def done() -> Result:
            assert self._host.node is not None
            return await work(self._host.node)

        return self._in_thread(done, CALL_SECONDS)

    def _in_thread(self, work: Callable[[], Awaitable[Result]], timeout: float) -> Result:
        if self._thread is None or self._host.node is None:
            raise BrokerError("the broker is not running")
        return self._thread.run(work, timeout)

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        if self._is_temporary:
            shutil.rmtree(self.dir, ignore_errors=True)


def as_text(value: object) -> str:
    """A setting's value as server.properties has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
