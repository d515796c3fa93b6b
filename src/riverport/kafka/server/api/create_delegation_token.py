"""CreateDelegationToken v1-3 (KIP-48): refused.

Who did not authenticate itself over SSL or SASL may not ask for tokens, and nobody does so here.
"""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.CreateDelegationTokenResponse:
    body: m.CreateDelegationTokenRequest = request.body
    kind, name = request.connection.principal_type, request.connection.principal_name
    owner = (
        (body.owner_principal_type or kind, body.owner_principal_name) if body.owner_principal_name else (kind, name)
    )
    requester = (kind, name) if request.version >= 3 else ("", "")
    return m.CreateDelegationTokenResponse(
        ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
        *owner,
        *requester,
        issue_timestamp_ms=-1,
        expiry_timestamp_ms=-1,
        max_timestamp_ms=-1,
        token_id="",
        hmac=b"",
    )
