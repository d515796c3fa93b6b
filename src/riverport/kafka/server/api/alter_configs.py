"""AlterConfigs v0-2 (KIP-133): all that a resource has is replaced."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.admin import alter
from riverport.kafka.server import config_changes
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.AlterConfigsResponse | asyncio.Future[m.AlterConfigsResponse]:
    return config_changes.change(broker, request, alter.legacy(request.body), alter.legacy_response)
