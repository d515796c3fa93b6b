"""From (API key, version) to the code that serves it, on one kind of listener.

An `Operation` is everything that one (key, version) needs, looked up once and kept: decoder, handler, encoder. Handlers
are modules of `api/`, imported when their API is first called, so that a start pays for none of them.
"""

import asyncio
import struct
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.server import api as api_modules
from riverport.kafka.server.connection import Connection
from riverport.kafka.server.produce_lane import ProduceLane
from riverport.kafka.server.request import Request
from riverport.kafka.wire import codec
from riverport.kafka.wire.api import Api, ApiKey, apis
from riverport.kafka.wire.errors import ApiError, ErrorCode, WireError
from riverport.kafka.wire.frame import flexible_response, framed

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

Handler = Callable[["Broker", Request], Any]


class Lane(Protocol):
    """A short way for the ordinary requests of one API."""

    def serve(self, buffer: memoryview, start: int, stop: int, connection: Connection) -> bytes | None:
        """The whole answer to the request in buffer[start:stop], or LATER; None where it is to go the general way."""
        ...


RequestFilter = Callable[[Request, Api, Callable[[], Any]], Any]
"""Stands between connection and handler for tests: gets the request and a call that runs the handler.

One that is false lets every request pass, and need not be asked.
"""


FORWARDED = frozenset(
    (
        ApiKey.CREATE_TOPICS,
        ApiKey.DELETE_TOPICS,
        ApiKey.CREATE_PARTITIONS,
        ApiKey.ELECT_LEADERS,
        ApiKey.ALTER_CONFIGS,
        ApiKey.INCREMENTAL_ALTER_CONFIGS,
        ApiKey.ALTER_PARTITION_REASSIGNMENTS,
        ApiKey.LIST_PARTITION_REASSIGNMENTS,
        ApiKey.ALTER_CLIENT_QUOTAS,
        ApiKey.ALTER_USER_SCRAM_CREDENTIALS,
        ApiKey.UPDATE_FEATURES,
        ApiKey.DESCRIBE_QUORUM,
        ApiKey.ADD_RAFT_VOTER,
        ApiKey.REMOVE_RAFT_VOTER,
        ApiKey.UNREGISTER_BROKER,
        ApiKey.CREATE_ACLS,
        ApiKey.DELETE_ACLS,
    )
)
"""APIs that only the active controller decides; a broker hands their requests on in an envelope (KIP-590)."""


class Operation:
    """One API in one version on one listener."""

    __slots__ = (
        "_broker", "_decoder", "_encoder", "_flexible", "_handler", "_quotas", "_request_class", "api", "version",
    )  # fmt: skip

    def __init__(self, broker: "Broker", api: Api, version: int, handler: Handler, *, for_clients: bool) -> None:
        self.api = api
        self.version = version
        self._broker = broker
        self._quotas = broker.client_quotas if for_clients else None
        self._handler = handler
        self._request_class = api.request
        self._decoder = codec.decoder_for(api.request, version)
        self._encoder = codec.encoder_for(api.response, version)
        self._flexible = flexible_response(api.key, version)

    def decode_body(self, frame: memoryview, pos: int) -> Any:
        try:
            # Bytes behind a body are ignored, as Apache Kafka does.
            return self._decoder(frame, pos, len(frame))[0]
        except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
            raise WireError(f"{self.api.name} v{self.version}: {error}") from error

    def handle(self, request: Request) -> Any:
        """The answer, a future of it, or None where there is none (acks=0)."""
        if self._broker.request_filter:
            return self._broker.request_filter(request, self.api, lambda: self._serve(request))
        return self._serve(request)

    def _serve(self, request: Request) -> Any:
        if self._quotas is not None and self._quotas.active:
            return self._quotas.serve(request, self._call)
        return self._call(request)

    def _call(self, request: Request) -> Any:
        try:
            return self._handler(self._broker, request)
        except WireError:
            raise
        except Exception as error:
            return self.refusal(error, request)

    def result_of(self, future: "asyncio.Future[Any]", request: Request) -> Any:
        """What a finished future means; its exception becomes an error answer."""
        if future.cancelled():
            return self.refusal(ApiError(ErrorCode.REQUEST_TIMED_OUT), request)
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, Exception):
            return self.refusal(error, request)
        raise error

    def refusal(self, error: Exception, request: Request) -> Any:
        """The API's answer for a request that failed as a whole.

        Raises WireError, which closes the connection, where the answer has no place for an error.
        """
        if isinstance(error, StorageError):
            self._broker.directories.file_failed(error)
            error = ApiError(ErrorCode.KAFKA_STORAGE_ERROR, str(error))
        elif not isinstance(error, ApiError):
            log.exception("a request failed", api=self.api.name, version=self.version, client=request.client_id)
            error = ApiError(ErrorCode.UNKNOWN_SERVER_ERROR)
        from riverport.kafka.server.refusals import refuse

        return refuse(self.api, request.body, error)

    def encode_answer(self, answer: Any, correlation_id: int) -> list[Any]:
        """The answer's chunks. Raises WireError, which closes the connection: what we made cannot be sent."""
        parts: list[Any] = []
        try:
            self._encoder(answer, parts.append)
        except (WireError, struct.error, TypeError) as error:
            log.error("an answer could not be encoded", api=self.api.name, version=self.version, error=error)
            raise WireError(f"{self.api.name} v{self.version} answer: {error}") from error
        return framed(self._flexible, correlation_id, parts)


