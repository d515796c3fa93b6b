"""What a registry has is not what it says, or is nothing at all: Docker's words, and nothing is left."""

import gzip
import json
from pathlib import Path

import pytest
from tests.engine.images.faulty import Answer, Layer, Published, digest_of, layer_of
from tests.engine.images.world import World
from tests.engine.storage.archives import NEEDS_ROOT, Archive

from riverport.engine.images.manifests import (
    MAX_MANIFEST_BYTES,
)

pytestmark = NEEDS_ROOT

CONTENT = bytes(range(256)) * 1024  # 256 KiB
BELOW = layer_of(b"below", "below")
LAYER = layer_of(CONTENT)
VERIFICATION_FAILED = f"filesystem layer verification failed for digest {LAYER.digest}"


def published(world: World, *layers: Layer) -> Published:
    image = Published.of(*layers)
    world.registry.publish("team/app", image)
    return image


# ---- layers


@pytest.mark.parametrize(
    "other",
    [
        layer_of(CONTENT[::-1]).blob,
        LAYER.blob[:-1] + b"\1",
        LAYER.blob[: len(LAYER.blob) // 2] + bytes(len(LAYER.blob) - len(LAYER.blob) // 2),
        bytes(len(LAYER.blob)),
        b"<html>" + b" " * (len(LAYER.blob) - 6),
    ],
    ids=["another layer", "last byte", "second half", "zeros", "a page"],
)
def test_another_blob_of_the_same_size(world: World, other: bytes) -> None:
    """It is no archive, perhaps; but first of all it is not what was asked for."""
    published(world, BELOW, LAYER)
    world.registry.blobs[LAYER.digest] = other
    assert str(world.refused("team/app")) == VERIFICATION_FAILED
    assert len(world.registry.targets(LAYER.digest)) == 1


@pytest.mark.parametrize("size", [0, 1, len(LAYER.blob) - 1, len(LAYER.blob) + 1, len(LAYER.blob) * 1000])
def test_a_blob_of_another_size_than_the_manifest_says(world: World, size: int) -> None:
    image = Published.of(BELOW, LAYER)
    image.manifest["layers"][1]["size"] = size
    world.registry.publish("team/app", image)
    assert str(world.refused("team/app")) == VERIFICATION_FAILED
    assert len(world.registry.targets(LAYER.digest)) <= 1


def test_a_blob_that_ends_before_the_manifest_says_when_its_length_is_unknown(world: World) -> None:
    """Asked for the rest, the registry answers that there is none (416)."""
    image = Published.of(LAYER)
    image.manifest["layers"][0]["size"] = len(LAYER.blob) + 1
    world.registry.publish("team/app", image)
    world.registry.hide_lengths = True
    assert str(world.refused("team/app")) == VERIFICATION_FAILED
    assert len(world.registry.targets(LAYER.digest)) == 2


def test_a_blob_that_goes_on_after_the_manifest_says_when_its_length_is_unknown(world: World) -> None:
    published(world, LAYER)
    world.registry.hide_lengths = True
    world.registry.blobs[LAYER.digest] = LAYER.blob + bytes(1 << 20)
    error = str(world.refused("team/app"))
    assert error == VERIFICATION_FAILED


def test_a_missing_blob(world: World) -> None:
    published(world, BELOW, LAYER)
    del world.registry.blobs[LAYER.digest]
    assert "blob unknown" in str(world.refused("team/app"))
    assert len(world.registry.targets(LAYER.digest)) == 1


@pytest.mark.parametrize("cut", [11, 1000, -8, -1])
def test_a_truncated_gzip_of_the_right_digest(world: World, cut: int) -> None:
    """Nobody lied about the digest: the image was broken when it was pushed."""
    published(world, BELOW, Layer(LAYER.blob[:cut], LAYER.diff_id))
    assert str(world.refused("team/app")) == "failed to register layer: unexpected EOF"


def test_a_truncated_archive_of_the_right_digest(world: World) -> None:
    plain = gzip.decompress(LAYER.blob)[:1000]
    published(world, BELOW, Layer(gzip.compress(plain), digest_of(plain)))
    assert str(world.refused("team/app")).startswith("failed to register layer: ")


@pytest.mark.parametrize("blob", [b"no archive", b"\x1f\x8b" + b"\xff" * 100, b"\x28\xb5\x2f\xfd" + b"\xff" * 100])
def test_no_archive_of_the_right_digest(world: World, blob: bytes) -> None:
    published(world, BELOW, Layer(blob, digest_of(blob)))
    assert str(world.refused("team/app")).startswith("failed to register layer: ")


def test_an_archive_that_the_config_does_not_know(world: World) -> None:
    """Docker compares the archive within with the config's diff id."""
    published(world, BELOW, Layer(LAYER.blob, digest_of(b"another")))
    assert str(world.refused("team/app")).startswith("layers from manifest don't match image configuration")


def test_an_archive_that_leads_out_of_the_layer(world: World) -> None:
    plain = Archive().symlink("out", "/etc").file("out/riverport-test", b"x").bytes()
    published(world, BELOW, Layer(gzip.compress(plain), digest_of(plain)))
    world.tried("team/app")
    assert not Path("/etc/riverport-test").exists()


def test_what_was_refused_can_be_pulled_once_it_is_right(world: World) -> None:
    published(world, BELOW, LAYER)
    world.registry.blobs[LAYER.digest] = bytes(len(LAYER.blob))
    world.refused("team/app")
    world.registry.blobs[LAYER.digest] = LAYER.blob
    assert world.files(world.pull("team/app")) == {"below": b"below", "file": CONTENT}


# ---- manifests


@pytest.mark.parametrize("stated", ["application/vnd.example+json", "text/html", "image/png; charset=x"])
def test_a_manifest_of_an_unknown_media_type(world: World, stated: str) -> None:
    body = json.dumps({**Published.of(LAYER).manifest, "mediaType": None}).encode()
    expected = f"unsupported manifest media type and no default available: {stated.partition(';')[0]}"
    assert world.refused_manifest(body, stated) == expected


def test_a_manifest_whose_config_is_no_images(world: World) -> None:
    image = Published.of(LAYER)
    image.manifest["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    error = world.refused_manifest(json.dumps(image.manifest).encode())
    assert error == 'Encountered remote "application/vnd.cncf.helm.config.v1+json"(unknown) when fetching'


def test_a_plugin_is_no_image(world: World) -> None:
    image = Published.of(LAYER)
    image.manifest["config"]["mediaType"] = "application/vnd.docker.plugin.v1+json"
    error = world.refused_manifest(json.dumps(image.manifest).encode())
    assert error == 'Encountered remote "application/vnd.docker.plugin.v1+json"(plugin) when fetching'


@pytest.mark.parametrize("length", [None, MAX_MANIFEST_BYTES * 100], ids=["as long", "said to be longer"])
def test_a_manifest_above_the_limit(world: World, length: int | None) -> None:
    world.registry.fail_always("/manifests/", Answer(200, b" " * (MAX_MANIFEST_BYTES + 1), length=length))
    assert str(world.refused("team/app")) == f"the registry's answer has more than {MAX_MANIFEST_BYTES} bytes"


def test_a_manifest_of_another_digest(world: World) -> None:
    published(world, LAYER)
    digest = digest_of(b"another")
    world.registry.manifests["team/app", digest] = world.registry.manifests["team/app", "latest"]
    assert str(world.refused(f"team/app@{digest}")) == f"manifest verification failed for digest {digest}"


def test_a_config_of_another_digest(world: World) -> None:
    image = published(world, LAYER)
    digest = digest_of(image.config)
    world.registry.blobs[digest] = image.config[::-1]
    assert str(world.refused("team/app")) == f"verification failed for digest {digest}"
