"""When a broker's heartbeats come."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from riverport.kafka.client.errors import ClientError
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.server import lifecycle
from riverport.kafka.server.lifecycle import Lifecycle
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

NEVER_MS = 3_600_000


class Controller:
    """Answers heartbeats as it is told to, and well when nothing is left of that."""

    def __init__(self) -> None:
        self.answers: list[ErrorCode | ClientError] = []
        self.beats: asyncio.Queue[m.BrokerHeartbeatRequest] = asyncio.Queue()

    async def send(self, request: m.BrokerHeartbeatRequest) -> m.BrokerHeartbeatResponse:
        self.beats.put_nowait(request)
        answer = self.answers.pop(0) if self.answers else ErrorCode.NONE
        if isinstance(answer, ClientError):
            raise answer
        return m.BrokerHeartbeatResponse(error_code=answer, is_fenced=False)


class Scene:
    """A broker that has joined, and whose next heartbeat is due in an hour."""

    def __init__(self) -> None:
        self.controller = Controller()
        self.image = MetadataImage()
        self.follows: list[Any] = []
        self.broker = SimpleNamespace(
            loop=asyncio.get_running_loop(),
            ids=SimpleNamespace(uuid=lambda: bytes(16)),
            node_id=1,
            channel=self.controller,
            config={"broker.heartbeat.interval.ms": NEVER_MS},
            metadata=SimpleNamespace(image=self.image, subscribe=self.follows.append),
            directories=SimpleNamespace(offline_ids=list),
        )
        self.life = Lifecycle(cast(Any, self.broker))

    async def join(self) -> None:
        await self.life.join()
        await self.controller.beats.get()
        await asyncio.sleep(0)  # its next pause has begun

    def elect(self) -> None:
        """Another controller is in office."""
        self.image.epoch += 1
        for follow in self.follows:
            follow(self.image, MetadataDelta())


def test_a_heartbeat_that_a_new_controller_refuses_is_tried_again_at_once() -> None:
    """A controller that has been elected is not active yet, and watches for death only who it has heard of."""

    async def work() -> None:
        refusals = (ErrorCode.NOT_CONTROLLER, ClientError("nobody is there"), ErrorCode.REQUEST_TIMED_OUT)
        for refusal in refusals:
            scene = Scene()
            await scene.join()
            scene.controller.answers = [refusal, refusal]
            scene.elect()
            async with asyncio.timeout(60):
                for _ in range(3):
                    await scene.controller.beats.get()
            await scene.life.close()

    asyncio.run(work())


def test_a_heartbeat_that_is_heard_is_not_repeated_before_its_time() -> None:
    async def work() -> None:
        scene = Scene()
        await scene.join()
        scene.controller.answers = [ErrorCode.NOT_CONTROLLER]
        scene.elect()
        for _ in range(2):
            await scene.controller.beats.get()
        await asyncio.sleep(3 * lifecycle.RETRY_MS / 1000)
        assert scene.controller.beats.empty()
        scene.elect()
        await scene.controller.beats.get()
        await asyncio.sleep(3 * lifecycle.RETRY_MS / 1000)
        assert scene.controller.beats.empty()
        await scene.life.close()

    asyncio.run(work())
