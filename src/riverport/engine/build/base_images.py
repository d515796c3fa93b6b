"""The images that FROM and `--from` name: found here, or pulled."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.images.credentials import Credentials, from_document
from riverport.engine.images.platform import Platform
from riverport.engine.images.reference import InvalidReference, Reference, parse

if TYPE_CHECKING:
    from riverport.engine.build.transcript import Part
    from riverport.engine.images.image import Image
    from riverport.engine.images.store import ImageStore

Logins = Mapping[str, Any]
"""`X-Registry-Config`: who the client is to each registry, by the registry's name."""

_DOCKER_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")


class BaseImages:
    """Of one build: each name is looked for once, and pulled at most once, whatever stages ask for it."""

    def __init__(
        self, images: "ImageStore", always: bool = False, platform: Platform | None = None, logins: Logins | None = None
    ) -> None:
        """`always`: pull even what is here. `platform`: asked for by the client; None takes what is here."""
        self._images = images
        self._always = always
        self._platform = platform
        self._logins = logins or {}
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
        await self._pull(reference, part, platform)
        image = self._here(name, None)  # for whatever platform: the pull has warned, and Docker takes it
        if image is None:
            raise NotFound(f"No such image: {reference.familiar}")
        return image

    async def _pull(self, reference: Reference, part: "Part", platform: Platform | None) -> None:
        # Most builds pull nothing, and the client of registries takes a while to import.
        from riverport.engine.images.progress import told
        from riverport.engine.images.pull import pull

        credentials = _credentials(self._logins, reference.domain)
        async for item in told(lambda says: pull(self._images, reference, credentials, says, platform)):
            part.emit(item)
            await part.room()

    def _here(self, name: str, platform: Platform | None) -> "Image | None":
        try:
            image = self._images.resolve(name)
        except NotFound:
            return None
        except InvalidReference as error:
            raise InvalidParameter(str(error)) from error
        if platform is not None and not platform.runs_image(image.source.platform):
            return None
        return image


def _credentials(logins: Logins, domain: str) -> Credentials:
    names = _DOCKER_HUB if domain == "docker.io" else (domain, f"https://{domain}", f"http://{domain}")
    for name in names:
        if name in logins:
            return from_document(logins[name])
    return Credentials()
