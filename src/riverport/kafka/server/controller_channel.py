"""How a broker reaches the active controller: in its own process, or over a connection to another node.

    send(message)               the broker's own requests: registration, heartbeats, producer ids
    forward(request, message)   a client's request that only the controller may decide, in an envelope (KIP-590)

Both sides of the difference end in the same handlers.
"""

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any, Protocol

from riverport.base.logging import get_logger
from riverport.base.tasks import Tasks
from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import ClientError
from riverport.kafka.server.dispatch import handler_of
from riverport.kafka.server.refusals import refuse
from riverport.kafka.server.request import Request
from riverport.kafka.wire import codec, frame
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import Api, apis
from riverport.kafka.wire.errors import ApiError, ErrorCode, WireError

if TYPE_CHECKING:
    from riverport.kafka.raft.voters import Address
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

RETRY_MS = 50
FORWARDING_MS = 60_000
"""For so long a client's request waits for an active controller; fixed in Apache Kafka, too (BrokerServer)."""
LOOK_MS = 250
"""How often somebody who waits for a controller's answer looks whether it is still the controller."""
MAX_FORWARDED = 100
"""Requests that wait for the controller at a time; clients of more are told to try again."""
_PRINCIPAL_VERSION = b"\0\0"


class NotActive(Exception):
    """Who was asked is not the active controller."""


class ControllerChannel(Protocol):
    def send(self, body: Any) -> "asyncio.Future[Any]":
        """The controller's answer. The future raises ClientError where it cannot be had now."""
        ...

    def forward(self, request: Request, body: Any) -> Any:
        """The controller's answer to a client's request, or a future of it."""
        ...

    async def close(self) -> None: ...


