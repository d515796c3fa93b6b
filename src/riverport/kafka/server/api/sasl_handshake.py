"""SaslHandshake v0-1 (KIP-43, KIP-152): listeners without SASL have no use for it."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.SaslHandshakeResponse:
    return m.SaslHandshakeResponse(ErrorCode.ILLEGAL_SASL_STATE)
