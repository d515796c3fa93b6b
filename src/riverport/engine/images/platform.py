"""Platforms of images: `os/architecture[/variant]`, and which of them runs on this machine.

Sources: OCI image specification, "Platform Variants"; names of architectures are Go's; what is compared, and how it is
written in errors, as dockerd has it from containerd's `platforms`.
"""

import os as system
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, Self

from riverport.engine.build.golang import quote
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
_VARIANTS: Final = {
    ("amd64", "v1"): "",
    ("arm64", "8"): "",
    ("arm64", "v8"): "",
    ("arm64", "v8.0"): "",
    ("arm64", "9"): "v9",
    ("arm64", "9.0"): "v9",
    ("arm64", "v9.0"): "v9",
    ("arm", ""): "v7",
    ("arm", "5"): "v5",
    ("arm", "6"): "v6",
    ("arm", "7"): "v7",
    ("arm", "8"): "v8",
}
"""What goes without saying, and other ways to write a variant."""
_SYSTEMS: Final = frozenset({
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd",
    "openbsd", "plan9", "solaris", "windows", "zos",
})  # fmt: skip
_KNOWN_ARCHITECTURES: Final = frozenset({
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "ppc64", "ppc64le", "loong64", "mips", "mipsle",
    "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64",
    "wasm",
})  # fmt: skip
_SYSTEM_PART: Final = re.compile(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?", re.ASCII)
_PART: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_OLDEST_ARM: Final = 5
_NEWEST_ARM64: Final = {"8": 9, "9": 7}
"""By major version of the architecture, the newest minor one that is known."""
_V9_IS_V8: Final = 5
"""arm64 v9.0 runs what is for v8.5."""


@dataclass(frozen=True, slots=True)
class Platform:
    """In the one form that compares. `written` is how it stood where it came from, which errors repeat."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""
    written: str = field(default="", compare=False)
    names_variant: bool = field(default=True, compare=False)
    """Whether what it came from said a variant, which many configs of images leave out."""

    @classmethod
    def here(cls) -> Self:
        return cls.of("linux", system.uname().machine.lower())

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Self:
        """With the names brought into the one form that compares: no x86_64, no arm64/v8."""
        os, architecture = os.lower() or "linux", architecture.lower()
        known, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
        variant = "" if known == "386" and known != architecture else implied or variant.lower()
        return cls("darwin" if os == "macos" else os, known, _VARIANTS.get((known, variant), variant))

    @classmethod
    def parse(cls, text: str) -> Self:
        """`os[(version)][/architecture[/variant]]`; one word is one of the first two. Raises InvalidParameter."""
        if "*" in text:
            raise InvalidParameter(f"{quote(text)}: wildcards not yet supported: invalid argument")
        parts = text.split("/", 3)
        head = _SYSTEM_PART.fullmatch(parts[0])
        if head is None:
            raise InvalidParameter(
                f"{quote(parts[0])} is an invalid OS component of {quote(text)}: OSAndVersion specifier component must "
                f"match {quote(f'^{_SYSTEM_PART.pattern}$')}: invalid argument"
            )
        for part in parts[1:]:
            if _PART.fullmatch(part) is None:
                raise InvalidParameter(
                    f"{quote(part)} is an invalid component of {quote(text)}: platform specifier component must match "
                    f"{quote(f'^{_PART.pattern}$')}: invalid argument"
                )
        if len(parts) > 3:
            raise InvalidParameter(f"{quote(text)}: cannot parse platform specifier: invalid argument")
        if len(parts) == 1:
            return cls._of_word(text, head[1], head[2] or "")
        found = cls.of(head[1], *parts[1:])
        variant = found.variant
        if len(parts) == 2 and (found.architecture, variant) == ("arm", "v7"):
            variant = ""
        elif len(parts) == 3 and found.architecture == "arm64":
            variant = variant or "v8"
        return replace(found, written=_written(found.os, head[2] or "", found.architecture, variant))

    @classmethod
    def _of_word(cls, text: str, word: str, version: str) -> Self:
        if cls.of(word, "").os in _SYSTEMS:
            here = cls.here()
            found = cls.of(word, here.architecture, here.variant)
        elif (found := cls.of("linux", text)).architecture not in _KNOWN_ARCHITECTURES:
            raise InvalidParameter(f"{quote(text)}: unknown operating system or architecture: invalid argument")
        variant = "" if (found.architecture, found.variant) == ("arm", "v7") else found.variant
        return replace(found, written=_written(found.os, version, found.architecture, variant))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Of a descriptor's `platform`, of an image's config, of a request: OCI's fields."""
        os, version, architecture, variant = (
            str(document.get(key) or "") for key in ("os", "os.version", "architecture", "variant")
        )
        written = _written(os, version, architecture, variant)
        return replace(cls.of(os, architecture, variant), written=written, names_variant=bool(variant))

    def document(self) -> dict[str, str]:
        found = {"architecture": self.architecture, "os": self.os}
        return {**found, "variant": self.variant} if self.variant else found

    def runs(self, other: "Platform") -> int:
        """How well an image for `other` runs where this platform is asked for: 0 not at all, more is better."""
        able = _able(self)
        return len(able) - able.index(other) if other in able else 0

    def runs_image(self, other: "Platform") -> bool:
        """The same of an image's config, where a variant is often missing that the image has all the same."""
        is_vague = not other.names_variant and (self.os, self.architecture) == (other.os, other.architecture)
        return is_vague or self.runs(other) > 0

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def shown(self) -> str:
        """As error messages name it: as it was written; this machine with the variant that goes without saying."""
        return self.written or (f"{self}/v8" if self.architecture == "arm64" and not self.variant else str(self))


def _written(os: str, version: str, architecture: str, variant: str) -> str:
    if not os:
        return "unknown"
    return "/".join(part for part in (f"{os}({version})" if version else os, architecture, variant) if part)


@lru_cache(64)
def _able(platform: Platform) -> tuple[Platform, ...]:
    """What a processor runs, best first: its own, its predecessors' (arm/v7 runs v6), the smaller architecture's."""
    system, architecture = platform.os, platform.architecture
    if architecture == "arm64":
        found = _able_arm64(platform)
        return (*found, *_able(Platform(system, "arm", "v8"))) if found else ()
    found = [platform]
    number = platform.variant.removeprefix("v")
    level = int(number) if number.isascii() and number.isdigit() else 0
    if architecture == "amd64":
        found += [Platform.of(system, "amd64", f"v{older}") for older in range(level - 1, 0, -1)]
        found.append(Platform(system, "386"))
    elif architecture == "arm":
        found += [Platform(system, "arm", f"v{older}") for older in range(level - 1, _OLDEST_ARM - 1, -1)]
    return tuple(found)


def _able_arm64(platform: Platform) -> list[Platform]:
    """Nothing of a variant that nobody knows."""
    major, _, text = (platform.variant or "v8").removeprefix("v").partition(".")
    minor = int(text or "0") if text.isascii() and (text or "0").isdigit() else -1
    if not 0 <= minor <= _NEWEST_ARM64.get(major, -1):
        return []
    levels = [(major, older) for older in range(minor, -1, -1)]
    if major == "9":
        levels += [("8", older) for older in range(min(minor + _V9_IS_V8, _NEWEST_ARM64["8"]), -1, -1)]
    return [Platform.of(platform.os, "arm64", f"v{one}.{older}" if older else f"v{one}") for one, older in levels]
