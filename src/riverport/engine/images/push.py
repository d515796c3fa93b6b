"""`docker push`: an image's layers, several at once, then its config and manifest.

A layer is sent only where the registry neither has it (HEAD) nor takes it over from a neighbouring repository (mount).
A kept archive is sent as it is, any other layer is packed while it is sent. An image that came with its manifest and
whose archives are all kept goes out with the same digest.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from riverport.engine.errors import EngineError, NotFound, SystemFailure
from riverport.engine.images.answers import Aborted, RegistryError, RegistryUnreachable
from riverport.engine.images.blobs import Blob
from riverport.engine.images.credentials import Credentials
from riverport.engine.images.distribution import Repository, connect
from riverport.engine.images.endpoints import endpoints
from riverport.engine.images.image import Image, short
from riverport.engine.images.manifests import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    Descriptor,
    Manifest,
    digest_of,
    docker_manifest,
    parse_manifest,
)
from riverport.engine.images.platform import Platform
from riverport.engine.images.progress import STEP_BYTES, Progress
from riverport.engine.images.reference import Reference
from riverport.engine.images.store import ImageStore
from riverport.engine.images.tries import ATTEMPTS, pause_seconds
from riverport.engine.images.workers import Workers, all_or_none
from riverport.engine.storage.compression import GzipWriter, Hashed
from riverport.engine.storage.layers import Layer
from riverport.engine.storage.pack import Pieces
from riverport.engine.storage.recipe import RecipeReader

_READ: Final = 1 << 18
MAX_CANDIDATES: Final = 3
"""Known forms of a layer, and neighbouring repositories, that a registry is asked about."""


async def push(
    images: ImageStore,
    reference: Reference,
    credentials: Credentials,
    progress: Progress,
    platform: Platform | None = None,
) -> None:
    """One tag, or, of a bare reference, every tag of the repository."""
    if platform is not None:
        images.resolve(str(reference), platform)  # before anything is said, so that it is an answer of its own
    progress.say(f"The push refers to repository [{reference.name}]")
    wanted = _images_of(images, reference)
    candidates = endpoints(reference.domain, (), images.settings.insecure_registries, push=True)
    async with Workers("push", images.settings.max_concurrent_uploads) as workers:
        found = connect(candidates, reference.path, credentials, workers.on_abort, "pull,push")
        repository = await workers.run(next, found)
        try:
            for name, image in wanted:
                await _Push(images, workers, repository, progress, name, image).run()
        except RegistryError as error:
            raise SystemFailure(str(error)) from error
        finally:
            repository.close()


def _images_of(images: ImageStore, reference: Reference) -> list[tuple[Reference, Image]]:
    if not reference.is_bare:
        image = images.catalogue.named(reference)
        if image is not None:
            return [(reference, image)]
    tags = images.catalogue.in_repository(reference.name)
    if not tags:
        raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
    if not reference.is_bare:
        raise NotFound(f"tag does not exist: {reference.familiar}")
    return tags


class _Push:
    """One image to one tag."""

    def __init__(
        self,
        images: ImageStore,
        workers: Workers,
        repository: Repository,
        progress: Progress,
        reference: Reference,
        image: Image,
    ) -> None:
        self._images = images
        self._workers = workers
        self._repository = repository
        self._progress = progress
        self._reference = reference
        self._image = image

    async def run(self) -> None:
        image = self._image
        stack = self._images.layers.stack(image.chain)
        if image.chain is not None:
            self._images.layers.use(image.chain)  # it may be removed meanwhile
        try:
            kept = self._kept_manifest()
            descriptors = await self._layers(stack, kept)
            body, media_type = kept[:2] if kept is not None else (b"", DOCKER_MANIFEST)
            config = Descriptor(DOCKER_CONFIG, image.id, len(image.source.raw))
            if kept is None:
                body = docker_manifest(config, descriptors)
            await self._workers.run(self._finish, config, body, media_type)
        finally:
            if image.chain is not None:
                await self._images.layers.release(image.chain)
        self._tell(body, media_type)

    def _tell(self, body: bytes, media_type: str) -> None:
        digest = digest_of(body)
        tag = self._reference.tag or digest
        if self._images.catalogue.get(self._image.id) is not None:
            self._images.catalogue.keep_manifest(self._image.id, body, media_type)
            self._images.name(self._image, self._reference.with_digest(digest))
        self._progress.say(f"{tag}: digest: {digest} size: {len(body)}")
        aux = {"Tag": tag, "Digest": digest, "Size": len(body)}
        self._progress.put({"progressDetail": {}, "aux": aux})
        self._images.tell_transfer("push", self._reference, self._image)

    def _kept_manifest(self) -> tuple[bytes, str, Manifest] | None:
        """A manifest that the image came with and that can be sent as it is."""
        catalogue, blobs = self._images.catalogue, self._images.blobs
        for digest in catalogue.manifests_of(self._image.id):
            found = catalogue.manifest(digest)
            manifest = parse_manifest(*found) if found is not None else None
            if found is None or not isinstance(manifest, Manifest):
                continue
            known = [blobs.get(layer.digest) for layer in manifest.layers]
            if all(blob is not None and blob.kept for blob in known):
                return *found, manifest
        return None

    async def _layers(self, stack: list[Layer], kept: tuple[bytes, str, Manifest] | None) -> list[Descriptor]:
        """Every layer at the registry; the lowest first in the result, the topmost first on the screen."""
        required = {}
        if kept is not None:
            pairs = zip(reversed(stack), kept[2].layers, strict=True)
            required = {layer.chain: descriptor.digest for layer, descriptor in pairs}
        for layer in stack:
            self._progress.say("Preparing", short(layer.diff_id))
        tasks: dict[str, asyncio.Task[Descriptor]] = {}
        for layer in stack:
            # One diff may be in a chain twice (two empty layers); it is sent once.
            if layer.diff_id not in tasks:
                blobs = self._candidates(layer, required.get(layer.chain))
                work = self._workers.run(self._layer, layer, blobs)
                tasks[layer.diff_id] = asyncio.create_task(work)
        await all_or_none(list(tasks.values()))
        found = []
        for layer in reversed(stack):
            descriptor = tasks[layer.diff_id].result()
            name = self._reference.name
            self._images.blobs.seen(descriptor.digest, layer.diff_id, descriptor.media_type, descriptor.size, name)
            found.append(replace(descriptor, media_type=DOCKER_LAYER))
        return found

    def _candidates(self, layer: Layer, required: str | None) -> list[Blob]:
        blobs = self._images.blobs.of(layer.diff_id)
        if required is not None:
            return [blob for blob in blobs if blob.digest == required]
        return [blob for blob in blobs if blob.media_type.endswith("gzip")][:MAX_CANDIDATES]

    # ---- on threads

    def _layer(self, layer: Layer, blobs: list[Blob]) -> Descriptor:
        name = short(layer.diff_id)
        for blob in blobs:
            if self._repository.has_blob(blob.digest):
                self._progress.say("Layer already exists", name)
                return _descriptor(blob)
        for blob in blobs:
            source = self._mount(blob)
            if source is not None:
                self._progress.say(f"Mounted from {source}", name)
                return _descriptor(blob)
        kept = next((blob for blob in blobs if blob.kept), None)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                found = self._send_kept(kept, name) if kept is not None else self._send_packed(layer, name)
                self._progress.say("Pushed", name)
                return found
            except Aborted:
                raise
            except (RegistryUnreachable, RegistryError) as error:
                again = isinstance(error, RegistryUnreachable) or error.answer in (404, 429) or error.answer >= 500
                if attempt == ATTEMPTS or not again:
                    raise
                self._repository.session.pause(pause_seconds(attempt))
        raise AssertionError("the last attempt returns or raises")

    def _mount(self, blob: Blob) -> str | None:
        """The neighbour that the registry took the blob from, or None."""
        domain, _, own = self._reference.name.partition("/")
        neighbours = [one.partition("/")[2] for one in reversed(blob.repositories) if one.partition("/")[0] == domain]
        for path in [path for path in neighbours if path != own][:MAX_CANDIDATES]:
            try:
                location = self._repository.start_upload(blob.digest, path)
            except RegistryError:
                continue  # not allowed to read there
            if location is None:
                return path
            self._cancel(location)
        return None

    def _send_kept(self, blob: Blob, name: str) -> Descriptor:
        location = self._repository.start_upload()
        assert location is not None, "nothing was to be mounted"
        content = _file(self._images.blobs.path(blob.digest), self._meter(name, blob.size))
        try:
            self._repository.finish_upload(location, blob.digest, content, blob.size)
        except EngineError:
            self._cancel(location)
            raise
        return _descriptor(blob)

    def _send_packed(self, layer: Layer, name: str) -> Descriptor:
        location = self._repository.start_upload()
        assert location is not None, "nothing was to be mounted"
        plain = Hashed(RecipeReader(layer.recipe, layer.diff))
        packed = _Packed(plain, self._meter(name, layer.size))
        try:
            after = self._repository.send(location, iter(packed))
            if plain.digest != layer.diff_id:
                raise SystemFailure(f"the files of layer {layer.diff_id} are not what they were")
            self._repository.finish_upload(after, packed.digest)
        except EngineError:
            self._cancel(location)
            raise
        return Descriptor(DOCKER_LAYER, packed.digest, packed.count)

    def _cancel(self, location: str) -> None:
        try:
            self._repository.cancel_upload(location)
        except EngineError:
            return  # it ends by itself some day

    def _meter(self, name: str, total: int) -> Callable[[int], None]:
        return lambda count: self._progress.reached("Pushing", name, min(count, total), total)

    def _finish(self, config: Descriptor, body: bytes, media_type: str) -> None:
        if not self._repository.has_blob(config.digest):
            location = self._repository.start_upload()
            assert location is not None, "nothing was to be mounted"
            raw = self._image.source.raw
            self._repository.finish_upload(location, config.digest, iter([raw]), len(raw))
        self._repository.put_manifest(self._reference.tag or digest_of(body), body, media_type)


@dataclass(slots=True)
class _Packed:
    """Compresses what it reads from `source`, and knows the digest and length afterwards."""

    source: Hashed
    tell: Callable[[int], None]
    digest: str = ""
    count: int = 0

    def __iter__(self) -> Iterator[bytes]:
        writer = GzipWriter()
        hashed = Hashed(Pieces(self._pieces(writer)))
        told = 0
        while data := hashed.read(_READ):
            yield data
            if self.source.count - told >= STEP_BYTES:
                told = self.source.count
                self.tell(told)
        self.digest, self.count = hashed.digest, hashed.count

    def _pieces(self, writer: GzipWriter) -> Iterator[bytes]:
        while plain := self.source.read(_READ):
            if packed := writer.write(plain):
                yield packed
        yield writer.finish()


def _file(path: Path, tell: Callable[[int], None]) -> Iterator[bytes]:
    count = told = 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(_READ):
            yield data
            count += len(data)
            if count - told >= STEP_BYTES:
                told = count
                tell(count)


def _descriptor(blob: Blob) -> Descriptor:
    return Descriptor(blob.media_type, blob.digest, blob.size)