class Dispatch:
    """The operations of one kind of listener: "broker" or "controller"."""

    def __init__(self, broker: "Broker", listener_kind: str) -> None:
        self._broker = broker
        self.kind = listener_kind
        self.lanes: dict[int, Lane] = {}  # by API key
        if listener_kind == "broker":
            self.lanes[ApiKey.PRODUCE] = ProduceLane(broker, self)
        self._operations: dict[int, Operation | None] = {}
        self._served: dict[int, tuple[int, int]] | None = None

    def operation(self, api_key: int, version: int) -> Operation | None:
        """None where the connection must be closed; ApiVersions answers every version (KIP-511)."""
        index = api_key << 16 | version & 0xFFFF
        try:
            return self._operations[index]
        except KeyError:
            return self._learn(api_key, version, index)

    def served(self) -> dict[int, tuple[int, int]]:
        """Every API that this listener serves, with its lowest and highest advertised version."""
        if self._served is None:
            unstable = self._broker.config.unstable_api_versions
            self._served = {
                key: (api.versions.low, api.versions.high if unstable else api.stable_high)
                for key, api in apis().items()
                if self._serves(api)
            }
        return self._served

    def _serves(self, api: Api) -> bool:
        return self.kind in api.listeners and api.key in api_modules.HANDLERS

    def _handler(self, api_key: int) -> Handler:
        if self.kind == "broker" and api_key in FORWARDED - BROKER_FIRST:
            return _forward
        return handler_of(api_key)

    def _learn(self, api_key: int, version: int, index: int) -> Operation | None:
        api = apis().get(api_key)
        found = None
        if api is not None and self._serves(api):
            low, high = self.served()[api_key]
            if low <= version <= high:
                found = Operation(self._broker, api, version, self._handler(api_key), for_clients=self.kind == "broker")
                if api_key == ApiKey.FETCH and self.kind == "broker":
                    self._open_follower_lane()
            elif api_key == ApiKey.API_VERSIONS:
                # A client that is newer than the broker asks with an unknown version and is told the range in v0.
                found = Operation(self._broker, api, 0, _unsupported_version, for_clients=False)
        if len(self._operations) < 4096:  # versions are a peer's bytes: do not let it fill the table
            self._operations[index] = found
        return found

    def _open_follower_lane(self) -> None:
        """With the first fetch, of whomever: its session may go on by the lane."""
        from riverport.kafka.server.follower_lane import FollowerLane

        self.lanes[ApiKey.FETCH] = FollowerLane(self._broker, self)


BROKER_FIRST = frozenset((ApiKey.ALTER_CONFIGS, ApiKey.INCREMENTAL_ALTER_CONFIGS))
"""Of the forwarded, those of which a broker has to say something itself: their handlers hand on what is left."""


def handler_of(api_key: int) -> Handler:
    """The function that serves an API; imports its module."""
    module = import_module(f"{api_modules.__name__}.{api_modules.HANDLERS[api_key]}")
    handler: Handler = module.handle
    return handler


def _forward(broker: "Broker", request: Request) -> Any:
    return broker.channel.forward(request, request.body)


def _unsupported_version(broker: "Broker", request: Request) -> Any:
    from riverport.kafka.server.api import api_versions

    return api_versions.unsupported(broker, request)
