"""Another Kafka cluster in the place of an in-process broker: `--riverport-bootstrap`.

What any cluster can do works; what needs the inside of a broker (its logs, its wire, its life) skips the test.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import pytest

from riverport.kafka.client.admin import Admin
from riverport.kafka.client.client import Client
from riverport.kafka.client.errors import Refused
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing.broker import BrokerError, as_text

DELETION_SECONDS = 10.0
"""How long the name of a topic that an earlier test had may be taken: a cluster deletes in its own time."""
RETRY_SECONDS = 0.1

Result = TypeVar("Result")


class RemoteCluster:
    """Has the face of `Broker`. Topics that it made are deleted at the end."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.faults = RemoteFaults()
        self._topics: list[str] = []

    def __enter__(self) -> "RemoteCluster":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._topics:
            self._ask(lambda admin: admin.delete_topics(self._topics))

    def create_topic(self, name: str, *, partitions: int = 1, config: Mapping[str, object] | None = None) -> str:
        configs = {key: as_text(value) for key, value in (config or {}).items()}
        give_up = time.monotonic() + DELETION_SECONDS
        while True:
            try:
                self._ask(lambda admin: admin.create_topic(name, partitions=partitions, configs=configs))
            except Refused as refused:
                if refused.code != ErrorCode.TOPIC_ALREADY_EXISTS or time.monotonic() > give_up:
                    raise BrokerError(f"{refused}") from refused
                time.sleep(RETRY_SECONDS)
            else:
                self._topics.append(name)
                return name

    def check(self) -> None:
        """Nothing is known of what goes wrong inside."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        pytest.skip(f"riverport_broker.{name} is for a broker in this process, not for --riverport-bootstrap")

    def _ask(self, question: Callable[[Admin], Awaitable[Result]]) -> Result:
        async def asked() -> Result:
            async with Client(self.bootstrap) as client:
                return await question(Admin(client))

        return asyncio.run(asked())


class RemoteFaults:
    """No fault can be put on the wire of a cluster that runs elsewhere."""

    def add(self, *_: Any, **__: Any) -> NoReturn:
        pytest.skip("faults are for a broker in this process, not for --riverport-bootstrap")

    def clear(self) -> None:
        pass
