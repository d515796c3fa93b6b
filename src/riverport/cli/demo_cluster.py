"""`riverport demo --cluster`: the classic picture, with real processes.

Topic Orders has partitions P0, P1 and P2, each on two of the brokers B1, B2 and B3. While it is written to, B1's
process is killed: P0's leader moves to B2. B1 returns and catches up. In the end everything is read back, and nothing
that was acknowledged is missing.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from riverport.cli.cluster_picture import Picture, take_picture
from riverport.cli.command import Problem, explained
from riverport.cli.control import ask_supervisor
from riverport.cli.embedded import ended_by_signals, throwaway_directory
from riverport.cli.terminal import Screen, counted, print_json, table_lines
from riverport.kafka.client.client import Client
from riverport.kafka.client.consumer import Consumer
from riverport.kafka.client.errors import ClientError, check
from riverport.kafka.client.producer import Producer
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.client.producer import Delivery

TOPIC = "Orders"
ASSIGNMENT = ((1, 2), (2, 3), (3, 1))
"""The brokers of P0, P1 and P2, the preferred leader first."""
VICTIM = 1
ORDERS_PER_TICK, TICK_S = 5, 0.01
CALM_S, DEAD_S = 2.0, 3.0
DRAW_S = 0.1
PATIENCE_S = 30.0
ASK_MS = 1_500


@dataclass(slots=True)
class Story:
    """What has happened so far. Times are seconds on the monotonic clock."""

    bootstrap: str = ""
    started_s: float = 0.0
    pids: dict[int, int | None] = field(default_factory=dict)
    step: str = ""
    sent: int = 0
    acked: dict[int, "Delivery"] = field(default_factory=dict)  # by the order's number
    last_ack: list[float] = field(default_factory=lambda: [0.0] * len(ASSIGNMENT))
    longest_silence: float = 0.0  # of P0, while its leader is dead
    told: list[str] = field(default_factory=list)
    picture: Picture | None = None

    def tell(self, sentence: str) -> None:
        self.told.append(sentence)


def perform(*, as_json: bool) -> None:
    """Raises Problem, also where something is lost."""
    began = time.monotonic()
    with throwaway_directory() as data, ended_by_signals(), _cluster(data) as story:
        story.started_s = time.monotonic() - began
        try:
            verdict = asyncio.run(_play(story, Screen(), quiet=as_json))
        except ClientError as error:
            raise explained(error) from error
    if as_json:
        print_json(verdict)
    elif not (verdict["lost"] or verdict["doubled"]):
        print(f"nothing acknowledged is lost; all of it took {time.monotonic() - began:.1f} s")
    if verdict["lost"] or verdict["doubled"]:
        raise Problem(
            f"{verdict['lost']} acknowledged orders are lost, {verdict['doubled']} doubled: a defect, please report it"
        )


@contextmanager
def _cluster(data: str) -> Iterator[Story]:
    """Three brokers under `riverport up`."""
    words = [sys.executable, "-m", "riverport", "up", "--brokers", "3", "--port", "0", "--json", "--dir", data]
    with open(os.path.join(data, "brokers.log"), "w+", encoding="utf-8") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                raise Problem(f"the cluster did not start: {log.read().strip()[-500:]}")
            said = json.loads(line)
            yield Story(said["bootstrap"], pids={node["id"]: node["pid"] for node in said["nodes"]})
        finally:
            process.terminate()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


async def _play(story: Story, screen: Screen, *, quiet: bool) -> dict[str, Any]:
    async with Client(story.bootstrap, client_id="riverport-demo", request_timeout_ms=ASK_MS) as client:
        await _make_topic(client)
        stage = _Stage(story, client, screen, quiet=quiet)
        async with Producer(client, idempotent=True) as producer:
            writing = asyncio.create_task(_write(story, producer))
            try:
                await _acts(story, stage)
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            await producer.flush()
        return await _read_back(story, client, stage)


async def _make_topic(client: Client) -> None:
    of = m.CreateTopicsRequest
    assignments = [of.CreatableReplicaAssignment(index, list(ids)) for index, ids in enumerate(ASSIGNMENT)]
    request = of([of.CreatableTopic(TOPIC, -1, -1, assignments)], timeout_ms=int(client.request_timeout_ms))
    (result,) = (await client.ask(request)).topics
    check(result.error_code, f"topic {TOPIC}", result.error_message)
    await client.topic(TOPIC)


async def _acts(story: Story, stage: "_Stage") -> None:
    def leader_of_p0() -> int | None:
        return story.picture.partitions[0].leader if story.picture is not None else None

    def all_in_sync() -> bool:
        lines = story.picture.partitions if story.picture is not None else []
        return bool(lines) and all(len(line.isr) == len(line.replicas) for line in lines)

    await stage.act("1  orders come in, each is on two brokers before it is acknowledged", all_in_sync, CALM_S)
    pid = story.pids[VICTIM]
    _ask(story, {"do": "kill", "nodes": [VICTIM], "stay": True})
    story.last_ack[0], story.longest_silence = time.monotonic(), 0.0
    story.tell(f"kill -9 {pid}: B{VICTIM} is dead")
    await stage.act(
        f"2  B{VICTIM} is dead: P0 moves to B2, P2 goes on without a copy", lambda: leader_of_p0() == 2, DEAD_S
    )
    story.tell(f"P0 acknowledged again after {story.longest_silence:.2f} s")
    _ask(story, {"do": "start", "nodes": [VICTIM]})
    story.tell(f"B{VICTIM} is started again")
    await stage.act(f"3  B{VICTIM} returns, fetches what it has missed, and is in sync again", all_in_sync, CALM_S)


async def _write(story: Story, producer: Producer) -> None:
    """Orders for P0, P1 and P2 in turn, until it is cancelled."""

    def acknowledged(delivered: "asyncio.Future[Delivery]", number: int) -> None:
        if not delivered.cancelled() and delivered.exception() is None:
            story.acked[number] = delivery = delivered.result()
            now = time.monotonic()
            if delivery.partition == 0:
                story.longest_silence = max(story.longest_silence, now - story.last_ack[0])
            story.last_ack[delivery.partition] = now

    while True:
        for _ in range(ORDERS_PER_TICK):
            number, story.sent = story.sent, story.sent + 1
            future = await producer.send(TOPIC, value=b"order %d" % number, partition=number % len(ASSIGNMENT))
            future.add_done_callback(partial(acknowledged, number=number))
        await asyncio.sleep(TICK_S)


async def _read_back(story: Story, client: Client, stage: "_Stage") -> dict[str, Any]:
    """Everything that lies in the topic, held against every acknowledgement."""
    found: dict[int, list[tuple[int, int]]] = {}
    wanted = len(story.acked)
    async with Consumer(client) as consumer:
        consumer.assign([(TOPIC, index) for index in range(len(ASSIGNMENT))])
        while records := await consumer.poll(timeout_ms=1000, max_records=5000):
            for record in records:
                number = int((record.value or b"").split()[-1])
                found.setdefault(number, []).append((record.partition, record.offset))
    lost = [n for n, ack in story.acked.items() if (ack.partition, ack.offset) not in found.get(n, ())]
    doubled = [number for number, places in found.items() if len(places) > 1]
    story.tell(
        f"read back: {counted(sum(map(len, found.values())), 'order')}, "
        f"acknowledged {wanted}, lost {len(lost)}, doubled {len(doubled)}"
    )
    await stage.act("4  everything is read back", lambda: True, 0)
    return {
        "bootstrap": story.bootstrap,
        "started_seconds": round(story.started_s, 3),
        "sent": story.sent,
        "acknowledged": wanted,
        "read": sum(map(len, found.values())),
        "lost": len(lost),
        "doubled": len(doubled),
        "failover_seconds": round(story.longest_silence, 3),
        "told": story.told,
    }


def _ask(story: Story, request: dict[str, Any]) -> None:
    ask_supervisor(story.bootstrap, request)


class _Stage:
    """Shows the story: on a terminal as it goes, elsewhere at the end of each act."""

    def __init__(self, story: Story, client: Client, screen: Screen, *, quiet: bool) -> None:
        self._story = story
        self._client = client
        self._screen = screen
        self._quiet = quiet

    async def act(self, title: str, over: Callable[[], bool], at_least_s: float) -> None:
        """Play until `over`, and for some time in any case. Raises Problem where that takes too long."""
        self._story.step = title
        began = time.monotonic()
        while True:
            await self._look()
            if self._screen.is_live and not self._quiet:
                self._screen.draw(self._lines())
            elapsed = time.monotonic() - began
            if over() and elapsed >= at_least_s:
                break
            if elapsed > PATIENCE_S:
                raise Problem(f"{title.split('  ')[-1]}: that did not happen within {PATIENCE_S:.0f} s")
            await asyncio.sleep(DRAW_S)
        if not self._quiet:
            self._screen.draw(self._lines())

    async def _look(self) -> None:
        try:
            self._story.picture = await take_picture(self._client, topics=[TOPIC])
        except ClientError:
            return  # between two controllers nobody knows: what was seen last stays

    def _lines(self) -> list[str]:
        story, picture = self._story, self._story.picture
        if picture is None:
            return [story.step]
        brokers = "   ".join(
            f"B{b.id} {'up' if b.state == 'up' else 'DEAD'}{', controller' if b.id == picture.controller else ''}"
            for b in picture.brokers
        )
        acked = [0] * len(ASSIGNMENT)
        for delivery in story.acked.values():
            acked[delivery.partition] += 1
        rows = [
            (
                f"P{p.index}",
                f"B{p.leader}" if p.leader is not None else None,
                p.leader_epoch,
                [f"B{id_}" for id_ in p.replicas],
                [f"B{id_}" for id_ in p.isr],
                max(p.lags.values(), default=None),
                acked[p.index],
            )
            for p in picture.partitions
        ]
        heads = [TOPIC.upper(), "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "LAG", "ACKNOWLEDGED"]
        return [
            f"three brokers, up in {story.started_s:.2f} s: {brokers}",
            "",
            story.step,
            "",
            *table_lines(heads, rows),
            *([""] if story.told else []),
            *(f"  {sentence}" for sentence in story.told),
        ]
