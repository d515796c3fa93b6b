"""An image, as the engine knows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from riverport.engine.images.manifests import Config
from riverport.engine.images.platform import Platform
from riverport.engine.images.reference import InvalidReference, parse
from riverport.engine.storage.layers import ChainId, chain_of


@dataclass(slots=True)
class Image:
    source: Config
    parent: str | None = None
    """The image that this one was built or committed on, if that was here."""
    tagged_at_ns: int = 0
    """When it last got a name; 0: never."""
    size: int = 0
    """Bytes of its layers' files."""
    id: str = ""
    chain: ChainId | None = None

    def __post_init__(self) -> None:
        self.id = self.source.id
        self.chain = chain_of(self.source.diff_ids)

    @property
    def document(self) -> Mapping[str, Any]:
        """The whole config file: architecture, created, history …"""
        return self.source.document

    @property
    def config(self) -> Mapping[str, Any]:
        """What containers start with: Env, Cmd, Entrypoint …"""
        return self.source.document.get("config") or {}

    @property
    def labels(self) -> dict[str, str]:
        labels = self.config.get("Labels")
        return dict(labels) if isinstance(labels, dict) else {}

    @property
    def created_at_s(self) -> int:
        return seconds_of(str(self.document.get("created") or ""))

    @property
    def short_id(self) -> str:
        return short(self.id)


def mismatch(text: str, image: Image, platform: Platform) -> str:
    """What dockerd says of an image that is here, but not for the platform that was asked for.

    A name that is written out in full is shown as people write it, any other as it came.
    """
    try:
        reference = parse(text)
    except InvalidReference:
        reference = None
    name = reference.familiar if reference is not None and str(reference) == text else text
    return (
        f"image with reference {name} was found but its platform ({image.source.platform.shown}) "
        f"does not match the specified platform ({platform.shown})"
    )


def short(identifier: str) -> str:
    """Twelve digits, without the algorithm, as people are shown ids."""
    return identifier.partition(":")[2][:12] or identifier[:12]


def seconds_of(created: str) -> int:
    """Unix time of an RFC 3339 time; 0 for what is none, as configs come from everywhere."""
    head, _, fraction = created.partition(".")
    zone = fraction.lstrip("0123456789") if fraction else ""
    try:
        return int(datetime.fromisoformat((head + zone).replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        return 0
