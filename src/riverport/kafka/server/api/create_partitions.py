"""CreatePartitions v0-3 (KIP-195)."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.CreatePartitionsResponse]:
    body: m.CreatePartitionsRequest = request.body
    return broker.metadata.submit(lambda: broker.topic_decisions.create_partitions(body))
