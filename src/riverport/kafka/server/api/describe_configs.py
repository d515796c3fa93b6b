"""DescribeConfigs v1-4 (KIP-226 sources and synonyms, KIP-412 log levels, KIP-569 types and documentation)."""

from typing import TYPE_CHECKING

from riverport.kafka.admin.describe import describe
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.DescribeConfigsResponse:
    return describe(broker.configs, request.body)
