"""`docker load`: images out of an archive that was saved, by us, by any dockerd, by skopeo or by another OCI tool.

What the archive holds is found out first (`plan`, pure but for reading the spooled files), then loaded image by image.
`manifest.json` names images where it is there; an OCI index beside it tells the digests of their layers. A pure OCI
layout names images by annotations.
"""

import json
from collections.abc import AsyncIterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from riverport.engine.errors import NotFound
from riverport.engine.images.feed import consumed
from riverport.engine.images.fetch import LOAD, Fetch, Wanted
from riverport.engine.images.image import Image, short
from riverport.engine.images.manifests import (
    Config,
    Descriptor,
    Index,
    InvalidManifest,
    Manifest,
    is_image,
    matches,
    parse_config,
    parse_manifest,
)
from riverport.engine.images.platform import Platform
from riverport.engine.images.progress import Progress
from riverport.engine.images.reference import InvalidReference, Reference, parse
from riverport.engine.images.saving import CONTAINERD_NAME, OCI_NAME
from riverport.engine.images.spool import Spool
from riverport.engine.images.store import ImageStore
from riverport.engine.images.workers import Workers
from riverport.engine.storage.tar_reader import InvalidArchive

MAX_IMAGES: Final = 1000
AT_ONCE: Final = 4
"""Layers that are unpacked at the same time."""
_MAX_NESTING: Final = 4


@dataclass(slots=True)
class Loadable:
    config: Config
    layers: Sequence[tuple[Path, Descriptor | None]]
    """The file of each, and its descriptor where the archive has one."""
    manifest: tuple[bytes, str] | None = None
    names: list[Reference] = field(default_factory=list)


async def load(
    images: ImageStore, stream: AsyncIterable[bytes], progress: Progress, platform: Platform | None = None
) -> None:
    """Raises InvalidArchive, InvalidManifest, NotFound; what was loaded before the failure stays, as in Docker."""
    spool = Spool(images.blobs.new_file)
    async with Workers("load", AT_ONCE) as workers:
        try:
            await consumed(stream, lambda source: workers.run(spool.read, source))
            for loadable in await workers.run(plan, spool, platform):
                await _load_one(images, workers, loadable, progress)
        finally:
            await workers.run(spool.remove)


def plan(spool: Spool, platform: Platform | None = None) -> list[Loadable]:
    """With a platform, those images that are for exactly that one; of a docker-archive that may be none."""
    layouts = list(_of_layout(spool)) if spool.find("index.json") is not None else []
    if spool.find("manifest.json") is not None:
        by_config = {loadable.config.id: loadable for loadable in layouts}
        rows = [(row, _config_of(spool, row)) for row in _rows(spool)]
        return [
            _of_row(spool, row, config, by_config)
            for row, config in rows
            if platform is None or platform == config.platform
        ]
    if spool.find("index.json") is None:
        raise InvalidArchive("invalid archive: does not contain a manifest.json")
    wanted = platform or Platform.here()
    fits = wanted.runs if platform is None else wanted.__eq__
    found = [one for one in layouts if fits(one.config.platform)]
    if not found:
        raise NotFound(f"no matching manifest for {wanted.shown} in the archive")
    return found


def _rows(spool: Spool) -> list[dict[str, Any]]:
    rows = _parsed(spool.document("manifest.json"), "manifest.json")
    if not isinstance(rows, list) or len(rows) > MAX_IMAGES or not all(isinstance(row, dict) for row in rows):
        raise InvalidArchive("invalid archive: manifest.json is no list of images")
    return rows


def _config_of(spool: Spool, row: dict[str, Any]) -> Config:
    """Of one entry of manifest.json, which is checked."""
    config_path, paths, tags = row.get("Config"), row.get("Layers") or [], row.get("RepoTags") or []
    texts = [
        config_path,
        *(paths if isinstance(paths, list) else [None]),
        *(tags if isinstance(tags, list) else [None]),
    ]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidArchive("invalid archive: manifest.json has an entry that is no image")
    config = parse_config(spool.document(row["Config"]), len(paths))
    if config.platform.os != "linux":
        raise InvalidArchive(f"cannot load {config.platform.os} image on linux")
    return config


def _of_row(spool: Spool, row: dict[str, Any], config: Config, layouts: dict[str, Loadable]) -> Loadable:
    """One entry of manifest.json; where the archive is an OCI layout as well, that knows more."""
    paths, tags = row.get("Layers") or [], row.get("RepoTags") or []
    names = [parse(tag).or_latest() for tag in tags]
    known = layouts.get(config.id)
    if known is not None:
        return Loadable(config, known.layers, known.manifest, names)
    return Loadable(config, [(spool.need(path), None) for path in paths], None, names)


