"""ElectLeaders v0-2 (KIP-460): preferred and unclean elections; no list of topics stands for all partitions."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.ElectLeadersResponse]:
    controller = broker.active_controller()
    return broker.metadata.submit_operation(lambda: controller.elections.elect(request.body))
