"""How a replica of the metadata log reaches the others: requests out, answers or their absence back.

Two connections to an address at most: a leader may keep a fetch until there are news, and answers leave in the order
of their requests, so a vote does not stand behind a fetch. The quorum itself has one request at a time for each.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from riverport.base.logging import get_logger
from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import ClientError
from riverport.kafka.raft.requests import FETCH_MAX_WAIT_MS
from riverport.kafka.raft.voters import Address
from riverport.kafka.wire import messages as m

log = get_logger(__name__)

_REFUSED = "[Errno 111]"

_Lane = tuple[Address, bool]


class QuorumNetwork:
    """`answered(serial, response)` or `failed(serial, refused)` is called on the loop for each request, once."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        node_id: int,
        timeout_ms: int,
        answered: Callable[[int, Any], None],
        failed: Callable[[int, bool], None],
    ) -> None:
        self._loop = loop
        self._client_id = f"raft-client-{node_id}"
        self._timeout_ms = timeout_ms
        self._answered = answered
        self._failed = failed
        self._connections: dict[_Lane, Connection] = {}
        self._tasks: dict[asyncio.Task[None], _Lane] = {}
        self._told: dict[Address, str] = {}  # the last reason for not reaching somebody, so that it is logged once

    def send(self, serial: int, to: Address, request: Any) -> None:
        lane = (to, isinstance(request, m.FetchRequest | m.FetchSnapshotRequest))
        for task in [task for task, busy in self._tasks.items() if busy == lane]:
            # The replica waits for that answer no longer: what is behind it shall not wait either.
            task.cancel()
            self._drop(lane)
        task = self._loop.create_task(self._exchange(serial, lane, request))
        self._tasks[task] = lane
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _exchange(self, serial: int, lane: _Lane, request: Any) -> None:
        to = lane[0]
        timeout_ms = self._timeout_ms + (FETCH_MAX_WAIT_MS if isinstance(request, m.FetchRequest) else 0)
        try:
            connection = self._connections.get(lane)
            if connection is None or connection.closed:
                connection = await Connection.open(
                    to.host, to.port, client_id=self._client_id, timeout_ms=self._timeout_ms
                )
                self._connections[lane] = connection
            response = await connection.request(request, timeout_ms=timeout_ms)
        except ClientError as error:
            self._drop(lane)
            if (reason := str(error)) != self._told.get(to):
                self._told[to] = reason
                log.info("a replica of the metadata log cannot be reached", host=to.host, port=to.port, reason=reason)
            self._leave_lane()
            self._failed(serial, is_refused(error))
            return
        self._told.pop(to, None)
        self._leave_lane()
        self._answered(serial, response)

    def _leave_lane(self) -> None:
        """What is sent in consequence of an answer finds its lane free, and takes the same connection."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.pop(task, None)

    def _drop(self, lane: _Lane) -> None:
        connection = self._connections.pop(lane, None)
        if connection is not None:
            connection.abort()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in list(self._connections):
            self._drop(lane)


def is_refused(error: ClientError) -> bool:
    """Whether nobody listens at the address: the process that did is gone. A lost connection alone says less."""
    cause = error.__cause__
    if isinstance(cause, ConnectionRefusedError):
        return True
    # A name with several addresses: all of them must refuse.
    text = str(cause) if isinstance(cause, OSError) and cause.errno is None else ""
    return text.startswith("Multiple exceptions: ") and text.count(_REFUSED) == text.count("[Errno")
