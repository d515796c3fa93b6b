"""Names of images: `[domain/]path[:tag][@digest]`, and the short forms that people type.

A name is kept in full ("docker.io/library/busybox") and shown in its familiar form ("busybox"). The grammar is that of
the OCI distribution specification and of Docker's older names; sha256, sha384 and sha512 are the digests known here.
"""

import re
from dataclasses import dataclass, replace

from riverport.engine.errors import InvalidParameter

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME_LENGTH = 255
DIGEST_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}

_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"

_ALNUM = "[a-zA-Z0-9]"
_LABEL = f"(?:{_ALNUM}|{_ALNUM}[a-zA-Z0-9-]*{_ALNUM})"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = rf"{_PATH_PART}(?:/{_PATH_PART})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REFERENCE = re.compile(rf"(?P<domain>{_DOMAIN})/(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_REPOSITORY_PATH = re.compile(_PATH)
_TAG_ONLY = re.compile(_TAG)
_IMAGE_ID = re.compile(r"[a-f0-9]{64}")


class InvalidReference(InvalidParameter):
    """What was given names no image; the text says why, as Docker does."""


@dataclass(frozen=True, slots=True)
class Reference:
    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """The repository in full."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as short as it may be typed: without docker.io and library."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in short else short

    @property
    def familiar(self) -> str:
        return self.familiar_name + self._suffix()

    @property
    def is_bare(self) -> bool:
        """Neither tag nor digest was given."""
        return self.tag is None and self.digest is None

    def or_latest(self) -> "Reference":
        """Itself, or tagged `latest` where it is bare."""
        return replace(self, tag=DEFAULT_TAG) if self.is_bare else self

    def with_tag(self, tag: str) -> "Reference":
        if not is_tag(tag):
            raise InvalidReference("invalid tag format")
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: str) -> "Reference":
        check_digest(digest)
        return replace(self, tag=None, digest=digest)

    def repository(self) -> "Reference":
        return replace(self, tag=None, digest=None)

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag is not None else "") + (f"@{self.digest}" if self.digest is not None else "")


def parse(text: str) -> Reference:
    """The image that `text` names, in full; a tag is not made up (see `Reference.or_latest`).

    Raises InvalidReference.
    """
    if _IMAGE_ID.fullmatch(text):
        raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, remainder = _split_domain(text)
    path = re.split("[:@]", remainder, maxsplit=1)[0]
    if path.lower() != path:
        raise InvalidReference(f"invalid reference format: repository name ({path}) must be lowercase")
    match = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if match is None:
        raise InvalidReference("invalid reference format")
    if len(match["path"]) > MAX_NAME_LENGTH:
        raise InvalidReference(
            f"invalid reference format: repository name must not be more than {MAX_NAME_LENGTH} characters"
        )
    if match["digest"] is not None:
        check_digest(match["digest"])
    return Reference(match["domain"], match["path"], match["tag"], match["digest"])


def check_digest(text: str) -> str:
    """`text` itself, a digest with a known algorithm and as many hexadecimal digits, in lower case, as that has.

    Raises InvalidReference.
    """
    algorithm, separator, value = text.partition(":")
    if not separator or not algorithm or re.fullmatch("[0-9a-f]+", value) is None:
        raise InvalidReference("invalid checksum digest format")
    if algorithm not in DIGEST_HEX_LENGTH:
        raise InvalidReference("unsupported digest algorithm")
    if len(value) != DIGEST_HEX_LENGTH[algorithm]:
        raise InvalidReference("invalid checksum digest length")
    return text


def is_digest(text: str) -> bool:
    try:
        check_digest(text)
    except InvalidReference:
        return False
    return True


def is_tag(text: str) -> bool:
    return _TAG_ONLY.fullmatch(text) is not None


def is_repository_path(text: str) -> bool:
    """Whether a registry may call a repository so (OCI distribution 1.1, "Pulling manifests"); no domain, no tag."""
    return len(text) <= MAX_NAME_LENGTH and _REPOSITORY_PATH.fullmatch(text) is not None


def _split_domain(text: str) -> tuple[str, str]:
    """The domain and the rest; the first part is a domain if it cannot be the part of a path, or is "localhost"."""
    first, slash, rest = text.partition("/")
    is_domain = bool(slash) and (any(mark in first for mark in ".:") or first == "localhost" or first.lower() != first)
    domain, remainder = (first, rest) if is_domain else (DEFAULT_DOMAIN, text)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder
