"""`docker pull`: a reference at a registry becomes an image here."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from riverport.engine.errors import EngineError, NotFound, SystemFailure
from riverport.engine.images.answers import RegistryError
from riverport.engine.images.attempts import first_of
from riverport.engine.images.credentials import Credentials
from riverport.engine.images.distribution import Repository
from riverport.engine.images.endpoints import endpoints
from riverport.engine.images.fetch import Fetch, Wanted
from riverport.engine.images.image import Image, mismatch, short
from riverport.engine.images.manifests import (
    MAX_CONFIG_BYTES,
    Config,
    Descriptor,
    Index,
    InvalidManifest,
    Manifest,
    digest_of,
    parse_config,
    parse_manifest,
)
from riverport.engine.images.platform import Platform
from riverport.engine.images.progress import Progress
from riverport.engine.images.reference import Reference
from riverport.engine.images.store import ImageStore
from riverport.engine.images.workers import Workers

Result = TypeVar("Result")


async def pull(
    images: ImageStore,
    reference: Reference,
    credentials: Credentials,
    progress: Progress,
    platform: Platform | None = None,
) -> Image:
    """One tag or digest. Raises NotFound and others in Docker's words; then nothing is left of it."""

    async def one(workers: Workers, repository: Repository) -> Image:
        return await _pull_one(images, workers, repository, reference, progress, platform)

    return await _at_endpoints(images, reference, credentials, one)


async def pull_all(images: ImageStore, reference: Reference, credentials: Credentials, progress: Progress) -> None:
    """Every tag of a repository."""

    async def every(workers: Workers, repository: Repository) -> Image | None:
        last = None
        for tag in await workers.run(repository.tags):
            last = await _pull_one(images, workers, repository, reference.with_tag(tag), progress, None)
        return last

    await _at_endpoints(images, reference, credentials, every)


async def _at_endpoints(
    images: ImageStore,
    reference: Reference,
    credentials: Credentials,
    transfer: Callable[[Workers, Repository], Awaitable[Result]],
) -> Result:
    settings = images.settings
    candidates = endpoints(reference.domain, settings.registry_mirrors, settings.insecure_registries)
    try:
        return await first_of(
            candidates,
            reference.path,
            credentials,
            "pull",
            transfer,
            at_once=settings.max_concurrent_downloads,
            attempts=settings.max_download_attempts,
        )
    except EngineError as error:
        raise _told(error, reference) from error


async def _pull_one(
    images: ImageStore,
    workers: Workers,
    repository: Repository,
    reference: Reference,
    progress: Progress,
    platform: Platform | None,
) -> Image:
    wanted = reference.digest or reference.tag or ""
    top_digest, body, manifest, config = await workers.run(_describe, repository, wanted, platform)
    # Not before: as long as nothing was said, "not found" is an answer with that status.
    progress.say(f"Pulling from {reference.familiar_name}", wanted)
    async with Fetch(images, workers, progress) as fetch:
        if images.catalogue.get(config.id) is None:
            await fetch.layers(
                [_wanted(repository, *pair) for pair in zip(manifest.layers, config.diff_ids, strict=True)]
            )
        image = images.create(config.raw)
        fetched = fetch.fetched
    images.catalogue.keep_manifest(image.id, body, manifest.media_type)
    for blob, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        images.blobs.seen(blob.digest, diff_id, blob.media_type, blob.size, reference.name)
    by_digest = reference.with_digest(top_digest)
    known = images.catalogue.named(by_digest)
    for name in (reference, by_digest) if reference.digest is None else (by_digest,):
        images.name(image, name)
    progress.say(f"Digest: {top_digest}")
    up_to_date = not fetched and known is image
    status = "Image is up to date for" if up_to_date else "Downloaded newer image for"
    progress.say(f"Status: {status} {reference.familiar}")
    images.tell_transfer("pull", reference, image)
    if platform is not None and top_digest == digest_of(body) and not platform.runs_image(config.platform):
        # What is no index has one image for all who ask, which Docker takes; an index knows better than configs.
        progress.say(f"WARNING: {mismatch(str(reference), image, platform)}")
    return image


def _describe(repository: Repository, wanted: str, platform: Platform | None) -> tuple[str, bytes, Manifest, Config]:
    """The digest that was asked for, and the manifest and config for the platform."""
    body, media_type, top_digest = repository.manifest(wanted)
    manifest = parse_manifest(body, media_type)
    if isinstance(manifest, Index):
        chosen = manifest.select(platform)
        body, media_type, _ = repository.manifest(chosen.digest)
        manifest = parse_manifest(body, media_type)
        if isinstance(manifest, Index):
            raise InvalidManifest("an index within an index is not supported")
    raw = repository.small_blob(manifest.config.digest, min(manifest.config.size, MAX_CONFIG_BYTES))
    config = parse_config(raw, len(manifest.layers))
    return top_digest, body, manifest, config


def _wanted(repository: Repository, blob: Descriptor, diff_id: str) -> Wanted:
    return Wanted(
        short(blob.digest), diff_id, blob.size, lambda: repository.blob(blob.digest, blob.size), blob, keep=True
    )


def _told(error: EngineError, reference: Reference) -> EngineError:
    """In the words that dockerd has for it, on which scripts and docker-py rely."""
    if not isinstance(error, RegistryError):
        return error
    if error.code in ("DENIED", "UNAUTHORIZED"):
        return NotFound(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            f"'docker login': {error}"
        )
    if error.code == "NAME_UNKNOWN":
        return NotFound(f"repository {reference.familiar_name} not found: {error}")
    if error.code == "MANIFEST_UNKNOWN" or error.answer == 404:
        return NotFound(f"manifest for {reference.familiar} not found: {error}")
    return SystemFailure(str(error))