def _of_layout(spool: Spool) -> Iterator[Loadable]:
    """The images of an OCI layout of which everything is there; others' platforms may be absent."""
    index = parse_manifest(spool.document("index.json"))
    if not isinstance(index, Index):
        raise InvalidArchive("invalid archive: index.json is no index")
    found: dict[str, Loadable] = {}
    for descriptor, name in _manifests(spool, index, 0):
        known = found.get(descriptor.digest) or _of_manifest(spool, descriptor)
        if known is None:
            continue
        found[descriptor.digest] = known
        if name is not None and name not in known.names:
            known.names.append(name)
    yield from found.values()


def _manifests(spool: Spool, index: Index, depth: int) -> Iterator[tuple[Descriptor, Reference | None]]:
    """Every image manifest with the name it goes by, if any; indexes within indexes are gone into."""
    if depth > _MAX_NESTING or len(index.manifests) > MAX_IMAGES:
        raise InvalidArchive("invalid archive: its indexes are nested too deeply")
    for descriptor in index.manifests:
        if not is_image(descriptor):
            continue
        name = name_of(descriptor)
        if spool.find(_path(descriptor.digest)) is None:
            continue
        body = _checked(spool, descriptor)
        try:
            inner = parse_manifest(body, descriptor.media_type)
        except InvalidManifest:
            continue  # an artifact of another kind beside the images
        if isinstance(inner, Index):
            for below, own in _manifests(spool, inner, depth + 1):
                yield below, own or name
        else:
            yield descriptor, name


def _of_manifest(spool: Spool, descriptor: Descriptor) -> Loadable | None:
    body = _checked(spool, descriptor)
    manifest = parse_manifest(body, descriptor.media_type)
    assert isinstance(manifest, Manifest), "indexes have been gone into"
    paths = [spool.find(_path(blob.digest)) for blob in (manifest.config, *manifest.layers)]
    present = [path for path in paths if path is not None]
    if len(present) < len(paths):
        return None
    config = parse_config(_checked(spool, manifest.config), len(manifest.layers))
    layers = list(zip(present[1:], manifest.layers, strict=True))
    return Loadable(config, layers, (body, manifest.media_type))


def name_of(descriptor: Descriptor) -> Reference | None:
    """containerd writes the whole name; of the OCI annotation only what is more than a tag is one."""
    text = descriptor.annotations.get(CONTAINERD_NAME, "")
    if not text:
        text = descriptor.annotations.get(OCI_NAME, "")
        if not any(mark in text for mark in ":/"):
            return None
    try:
        reference = parse(text).or_latest()
    except InvalidReference:
        return None
    return reference if reference.tag is not None and reference.digest is None else None


async def _load_one(images: ImageStore, workers: Workers, loadable: Loadable, progress: Progress) -> None:
    config = loadable.config
    async with Fetch(images, workers, progress, LOAD) as fetch:
        if images.catalogue.get(config.id) is None:
            await fetch.layers([_wanted(*layer, diff_id) for layer, diff_id in _pairs(loadable)])
        image = images.create(config.raw)
    if loadable.manifest is not None and all(_is_packed(*pair) for pair in _pairs(loadable)):
        # Of plain layers nothing is kept, so their manifest could not be sent anywhere.
        images.catalogue.keep_manifest(image.id, *loadable.manifest)
    for name in loadable.names:
        _name(images, image, name, progress)
    if not loadable.names:
        progress.put({"stream": f"Loaded image ID: {image.id}\n"})
    images.tell("load", image)


def _name(images: ImageStore, image: Image, name: Reference, progress: Progress) -> None:
    before = images.catalogue.named(name)
    if before is not None and before is not image:
        text = f"The image {name.familiar} already exists, renaming the old one with ID {before.id} to empty string\n"
        progress.put({"stream": text})
    images.name(image, name)
    progress.put({"stream": f"Loaded image: {name.familiar}\n"})


def _wanted(path: Path, blob: Descriptor | None, diff_id: str) -> Wanted:
    keep = _is_packed((path, blob), diff_id)
    size = path.stat().st_size
    return Wanted(short(diff_id), diff_id, size, lambda: path.open("rb", buffering=0), blob, keep=keep, file=path)


def _pairs(loadable: Loadable) -> list[tuple[tuple[Path, Descriptor | None], str]]:
    return list(zip(loadable.layers, loadable.config.diff_ids, strict=True))


def _is_packed(layer: tuple[Path, Descriptor | None], diff_id: str) -> bool:
    return layer[1] is not None and layer[1].digest != diff_id


def _checked(spool: Spool, descriptor: Descriptor) -> bytes:
    body = spool.document(_path(descriptor.digest))
    if not matches(body, descriptor.digest):
        raise InvalidManifest(f"verification failed for digest {descriptor.digest}")
    return body


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _parsed(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArchive(f"invalid archive: {name} is no JSON: {error}") from error
