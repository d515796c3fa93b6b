"""Documents of a registry that wants to do harm: each is an error in words, or is an image."""

import json
from typing import Any

import pytest
from tests.engine.images.faulty import Published, digest_of, layer_of
from tests.engine.images.world import World
from tests.engine.storage.archives import NEEDS_ROOT

from riverport.engine.images.manifests import OCI_INDEX, OCI_MANIFEST, InvalidManifest, parse_config, parse_manifest

pytestmark = NEEDS_ROOT

BELOW = layer_of(b"below", "below")
Place = tuple[str | int, ...]

HOSTILE: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    1e400,
    10**400,
    "",
    "x",
    "\ud800",
    "\0",
    "sha256:" + "0" * 63,
    "../../etc/passwd",
    [],
    {},
    [None],
    [[]],
    {"a": None},
]
PLACES: list[Place] = [
    (),
    ("schemaVersion",),
    ("mediaType",),
    ("config",),
    ("config", "digest"),
    ("config", "size"),
    ("config", "mediaType"),
    ("layers",),
    ("layers", 0),
    ("layers", 0, "digest"),
    ("layers", 0, "size"),
    ("layers", 0, "mediaType"),
    ("layers", 0, "annotations"),
]
INDEX_PLACES: list[Place] = [
    ("manifests",),
    ("manifests", 0),
    ("manifests", 0, "digest"),
    ("manifests", 0, "size"),
    ("manifests", 0, "mediaType"),
    ("manifests", 0, "platform"),
    ("manifests", 0, "platform", "os"),
    ("manifests", 0, "platform", "architecture"),
    ("manifests", 0, "platform", "variant"),
]
CONFIG_PLACES: list[Place] = [
    (),
    ("rootfs",),
    ("rootfs", "diff_ids"),
    ("rootfs", "diff_ids", 0),
    ("os",),
    ("architecture",),
    ("variant",),
    ("created",),
    ("config",),
    ("config", "Env"),
    ("config", "Labels"),
    ("config", "Cmd"),
    ("history",),
    ("history", 0),
    ("history", 0, "created"),
]


def replaced(document: Any, place: Place, value: Any) -> Any:
    """A copy in which `value` is at `place`."""
    if not place:
        return value
    if isinstance(document, list):
        return [replaced(one, place[1:], value) if at == place[0] else one for at, one in enumerate(document)]
    return {**document, place[0]: replaced(document.get(place[0], {}), place[1:], value)}


def attempt(world: World) -> None:
    """A pull that either gives a whole image or an error in words, and nothing else."""
    error, image = world.tried("team/app")
    if image is not None:
        assert world.files(image) in ({"below": b"below"}, {})
        shown = world.images.detail(image.id, (1, 44))["Config"]
        assert isinstance(shown["Env"] or [], list)
        assert isinstance(shown["Labels"] or {}, dict)
        world.run(world.images.remove(image.id, force=True))
    else:
        assert str(error).strip()
    world.assert_nothing_left()


IMAGE = Published.of(BELOW)
CONFIG = {**json.loads(IMAGE.config), "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "x"}]}
MANIFEST = json.dumps(IMAGE.manifest).encode()
PLATFORM = {"os": "linux", "architecture": "amd64"}
ENTRY = {"mediaType": OCI_MANIFEST, "digest": digest_of(MANIFEST), "size": len(MANIFEST), "platform": PLATFORM}
INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [ENTRY]}


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_hostile_documents_are_read_or_refused(value: Any) -> None:
    documents = [(IMAGE.manifest, PLACES, parse_manifest), (INDEX, INDEX_PLACES, parse_manifest)]
    for document, places, parse in [*documents, (CONFIG, CONFIG_PLACES, parse_config)]:
        for place in places:
            try:
                parse(json.dumps(replaced(document, place, value)).encode())
            except InvalidManifest as error:
                said = str(error)
            else:
                said = "it is taken"
            assert said


def some(at: int) -> list[Any]:
    """Some of the hostile values, others for each place: a pull takes 15 ms."""
    return HOSTILE[at % 6 :: 6]


@pytest.mark.parametrize(("at", "place"), list(enumerate(PLACES)), ids=str)
def test_hostile_manifests_are_errors(world: World, at: int, place: Place) -> None:
    world.registry.publish("team/app", IMAGE)
    for value in some(at):
        world.registry.publish_bytes("team/app", json.dumps(replaced(IMAGE.manifest, place, value)).encode())
        attempt(world)


@pytest.mark.parametrize(("at", "place"), list(enumerate(INDEX_PLACES)), ids=str)
def test_hostile_indexes_are_errors(world: World, at: int, place: Place) -> None:
    world.registry.publish("team/app", IMAGE)
    for value in some(at):
        world.registry.publish_bytes("team/app", json.dumps(replaced(INDEX, place, value)).encode(), OCI_INDEX)
        attempt(world)


@pytest.mark.parametrize(("at", "place"), list(enumerate(CONFIG_PLACES)), ids=str)
def test_hostile_configs_are_errors(world: World, at: int, place: Place) -> None:
    for value in some(at):
        image = Published.of(BELOW)
        image.config = json.dumps(replaced(CONFIG, place, value)).encode()
        image.manifest["config"].update(digest=digest_of(image.config), size=len(image.config))
        world.registry.publish("team/app", image)
        attempt(world)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"schemaVersion": 2, "schemaVersion": 1}',
        b'{"schemaVersion": ' + b"9" * 5000 + b"}",
        b'{"schemaVersion": 2, "layers": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=["empty", "cut off", "null", "lists", "objects", "UTF-16", "BOM", "twice", "digits", "nested"],
)
def test_what_is_no_manifest_at_all(world: World, body: bytes) -> None:
    assert world.refused_manifest(body)


def test_an_index_within_itself(world: World) -> None:
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    entry = {"mediaType": OCI_INDEX, "digest": digest_of(body), "size": len(body)}
    world.registry.publish_bytes("team/app", body, OCI_INDEX, "inner")
    outer = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    assert world.refused_manifest(outer, OCI_INDEX)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Env", 1),
        ("Env", [1]),
        ("Env", {}),
        ("Cmd", [None]),
        ("Entrypoint", {}),
        ("Labels", []),
        ("Labels", {"a": 1}),
        ("ExposedPorts", ["80"]),
        ("Volumes", "/data"),
        ("User", 0),
        ("WorkingDir", []),
        ("StopSignal", 9),
        ("OnBuild", "RUN x"),
        ("Healthcheck", []),
    ],
)
def test_a_config_that_containers_could_not_be_made_of_is_refused(world: World, key: str, value: object) -> None:
    image = Published.of(BELOW, config={key: value})
    world.registry.publish("team/app", image)
    error = world.refused("team/app")
    assert str(error).startswith("invalid image configuration: json: cannot unmarshal ")
    assert f".{key} of type" in str(error)
    assert world.registry.targets(BELOW.digest) == []


def test_a_config_of_which_everything_is_null_is_an_images(world: World) -> None:
    keys = ("Env", "Cmd", "Entrypoint", "Labels", "ExposedPorts", "Volumes", "User", "OnBuild", "Healthcheck")
    world.registry.publish("team/app", Published.of(BELOW, config=dict.fromkeys(keys)))
    assert world.files(world.pull("team/app")) == {"below": b"below"}
