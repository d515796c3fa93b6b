"""CreateTopics v2-7 (KIP-464 defaults, KIP-525 configs in the answer, KIP-516 ids, KIP-599 quota)."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Given = m.CreateTopicsRequest.CreatableTopicConfig
_Shown = m.CreateTopicsResponse.CreatableTopicConfigs


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.CreateTopicsResponse]:
    body: m.CreateTopicsRequest = request.body
    charge = broker.active_controller().mutations.charge(request, strict_since=6)

    def decide() -> Outcome:
        config = broker.config
        partitions, replicas = config["num.partitions"], config["default.replication.factor"]
        outcome = broker.topic_decisions.create(body, partitions, replicas, charge)
        outcome.response.throttle_time_ms = charge.throttle_ms
        if request.version >= 5:
            given = {wanted.name: wanted.configs for wanted in body.topics}
            for topic in outcome.response.topics:
                if topic.error_code == 0:
                    topic.configs = _configs_of(broker, given[topic.name])
        return outcome

    return broker.metadata.submit_operation(decide)


def _configs_of(broker: "Broker", given: Sequence[_Given]) -> list[_Shown]:
    """Every configuration that a topic made with `given` has (KIP-525)."""
    own = {config.name: config.value for config in given if config.value is not None}
    return [_Shown(c.key, c.value, False, c.source, c.sensitive) for c in broker.configs.rules.effective(own)]
