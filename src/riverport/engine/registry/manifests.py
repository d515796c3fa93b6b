"""What a registry needs to know of a manifest: what it is, what it names, what it is about.

Pure. The bytes are kept as they came; this reads them once, when they are pushed (OCI image specification 1.1, manifest
and index; Docker's schema 2 and manifest list). Schema 1 is refused: it cannot be kept byte by byte.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from riverport.engine.registry.digests import Digest, parse_digest
from riverport.engine.registry.errors import DigestInvalid, ManifestInvalid

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ALL_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
_IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_ELSEWHERE = frozenset(
    {
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)
"""Layers that may be served by somebody else: a registry does not ask for them."""

REFERENCES_MAX = 10_000
"""Descriptors in one manifest; what fits into 4 MiB stays below it by far unless somebody means harm."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content. `required` is false for what the registry need not have."""

    digest: Digest
    size: int
    required: bool = True


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was read from a manifest's bytes."""

    media_type: str
    blobs: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Digest | None = None
    artifact_type: str = ""  # of an image without one: its config's media type
    annotations: dict[str, str] = field(default_factory=dict)


def parse_manifest(content: bytes, content_type: str | None) -> Manifest:
    """Read a manifest that was pushed as `content_type`. Raises ManifestInvalid."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(message=f"the manifest is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ManifestInvalid(message="the manifest is not a JSON object")
    media_type = _media_type(document, content_type)
    if document.get("schemaVersion") != 2:
        raise ManifestInvalid(message="schemaVersion is not 2")
    if media_type in _IMAGES:
        return _image(document, media_type)
    return _index(document, media_type)


def _media_type(document: dict[str, Any], content_type: str | None) -> str:
    """Of the request's header and the manifest's own field; they must not disagree."""
    declared = (content_type or "").partition(";")[0].strip().lower()
    own = document.get("mediaType") or ""
    if not isinstance(own, str):
        raise ManifestInvalid(message="mediaType is not a string")
    if declared in ("", "application/json", "application/octet-stream"):
        declared = own or (OCI_INDEX if "manifests" in document else OCI_MANIFEST)
    if own and own != declared:
        raise ManifestInvalid(
            {"content-type": declared, "mediaType": own}, message="Content-Type and the manifest's mediaType disagree"
        )
    if declared not in _IMAGES and declared not in _INDEXES:
        raise ManifestInvalid({"content-type": declared}, message="no manifests of this media type are taken")
    return declared


def _image(document: dict[str, Any], media_type: str) -> Manifest:
    if "manifests" in document:
        raise ManifestInvalid(message="an image manifest has no list of manifests")
    config = document.get("config")
    layers = document.get("layers")
    if not isinstance(config, dict) or not isinstance(layers, list):
        raise ManifestInvalid(message="an image manifest has a config and a list of layers")
    _bounded(layers)
    artifact_type = _text(document, "artifactType") or _text(config, "mediaType")
    return Manifest(
        media_type,
        blobs=(_descriptor(config, "config"), *(_descriptor(layer, "a layer") for layer in layers)),
        subject=_subject(document),
        artifact_type=artifact_type,
        annotations=_annotations(document),
    )


def _index(document: dict[str, Any], media_type: str) -> Manifest:
    manifests = document.get("manifests")
    if not isinstance(manifests, list) or "config" in document or "layers" in document:
        raise ManifestInvalid(message="an index has a list of manifests, and neither config nor layers")
    _bounded(manifests)
    return Manifest(
        media_type,
        manifests=tuple(_descriptor(entry, "an entry of manifests") for entry in manifests),
        subject=_subject(document),
        artifact_type=_text(document, "artifactType"),
        annotations=_annotations(document),
    )


def _bounded(descriptors: list[Any]) -> None:
    if len(descriptors) > REFERENCES_MAX:
        raise ManifestInvalid(message=f"a manifest names at most {REFERENCES_MAX} others")


def _descriptor(value: Any, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalid(message=f"{what} is not a descriptor")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise ManifestInvalid(message=f"{what} has no size")
    elsewhere = bool(value.get("urls")) or _text(value, "mediaType") in _ELSEWHERE
    return Descriptor(_digest(value, what), size, required=not elsewhere)


def _digest(value: dict[str, Any], what: str) -> Digest:
    try:
        return parse_digest(_text(value, "digest"))
    except DigestInvalid as error:
        raise ManifestInvalid({"digest": value.get("digest")}, message=f"{what} has no valid digest") from error


def _subject(document: dict[str, Any]) -> Digest | None:
    subject = document.get("subject")
    if subject is None:
        return None
    return _descriptor(subject, "subject").digest


def _text(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise ManifestInvalid(message=f"{key} is not a string")
    return found or ""


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    found = document.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ManifestInvalid(message="annotations are not strings by strings")
    return found
