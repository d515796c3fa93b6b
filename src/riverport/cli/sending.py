"""Many records to a producer, without keeping a future for each: how many arrived, and what went wrong first."""

import asyncio
from collections.abc import Callable
from typing import Any

from riverport.kafka.client.producer import Delivery, Producer


class Sending:
    """Counts what is acknowledged. `failed` is the first error; the caller decides whether to go on."""

    def __init__(self, producer: Producer, acknowledged: Callable[[Delivery], None] | None = None) -> None:
        self._producer = producer
        self._acknowledged = acknowledged
        self.sent = 0
        self.delivered = 0
        self.failed: BaseException | None = None

    async def send(self, topic: str, **record: Any) -> None:
        """As `Producer.send`. Raises what went wrong with a record before this one."""
        if self.failed is not None:
            raise self.failed
        future = await self._producer.send(topic, **record)
        self.sent += 1
        future.add_done_callback(self._done)

    async def finish(self) -> None:
        """Wait for what is on its way. Raises the first error."""
        await self._producer.flush()
        if self.failed is not None:
            raise self.failed

    def _done(self, future: "asyncio.Future[Delivery]") -> None:
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            self.failed = self.failed or error
            return
        self.delivered += 1
        if self._acknowledged is not None:
            self._acknowledged(future.result())
