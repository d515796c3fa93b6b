"""Pulls of the same layers at the same time, and pulls that are given up."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.engine.images.faulty import Cut, Held, Published, layer_of
from tests.engine.images.world import World
from tests.engine.storage.archives import NEEDS_ROOT

from riverport.engine.errors import EngineError
from riverport.engine.images.image import Image

pytestmark = NEEDS_ROOT

CONTENT = bytes(range(256)) * 1024  # 256 KiB
BELOW = layer_of(b"below", "below")
LAYER = layer_of(CONTENT)
FILES = {"below": b"below", "file": CONTENT}


def held() -> Held:
    return Held(asyncio.Event(), asyncio.Event())


@pytest.fixture
def served(world: World) -> World:
    """Two images of the same two layers, in two repositories."""
    world.registry.publish("team/one", Published.of(BELOW, LAYER))
    world.registry.publish("team/two", Published.of(BELOW, LAYER, author="two"))
    return world


async def waiting(world: World, path: str) -> "asyncio.Task[Image]":
    """A pull that has come as far as it can while another one has the layers."""
    described = asyncio.Event()
    pulling = asyncio.ensure_future(world.pulling(path, described=described))
    await described.wait()
    for _ in range(10):
        await asyncio.sleep(0)  # what is left is on this loop
    return pulling


def test_a_layer_of_two_pulls_is_downloaded_once(served: World) -> None:
    gate = held()
    served.registry.fail(LAYER.digest, gate)

    async def both() -> list[Image]:
        pulls = [await waiting(served, path) for path in ("team/one", "team/two")]
        await gate.reached.wait()
        gate.until.set()
        return await asyncio.gather(*pulls)

    one, two = served.run(both())
    assert one is not two
    assert served.files(one) == served.files(two) == FILES
    assert len(served.registry.targets(LAYER.digest)) == len(served.registry.targets(BELOW.digest)) == 1
    assert len(served.images.arriving) == 0


def test_the_same_image_pulled_twice_at_once_is_one_image(served: World) -> None:
    gate = held()
    served.registry.fail(LAYER.digest, gate)

    async def both() -> list[Image]:
        pulls = [await waiting(served, "team/one") for _ in range(2)]
        await gate.reached.wait()
        gate.until.set()
        return await asyncio.gather(*pulls)

    one, two = served.run(both())
    assert one is two
    assert served.files(one) == FILES
    assert len(served.registry.targets(LAYER.digest)) == 1
    served.run(served.images.remove(one.id, force=True))
    served.assert_nothing_left()


def test_a_pull_that_waits_and_is_given_up_does_not_harm_the_other(served: World) -> None:
    gate = held()
    served.registry.fail(LAYER.digest, gate)

    async def both() -> Image:
        first = asyncio.ensure_future(served.pulling("team/one"))
        await gate.reached.wait()
        second = await waiting(served, "team/two")
        second.cancel()
        await asyncio.wait({second})
        assert second.cancelled()
        gate.until.set()
        return await first

    assert served.files(served.run(both())) == FILES
    assert served.images.count() == 1
    assert len(served.registry.targets(LAYER.digest)) == 1
    assert len(served.images.arriving) == 0


async def given_up(served: World, gate: Held) -> "tuple[asyncio.Task[Image], asyncio.Task[Image]]":
    """Two pulls, of which the one that downloads is not wanted any more."""
    first = asyncio.ensure_future(served.pulling("team/one"))
    await gate.reached.wait()
    second = await waiting(served, "team/two")
    first.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not first.done()
    return first, second


def test_a_pull_that_is_given_up_goes_on_for_one_that_waits(served: World) -> None:
    """What has come is not asked for again."""
    gate = held()
    served.registry.fail(LAYER.digest, gate)

    async def both() -> Image:
        first, second = await given_up(served, gate)
        gate.until.set()
        await asyncio.wait({first})
        assert first.cancelled()
        return await second

    image = served.run(both())
    assert served.files(image) == FILES
    assert served.images.count() == 1
    assert len(served.registry.targets(LAYER.digest)) == len(served.registry.targets(BELOW.digest)) == 1
    assert len(served.images.arriving) == 0
    served.run(served.images.remove(image.id, force=True))
    served.assert_nothing_left()


def test_a_pull_that_is_given_up_ends_when_nobody_waits_for_it_any_more(served: World) -> None:
    gate = held()
    served.registry.fail(LAYER.digest, gate)

    async def both() -> None:
        first, second = await given_up(served, gate)
        second.cancel()
        await asyncio.wait({first, second})
        assert first.cancelled()
        assert second.cancelled()

    served.run(both())
    served.assert_nothing_left()


def test_a_pull_that_is_given_up_twice_ends_at_once(served: World) -> None:
    """As when the daemon stops. The other begins anew."""
    gate = held()
    served.registry.fail(LAYER.digest, gate)

    async def both() -> Image:
        first, second = await given_up(served, gate)
        first.cancel()
        await asyncio.wait({first})
        assert first.cancelled()
        return await second

    assert served.files(served.run(both())) == FILES
    assert len(served.registry.targets(LAYER.digest)) == 2


def test_a_pull_that_fails_after_it_was_given_up_does_not_harm_the_other(served: World) -> None:
    gate = held()
    served.registry.fail(LAYER.digest, gate, Cut(), Cut(), Cut(), Cut())

    async def both() -> Image:
        first, second = await given_up(served, gate)
        served.registry.abort_connections()
        gate.until.set()
        await asyncio.wait({first})
        assert first.cancelled()
        return await second

    assert served.files(served.run(both())) == FILES
    assert len(served.registry.targets(LAYER.digest)) == 6


def test_a_pull_that_fails_does_not_harm_the_other(served: World) -> None:
    """The one that downloads has used up its tries; the other has its own."""
    gate = held()
    served.registry.fail(LAYER.digest, gate, Cut(), Cut(), Cut(), Cut())

    async def both() -> tuple[object, object]:
        first = asyncio.ensure_future(served.pulling("team/one"))
        await gate.reached.wait()
        second = await waiting(served, "team/two")
        served.registry.abort_connections()
        gate.until.set()
        one, two = await asyncio.gather(first, second, return_exceptions=True)
        return one, two

    one, two = served.run(both())
    assert isinstance(one, EngineError)
    assert isinstance(two, Image)
    assert served.files(two) == FILES


def test_a_third_pull_waits_for_the_second_when_the_first_has_failed(served: World) -> None:
    first_gate, second_gate = held(), held()
    served.registry.fail(BELOW.digest, first_gate, Cut(), Cut(), Cut(), Cut(), second_gate)

    async def three() -> list[Image]:
        first = asyncio.ensure_future(served.pulling("team/one"))
        await first_gate.reached.wait()
        second = await waiting(served, "team/two")
        served.registry.abort_connections()
        first_gate.until.set()
        await second_gate.reached.wait()
        third = await waiting(served, "team/one")
        second_gate.until.set()
        with pytest.raises(EngineError):
            await first
        return await asyncio.gather(second, third)

    for image in served.run(three()):
        assert served.files(image) == FILES
    assert len(served.registry.targets(BELOW.digest)) == 6
    assert len(served.images.arriving) == 0


@pytest.mark.parametrize(
    "part", ["/v2/", "/manifests/", BELOW.digest, LAYER.digest], ids=["ping", "manifest", "first layer", "second layer"]
)
def test_a_pull_of_a_registry_that_never_answers_can_be_given_up(served: World, part: str) -> None:
    """Not a byte has come that could be broken off; the thread ends all the same, and nothing is left."""
    gate = held()
    served.registry.fail(part, gate)

    async def give_up() -> None:
        pulling = asyncio.ensure_future(served.pulling("team/one"))
        await gate.reached.wait()
        pulling.cancel()
        await asyncio.wait({pulling})
        assert pulling.cancelled()

    served.run(give_up())
    served.assert_nothing_left()


def test_a_layer_stays_whole_for_others_when_its_blob_cannot_be_kept(
    served: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pull that downloaded it fails with the disk; the one that waited finds it registered."""
    gate = held()
    served.registry.fail(LAYER.digest, gate)
    kept = served.images.blobs.keep

    def keep(digest: str, *others: Any) -> Any:
        if digest == LAYER.digest:
            raise OSError(28, "No space left on device")
        return kept(digest, *others)

    monkeypatch.setattr(served.images.blobs, "keep", keep)

    async def both() -> tuple[object, object]:
        first = asyncio.ensure_future(served.pulling("team/one"))
        await gate.reached.wait()
        second = await waiting(served, "team/two")
        gate.until.set()
        one, two = await asyncio.gather(first, second, return_exceptions=True)
        return one, two

    one, two = served.run(both())
    assert isinstance(one, OSError)
    assert isinstance(two, Image)
    assert served.files(two) == FILES


@pytest.fixture
def deaf() -> Iterator[str]:
    """A host that answers no attempt to connect: its queue is full. Its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):  # takes the one place
            yield f"127.0.0.1:{address[1]}"


def dialling(host: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"dial {host}"]


def wait_for_dialling(host: str) -> None:
    while not dialling(host):
        time.sleep(0.001)


def test_a_pull_from_a_host_that_never_answers_can_be_given_up(world: World, deaf: str) -> None:
    async def scenario() -> None:
        pulling = asyncio.ensure_future(world.pulling(f"{deaf}/team/app"))
        await asyncio.to_thread(wait_for_dialling, deaf)
        pulling.cancel()
        await asyncio.wait({pulling})
        assert pulling.cancelled()
        assert [thread.daemon for thread in dialling(deaf)] == [True]  # nobody has waited for it, and nobody will

    world.run(scenario())
    world.assert_nothing_left()
