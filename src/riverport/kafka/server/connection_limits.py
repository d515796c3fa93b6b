"""How many connections the listeners of a node take, and how fast (KIP-402, KIP-612).

From an address that has `max.connections.per.ip` already, a connection is closed; from one that comes faster than its
quota `connection_creation_rate` allows, too, but not at once, since who comes again right away would come faster still.
Over `max.connections`, of the node or of the listener, and over `max.connection.creation.rate` it waits: none of its
requests is started until there is room, as if it were still to be accepted. As many may wait as
`socket.listen.backlog.size` says.

The listener that brokers use among themselves does not count to the node's limits where there is another: clients
cannot shut out the cluster.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING

from riverport.base.logging import get_logger

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.connection import Connection
    from riverport.kafka.server.listener import Listener

log = get_logger(__name__)

BURST_SECONDS = 10
"""Seconds whose connections may come at once: Kafka takes the mean over its window of eleven samples of a second."""
UNLIMITED = 2**31 - 1
MAX_DELAY_MS = 1_000
"""The longest time from the arrival of a connection that comes too fast to its end."""
MAX_DELAYED = 1_000
"""As many of those are there at a time; further ones end at once."""
MAX_ADDRESSES = 10_000
"""Rates of addresses kept at a time; the one that was used longest ago goes first."""


class ConnectionLimits:
    """Of all listeners of one kind, as Apache Kafka's broker and its controller have limits of their own."""

    def __init__(self, broker: "Broker", kind: str) -> None:
        self._broker = broker
        self._kind = kind
        self._of_listener: Counter[str] = Counter()
        self._of_host: Counter[str] = Counter()
        self._counted: dict[Connection, None] = {}
        self._waiting: deque[Connection] = deque()
        self._rates: dict[str, _Rate] = {}
        self._rates_of_hosts: OrderedDict[str, _Rate] = OrderedDict()
        self._delayed = 0
        self._timer: asyncio.TimerHandle | None = None

    def arrive(self, connection: "Connection") -> None:
        """Let a new connection in, make it wait, or close it."""
        self._waiting.append(connection)
        self._let_in()
        if connection not in self._waiting:
            return
        if len(self._waiting) > self._broker.config["socket.listen.backlog.size"]:
            log.warning("connection refused, too many wait already", peer=connection.peer_host)
            self._waiting.remove(connection)
            connection.close()
        else:
            connection.hold()

    def leave(self, connection: "Connection") -> None:
        """A connection has ended, wherever it was."""
        if connection in self._counted:
            del self._counted[connection]
            self._of_listener[connection.listener.name] -= 1
            self._of_host[connection.peer_host] -= 1
            if not self._of_host[connection.peer_host]:
                del self._of_host[connection.peer_host]
            self._let_in()
        elif connection in self._waiting:
            self._waiting.remove(connection)

    def settings_changed(self) -> None:
        """Close what a lowered limit has no room for, least active first; let in what a raised one has."""
        excess = len(self._counted) - int(self._broker.config["max.connections"])
        if excess > 0:
            clients = [each for each in self._counted if not self._is_protected(each.listener)]
            for connection in sorted(clients, key=lambda each: each.last_active_ms)[:excess]:
                connection.close()
        self._let_in()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # --- who may come in

    def _let_in(self) -> None:
        """Every listener's first in the queue, until none of them may; one listener's do not overtake each other."""
        blocked: set[str] = set()
        for connection in list(self._waiting):
            listener = connection.listener
            if listener.name in blocked:
                continue
            if not self._has_room(listener) or not self._in_time(listener):
                blocked.add(listener.name)
                continue
            self._waiting.remove(connection)
            self._take(connection)

    def _take(self, connection: "Connection") -> None:
        host = connection.peer_host
        wait_ms = self._excess_ms(host)
        if wait_ms > 0:
            self._close_later(connection, min(wait_ms, MAX_DELAY_MS))
            return
        if self._of_host[host] >= self._broker.config.connections_limit_of(host):
            log.warning("connection refused, its address has too many", peer=host, open=self._of_host[host])
            connection.close()
            return
        self._counted[connection] = None
        self._of_listener[connection.listener.name] += 1
        self._of_host[host] += 1
        connection.welcome()

    def _excess_ms(self, host: str) -> float:
        """How much too early a connection from that address comes; 0 where it may."""
        quotas = self._broker.metadata.image.quotas
        if not quotas or self._kind != "broker":
            return 0.0
        values = quotas.get((("ip", host),)) or quotas.get((("ip", None),)) or {}
        limit = int(values.get("connection_creation_rate", UNLIMITED))
        if limit >= UNLIMITED:
            return 0.0
        now_ms = self._broker.clock.mono_ms()
        rate = self._rates_of_hosts.pop(host, None)
        if rate is None or rate.per_second != limit:
            rate = _Rate(limit, now_ms)
        self._rates_of_hosts[host] = rate
        if len(self._rates_of_hosts) > MAX_ADDRESSES:
            self._rates_of_hosts.popitem(last=False)
        wait_ms = rate.wait_ms(now_ms)
        if wait_ms == 0:
            rate.take()
        return wait_ms

    def _close_later(self, connection: "Connection", delay_ms: float) -> None:
        if self._delayed >= MAX_DELAYED:
            connection.close()
            return
        self._delayed += 1
        connection.hold()

        def close() -> None:
            self._delayed -= 1
            connection.close()

        self._broker.loop.call_later(delay_ms / 1000, close)

    def _has_room(self, listener: "Listener") -> bool:
        config = self._broker.config
        if self._of_listener[listener.name] >= config.listener_value(listener.name, "max.connections"):
            return False
        return self._is_protected(listener) or len(self._counted) < config["max.connections"]

    def _in_time(self, listener: "Listener") -> bool:
        """Whether the rates allow one more now; where they do not, we look again when they will."""
        config, now_ms = self._broker.config, self._broker.clock.mono_ms()
        limits = {listener.name: config.listener_value(listener.name, "max.connection.creation.rate")}
        if not self._is_protected(listener):
            limits[""] = config["max.connection.creation.rate"]
        rates = [self._rate(name, limit, now_ms) for name, limit in limits.items() if limit < UNLIMITED]
        wait_ms = max((rate.wait_ms(now_ms) for rate in rates), default=0.0)
        if wait_ms > 0:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._broker.loop.call_later(wait_ms / 1000, self._let_in)
            return False
        for rate in rates:
            rate.take()
        return True

    def _rate(self, name: str, per_second: int, now_ms: float) -> "_Rate":
        rate = self._rates.get(name)
        if rate is None or rate.per_second != per_second:
            rate = self._rates[name] = _Rate(per_second, now_ms)
        return rate

    def _is_protected(self, listener: "Listener") -> bool:
        config = self._broker.config
        several = self._kind == "broker" and len(config.broker_listeners) > 1
        return several and listener.name == config.inter_broker_listener


class _Rate:
    """Connections a second, as a bucket of BURST_SECONDS' worth that fills again."""

    def __init__(self, per_second: int, now_ms: float) -> None:
        self.per_second = per_second
        self._level = float(per_second * BURST_SECONDS)
        self._filled_ms = now_ms

    def wait_ms(self, now_ms: float) -> float:
        """How long until one more may come; forever where the rate is 0, looked at again each second."""
        filled = self._level + (now_ms - self._filled_ms) / 1000 * self.per_second
        self._level, self._filled_ms = min(filled, float(self.per_second * BURST_SECONDS)), now_ms
        if self._level >= 1:
            return 0.0
        return (1 - self._level) / self.per_second * 1000 if self.per_second else 1000.0

    def take(self) -> None:
        self._level -= 1
