"""AlterClientQuotas v0-1 (KIP-546): limits of users, client ids and addresses."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.AlterClientQuotasResponse]:
    controller = broker.active_controller()
    return broker.metadata.submit_operation(lambda: controller.client_quotas.alter(request.body))