class LocalChannel:
    """The controller is this node."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    def send(self, body: Any) -> "asyncio.Future[Any]":
        api = apis()[body._message.key]
        request = Request(api.key, api.stable_high, 0, "broker", body, None, self._broker.clock.mono_ms())  # type: ignore[arg-type]
        try:
            result = handler_of(api.key)(self._broker, request)
        except ApiError as refused:
            result = refuse(api, body, refused)
        return self._as_future(result, api, body)

    def forward(self, request: Request, body: Any) -> Any:
        local = Request(
            request.api_key,
            request.version,
            request.correlation_id,
            request.client_id,
            body,
            request.connection,
            request.received_ms,
        )
        return handler_of(request.api_key)(self._broker, local)

    def _as_future(self, result: Any, api: Api, body: Any) -> "asyncio.Future[Any]":
        """What was refused is an answer, as it is from a controller elsewhere."""
        answer: asyncio.Future[Any] = self._broker.loop.create_future()
        if not isinstance(result, asyncio.Future):
            answer.set_result(result)
            return answer

        def done(result: "asyncio.Future[Any]") -> None:
            if answer.done():
                return
            if result.cancelled():
                answer.cancel()
            elif isinstance(error := result.exception(), ApiError):
                answer.set_result(refuse(api, body, error))
            elif error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result.result())

        result.add_done_callback(done)
        return answer

    async def close(self) -> None:
        """Nothing is open."""


class RemoteChannel:
    """The controller is another node. One connection for the broker's own requests, one for its clients'."""

    def __init__(self, broker: "Broker", timeout_ms: int) -> None:
        self._broker = broker
        self._timeout_ms = timeout_ms
        self._connections: dict[str, tuple[Address, Connection]] = {}
        self._opening: dict[str, tuple[Address, asyncio.Future[Connection]]] = {}
        self._forwarded = 0
        self._tasks = Tasks(broker.loop)

    def send(self, body: Any) -> "asyncio.Future[Any]":
        return self._task(self._exchange("broker", body, self._timeout_ms))

    def forward(self, request: Request, body: Any) -> "asyncio.Future[Any]":
        if self._forwarded >= MAX_FORWARDED:
            raise ApiError(ErrorCode.NOT_CONTROLLER, "too many requests wait for the controller")
        return self._task(self._forward(request, body))

    def _task(self, work: Any) -> "asyncio.Future[Any]":
        return self._tasks.start(work)

    async def _forward(self, request: Request, body: Any) -> Any:
        """Ask again while the controller moves or starts."""
        deadline = self._broker.clock.mono_ms() + FORWARDING_MS
        self._forwarded += 1
        try:
            while True:
                try:
                    return self._settle(request, await self._forward_once(request, body))
                except (ClientError, NotActive) as error:
                    log.info("a request could not be forwarded yet", error=error)
                if self._broker.clock.mono_ms() >= deadline or request.connection.has_ended:
                    raise ApiError(ErrorCode.REQUEST_TIMED_OUT, "The controller could not be reached in time.")
                await asyncio.sleep(RETRY_MS / 1000)
        finally:
            self._forwarded -= 1

    def _settle(self, request: Request, answer: Any) -> Any:
        """Who is told to be silent is not read until then, wherever that was decided (KIP-219)."""
        silence_ms: int = getattr(answer, "throttle_time_ms", 0)
        if silence_ms > 0:
            self._broker.client_quotas.silence(request.connection, silence_ms)
        return answer

    async def _forward_once(self, request: Request, body: Any) -> Any:
        """Raises ClientError, or NotActive, where the controller cannot answer now."""
        envelope = m.EnvelopeRequest(
            _frame_of(request, body), _principal_of(request), ipaddress.ip_address(request.connection.peer_host).packed
        )
        answer = await self._ask_active(envelope)
        if answer.error_code == ErrorCode.NOT_CONTROLLER:
            raise NotActive("it is not the active controller")
        return _opened(request, answer)

    async def _ask_active(self, body: Any) -> Any:
        """The answer of who is the controller now. Raises ClientError, also where another one is by then.

        Who was asked may be cut off, and say nothing for as long as `controller.socket.timeout.ms`; asking twice what
        takes its time would have it done twice.
        """
        connection = await self._connection("clients")
        address = self._connections["clients"][0]
        timeout_ms = min(self._broker.config["controller.socket.timeout.ms"], FORWARDING_MS)
        asked = self._broker.loop.create_task(connection.request(body, timeout_ms=timeout_ms))
        try:
            while not (await asyncio.wait([asked], timeout=LOOK_MS / 1000))[0]:
                if self._broker.metadata.controller_address() not in (None, address):
                    raise ClientError("another node is the controller by now")
            return asked.result()
        finally:
            asked.cancel()

    async def _exchange(self, lane: str, body: Any, timeout_ms: int) -> Any:
        connection = await self._connection(lane)
        return await connection.request(body, timeout_ms=timeout_ms)

    async def _connection(self, lane: str) -> Connection:
        address = self._broker.metadata.controller_address()
        if address is None:
            raise ClientError("no active controller is known")
        held = self._connections.get(lane)
        if held is not None and held[0] == address and not held[1].closed:
            return held[1]
        opening = self._opening.get(lane)
        if opening is None or opening[0] != address:
            opening = self._opening[lane] = (address, self._task(self._open(lane, address)))
            opening[1].add_done_callback(_look_at)
        return await asyncio.shield(opening[1])

    async def _open(self, lane: str, address: "Address") -> Connection:
        """One for all who wait for it. Not for longer than an answer: a first packet that is lost costs a session."""
        own = asyncio.current_task()
        try:
            held = self._connections.pop(lane, None)
            if held is not None:
                await held[1].close()
            client_id = f"broker-{self._broker.node_id}"
            opened = await Connection.open(address.host, address.port, client_id=client_id, timeout_ms=self._timeout_ms)
            if not self._is_opening(lane, own):
                await opened.close()
                raise ClientError("another node is the controller by now")
            self._connections[lane] = (address, opened)
            return opened
        finally:
            if self._is_opening(lane, own):
                del self._opening[lane]

    def _is_opening(self, lane: str, task: "asyncio.Future[Any] | None") -> bool:
        """False where the controller has moved since: another task opens a connection to where it is now."""
        return lane in self._opening and self._opening[lane][1] is task

    async def close(self) -> None:
        await self._tasks.cancel()
        for _, connection in self._connections.values():
            await connection.close()


class EitherChannel(RemoteChannel):
    """A node with the controller role: the controller is this node while it leads, and else another one."""

    def __init__(self, broker: "Broker", timeout_ms: int) -> None:
        super().__init__(broker, timeout_ms)
        self._local = LocalChannel(broker)

    def send(self, body: Any) -> "asyncio.Future[Any]":
        return self._local.send(body) if self._broker.metadata.is_active else super().send(body)

    def forward(self, request: Request, body: Any) -> Any:
        if not self._broker.metadata.is_active:
            return super().forward(request, body)
        result = self._local.forward(request, body)
        return self._task(self._settled(result, request, body)) if isinstance(result, asyncio.Future) else result

    async def _settled(self, result: "asyncio.Future[Any]", request: Request, body: Any) -> Any:
        """What a controller did not finish that lost its lead is asked of its successor."""
        try:
            return self._settle(request, await result)
        except ApiError as refused:
            if refused.code is not ErrorCode.NOT_CONTROLLER:
                raise
        return await self._forward(request, body)

    async def _forward_once(self, request: Request, body: Any) -> Any:
        if not self._broker.metadata.is_active:
            return await super()._forward_once(request, body)
        try:
            result = self._local.forward(request, body)
            return await result if isinstance(result, asyncio.Future) else result
        except ApiError as refused:
            if refused.code is ErrorCode.NOT_CONTROLLER:
                raise NotActive("this node is not the active controller any more") from refused
            raise


def _look_at(opening: "asyncio.Future[Connection]") -> None:
    """Who waited for it may have been cancelled meanwhile: then nobody else looks at how it ended."""
    if not opening.cancelled():
        opening.exception()


def _frame_of(request: Request, body: Any) -> bytes:
    """The request as its client sent it, without the size in front."""
    content = codec.encode(body, request.version)
    head = frame.request_head(request.api_key, request.version, request.correlation_id, request.client_id, len(content))
    return head[4:] + content


def _principal_of(request: Request) -> bytes:
    principal = m.DefaultPrincipalData(request.connection.principal_type, request.connection.principal_name, False)
    return _PRINCIPAL_VERSION + codec.encode(principal, 0)


def _opened(request: Request, answer: m.EnvelopeResponse) -> Any:
    """The message in an envelope's answer. Raises ApiError where the envelope itself was refused."""
    if answer.error_code:
        # What is wrong with our envelope is not the client's fault; Apache Kafka says the same.
        raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR)
    data = memoryview(answer.response_data or b"")
    try:
        _, pos = frame.read_response_header(data, frame.flexible_response(request.api_key, request.version))
        return codec.decode(apis()[request.api_key].response, request.version, data, pos)[0]
    except WireError as error:
        raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR) from error
