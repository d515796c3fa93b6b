"""`docker save`: images as one archive, an OCI layout that is a docker-archive as well.

    blobs/sha256/<hex>     manifests, configs, layers
    index.json oci-layout  the layout's (OCI image specification, "Image Layout")
    manifest.json repositories   what `docker load` of any age, skopeo and podman read

An image that is kept as it came goes out with its own manifest and packed layers; of others the layers are plain.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from riverport.engine.errors import NotFound, SystemFailure
from riverport.engine.images.catalogue import is_id
from riverport.engine.images.feed import drawn
from riverport.engine.images.image import Image
from riverport.engine.images.manifests import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    digest_of,
    parse_manifest,
)
from riverport.engine.images.platform import Platform
from riverport.engine.images.reference import Reference, parse
from riverport.engine.images.store import ImageStore
from riverport.engine.storage import tar_reader as tar
from riverport.engine.storage.layers import Layer
from riverport.engine.storage.recipe import RecipeReader
from riverport.engine.storage.tar_writer import END, header, padding

CONTAINERD_NAME: Final = "io.containerd.image.name"
OCI_NAME: Final = "org.opencontainers.image.ref.name"
_READ: Final = 1 << 20


@dataclass(slots=True)
class Saved:
    """One image, the names it is saved under, and its layers, the lowest first."""

    image: Image
    stack: Sequence[Layer]
    names: list[Reference] = field(default_factory=list)


def chosen(images: ImageStore, texts: Sequence[str], platform: Platform | None = None) -> list[Saved]:
    """What `texts` ask for: an image by its id has no name, a bare name means every tag.

    Raises NotFound, and SystemFailure if one is not for exactly that platform, as dockerd does.
    """
    found: dict[str, Saved] = {}

    def add(image: Image, *names: Reference) -> None:
        if platform is not None and platform != image.source.platform:
            raise SystemFailure(f"no suitable export target found for platform {platform.shown}")
        stack = list(reversed(images.layers.stack(image.chain)))
        saved = found.setdefault(image.id, Saved(image, stack))
        saved.names += [name for name in names if name not in saved.names]

    for text in texts:
        image = None
        try:
            image = images.resolve(text)
        except NotFound:
            tagged = images.catalogue.in_repository(parse(text).name)
            if not tagged or not parse(text).is_bare:
                raise
        if image is not None and is_id(image.id, text):
            add(image)
            continue
        reference = parse(text)
        if not reference.is_bare:
            assert image is not None, "a name with a tag or digest was resolved"
            add(image, *([reference] if reference.tag and not reference.digest else []))
            continue
        for name, owner in images.catalogue.in_repository(reference.name):
            add(owner, name)
    return list(found.values())


async def save(
    images: ImageStore, texts: Sequence[str], platform: Platform | None = None
) -> AsyncGenerator[bytes, None]:
    """The archive of some images, which stay as long as it is read. Raises NotFound at the first step."""
    wanted = chosen(images, texts, platform)
    chains = [saved.image.chain for saved in wanted if saved.image.chain is not None]
    for chain in chains:
        images.layers.use(chain)
    try:
        async for piece in drawn(archive(images, wanted)):
            yield piece
    finally:
        for chain in chains:
            await images.layers.release(chain)
    for saved in wanted:
        images.tell("save", saved.image)


def archive(images: ImageStore, wanted: Sequence[Saved]) -> Iterator[bytes]:
    """The archive in pieces; a thread iterates. Raises SystemFailure where a layer is not what it was."""
    written: set[str] = set()
    manifests: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    yield _directory("blobs/") + _directory("blobs/sha256/")
    for saved in wanted:
        body, media_type, layers = _manifest_of(images, saved)
        for layer, descriptor in zip(saved.stack, layers, strict=True):
            if descriptor.digest not in written:
                written.add(descriptor.digest)
                yield from _layer(images, layer, descriptor)
        for blob in (saved.image.source.raw, body):
            if digest_of(blob) not in written:
                written.add(digest_of(blob))
                yield _file(_path(digest_of(blob)), blob)
        told = Descriptor(media_type, digest_of(body), len(body)).document()
        annotations = [{CONTAINERD_NAME: str(name), OCI_NAME: name.tag} for name in saved.names]
        manifests += [{**told, "annotations": one} for one in annotations] or [told]
        rows.append(
            {
                "Config": _path(saved.image.id),
                "RepoTags": [name.familiar for name in saved.names] or None,
                "Layers": [_path(layer.digest) for layer in layers],
            }
        )
        for name in saved.names:
            top = layers[-1].digest.partition(":")[2] if layers else ""
            repositories.setdefault(name.familiar_name, {})[name.tag or ""] = top
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    yield _file("index.json", _json(index)) + _file("manifest.json", _json(rows))
    yield _file("oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
    if repositories:
        yield _file("repositories", _json(repositories))
    yield END


def _manifest_of(images: ImageStore, saved: Saved) -> tuple[bytes, str, Sequence[Descriptor]]:
    for digest in images.catalogue.manifests_of(saved.image.id):
        found = images.catalogue.manifest(digest)
        manifest = parse_manifest(*found) if found is not None else None
        if found is None or not isinstance(manifest, Manifest):
            continue
        blobs = [images.blobs.get(layer.digest) for layer in manifest.layers]
        if all(blob is not None and blob.kept and blob.digest.startswith("sha256:") for blob in blobs):
            return *found, manifest.layers
    layers = [Descriptor(OCI_LAYER, layer.diff_id, _plain_size(layer)) for layer in saved.stack]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(OCI_CONFIG, saved.image.id, len(saved.image.source.raw)).document(),
        "layers": [layer.document() for layer in layers],
    }
    return _json(document), OCI_MANIFEST, layers


def _plain_size(layer: Layer) -> int:
    reader = RecipeReader(layer.recipe, layer.diff)
    try:
        return reader.size()
    finally:
        reader.close()


def _layer(images: ImageStore, layer: Layer, descriptor: Descriptor) -> Iterator[bytes]:
    yield header(tar.Entry(_path(descriptor.digest).encode(), tar.REGULAR, size=descriptor.size))
    blob = images.blobs.get(descriptor.digest)
    hashed = hashlib.sha256()
    if blob is not None and blob.kept:
        with images.blobs.path(blob.digest).open("rb", buffering=0) as file:
            while data := file.read(_READ):
                hashed.update(data)
                yield data
    else:
        reader = RecipeReader(layer.recipe, layer.diff)
        try:
            while data := reader.read(_READ):
                hashed.update(data)
                yield data
        finally:
            reader.close()
    if f"sha256:{hashed.hexdigest()}" != descriptor.digest:
        raise SystemFailure(f"the files of layer {layer.diff_id} are not what they were")
    yield padding(descriptor.size)


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _directory(name: str) -> bytes:
    return header(tar.Entry(name.encode(), tar.DIRECTORY, mode=0o755))


def _file(name: str, data: bytes) -> bytes:
    return header(tar.Entry(name.encode(), tar.REGULAR, size=len(data))) + data + padding(len(data))


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
