"""Asking a registry who somebody is, or what it has, without moving anything."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from riverport.engine.errors import EngineError, Forbidden, NotFound, SystemFailure, Unauthorized
from riverport.engine.images.answers import RegistryError
from riverport.engine.images.attempts import first_of
from riverport.engine.images.credentials import Credentials, from_document
from riverport.engine.images.distribution import Repository
from riverport.engine.images.endpoints import DOCKER_HUB_LOGIN, Endpoint, endpoints
from riverport.engine.images.manifests import Index, is_image, parse_config, parse_manifest
from riverport.engine.images.reference import DEFAULT_DOMAIN, Reference
from riverport.engine.images.workers import Workers
from riverport.engine.settings import Settings

Result = TypeVar("Result")


async def login(settings: Settings, document: dict[str, Any]) -> str:
    """Check credentials as `/auth` gives them; returns the identity token, "" where the registry gives none.

    Raises Unauthorized.
    """
    credentials = from_document(document)
    domain = registry_of(str(document.get("serveraddress") or ""))

    def ask(repository: Repository) -> str:
        repository.authenticate()
        return ""

    try:
        # A mirror knows nobody: the registry itself is asked.
        candidates = endpoints(domain, (), settings.insecure_registries)
        return await _asked(candidates, "", credentials, ask)
    except RegistryError as error:
        if error.answer in (401, 403):
            raise Unauthorized(f"login attempt to {domain} failed: {error}") from error
        raise SystemFailure(str(error)) from error


async def describe(settings: Settings, reference: Reference, credentials: Credentials) -> dict[str, Any]:
    """`/distribution/{name}/json`: the descriptor and the platforms of a reference at its registry."""

    def ask(repository: Repository) -> dict[str, Any]:
        body, media_type, digest = repository.manifest(reference.digest or reference.tag or "")
        manifest = parse_manifest(body, media_type)
        if isinstance(manifest, Index):
            platforms = [one.platform.document() for one in manifest.manifests if one.platform and is_image(one)]
        else:
            raw = repository.small_blob(manifest.config.digest, manifest.config.size)
            platforms = [parse_config(raw, len(manifest.layers)).platform.document()]
        descriptor = {"mediaType": manifest.media_type, "digest": digest, "size": len(body)}
        return {"Descriptor": descriptor, "Platforms": platforms}

    try:
        candidates = endpoints(reference.domain, settings.registry_mirrors, settings.insecure_registries)
        return await _asked(candidates, reference.path, credentials, ask)
    except RegistryError as error:
        if error.answer in (401, 403):
            raise Forbidden(str(error)) from error
        kind: type[EngineError] = NotFound if error.answer == 404 else SystemFailure
        raise kind(str(error)) from error


def registry_of(address: str) -> str:
    """The domain that a login is about; docker.io's has a historical form, and schemes and paths are no part of it."""
    if not address or address == DOCKER_HUB_LOGIN or "docker.io" in address.partition("/v1")[0].split("/"):
        return DEFAULT_DOMAIN
    bare = address.partition("://")[2] or address
    domain = bare.partition("/")[0]
    return DEFAULT_DOMAIN if domain in ("index.docker.io", "registry-1.docker.io") else domain


async def _asked(
    candidates: Sequence[Endpoint], path: str, credentials: Credentials, ask: Callable[[Repository], Result]
) -> Result:
    async def transfer(workers: Workers, repository: Repository) -> Result:
        return await workers.run(ask, repository)

    return await first_of(candidates, path, credentials, "ask", transfer)
