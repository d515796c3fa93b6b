"""Stages that speak at once are told one after the other."""

import asyncio
from typing import Any

import pytest

from riverport.engine.build.transcript import WAITING_BYTES, Transcript


def told(items: list[dict[str, Any]]) -> str:
    return "".join(item["stream"] for item in items)


def test_parts_are_told_in_their_order_whoever_speaks_first() -> None:
    async def scenario() -> str:
        transcript = Transcript()
        first, second = transcript.part(), transcript.part()

        async def work() -> None:
            second.say("2a ")
            await asyncio.sleep(0)
            first.say("1a ")
            second.say("2b ")
            second.close()
            await asyncio.sleep(0)
            first.say("1b ")
            first.close()

        task = asyncio.create_task(work())
        items = [item async for item in transcript.items(task)]
        await task
        return told(items)

    assert asyncio.run(scenario()) == "1a 1b 2a 2b "


def test_the_first_part_is_told_while_it_speaks() -> None:
    async def scenario() -> bool:
        transcript = Transcript()
        part = transcript.part()
        heard = asyncio.Event()

        async def work() -> bool:
            part.say("begun")
            await asyncio.wait_for(heard.wait(), 10)
            part.close()
            return True

        task = asyncio.create_task(work())
        async for _ in transcript.items(task):
            heard.set()
        return await task

    assert asyncio.run(scenario())


def test_a_stage_whose_turn_is_not_yet_waits_when_it_has_said_much() -> None:
    async def scenario() -> list[str]:
        transcript = Transcript()
        first, second = transcript.part(), transcript.part()
        events: list[str] = []

        async def talk() -> None:
            second.say("x" * (WAITING_BYTES + 1))
            await second.room()
            events.append("went on")
            second.close()

        talking = asyncio.create_task(talk())
        for _ in range(5):
            await asyncio.sleep(0)
        events.append("first ends")
        first.close()
        async for _ in transcript.items(talking):
            pass
        await talking
        return events

    assert asyncio.run(scenario()) == ["first ends", "went on"]


def test_after_a_failure_the_failed_stage_is_heard_and_later_ones_are_not() -> None:
    async def scenario() -> tuple[str, str]:
        transcript = Transcript()
        first, second, third = (transcript.part() for _ in range(3))

        async def fail() -> None:
            first.say("1 ")
            second.say("2 ")
            third.say("3 ")
            raise ValueError("second")

        task = asyncio.create_task(fail())
        live = told([item async for item in transcript.items(task)])
        with pytest.raises(ValueError, match="second"):
            await task
        return live, told(transcript.rest(second))

    assert asyncio.run(scenario()) == ("1 ", "2 ")
