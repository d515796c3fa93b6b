"""How often a pull asks, what it waits for in between, and where it goes on after a connection broke off.

Docker tries a layer five times (`max-download-attempts`), however far it has come.
"""

import asyncio
from dataclasses import replace

import pytest
from tests.engine.images.faulty import Answer, Cut, Fault, Held, Published, layer_of
from tests.engine.images.world import World
from tests.engine.storage.archives import NEEDS_ROOT

from riverport.engine.images.tries import ATTEMPTS, PROGRESS_BYTES

pytestmark = NEEDS_ROOT

CONTENT = bytes(range(256)) * 4096  # 1 MiB
LAYER = layer_of(CONTENT)
UNEXPECTED_EOF = "unexpected EOF"


@pytest.fixture
def served(world: World) -> World:
    world.registry.publish("team/app", Published.of(LAYER))
    return world


@pytest.mark.parametrize("fault", [Answer(503), Answer(429), Cut()], ids=["503", "429", "no answer"])
@pytest.mark.parametrize("part", ["/manifests/latest", LAYER.digest], ids=["manifest", "blob"])
def test_whatever_fails_is_tried_the_same_number_of_times(served: World, fault: Fault, part: str) -> None:
    served.registry.fail_always(part, fault)
    served.refused("team/app")
    assert len(served.registry.targets(part)) == ATTEMPTS == 5
    assert len(served.pauses) == ATTEMPTS - 1


@pytest.mark.parametrize("fault", [Answer(503), Answer(429), Cut()], ids=["503", "429", "no answer"])
def test_a_busy_token_server_is_asked_as_often_as_a_registry(served: World, fault: Fault) -> None:
    served.registry.need_tokens()
    served.registry.fail("/token", *[fault] * (ATTEMPTS - 1))
    assert served.files(served.pull("team/app")) == {"file": CONTENT}
    assert served.pauses == [0.25, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [429, 503])
def test_a_token_server_that_stays_busy_is_not_asked_without_end(served: World, status: int) -> None:
    served.registry.need_tokens()
    served.registry.fail_always("/token", Answer(status, headers={"Retry-After": "3"}))
    words = {
        429: "toomanyrequests: Too Many Requests",
        503: "received unexpected HTTP status: 503 Service Unavailable",
    }
    assert str(served.refused("team/app")) == words[status]
    assert len(served.registry.targets("/token")) == ATTEMPTS
    assert served.pauses == [3.0] * (ATTEMPTS - 1)


def test_a_token_server_that_refuses_is_asked_once(served: World) -> None:
    served.registry.need_tokens()
    served.registry.fail_always("/token", Answer(401))
    served.refused("team/app")
    assert len(served.registry.targets("/token")) == 1


def test_a_token_that_runs_out_when_the_token_server_is_busy(world: World) -> None:
    """The tries are those of what asks for the token."""
    world.registry.publish("team/app", Published.of(LAYER))
    world.registry.need_tokens()
    world.registry.fail(
        LAYER.digest, Answer(401, headers={"WWW-Authenticate": f'Bearer realm="{world.registry.realm}"'})
    )
    world.registry.fail("/token", None, Answer(503), Answer(429))
    assert world.files(world.pull("team/app")) == {"file": CONTENT}
    assert world.pauses == [0.25, 0.5]


def test_the_last_try_may_succeed(served: World) -> None:
    served.registry.fail(LAYER.digest, Answer(503), Cut(), Cut(1000), Answer(429))
    assert served.files(served.pull("team/app")) == {"file": CONTENT}


def test_failures_of_every_kind_are_counted_together(served: World) -> None:
    """A blob that broke off is asked for again, and what fails then is no new beginning."""
    served.registry.fail(LAYER.digest, Cut(1000), Answer(503), Cut(), Cut(1000), Answer(503), None)
    served.refused("team/app")
    assert len(served.registry.targets(LAYER.digest)) == ATTEMPTS


def test_a_connection_that_ends_after_each_piece_is_not_asked_without_end(served: World) -> None:
    served.registry.fail_always(LAYER.digest, Cut(10_000))
    assert str(served.refused("team/app")) == UNEXPECTED_EOF
    assert len(served.registry.targets(LAYER.digest)) == ATTEMPTS


def test_a_connection_that_brought_much_starts_the_count_anew(world: World) -> None:
    """A large layer gets through a network that breaks off every few megabytes."""
    layer = layer_of(bytes(PROGRESS_BYTES * (ATTEMPTS + 1)))
    world.registry.publish("team/app", Published.of(layer))
    world.registry.fail_always(layer.digest, Cut(PROGRESS_BYTES))
    assert len(world.files(world.pull("team/app"))["file"]) == PROGRESS_BYTES * (ATTEMPTS + 1)
    assert len(world.registry.targets(layer.digest)) > ATTEMPTS


