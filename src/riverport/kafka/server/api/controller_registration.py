"""ControllerRegistration v0 (KIP-919): a controller of the quorum notes its addresses and features."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.ControllerRegistrationResponse]:
    controller = broker.active_controller()
    return broker.metadata.submit(lambda: controller.cluster.register_controller(request.body))
