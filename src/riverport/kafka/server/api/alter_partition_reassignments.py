"""AlterPartitionReassignments v0-1 (KIP-455; v1 may forbid another number of replicas, KIP-860)."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.AlterPartitionReassignmentsResponse]:
    controller = broker.active_controller()
    return broker.metadata.submit_operation(lambda: controller.reassignments.alter(request.body))
