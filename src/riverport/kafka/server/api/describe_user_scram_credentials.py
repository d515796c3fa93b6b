"""DescribeUserScramCredentials v0 (KIP-554): which credentials there are, never what is in them."""

from typing import TYPE_CHECKING

from riverport.kafka.controller import scram
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.DescribeUserScramCredentialsResponse:
    return scram.describe(broker.metadata.image, request.body)
