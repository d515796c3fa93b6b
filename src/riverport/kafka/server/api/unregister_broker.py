"""UnregisterBroker v0 (KIP-500): the cluster forgets a broker."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.UnregisterBrokerResponse]:
    controller = broker.active_controller()
    return controller.unregister_broker(request.body.broker_id)
