"""DescribeClientQuotas v0-1 (KIP-546): the limits that a filter finds."""

from typing import TYPE_CHECKING

from riverport.kafka.controller import client_quotas
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.DescribeClientQuotasResponse:
    try:
        return client_quotas.describe(broker.metadata.image, request.body)
    except ApiError as refused:
        return m.DescribeClientQuotasResponse(0, refused.code, refused.message, None)
