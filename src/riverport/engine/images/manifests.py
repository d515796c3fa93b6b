"""Manifests, indexes and configs: Docker's and OCI's forms read as one, checked once, here.

What a registry or an archive says is hostile until it has been through `parse_manifest` and `parse_config`: sizes are
bounded, digests well-formed, and a config's layers as many as its manifest's. Digests of the bytes are compared by who
has them.

Sources: OCI image specification (manifest, image-index, config), Docker "Image Manifest Version 2, Schema 2".
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from riverport.engine.containers.fields import CONFIG
from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.images.platform import Platform
from riverport.engine.images.processor import newest_here
from riverport.engine.images.reference import is_digest

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1"

ACCEPTED: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
MAX_MANIFEST_BYTES: Final = 4 << 20
MAX_CONFIG_BYTES: Final = 8 << 20
MAX_LAYERS: Final = 512
"""More than overlayfs stacks (500)."""
_CONFIG_TYPES: Final = (DOCKER_CONFIG, OCI_CONFIG, "application/octet-stream", "application/json", "text/html", "")
"""The last four are what old images have there; Docker takes them, too."""
_PLUGIN_CONFIG: Final = "application/vnd.docker.plugin.v1+json"
_REFERENCE_TYPE: Final = "vnd.docker.reference.type"
_MAX_SIZE: Final = 1 << 50


class InvalidManifest(InvalidParameter):
    """What came is no manifest, index or config of an image."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "size": self.size, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Manifest:
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Index:
    media_type: str
    manifests: tuple[Descriptor, ...]

    def select(self, platform: Platform | None) -> Descriptor:
        """The image for a platform, or the best for this machine; what is no image (attestations) is passed over.

        Raises NotFound in Docker's words.
        """
        wanted = platform or newest_here()
        ranked = [(wanted.runs(one.platform), one) for one in self.manifests if one.platform and is_image(one)]
        best = max(ranked, key=lambda pair: pair[0], default=(0, None))
        if best[1] is None or not best[0]:
            # An index without platforms has one image for all.
            bare = [one for one in self.manifests if one.platform is None and is_image(one)]
            if len(bare) == 1:
                return bare[0]
            shown = (platform or Platform.here()).shown
            raise NotFound(f"no matching manifest for {shown} in the manifest list entries")
        return best[1]


@dataclass(frozen=True, slots=True)
class Config:
    """An image's config: the bytes, whose digest is the image's id, and what they say."""

    raw: bytes
    document: dict[str, Any]

    @property
    def id(self) -> str:
        return digest_of(self.raw)

    @property
    def diff_ids(self) -> list[str]:
        return list(self.document.get("rootfs", {}).get("diff_ids") or [])

    @property
    def platform(self) -> Platform:
        return Platform.from_document(self.document)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def matches(data: bytes, digest: str) -> bool:
    return digest_of(data, digest.partition(":")[0]) == digest


def is_image(descriptor: Descriptor) -> bool:
    """Not an attestation, which stands beside images in an index as `unknown/unknown`."""
    platform = descriptor.platform
    unknown = platform is not None and "unknown" in (platform.os, platform.architecture)
    return not unknown and _REFERENCE_TYPE not in descriptor.annotations


def parse_manifest(body: bytes, media_type: str = "") -> Manifest | Index:
    """`media_type` is what the registry says it is; what the document says itself comes first.

    Raises InvalidManifest.
    """
    if len(body) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"the manifest has more than {MAX_MANIFEST_BYTES} bytes")
    document = _object(body, "manifest")
    stated = str(document.get("mediaType") or media_type).partition(";")[0].strip()
    if stated.startswith(_SCHEMA_1) or document.get("schemaVersion") == 1:
        raise InvalidManifest(
            "Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not supported: "
            "the image has to be pushed again by a newer client"
        )
    if document.get("schemaVersion") != 2:
        raise InvalidManifest(f"unsupported manifest schema version {document.get('schemaVersion')}")
    if "manifests" in document and "layers" in document:
        raise InvalidManifest("the manifest is an index and an image at once")
    if "manifests" in document:
        kind = stated if stated in (OCI_INDEX, DOCKER_LIST) else OCI_INDEX
        return Index(kind, tuple(_descriptor(entry) for entry in _list(document, "manifests")))
    if stated not in (OCI_MANIFEST, DOCKER_MANIFEST, "", "application/json", "text/plain", "application/octet-stream"):
        raise InvalidManifest(f"unsupported manifest media type and no default available: {stated}")
    layers = _list(document, "layers")
    if len(layers) > MAX_LAYERS:
        raise InvalidManifest(f"the image has more than {MAX_LAYERS} layers")
    config = _descriptor(document.get("config"))
    if config.media_type not in _CONFIG_TYPES:
        kind = "plugin" if config.media_type == _PLUGIN_CONFIG else "unknown"
        raise InvalidManifest(f"Encountered remote {json.dumps(config.media_type)}({kind}) when fetching")
    if config.size > MAX_CONFIG_BYTES:
        raise InvalidManifest(f"the config has more than {MAX_CONFIG_BYTES} bytes")
    kind = stated if stated in (OCI_MANIFEST, DOCKER_MANIFEST) else _kind_of_manifest(config)
    return Manifest(kind, config, tuple(_descriptor(entry) for entry in layers))


