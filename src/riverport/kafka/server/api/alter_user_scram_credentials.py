"""AlterUserScramCredentials v0 (KIP-554): passwords of users, salted, as the client sends them."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.AlterUserScramCredentialsResponse]:
    controller = broker.active_controller()
    return broker.metadata.submit_operation(lambda: controller.scram.alter(request.body))
