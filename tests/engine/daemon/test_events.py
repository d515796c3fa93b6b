import asyncio
from collections.abc import AsyncIterator

import pytest

from riverport.engine.api.filters import Filters
from riverport.engine.events import BEHIND, KEPT, Event, Events, matches

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now_ns


async def actions(stream: AsyncIterator[Event]) -> list[str]:
    return [event.action async for event in stream]


def test_since_replays_what_is_kept_and_a_past_until_ends() -> None:
    async def main() -> list[str]:
        clock = Clock()
        events = Events(clock)
        for action in ("create", "start", "die"):
            events.publish("container", action, "c1")
            clock.now_ns += SECOND
        return await actions(events.subscribe(1_001 * SECOND, 1_001 * SECOND))

    assert asyncio.run(main()) == ["start"]


def test_without_since_only_what_comes_is_told() -> None:
    async def main() -> list[str]:
        events = Events()
        events.publish("container", "before", "c1")
        stream = events.subscribe()
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        events.publish("container", "after", "c1")
        return [(await following).action]

    assert asyncio.run(main()) == ["after"]


def test_nothing_is_lost_or_doubled_between_replay_and_following() -> None:
    async def main() -> list[str]:
        events = Events()
        events.publish("container", "kept", "c1")
        stream = events.subscribe(since_ns=0)
        found = [(await anext(stream)).action]
        events.publish("container", "new", "c1")
        return [*found, (await anext(stream)).action]

    assert asyncio.run(main()) == ["kept", "new"]


def test_until_in_the_future_ends_the_stream() -> None:
    async def main() -> list[str]:
        events = Events()
        return await actions(events.subscribe(until_ns=events.publish("x", "y", "z").time_ns + SECOND // 50))

    assert asyncio.run(main()) == []


def test_only_the_last_ones_are_kept() -> None:
    async def main() -> int:
        events = Events()
        for _ in range(KEPT + 10):
            events.publish("container", "x", "c")
        return len(await actions(events.subscribe(since_ns=0, until_ns=events.publish("container", "x", "c").time_ns)))

    assert asyncio.run(main()) == KEPT


def test_times_increase_even_when_the_clock_does_not() -> None:
    events = Events(Clock())
    times = [events.publish("container", "x", "c").time_ns for _ in range(5)]
    assert times == sorted(set(times))


def test_a_subscriber_that_does_not_read_is_dropped() -> None:
    async def main() -> tuple[int, int]:
        events = Events()
        stream = events.subscribe(since_ns=0)
        events.publish("container", "x", "c")
        await anext(stream)
        for _ in range(BEHIND + 5):
            events.publish("container", "x", "c")
        count = len(await actions(stream))
        return count, events.listeners

    assert asyncio.run(main()) == (BEHIND, 0)


def test_a_stream_that_is_closed_no_longer_listens() -> None:
    async def main() -> tuple[int, int]:
        events = Events()
        events.publish("container", "x", "c")
        stream = events.subscribe(since_ns=0)
        await anext(stream)
        during = events.listeners
        await stream.aclose()  # type: ignore[attr-defined]
        return during, events.listeners

    assert asyncio.run(main()) == (1, 0)


CONTAINER = Event(
    "container", "health_status: healthy", "abcdef", {"name": "web", "image": "nginx:1", "tier": "front"}, 1
)
IMAGE = Event("image", "pull", "nginx:1", {"name": "nginx"}, 1)


@pytest.mark.parametrize(
    ("event", "wanted", "found"),
    [
        (CONTAINER, {"container": ["web"]}, True),
        (CONTAINER, {"container": ["abc"]}, True),
        (CONTAINER, {"container": ["bcd"]}, False),
        (CONTAINER, {"container": ["other", "web"]}, True),
        (CONTAINER, {"image": ["nginx"]}, True),
        (CONTAINER, {"image": ["nginx:1"]}, True),
        (CONTAINER, {"image": ["nginx:2"]}, False),
        (CONTAINER, {"event": ["health_status"]}, True),
        (CONTAINER, {"event": ["health_status: healthy"]}, True),
        (CONTAINER, {"event": ["health_status: unhealthy"]}, False),
        (CONTAINER, {"event": ["start"]}, False),
        (CONTAINER, {"type": ["image"]}, False),
        (CONTAINER, {"type": ["image", "container"], "label": ["tier=front"]}, True),
        (CONTAINER, {"label": ["tier=back"]}, False),
        (CONTAINER, {"network": ["web"]}, False),
        (CONTAINER, {"scope": ["swarm"]}, False),
        (IMAGE, {"image": ["nginx"]}, True),
        (IMAGE, {"container": ["nginx"]}, False),
    ],
)
def test_filters_choose_events(event: Event, wanted: dict[str, list[str]], found: bool) -> None:
    assert matches(event, Filters(wanted)) is found


def test_containers_and_images_have_their_old_fields_too() -> None:
    told = CONTAINER.document()
    assert (told["status"], told["id"], told["from"]) == ("health_status: healthy", "abcdef", "nginx:1")
    assert told["Actor"] == {"ID": "abcdef", "Attributes": {"name": "web", "image": "nginx:1", "tier": "front"}}
    assert "status" not in Event("network", "connect", "n1", {}, 1).document()
    assert "from" not in IMAGE.document()