def parse_config(raw: bytes, layers: int | None = None) -> Config:
    """Raises InvalidManifest, also where the config has not as many `layers` as its manifest."""
    if len(raw) > MAX_CONFIG_BYTES:
        raise InvalidManifest(f"the config has more than {MAX_CONFIG_BYTES} bytes")
    document = _object(raw, "image config")
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if diff_ids is None and layers in (None, 0) and isinstance(rootfs, dict):
        diff_ids = []
    if not isinstance(diff_ids, list) or len(diff_ids) > MAX_LAYERS:
        raise InvalidManifest("invalid rootfs in image configuration")
    if not all(isinstance(diff_id, str) and is_digest(diff_id) for diff_id in diff_ids):
        raise InvalidManifest("invalid rootfs in image configuration")
    if layers is not None and len(diff_ids) != layers:
        raise InvalidManifest(f"the image configuration has {len(diff_ids)} layers while its manifest has {layers}")
    for key, kind in (("config", dict), ("history", list)):
        if not isinstance(document.get(key) or kind(), kind):
            raise InvalidManifest(f'"{key}" of the image configuration is not what it should be')
    if not all(isinstance(entry, dict) for entry in document.get("history") or ()):
        raise InvalidManifest('"history" of the image configuration is not what it should be')
    if not all(isinstance(document.get(key) or "", str) for key in ("os", "architecture", "variant", "created")):
        raise InvalidManifest("the image configuration has fields of a wrong type")
    if layers is not None:  # it arrives: what is here already must not keep a daemon from starting
        _check_container_config(document.get("config") or {})
    return Config(raw, document)


def _check_container_config(config: dict[str, Any]) -> None:
    """What containers are made of is what a client may send for one."""
    try:
        CONFIG.read(config)
    except InvalidParameter as error:
        raise InvalidManifest(f"invalid image configuration: {str(error).removeprefix('invalid JSON: ')}") from error


def docker_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """The bytes of a manifest of Docker's form, always the same for the same image."""
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": config.document(),
        "layers": [layer.document() for layer in layers],
    }
    return json.dumps(document, indent=3).encode()


def _kind_of_manifest(config: Descriptor) -> str:
    return DOCKER_MANIFEST if config.media_type == DOCKER_CONFIG else OCI_MANIFEST


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(data.decode())  # of bytes it would guess UTF-16 and UTF-32, too
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"the {what} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidManifest(f"the {what} is no JSON object")
    return document


def _list(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        value = []
    if not isinstance(value, list):
        raise InvalidManifest(f'"{key}" of the manifest is no list')
    return value


def _descriptor(value: Any) -> Descriptor:
    if not isinstance(value, dict):
        raise InvalidManifest("the manifest has a descriptor that is no object")
    digest, size = value.get("digest"), value.get("size")
    media_type, platform = value.get("mediaType", ""), value.get("platform")
    annotations = value.get("annotations") or {}
    if not isinstance(digest, str) or not is_digest(digest):
        raise InvalidManifest(f"invalid digest {digest!r} in the manifest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise InvalidManifest(f"invalid size {size!r} in the manifest")
    if not isinstance(media_type, str) or not isinstance(annotations, dict):
        raise InvalidManifest("the manifest has an invalid descriptor")
    known = Platform.from_document(platform) if isinstance(platform, dict) else None
    return Descriptor(media_type, digest, size, known, {str(k): str(v) for k, v in annotations.items()})
