"""AllocateProducerIds v0 (KIP-730): a block of producer ids for a broker."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.AllocateProducerIdsResponse]:
    controller = broker.active_controller()
    return broker.metadata.submit(lambda: controller.cluster.allocate_producer_ids(request.body))
