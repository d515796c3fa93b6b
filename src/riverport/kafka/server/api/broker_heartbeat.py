"""BrokerHeartbeat v0-2 (KIP-631): a broker says that it is there, what it has read, and what it wants."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.BrokerHeartbeatResponse]:
    return broker.active_controller().heartbeat(request)
