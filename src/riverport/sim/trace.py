"""What the nodes of a simulation log, in the simulation's time and with the node's name."""

import logging
from asyncio import events
from collections.abc import Callable

from riverport.sim.loop import SimLoop


class _Handler(logging.Handler):
    def __init__(self, told: Callable[[float, str], None]) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        loop = events._get_running_loop()
        if isinstance(loop, SimLoop):
            self._told(loop.world.now, f"    {loop.host} {record.levelname.lower()}: {record.getMessage()}")


def show_logs(told: Callable[[float, str], None], level: int = logging.INFO) -> None:
    """From now on `told` is told (simulated seconds, line) of what nodes log."""
    root = logging.getLogger()
    root.handlers[:] = [_Handler(told)]
    root.setLevel(level)
