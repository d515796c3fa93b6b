"""Brokers whose process has died are noticed at once, not when their session is over (ADR 7).

    a heartbeat connection ends           its broker may be dead, restarting, or only cut off
    the listeners are tried               all of them, where the heartbeats came from
    every one refuses                     no process has those ports: that incarnation is fenced
    one of them answers, or nobody does   it may live: its session decides, as in Apache Kafka

A new controller has heard of nobody yet: it tries the listeners of all, and gives up who refuses, and either stays
silent or has just dropped a connection on which this node replicated from it. To who answers it keeps a connection of
its own, until the first heartbeat: when that ends, the listeners are tried as well. Only the incarnation that was
watched is ever fenced, and a broker that is heard of again after it was given up is never tried again.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from riverport.base.logging import get_logger
from riverport.base.tasks import Tasks
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.registrations import BrokerRegistration

if TYPE_CHECKING:
    from riverport.kafka.server.connection import Connection

log = get_logger(__name__)

ATTEMPTS_AFTER_MS = (0, 20, 100, 300)
"""When to try after a connection has ended: while a process dies, its listener may outlive its connection."""
SILENCE_MS = 50
"""How long a broker that refuses may be silent towards a new controller."""
ANSWER_SECONDS = 1.0
"""Who neither answers nor refuses for so long is not known to be dead."""


class _Link(NamedTuple):
    """The last heartbeat of a broker: from which incarnation, on which connection."""

    epoch: int
    connection: "Connection"


class _Vigil(asyncio.Protocol):
    """A connection on which nothing is said: all that counts is when it ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class BrokerWatch:
    """The active controller's eye on processes. `fence(id, epoch)` is called for an incarnation that is dead."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        image: MetadataImage,
        own_id: int,
        session_ms: int,
        fence: Callable[[int, int], None],
        dropped: Callable[[int], bool],
    ) -> None:
        """Who is not heard of is watched for `session_ms`.

        `dropped(id)`: whether a connection to one of its listeners, which was in use, has just ended.
        """
        self._loop = loop
        self._image = image
        self._own_id = own_id
        self._session_ms = session_ms
        self._fence = fence
        self._dropped = dropped
        self._links: dict[int, _Link] = {}
        self._silent: dict[int, asyncio.Task[None]] = {}  # who has not been heard of since this controller began
        self._given_up: dict[int, int] = {}  # broker -> epoch of the incarnation that was fenced here
        self._unpredictable: set[int] = set()  # their refusals mean nothing: they were given up, and lived
        self._tasks = Tasks(loop)
        self._is_closed = False

    def begin(self) -> None:
        """This node has become the active controller."""
        self._links.clear()
        for earlier in self._silent.values():
            earlier.cancel()
        self._silent.clear()
        for node in self._image.brokers.values():
            if not node.fenced and node.id != self._own_id and (task := self._start(self._try_silent(node))):
                self._silent[node.id] = task

    def heard(self, id_: int, epoch: int, connection: "Connection") -> None:
        self._links[id_] = _Link(epoch, connection)
        if (silent := self._silent.pop(id_, None)) is not None:
            silent.cancel()
        if self._given_up.pop(id_, None) == epoch:
            log.warning("a broker lives although its listeners refused, it is not tried any more", broker=id_)
            self._unpredictable.add(id_)
        if connection.closed:  # while the heartbeat waited for its turn: nothing will tell of it any more
            self.connection_closed(connection)

    def is_connected(self, id_: int, epoch: int) -> bool:
        """Whether the connection is open on which this incarnation was heard of last."""
        link = self._links.get(id_)
        return link is not None and link.epoch == epoch and not link.connection.closed

    def connection_closed(self, connection: "Connection") -> None:
        for id_, link in self._links.items():
            node = self._image.brokers.get(id_)
            if link.connection is connection and node is not None and node.epoch == link.epoch and not node.fenced:
                self._start(self._try_lost(node, connection))

    async def close(self) -> None:
        """Nobody is watched any more: connections that end now end because this node stops."""
        self._is_closed = True
        await self._tasks.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
        if self._is_closed:
            work.close()
            return None
        return self._tasks.start(work)

    async def _try_lost(self, node: BrokerRegistration, connection: "Connection") -> None:
        host = _plain(connection.peer_host)
        if not await self._is_at(node, host):
            return  # behind something that translates addresses: its refusals are not the broker's own
        if await self._comes_to_refuse(node, host) and self._is_last(node.id, connection):
            self._give_up(node)

    def _is_last(self, id_: int, connection: "Connection") -> bool:
        link = self._links.get(id_)
        return link is not None and link.connection is connection

    async def _try_silent(self, node: BrokerRegistration) -> None:
        """Ends with the first heartbeat (`heard`)."""
        if not await self._refuses(node):
            await self._until_it_ends(node)
            if not await self._comes_to_refuse(node):
                return
        if not self._dropped(node.id):
            await asyncio.sleep(SILENCE_MS / 1000)
            if not await self._refuses(node):
                return
        self._give_up(node)

    async def _until_it_ends(self, node: BrokerRegistration) -> None:
        """Keep a connection to a broker that runs, for a session at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._session_ms / 1000):
                for endpoint in node.endpoints:
                    for host in sorted(await self._addresses(endpoint.host, endpoint.port)):
                        if await self._outlasts(host, endpoint.port):
                            return

    async def _outlasts(self, host: str, port: int) -> bool:
        """Returns when a connection to there has ended; False where none could be made."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                transport, vigil = await self._loop.create_connection(lambda: _Vigil(self._loop), host, port)
        except OSError:  # TimeoutError among them
            return False
        try:
            await vigil.ended
        finally:
            transport.abort()
        return True

    def _give_up(self, node: BrokerRegistration) -> None:
        if node.id not in self._unpredictable:
            log.warning("a broker's process has ended, it is fenced", broker=node.id, epoch=node.epoch)
            self._given_up[node.id] = node.epoch
            self._fence(node.id, node.epoch)

    async def _comes_to_refuse(self, node: BrokerRegistration, host: str | None = None) -> bool:
        waited = 0
        for after_ms in ATTEMPTS_AFTER_MS:
            await asyncio.sleep((after_ms - waited) / 1000)
            waited = after_ms
            if await self._refuses(node, host):
                return True
        return False

    async def _is_at(self, node: BrokerRegistration, host: str) -> bool:
        """Whether every listener is, by its advertised name, where the heartbeats came from."""
        for endpoint in node.endpoints:
            if _plain(endpoint.host) != host and host not in await self._addresses(endpoint.host, endpoint.port):
                return False
        return bool(node.endpoints)

    async def _addresses(self, host: str, port: int) -> set[str]:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            return {_plain(host)}
        try:
            return {_plain(str(found[4][0])) for found in await self._loop.getaddrinfo(host, port)}
        except OSError:
            return set()

    async def _refuses(self, node: BrokerRegistration, host: str | None = None) -> bool:
        """Whether every listener refuses, at `host` or else wherever it is advertised."""
        for endpoint in node.endpoints:
            hosts = [host] if host is not None else sorted(await self._addresses(endpoint.host, endpoint.port))
            for each in hosts:
                if not await self._refused(each, endpoint.port):
                    return False
            if not hosts:
                return False
        return bool(node.endpoints)

    async def _refused(self, host: str, port: int) -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                transport, _ = await self._loop.create_connection(asyncio.Protocol, host, port)
        except ConnectionRefusedError:
            return True
        except OSError:  # TimeoutError among them
            return False
        transport.abort()
        return False


def _plain(host: str) -> str:
    """An address in its shortest form: a listener for both families shows IPv4 peers as ::ffff:1.2.3.4."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
