"""Repository names and tags (OCI distribution 1.1, "Pulling manifests")."""

import re
from typing import NewType

from riverport.engine.images.reference import is_repository_path, is_tag
from riverport.engine.registry.digests import Digest, algorithm_of, encoded_of, parse_digest
from riverport.engine.registry.errors import NameInvalid, TagInvalid

RepositoryName = NewType("RepositoryName", str)
Tag = NewType("Tag", str)
Reference = Tag | Digest

_SHOWN = 300  # of what a client sent, in an answer
_NOT_IN_TAGS = re.compile(r"[^a-zA-Z0-9._-]")


def parse_name(text: str) -> RepositoryName:
    """Raises NameInvalid."""
    if not is_repository_path(text):
        raise NameInvalid({"name": text[:_SHOWN]})
    return RepositoryName(text)


def parse_tag(text: str) -> Tag:
    """Raises TagInvalid."""
    if not is_tag(text):
        raise TagInvalid({"tag": text[:_SHOWN]})
    return Tag(text)


def is_digest(reference: str) -> bool:
    """Whether it stands for content and not for a tag: tags have no colon."""
    return ":" in reference


def parse_reference(text: str) -> Reference:
    """A tag or a digest. Raises TagInvalid or DigestInvalid."""
    return parse_digest(text) if is_digest(text) else parse_tag(text)


def referrers_tag(subject: Digest) -> Tag:
    """The tag at which clients keep referrers where a registry lists none ("Referrers Tag Schema")."""
    return Tag(_NOT_IN_TAGS.sub("-", f"{algorithm_of(subject)[:32]}-{encoded_of(subject)[:64]}"))
