"""CreateAcls v1-3 (KIP-140): there is no authorizer that would keep them."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.CreateAclsResponse:
    result = m.CreateAclsResponse.AclCreationResult
    code, message = ErrorCode.SECURITY_DISABLED, "No Authorizer is configured."
    return m.CreateAclsResponse(results=[result(code, message) for _ in request.body.creations])
