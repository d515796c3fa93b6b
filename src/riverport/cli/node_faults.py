"""Faults of a node that its supervisor asks for: to be cut off, to be slow.

Both last until they are healed, or until the process ends: who starts again is well.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.cli.deaf import local_ports, set_deaf

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.request import Request
    from riverport.kafka.wire.api import Api

log = get_logger(__name__)


class NodeFaults:
    """Lives on the node's event loop."""

    def __init__(self, node: "Broker") -> None:
        self._node = node
        self._connect = node.loop.create_connection
        self._healed = asyncio.Event()
        self._healed.set()

    def cut_off(self) -> list[int]:
        """Nothing comes in, and connections that the node wants to make are not made.

        What it sends still gets out: the others have to be deaf to the ports that are returned.
        """
        log.warning("this node is cut off now", node=self._node.node_id)
        set_deaf(True)
        self._healed.clear()
        # Sockets that are made from now on have no filter: a connection would be made, and a request answered.
        self._set_connect(self._connect_when_healed)
        return local_ports()

    def ignore(self, ports: list[int]) -> None:
        """Others are cut off, at these ports: hear nothing that they still send."""
        if self._healed.is_set():
            set_deaf(False, ports)

    def slow(self, ms: float) -> None:
        """Each request is served that much later."""
        from riverport.testing.actions import delay

        log.warning("this node is slow now", node=self._node.node_id, delay_ms=ms)
        action = delay(ms)

        def later(request: "Request", api: "Api", apply: Callable[[], Any]) -> Any:
            return action.strike(request, api, apply, after=False)

        self._node.request_filter = later

    def heal(self) -> None:
        log.warning("this node is well again", node=self._node.node_id)
        self._node.request_filter = None
        if not self._healed.is_set():
            self._set_connect(self._connect)
            set_deaf(False)
            self._healed.set()

    def _set_connect(self, connect: Any) -> None:
        setattr(self._node.loop, "create_connection", connect)  # noqa: B010 - a plain assignment is none to mypy

    async def _connect_when_healed(self, *arguments: Any, **more: Any) -> Any:
        await self._healed.wait()
        return await self._connect(*arguments, **more)
