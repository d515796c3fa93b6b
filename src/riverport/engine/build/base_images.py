"""The images that FROM and `--from` name: found here, or pulled."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.images.platform import Platform
from riverport.engine.images.reference import InvalidReference, Reference, parse

if TYPE_CHECKING:
    from riverport.engine.build.transcript import Part
    from riverport.engine.images.image import Image
    from riverport.engine.images.store import ImageStore

Credentials = Mapping[str, Any]
"""`X-Registry-Config`: what to say to a registry, by its host."""

Pull = Callable[[Reference, Platform | None, Credentials], AsyncIterator[dict[str, Any]]]


class BaseImages:
    """Of one build: each name is looked for once, and pulled at most once, whatever stages ask for it."""

    def __init__(
        self, images: "ImageStore", pull: Pull | None, always: bool, platform: Platform | None, credentials: Credentials
    ) -> None:
        """`always`: pull even what is here. `platform`: asked for by the client; None takes what is here."""
        self._images = images
        self._pull = pull
        self._always = always
        self._platform = platform
        self._credentials = credentials
        self._found: dict[tuple[str, Platform | None], str] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, name: str, part: "Part", platform: Platform | None = None) -> "Image | None":
        """None for scratch. Raises NotFound with Docker's text."""
        if name == "scratch":
            return None
        platform = platform or self._platform
        async with self._locks.setdefault(name, asyncio.Lock()):
            known = self._found.get((name, platform))
            if known is None:
                image = await self._look_for(name, part, platform)
                self._found[name, platform] = image.id
                return image
        return self._images.resolve(known)

    async def _look_for(self, name: str, part: "Part", platform: Platform | None) -> "Image":
        image = self._here(name, platform)
        if image is not None and (not self._always or name.startswith("sha256:")):
            return image
        try:
            reference = parse(name).or_latest()
        except InvalidReference as error:
            raise InvalidParameter(str(error)) from error
        if self._pull is None:
            raise NotFound(f"No such image: {reference.familiar}")
        async for item in self._pull(reference, platform, self._credentials):
            part.emit(item)
            await part.room()
        image = self._here(name, platform)
        if image is None:
            wanted = f" with platform {platform}" if platform is not None else ""
            raise NotFound(f"No such image: {reference.familiar}{wanted}")
        return image

    def _here(self, name: str, platform: Platform | None) -> "Image | None":
        try:
            image = self._images.resolve(name)
        except NotFound:
            return None
        except InvalidReference as error:
            raise InvalidParameter(str(error)) from error
        if platform is not None and not platform.runs(image.source.platform):
            return None
        return image
