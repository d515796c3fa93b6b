"""BrokerRegistration v0-4 (KIP-631): a broker makes itself known to the active controller and gets its epoch."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.BrokerRegistrationResponse]:
    return broker.active_controller().register_broker(request)
