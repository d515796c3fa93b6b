"""CreateTopics v2-7 (KIP-464 defaults, KIP-525 configs in the answer, KIP-516 ids, KIP-599 quota)."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.CreateTopicsResponse]:
    body: m.CreateTopicsRequest = request.body
    charge = broker.active_controller().mutations.charge(request, strict_since=6)

    def decide() -> Outcome:
        outcome = broker.decide_create_topics(body, charge)
        outcome.response.throttle_time_ms = charge.throttle_ms
        if request.version >= 5:
            given = {wanted.name: wanted.configs for wanted in body.topics}
            for topic in outcome.response.topics:
                if topic.error_code == 0:
                    own = ((config.name, config.value) for config in given[topic.name])
                    topic.configs = broker.created_topic_configs(own)
        return outcome

    return broker.metadata.submit_operation(decide)
