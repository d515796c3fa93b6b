"""IncrementalAlterConfigs v0-1 (KIP-339): single keys are set, deleted, appended to, subtracted from."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.admin import alter
from riverport.kafka.server import config_changes
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(
    broker: "Broker", request: Request
) -> m.IncrementalAlterConfigsResponse | asyncio.Future[m.IncrementalAlterConfigsResponse]:
    return config_changes.change(broker, request, alter.incremental(request.body), alter.incremental_response)
