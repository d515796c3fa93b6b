"""One request as handlers see it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from riverport.kafka.server.connection import Connection


@dataclass(slots=True)
class Request:
    """A decoded request.

    Byte fields of `body` that are records are slices of the connection's receive buffer: they are valid until the
    handler returns. Who needs them longer copies them.
    """

    api_key: int
    version: int
    correlation_id: int
    client_id: str | None
    body: Any
    connection: "Connection"
    received_ms: float  # on the monotonic clock
    is_pending: bool = False  # it is applied when its future is done: no other request of the connection may start
    hurry: Callable[[], None] | None = None  # ends its wait: another request stands behind it

    @property
    def client_host(self) -> str:
        """The peer's address as Kafka shows it in group descriptions: `/127.0.0.1`."""
        return "/" + self.connection.peer_host
