"""DescribeDelegationToken v1-3 (KIP-48): refused, as the making of tokens is; controllers know nothing of it."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.DescribeDelegationTokenResponse:
    code = ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
    if request.connection.listener.dispatch.kind == "controller":
        code = ErrorCode.UNKNOWN_SERVER_ERROR
    return m.DescribeDelegationTokenResponse(code)
