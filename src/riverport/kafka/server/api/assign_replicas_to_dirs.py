"""AssignReplicasToDirs v0 (KIP-858): a broker tells the controller which replica is in which of its directories."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.AssignReplicasToDirsResponse]:
    controller = broker.active_controller()
    return broker.metadata.submit(lambda: controller.directories.assign(request.body))
