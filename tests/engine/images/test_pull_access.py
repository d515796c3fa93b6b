"""To whom a pull says who it is: the registry and the token server that the registry names, and nobody else."""

import asyncio

import pytest
from tests.engine.images.faulty import (
    USER,
    Answer,
    Cut,
    FaultyRegistry,
    Held,
    Published,
    basic,
    layer_of,
)
from tests.engine.images.world import World
from tests.engine.storage.archives import NEEDS_ROOT

pytestmark = NEEDS_ROOT

CONTENT = bytes(range(256)) * 1024  # 256 KiB
LAYER = layer_of(CONTENT)


@pytest.fixture
def elsewhere(world: World) -> FaultyRegistry:
    """A store of blobs to which the registry redirects; another port is another host (RFC 6454)."""
    store = FaultyRegistry()
    world.run(store.__aenter__())
    world.closing.append(store)
    store.blobs[LAYER.digest] = LAYER.blob
    world.registry.publish("team/app", Published.of(LAYER))
    return store


def moved(store: FaultyRegistry) -> Answer:
    return Answer(307, headers={"Location": f"{store.url}/v2/store/blobs/{LAYER.digest}"})


def test_a_redirect_is_followed_without_credentials(world: World, elsewhere: FaultyRegistry) -> None:
    world.registry.need_tokens()
    world.registry.fail(LAYER.digest, moved(elsewhere))
    assert world.files(world.pull("team/app")) == {"file": CONTENT}
    assert world.registry.targets(LAYER.digest)[0].headers["authorization"].startswith("Bearer ")
    assert [request.headers.get("authorization") for request in elsewhere.asked] == [None]


def test_a_redirected_blob_goes_on_by_asking_the_registry_again(world: World, elsewhere: FaultyRegistry) -> None:
    """A signed address may have run out in the meantime."""
    world.registry.fail_always(LAYER.digest, moved(elsewhere))
    elsewhere.fail(LAYER.digest, Cut(100_000))
    assert world.files(world.pull("team/app")) == {"file": CONTENT}
    assert [request.headers.get("range") for request in elsewhere.asked] == [None, "bytes=100000-"]
    assert len(world.registry.targets(LAYER.digest)) == 2


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_a_redirects_target_cannot_ask_for_the_password(world: World, elsewhere: FaultyRegistry, scheme: str) -> None:
    """It may answer 401 and name a token server of its own; neither is told anything."""
    challenge = f'{scheme} realm="{elsewhere.url}/token",service="thief"'
    elsewhere.fail_always("/blobs/", Answer(401, headers={"WWW-Authenticate": challenge}))
    world.registry.fail_always(LAYER.digest, moved(elsewhere))
    world.refused("team/app")
    assert elsewhere.targets("/token") == []
    assert [request for request in elsewhere.asked if "authorization" in request.headers] == []


def test_a_redirect_back_to_the_registry_is_followed_with_credentials(world: World, elsewhere: FaultyRegistry) -> None:
    world.registry.need_tokens()
    other = Answer(307, headers={"Location": f"/v2/other/name/blobs/{LAYER.digest}"})
    world.registry.fail(LAYER.digest, other)
    assert world.files(world.pull("team/app")) == {"file": CONTENT}


@pytest.mark.parametrize(
    "location", ["http://[", "http://127.0.0.1:99999999/", "ftp://127.0.0.1/blob", "\x7f", "", "//"]
)
def test_a_redirect_to_nowhere_is_an_error(world: World, elsewhere: FaultyRegistry, location: str) -> None:
    world.registry.fail_always(LAYER.digest, Answer(307, headers={"Location": location}))
    assert str(world.refused("team/app"))


def test_redirects_in_a_circle_end(world: World, elsewhere: FaultyRegistry) -> None:
    circle = Answer(307, headers={"Location": f"/v2/team/app/blobs/{LAYER.digest}"})
    world.registry.fail_always(LAYER.digest, circle)
    assert "redirects" in str(world.refused("team/app"))


def test_a_token_that_runs_out_in_mid_pull_is_renewed(world: World) -> None:
    """Between the manifest and the layer, and again while the layer comes."""
    image = Published.of(LAYER)
    world.registry.publish("team/app", image)
    world.registry.need_tokens()

    class RunsOut(list[object]):
        def append(self, request: object) -> None:
            super().append(request)
            if LAYER.digest in str(request) and len(world.registry.targets(LAYER.digest)) in (1, 3):
                world.registry.tokens.clear()

    world.registry.asked = RunsOut()  # type: ignore[assignment]
    world.registry.fail(LAYER.digest, None, Cut(1000))
    assert world.files(world.pull("team/app")) == {"file": CONTENT}
    asked = world.registry.targets(LAYER.digest)
    assert [request.headers["authorization"] for request in asked] == [
        "Bearer token-1",
        "Bearer token-2",
        "Bearer token-2",
        "Bearer token-3",
    ]
    assert [request.headers["authorization"] for request in world.registry.targets("/token")] == [basic(USER)] * 3


def test_layers_that_find_the_token_run_out_at_the_same_time_renew_it_once(world: World) -> None:
    layers = [layer_of(CONTENT, f"file-{number}") for number in range(3)]
    world.registry.publish("team/app", Published.of(*layers))
    world.registry.need_tokens()
    waiting = [Held(asyncio.Event(), asyncio.Event()) for _ in layers]
    for layer, held in zip(layers, waiting, strict=True):
        world.registry.fail(layer.digest, held)

    async def run_out() -> None:
        pulling = asyncio.ensure_future(world.pulling("team/app"))
        await asyncio.gather(*(held.reached.wait() for held in waiting))
        world.registry.tokens.clear()
        for held in waiting:
            held.until.set()
        await pulling

    world.run(run_out())
    assert len(world.registry.targets("/token")) == 2


def test_a_token_server_that_always_gives_a_bad_token_is_asked_once_more(world: World) -> None:
    world.registry.publish("team/app", Published.of(LAYER))
    world.registry.need_tokens()
    world.registry.fail_always("/token", Answer(200, b'{"token": "never-good"}'))
    error = world.refused("team/app")
    assert str(error) == (
        f"pull access denied for {world.registry.host}/team/app, repository does not exist or may require "
        "'docker login': unauthorized: authentication required"
    )
    assert len(world.registry.targets("/token")) == 2


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"null", b'{"token": 1}', b'{"token": ""}', b'{"token": "a\\nb"}', b'{"token": "\xc3\xa4"}']
)
def test_a_token_that_is_none_is_an_error(world: World, answer: bytes) -> None:
    world.registry.publish("team/app", Published.of(LAYER))
    world.registry.need_tokens()
    world.registry.fail_always("/token", Answer(200, answer))
    assert str(world.refused("team/app"))
    assert world.registry.targets("/manifests/")[1:] == []


@pytest.mark.parametrize(
    "realm", ["http://[", "nowhere", "ftp://127.0.0.1/token", "http://127.0.0.1:99999999/", "http:///"]
)
def test_a_token_server_that_is_none_is_an_error(world: World, realm: str) -> None:
    world.registry.publish("team/app", Published.of(LAYER))
    world.registry.need_tokens(realm)
    assert str(world.refused("team/app"))
