"""SaslAuthenticate v0-2 (KIP-152, KIP-368): listeners without SASL have no use for it."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.SaslAuthenticateResponse:
    message = "SaslAuthenticate request received after successful authentication"
    return m.SaslAuthenticateResponse(ErrorCode.ILLEGAL_SASL_STATE, message)
