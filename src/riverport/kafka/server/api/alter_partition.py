"""AlterPartition v2-3 (KIP-497, KIP-841, KIP-903): a leader tells the controller who is in sync."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.AlterPartitionResponse]:
    return broker.active_controller().alter_partition(request.body)
