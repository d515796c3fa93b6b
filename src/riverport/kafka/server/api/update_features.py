"""UpdateFeatures v0-2 (KIP-584; v1 has kinds of upgrade and validation only, KIP-778)."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> asyncio.Future[m.UpdateFeaturesResponse]:
    return broker.active_controller().update_features(request.body, request.version)
