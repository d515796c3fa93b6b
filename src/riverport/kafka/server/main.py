"""One node as a process: `riverport kafka start server.properties`.

Signals: SIGTERM and SIGINT are a clean stop. A second one while stopping is ignored: closing logs takes as long as it
takes, and a killed process costs a recovery at the next start.
"""

import asyncio
import gc
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.base.settings import ConfigError
from riverport.kafka.server.settings import BrokerConfig, load, remarks

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

EXIT_CONFIG = 1
"""Kafka's scripts exit with 1 for whatever keeps a node from starting."""


def run(
    properties: Mapping[str, str],
    ready: Callable[[dict[str, int]], None] | None = None,
    made: "Callable[[Broker], None] | None" = None,
) -> int:
    """Run one node until it is told to stop; returns the exit status.

    `ready(ports)` is called with the bound port of each listener once the node answers, `made(node)` before it starts.
    """
    try:
        config = load(properties)
    except ConfigError as error:
        for problem in error.problems:
            print(f"riverport: {problem}", file=sys.stderr)
        return EXIT_CONFIG
    _raise_file_limit()
    try:
        _loop_runner()(_serve(config, ready, made))
    except (ConfigError, StorageError, OSError) as error:
        print(f"riverport: {error}", file=sys.stderr)
        return 1
    return 0


def _loop_runner() -> Callable[..., None]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    runner: Callable[..., None] = uvloop.run
    return runner


async def _serve(
    config: BrokerConfig,
    ready: Callable[[dict[str, int]], None] | None,
    made: "Callable[[Broker], None] | None",
) -> None:
    gc.disable()  # what importing makes stays: collections while it is made were 16 % of a start's CPU time
    from riverport.kafka.server.broker import Broker

    for remark in remarks(config):
        log.warning(remark.text, key=remark.key) if remark.key else log.warning(remark.text)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    broker = Broker(config, loop)
    if made is not None:
        made(broker)
    gc.enable()
    stopped: asyncio.Future[Any] = loop.create_task(stopping.wait())
    failed: asyncio.Future[Any] = broker.failed
    starting = loop.create_task(broker.start())
    try:
        # A signal ends a start that waits for a controller, too.
        await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            gc.freeze()  # or full collections would look at all of it: 4 ms, 12 with 2,000 partitions, amid the load
            if ready is not None:
                ready(broker.ports)
            await asyncio.wait([stopped, failed], return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping", node=broker.node_id)
    finally:
        stopped.cancel()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await broker.stop()
    if broker.failed.done():
        raise StorageError(str(broker.failed.result()))


def _raise_file_limit() -> None:
    """Each open segment and connection is a file: take all that the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