def test_a_blob_goes_on_where_it_broke_off(served: World) -> None:
    served.registry.fail(LAYER.digest, Cut(300_000), Cut(200_000))
    assert served.files(served.pull("team/app")) == {"file": CONTENT}
    asked = served.registry.targets(LAYER.digest)
    assert [request.headers.get("range") for request in asked] == [None, "bytes=300000-", "bytes=500000-"]


def test_a_registry_without_ranges_is_read_again_up_to_where_it_broke_off(served: World) -> None:
    served.registry.ranges = False
    served.registry.fail(LAYER.digest, Cut(300_000), Cut(200_000), Cut(500_000))
    assert served.files(served.pull("team/app")) == {"file": CONTENT}
    assert len(served.registry.targets(LAYER.digest)) == 4


def test_another_range_than_the_one_asked_for_is_not_taken(served: World) -> None:
    wrong = Answer(206, LAYER.blob[5:], {"Content-Range": f"bytes 5-{len(LAYER.blob) - 1}/{len(LAYER.blob)}"})
    served.registry.fail(LAYER.digest, Cut(300_000), wrong)
    assert served.files(served.pull("team/app")) == {"file": CONTENT}


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ("7", 7.0),
        ("100000", 30.0),
        ("9" * 400, 30.0),
        ("-1", 0.25),
        ("\xb2", 0.25),
        ("soon", 0.25),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.25),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heeded_within_bounds(served: World, status: int, stated: str, seconds: float) -> None:
    served.registry.fail(LAYER.digest, Answer(status, headers={"Retry-After": stated}))
    assert served.files(served.pull("team/app")) == {"file": CONTENT}
    assert served.pauses == [seconds]


def test_pauses_become_longer(served: World) -> None:
    served.registry.fail(LAYER.digest, Cut(), Cut(), Cut(), Cut())
    served.pull("team/app")
    assert served.pauses == [0.25, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [429, 503])
def test_words_for_a_registry_that_stays_busy(served: World, status: int) -> None:
    served.registry.fail_always(LAYER.digest, Answer(status))
    words = {
        429: "toomanyrequests: Too Many Requests",
        503: "received unexpected HTTP status: 503 Service Unavailable",
    }
    assert str(served.refused("team/app")) == words[status]


def test_a_registry_that_dies_in_mid_pull_leaves_nothing(world: World) -> None:
    """One layer has come whole and half of the next one when it goes."""
    world.images.settings = replace(world.images.settings, max_concurrent_downloads=1)
    below = layer_of(b"below", "below")
    world.registry.publish("team/app", Published.of(below, LAYER))
    world.registry.fail_always(LAYER.digest, Cut(500_000))

    class Dies(list[object]):
        """The requests; from the second one for the large layer on the registry is gone."""

        def append(self, request: object) -> None:
            super().append(request)
            world.registry.dead = len(world.registry.targets(LAYER.digest)) > 1

    world.registry.asked = Dies()  # type: ignore[assignment]
    error = world.refused("team/app")
    assert str(error) == f'Get "{world.registry.url}/v2/team/app/blobs/{LAYER.digest}": EOF'
    assert len(world.registry.targets(below.digest)) == 1


def test_the_settings_say_how_often_something_is_tried(served: World) -> None:
    served.images.settings = replace(served.images.settings, max_download_attempts=2)
    served.registry.fail_always(LAYER.digest, Answer(503))
    served.refused("team/app")
    assert len(served.registry.targets(LAYER.digest)) == 2


@pytest.mark.parametrize("at_once", [1, 2])
def test_no_more_layers_come_in_at_the_same_time_than_the_settings_say(world: World, at_once: int) -> None:
    world.images.settings = replace(world.images.settings, max_concurrent_downloads=at_once)
    layers = [layer_of(CONTENT, f"file{number}") for number in range(4)]
    world.registry.publish("team/app", Published.of(*layers))
    held = [Held(asyncio.Event(), asyncio.Event()) for _ in layers]
    for layer, fault in zip(layers, held, strict=True):
        world.registry.fail(layer.digest, fault)

    async def one_after_the_other() -> list[int]:
        """How many are on their way whenever one of them has been asked for."""
        pulling = asyncio.create_task(world.pulling("team/app"))
        seen = []
        for number, fault in enumerate(held):
            for other in held[number : number + at_once]:
                await other.reached.wait()
            await asyncio.sleep(0.02)  # for one too many to come
            seen.append(sum(other.reached.is_set() for other in held[number:]))
            fault.until.set()
        await pulling
        return seen

    assert world.run(one_after_the_other()) == [min(at_once, 4 - number) for number in range(4)]
