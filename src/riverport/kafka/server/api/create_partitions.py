"""CreatePartitions v0-3 (KIP-195, KIP-599 quota)."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.CreatePartitionsResponse]:
    body: m.CreatePartitionsRequest = request.body
    charge = broker.active_controller().mutations.charge(request, strict_since=3)

    def decide() -> Outcome:
        outcome = broker.topic_decisions.create_partitions(body, charge)
        outcome.response.throttle_time_ms = charge.throttle_ms
        return outcome

    return broker.metadata.submit_operation(decide)
