"""Platforms of images: `os/architecture[/variant]`, and which of them runs on this machine.

Source: OCI image specification, "Platform Variants"; names of architectures are Go's.
"""

import os as system
from dataclasses import dataclass
from typing import Any, Final, Self

from riverport.engine.errors import InvalidParameter

_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm64", ""),
}
_DEFAULT_VARIANTS: Final = {"arm64": "v8", "arm": "v7"}
_KNOWN_SYSTEMS: Final = frozenset({"linux", "windows", "darwin", "freebsd"})


@dataclass(frozen=True, slots=True)
class Platform:
    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    @classmethod
    def here(cls) -> Self:
        return cls.of("linux", system.uname().machine.lower())

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Self:
        """With the names brought into the one form that compares: no x86_64, no arm64/v8."""
        known, implied = _ARCHITECTURES.get(architecture.lower(), (architecture.lower(), ""))
        variant = (variant or implied).lower()
        if variant.isdigit():
            variant = f"v{variant}"
        if known == "arm64" and variant == "v8":
            variant = ""
        if known == "arm" and not variant:
            variant = "v7"
        if known == "amd64" and variant == "v1":
            variant = ""
        return cls(os.lower(), known, variant)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidParameter. One word is a system or an architecture."""
        parts = text.split("/")
        if not 1 <= len(parts) <= 3 or not all(part and part.replace("_", "").isalnum() for part in parts):
            raise InvalidParameter(f'"{text}": invalid platform')
        if len(parts) == 1:
            here = cls.here()
            if parts[0].lower() in _KNOWN_SYSTEMS:
                return cls.of(parts[0], here.architecture, here.variant)
            return cls.of("linux", parts[0])
        return cls.of(*parts)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Of a descriptor's `platform`, or of an image's config."""
        return cls.of(*(str(document.get(key) or "") for key in ("os", "architecture", "variant")))

    def document(self) -> dict[str, str]:
        found = {"architecture": self.architecture, "os": self.os}
        return {**found, "variant": self.variant} if self.variant else found

    def runs(self, other: "Platform") -> int:
        """How well an image for `other` runs where this platform is asked for: 0 not at all, more is better."""
        if (self.os, self.architecture) != (other.os, other.architecture):
            return 0
        if self.variant == other.variant:
            return 100
        mine, theirs = _level(self), _level(other)
        # Processors run what was built for their predecessors (arm/v7 runs v6, amd64/v3 runs v1).
        return max(0, 50 - (mine - theirs)) if mine >= theirs else 0

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def shown(self) -> str:
        """As error messages name it: with the variant that goes without saying."""
        variant = self.variant or (_DEFAULT_VARIANTS.get(self.architecture, "") if self.architecture == "arm64" else "")
        return "/".join(part for part in (self.os, self.architecture, variant) if part)


def _level(platform: Platform) -> int:
    digits = platform.variant.removeprefix("v").partition(".")[0]
    default = 8 if platform.architecture == "arm64" else 1
    return int(digits) if digits.isdigit() else default
