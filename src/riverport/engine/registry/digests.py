"""Content digests: `algorithm:encoded` (OCI image specification, "Digests"). sha256 and sha512 are both first-class."""

import hashlib
import re
from typing import TYPE_CHECKING, NewType

from riverport.engine.registry.errors import DigestInvalid

if TYPE_CHECKING:
    from hashlib import _Hash

Digest = NewType("Digest", str)
"""A digest that `parse_digest` has let pass: its parts are safe as file names."""

CANONICAL = "sha256"
_HEX_DIGITS = {"sha256": 64, "sha512": 128}
ALGORITHMS = frozenset(_HEX_DIGITS)
_HEX = re.compile(r"[0-9a-f]+")


def parse_digest(text: str) -> Digest:
    """Raises DigestInvalid: wrong form, wrong length, or an algorithm that this registry does not have."""
    algorithm, colon, encoded = text.partition(":")
    wanted = _HEX_DIGITS.get(algorithm)
    if not colon or wanted is None:
        raise DigestInvalid({"digest": text}, message="a digest is sha256: or sha512: and hexadecimal digits")
    if len(encoded) != wanted or _HEX.fullmatch(encoded) is None:
        raise DigestInvalid({"digest": text}, message=f"{algorithm} has {wanted} lower-case hexadecimal digits")
    return Digest(text)


def parse_algorithm(text: str) -> str:
    """The `digest-algorithm` of an upload. Raises DigestInvalid."""
    if text not in ALGORITHMS:
        raise DigestInvalid({"algorithm": text}, message="the algorithms of this registry are sha256 and sha512")
    return text


def algorithm_of(digest: Digest) -> str:
    return digest.partition(":")[0]


def encoded_of(digest: Digest) -> str:
    return digest.partition(":")[2]


def digest_of(content: bytes, algorithm: str = CANONICAL) -> Digest:
    return finished(new_hash(algorithm), content)


def finished(running: "_Hash", last: bytes = b"") -> Digest:
    """The digest of what was hashed, with `last` behind it."""
    if last:
        running.update(last)
    return Digest(f"{running.name}:{running.hexdigest()}")


def new_hash(algorithm: str) -> "_Hash":
    return hashlib.new(algorithm, usedforsecurity=False)
