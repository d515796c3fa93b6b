"""A cluster, seen through any of its brokers: connections by node, metadata, coordinators, and retries.

A broker answers the requests of one connection in their order, so a request that waits (a fetch for data, a join for
the other members) holds up whatever is behind it. Those go in a lane of their own: another connection to the same node.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from random import Random
from typing import Any, TypeVar

from riverport.base.clock import Clock, SystemClock
from riverport.kafka.client.cluster import ClusterView, Node, TopicView, read_metadata
from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import (
    ClientError,
    Disconnected,
    Refused,
    TimedOut,
    Unreachable,
    check,
)
from riverport.kafka.client.retry import COORDINATOR_MOVED, Backoff, now_s
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode

METADATA_MAX_AGE_MS = 60_000
"""A cached view is asked for again after this time, and after every error that says it is stale."""
MAX_TOPICS_CACHED = 10_000
"""Topics of the cached view; with more, the cache starts again from what is asked for next."""

Result = TypeVar("Result")


def parse_address(text: str) -> tuple[str, int]:
    """`host:port`, `host` (9092), `[::1]:9092`. Raises ClientError with the text in it."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or (text.count(":") > 1 and not host.startswith("[")):
        host, port = text.strip(), "9092"
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ClientError(f"{text!r} is no broker address: expected host:port")
    return host.strip("[]"), int(port)


class Client:
    """Shared by producers, consumers and admin calls; one connection per node, made when first needed."""

    def __init__(
        self,
        bootstrap: Sequence[str] | str,
        *,
        client_id: str | None = "riverport",
        connect_timeout_ms: float = 10_000,
        request_timeout_ms: float = 30_000,
        retry_timeout_ms: float = 30_000,
        clock: Clock | None = None,
        rng: Random | None = None,
    ) -> None:
        """`clock` stamps records, and `rng` spreads retries; a simulation gives its own."""
        texts = bootstrap.split(",") if isinstance(bootstrap, str) else list(bootstrap)
        self.bootstrap = [parse_address(text) for text in texts]
        self.client_id = client_id
        self.connect_timeout_ms = connect_timeout_ms
        self.request_timeout_ms = request_timeout_ms
        self.retry_timeout_ms = retry_timeout_ms
        self.clock: Clock = clock or SystemClock()
        self.rng = rng or Random()
        self.view = ClusterView()
        self._view_until = 0.0  # on the loop's clock, in seconds
        self._connections: dict[tuple[int, str], Connection] = {}  # by node and lane
        self._opening: dict[tuple[int, str], asyncio.Lock] = {}
        self._bootstrap_connection: Connection | None = None
        self._coordinators: dict[tuple[int, str], int] = {}

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        for connection in (*self._connections.values(), self._bootstrap_connection):
            if connection is not None:
                await connection.close()
        self._connections.clear()
        self._bootstrap_connection = None

    # --- connections

    async def any_connection(self) -> Connection:
        """A connection to some broker. Raises Unreachable with every address that was tried."""
        shared = [connection for (_, lane), connection in self._connections.items() if not lane]
        for connection in (self._bootstrap_connection, *shared):
            if connection is not None and not connection.closed:
                return connection
        addresses = dict.fromkeys([*self.bootstrap, *((node.host, node.port) for node in self.view.nodes.values())])
        causes = []
        for host, port in addresses:
            try:
                self._bootstrap_connection = await self._open(host, port)
            except Unreachable as error:
                causes.append(error.cause)
                continue
            return self._bootstrap_connection
        raise Unreachable([f"{host}:{port}" for host, port in addresses], "; ".join(dict.fromkeys(causes)))

    async def connection(self, node_id: int, lane: str = "") -> Connection:
        """The connection to one node in one lane. Raises Unreachable."""
        async with self._opening.setdefault((node_id, lane), asyncio.Lock()):
            known = self._connections.get((node_id, lane))
            if known is not None and not known.closed:
                return known
            if node_id not in self.view.nodes:
                await self.refresh([])
            node = self.view.nodes.get(node_id)
            if node is None:
                raise Unreachable([f"node {node_id}"], "the cluster does not list it as alive")
            found = self._connections[node_id, lane] = await self._open(node.host, node.port)
            return found

    async def close_lane(self, lane: str) -> None:
        """Close the connections of a lane that is not needed any more."""
        for key in [key for key in self._connections if key[1] == lane]:
            await self._connections.pop(key).close()
            self._opening.pop(key, None)

    async def _open(self, host: str, port: int) -> Connection:
        return await Connection.open(host, port, client_id=self.client_id, timeout_ms=self.connect_timeout_ms)

    # --- requests

    async def ask(
        self,
        body: Any,
        *,
        node: int | None = None,
        lane: str = "",
        most: int | None = None,
        timeout_ms: float | None = None,
    ) -> Any:
        """Ask one node once, or with None any broker: whatever is for the controller is forwarded to it (KIP-590).

        `most` is the highest version to be used.
        """
        connection = await (self.any_connection() if node is None else self.connection(node, lane))
        return await connection.request(body, most=most, timeout_ms=timeout_ms or self.request_timeout_ms)

    async def retrying(self, attempt: Callable[[], Awaitable[Result]], timeout_ms: float | None = None) -> Result:
        """Run `attempt` until it succeeds, fails for good, or the time is over; then the last error is raised."""
        deadline = now_s() + (self.retry_timeout_ms if timeout_ms is None else timeout_ms) / 1000
        backoff = Backoff(rng=self.rng)
        while True:
            try:
                return await attempt()
            except (Disconnected, TimedOut, Unreachable, Refused) as error:
                if isinstance(error, Refused) and not error.retriable:
                    raise
                wait = backoff.next_ms() / 1000
                # An address at which nothing listens is a mistake more often than a restart: say so soon.
                patience = now_s() + wait if not isinstance(error, Unreachable) or self.view.nodes else deadline
                if patience >= deadline:
                    raise
                self.forget_view()
                await asyncio.sleep(wait)

    # --- metadata

    def forget_view(self) -> None:
        """The cached view has been shown to be stale: read it again when it is next needed."""
        self._view_until = 0.0

    async def metadata(self, topics: Iterable[str], *, create: bool = False) -> ClusterView:
        """A view with the topics, cached where it is fresh. Topics that have an error are in `failed`."""
        wanted = list(topics)
        fresh = self._view_until > now_s()
        if fresh and all(topic in self.view.topics for topic in wanted):
            return self.view
        return await self.refresh(wanted, create=create)

    async def refresh(self, topics: Sequence[str] | None, *, create: bool = False) -> ClusterView:
        """Ask for metadata: of these topics, or of all with None."""
        request = m.MetadataRequest(
            topics=None if topics is None else [m.MetadataRequest.MetadataRequestTopic(name=name) for name in topics],
            allow_auto_topic_creation=create,
        )
        newer = read_metadata(await self.ask(request))
        keep = len(self.view.topics) < MAX_TOPICS_CACHED
        self.view = self.view.merged(newer) if keep and topics is not None else self.view.corrected(newer)
        self._view_until = now_s() + METADATA_MAX_AGE_MS / 1000
        return self.view

    async def topic(self, name: str, *, create: bool = False) -> TopicView:
        """One topic, waiting for its leaders to be elected. Raises Refused where it does not exist."""
        known = self.view.topics.get(name)
        if known is not None and self._view_until > now_s():
            return known

        async def attempt() -> TopicView:
            view = await self.metadata([name], create=create)
            if name in view.failed:
                self.forget_view()
                raise Refused(view.failed[name], f"topic {name!r}")
            found = view.topics[name]
            if any(partition.leader < 0 for partition in found.partitions.values()):
                self.forget_view()
                raise Refused(ErrorCode.LEADER_NOT_AVAILABLE, f"topic {name!r}")
            return found

        if create:
            return await self.retrying(attempt)
        try:
            return await attempt()
        except Refused as error:
            if error.code != ErrorCode.LEADER_NOT_AVAILABLE:
                raise
        return await self.retrying(attempt)

    async def nodes(self) -> list[Node]:
        """The brokers that are alive, in order of their ids."""
        view = await self.retrying(lambda: self.refresh([]))
        return [view.nodes[node_id] for node_id in sorted(view.nodes)]

    # --- coordinators

    async def coordinator(self, key: str, key_type: int = 0) -> int:
        """The node that coordinates a group (type 0) or transactional id (1); waits while there is none yet."""
        known = self._coordinators.get((key_type, key))
        if known is None:
            known = await self.retrying(lambda: self._find_coordinator(key, key_type))
            if len(self._coordinators) >= MAX_TOPICS_CACHED:
                self._coordinators.clear()
            self._coordinators[key_type, key] = known
        return known

    async def _find_coordinator(self, key: str, key_type: int) -> int:
        connection = await self.any_connection()
        if connection.version_for(ApiKey.FIND_COORDINATOR) >= 4:
            request = m.FindCoordinatorRequest(key_type=key_type, coordinator_keys=[key])
            found = (await connection.request(request, timeout_ms=self.request_timeout_ms)).coordinators[0]
        else:
            request = m.FindCoordinatorRequest(key=key, key_type=key_type)
            found = await connection.request(request, timeout_ms=self.request_timeout_ms)
        check(found.error_code, f"the coordinator of {key!r}", found.error_message)
        node_id: int = found.node_id
        return node_id

    async def ask_coordinator(
        self, group: str, body: Any, *, lane: str = "", most: int | None = None, timeout_ms: float | None = None
    ) -> Any:
        """Ask a group's coordinator, once; a lost connection makes the next call look it up again."""
        node = await self.coordinator(group)
        try:
            return await self.ask(body, node=node, lane=lane, most=most, timeout_ms=timeout_ms)
        except (Disconnected, TimedOut, Unreachable):
            self.forget_coordinator(group)
            raise

    def check_coordinator(self, group: str, code: int, what: str, message: str | None = None) -> None:
        """As `check`; an error that says the coordinator has moved forgets it."""
        if code in COORDINATOR_MOVED:
            self.forget_coordinator(group)
        check(code, what, message)

    def forget_coordinator(self, group: str) -> None:
        self._coordinators.pop((0, group), None)
