"""Topics that are made because somebody asked for them by name (`auto.create.topics.enable`), and the groups' own."""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.kafka.controller.topics import name_problem
from riverport.kafka.server.topics import OFFSETS_TOPIC
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

_Topic = m.CreateTopicsRequest.CreatableTopic
_Config = m.CreateTopicsRequest.CreatableTopicConfig


class AutoCreation:
    """Asks the controller for a topic once, however many clients want it; none of them waits for the answer."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._asked: set[str] = set()

    def missing(self, name: str, *, may_create: bool) -> ErrorCode:
        """What a client is told of a topic that is not there; makes it where the settings allow."""
        if name_problem(name) is not None:
            return ErrorCode.INVALID_TOPIC_EXCEPTION
        if may_create and self._broker.config["auto.create.topics.enable"]:
            self.create(name)
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def create(self, name: str) -> None:
        if name in self._asked:
            return
        self._asked.add(name)
        done = self._broker.channel.send(m.CreateTopicsRequest([self._wanted(name)]))

        def finished(done: "asyncio.Future[Any]") -> None:
            self._asked.discard(name)
            if not done.cancelled() and (error := done.exception()) is not None:
                log.warning("a topic could not be made", topic=name, error=error)

        done.add_done_callback(finished)

    def _wanted(self, name: str) -> _Topic:
        config = self._broker.config
        if name == OFFSETS_TOPIC:
            configs = {
                "compression.type": "producer",
                "cleanup.policy": "compact",
                "segment.bytes": str(config["offsets.topic.segment.bytes"]),
            }
            return _Topic(
                name,
                config["offsets.topic.num.partitions"],
                config["offsets.topic.replication.factor"],
                configs=[_Config(key, value) for key, value in configs.items()],
            )
        # What this broker's own file says counts, and else what the controller's does.
        given = config.values.given
        return _Topic(
            name,
            config["num.partitions"] if "num.partitions" in given else -1,
            config["default.replication.factor"] if "default.replication.factor" in given else -1,
        )
