"""Which images there are, what they are called, and who was made from whom.

A name with a tag and a name with a digest (`RepoDigests`) both lead to an image's id; an image without any is dangling.
Everything is in memory and, before a method returns, in the tables.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from riverport.engine.errors import NotFound
from riverport.engine.images.image import Image
from riverport.engine.images.manifests import digest_of, parse_config
from riverport.engine.images.reference import InvalidReference, Reference, is_digest, parse
from riverport.engine.state import State

_IMAGES: Final = "images"
_NAMES: Final = "image_names"
_MANIFESTS: Final = "manifests"
_ID_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class Catalogue:
    def __init__(self, state: State) -> None:
        self._state = state
        self._images: dict[str, Image] = {}
        self._names: dict[Reference, str] = {}
        self._manifests: dict[str, dict[str, Any]] = {}

    def load(self) -> None:
        for document in self._state.load(_IMAGES).values():
            source = parse_config(document["config"].encode())
            image = Image(source, document["parent"], document["tagged_at_ns"])
            self._images[image.id] = image
        for text, document in self._state.load(_NAMES).items():
            if document["image"] in self._images:
                self._names[parse(text)] = document["image"]
        self._manifests = self._state.load(_MANIFESTS)

    def __iter__(self) -> Iterator[Image]:
        return iter(list(self._images.values()))

    def __len__(self) -> int:
        return len(self._images)

    # ---- finding

    def get(self, image_id: str) -> Image | None:
        return self._images.get(image_id)

    def resolve(self, text: str) -> Image:
        """By name, by id, or by the beginning of an id that is nobody else's. Raises NotFound."""
        try:
            reference = parse(text).or_latest()
        except InvalidReference:
            reference = None
            if _ID_PREFIX.fullmatch(text) is None:
                raise
        found = (self.named(reference) if reference is not None else None) or self._by_id(text)
        if found is None:
            raise NotFound(f"No such image: {reference.familiar if reference is not None else text}")
        return found

    def named(self, reference: Reference) -> Image | None:
        """The image of a name; of a name with tag and digest, the digest decides."""
        if reference.digest is not None:
            reference = reference.with_digest(reference.digest)
        image_id = self._names.get(reference)
        if image_id is None and reference.digest is not None:
            # `name@<image id>` is an image that has this name in any form.
            image = self._images.get(reference.digest)
            if image is not None and any(one.name == reference.name for one in self.references(image.id)):
                return image
        return self._images.get(image_id) if image_id is not None else None

    def _by_id(self, text: str) -> Image | None:
        match = _ID_PREFIX.fullmatch(text)
        if match is None:
            return None
        exact = self._images.get(f"sha256:{match[1]}")
        if exact is not None:
            return exact
        found = [image for image in self._images.values() if image.id.startswith(f"sha256:{match[1]}")]
        return found[0] if len(found) == 1 else None

    def references(self, image_id: str) -> list[Reference]:
        """Every name of an image, sorted."""
        return sorted((name for name, owner in self._names.items() if owner == image_id), key=str)

    def in_repository(self, name: str) -> list[tuple[Reference, Image]]:
        """The tags of a repository, sorted."""
        found = [(one, self._images[owner]) for one, owner in self._names.items() if one.name == name and one.tag]
        return sorted(found, key=lambda pair: str(pair[0]))

    def names(self) -> dict[str, list[Reference]]:
        """Of every image that has any, its names."""
        found: dict[str, list[Reference]] = {}
        for name in sorted(self._names, key=str):
            found.setdefault(self._names[name], []).append(name)
        return found

    def children(self, image_id: str) -> list[Image]:
        return [image for image in self._images.values() if image.parent == image_id]

    def manifest(self, digest: str) -> tuple[bytes, str] | None:
        """A kept manifest: its bytes and media type."""
        document = self._manifests.get(digest)
        return (document["body"].encode(), document["media_type"]) if document is not None else None

    def manifests_of(self, image_id: str) -> list[str]:
        """Digests of the kept manifests, as they came from registries and archives."""
        return [digest for digest, document in self._manifests.items() if document["image"] == image_id]

    # ---- changing

    def add(self, image: Image) -> None:
        self._images[image.id] = image
        self._save(image)

    def drop(self, image_id: str) -> None:
        """The image, its names and manifests."""
        with self._state.together():
            for reference in self.references(image_id):
                self.unname(reference)
            manifests = self.manifests_of(image_id)
            for digest in manifests:
                del self._manifests[digest]
            self._state.delete(_MANIFESTS, manifests)
            del self._images[image_id]
            self._state.delete(_IMAGES, [image_id])
            for child in self.children(image_id):
                child.parent = None
                self._save(child)

    def name(self, reference: Reference, image_id: str, now_ns: int) -> None:
        """Let `reference`, with a tag or a digest, mean this image from now on."""
        assert (reference.tag is None) != (reference.digest is None), f"{reference} is to have a tag or a digest"
        image = self._images[image_id]
        with self._state.together():
            if reference.tag is not None:
                image.tagged_at_ns = now_ns
                self._save(image)
            self._names[reference] = image_id
            self._state.save(_NAMES, str(reference), {"image": image_id})

    def unname(self, reference: Reference) -> None:
        del self._names[reference]
        self._state.delete(_NAMES, [str(reference)])

    def keep_manifest(self, image_id: str, body: bytes, media_type: str) -> str:
        digest = digest_of(body)
        self._manifests[digest] = {"image": image_id, "media_type": media_type, "body": body.decode()}
        self._state.save(_MANIFESTS, digest, self._manifests[digest])
        return digest

    def _save(self, image: Image) -> None:
        document = {
            "config": image.source.raw.decode(),
            "parent": image.parent,
            "tagged_at_ns": image.tagged_at_ns,
        }
        self._state.save(_IMAGES, image.id, document)


def is_id(image_id: str, text: str) -> bool:
    """Whether somebody who wrote `text` meant the image by its id, not by a name."""
    return image_id.startswith(text) or image_id.removeprefix("sha256:").startswith(text) or is_digest(text)
