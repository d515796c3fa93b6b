"""Envelope v0 (KIP-590): a client's request that a broker hands on, with the client's principal and address.

The request inside is served as if it had come to this listener, on behalf of who sent it. What is wrong with the
envelope is its own error; what is wrong with the request is the answer inside. That this node is not the active
controller is the envelope's: the broker asks another one then, and its client never hears of it.
"""

import asyncio
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from riverport.kafka.server.dispatch import FORWARDED
from riverport.kafka.server.request import Request
from riverport.kafka.wire import codec, frame
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode, WireError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.dispatch import Operation
    from riverport.kafka.server.listener import Listener


@dataclass(slots=True)
class ForwardedClient:
    """Stands for the client's connection, which ends at the broker that it talks to."""

    listener: "Listener"
    peer_host: str
    principal_type: str
    principal_name: str


def handle(broker: "Broker", request: Request) -> m.EnvelopeResponse | asyncio.Future[m.EnvelopeResponse]:
    body: m.EnvelopeRequest = request.body
    if not broker.metadata.is_active:
        return m.EnvelopeResponse(error_code=ErrorCode.NOT_CONTROLLER)
    try:
        operation, inner = _opened(request, body)
        result = operation.handle(inner)
    except ApiError as error:
        return m.EnvelopeResponse(error_code=error.code)
    except WireError:
        return m.EnvelopeResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
    if not isinstance(result, asyncio.Future):
        return _sealed(operation, inner, result)
    answer: asyncio.Future[m.EnvelopeResponse] = broker.loop.create_future()

    def done(future: "asyncio.Future[Any]") -> None:
        if not answer.done():
            if _has_moved(future):
                answer.set_result(m.EnvelopeResponse(error_code=ErrorCode.NOT_CONTROLLER))
                return
            try:
                answer.set_result(_sealed(operation, inner, operation.result_of(future, inner)))
            except WireError as error:
                answer.set_exception(error)

    result.add_done_callback(done)
    return answer


def _has_moved(done: "asyncio.Future[Any]") -> bool:
    """Whether this node lost its lead before the request was through."""
    error = None if done.cancelled() else done.exception()
    return isinstance(error, ApiError) and error.code == ErrorCode.NOT_CONTROLLER


def _opened(request: Request, body: m.EnvelopeRequest) -> tuple["Operation", Request]:
    client = _client(request, body)
    data = memoryview(body.request_data)
    header, pos = frame.read_request_header(data)
    if header.api_key not in FORWARDED:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"API {header.api_key} is not forwarded")
    operation = request.connection.listener.dispatch.operation(header.api_key, header.api_version)
    if operation is None:
        raise ApiError(ErrorCode.UNSUPPORTED_VERSION)
    content = operation.decode_body(data, pos)
    inner = Request(
        header.api_key,
        header.api_version,
        header.correlation_id,
        header.client_id,
        content,
        client,
        request.received_ms,
    )
    return operation, inner


def _client(request: Request, body: m.EnvelopeRequest) -> Any:
    try:
        host = str(ipaddress.ip_address(bytes(body.client_host_address)))
    except ValueError as error:
        raise ApiError(ErrorCode.INVALID_REQUEST, "no client address in the envelope") from error
    try:
        principal, _ = codec.decode(m.DefaultPrincipalData, 0, memoryview(body.request_principal or b""), 2)
    except WireError as error:
        raise ApiError(ErrorCode.PRINCIPAL_DESERIALIZATION_FAILURE) from error
    return ForwardedClient(request.connection.listener, host, principal.type, principal.name)


def _sealed(operation: "Operation", inner: Request, answer: Any) -> m.EnvelopeResponse:
    framed = b"".join(operation.encode_answer(answer, inner.correlation_id))
    return m.EnvelopeResponse(response_data=framed[4:], error_code=0)
