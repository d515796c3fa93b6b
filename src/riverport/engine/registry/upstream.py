"""Another registry, as a client of it: what a pull-through cache asks (OCI distribution 1.1, "Pull").

Authentication is Docker's: a 401 names a realm, the token from there is kept until shortly before it ends.
"""

import base64
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from riverport.engine.registry.digests import Digest, algorithm_of, digest_of, parse_digest
from riverport.engine.registry.errors import BlobUnknown, DigestInvalid, ManifestUnknown, NotFound, UpstreamFailed
from riverport.engine.registry.manifests import ALL_TYPES
from riverport.engine.registry.names import Reference, RepositoryName, is_digest
from riverport.engine.registry.proxy import RemoteBlob, RemoteManifest

CONNECT_S = 10.0
READ_S = 30.0
CONNECTIONS_MAX = 32
MANIFEST_BYTES_MAX = 16 << 20
_TOKEN_S = 60.0
"""How long a token is good that does not say (Docker's default)."""
_TOKENS_MAX = 1_000
_PIECE_BYTES = 256 << 10
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_GONE = frozenset({401, 403, 404})
"""What a registry says of what is not there or not for us; Docker Hub answers 401 for names that do not exist."""


class RemoteRegistry:
    """One upstream; `close` it."""

    def __init__(self, url: str, user: str = "", password: str = "", authority: Path | None = None) -> None:
        """`authority`: certificates to trust besides the system's. Raises ValueError for what is no URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("write http://HOST[:PORT] or https://HOST[:PORT]")
        self._base = url.rstrip("/")
        self._credentials = (user, password) if user else None
        self._tokens: dict[str, tuple[str, float]] = {}
        trust: ssl.SSLContext | bool = True
        if authority is not None:
            trust = ssl.create_default_context()
            trust.load_verify_locations(authority)
        self._client = httpx.AsyncClient(
            follow_redirects=True,
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            headers={"User-Agent": "riverport-registry", "Accept-Encoding": "identity"},
            verify=trust,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def digest(self, repository: RepositoryName, reference: Reference) -> Digest | None:
        """What a tag points at; None if the upstream does not say. Raises ManifestUnknown, UpstreamFailed."""
        path = f"/v2/{repository}/manifests/{reference}"
        async with self._request("HEAD", path, repository, {"Accept": ", ".join(ALL_TYPES)}) as response:
            if response.status_code in _GONE:
                raise ManifestUnknown({"name": repository, "reference": reference})
            _check(response)
            return _declared(response)

    async def manifest(self, repository: RepositoryName, reference: Reference) -> RemoteManifest:
        """Raises ManifestUnknown, UpstreamFailed, DigestInvalid."""
        path = f"/v2/{repository}/manifests/{reference}"
        async with self._request("GET", path, repository, {"Accept": ", ".join(ALL_TYPES)}) as response:
            if response.status_code in _GONE:
                raise ManifestUnknown({"name": repository, "reference": reference})
            _check(response)
            content = await _content(response)
            wanted = Digest(reference) if is_digest(reference) else _declared(response)
            found = digest_of(content, algorithm_of(wanted)) if wanted else digest_of(content)
            if wanted and found != wanted:
                raise UpstreamFailed({"digest": wanted, "received": found}, message="the upstream sent something else")
            return RemoteManifest(found, response.headers.get("Content-Type", ""), content)

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int:
        """Raises BlobUnknown, UpstreamFailed."""
        async with self._request("HEAD", f"/v2/{repository}/blobs/{digest}", repository) as response:
            if response.status_code in _GONE:
                raise BlobUnknown({"name": repository, "digest": digest})
            _check(response)
            return int(response.headers.get("Content-Length", "0"))

    @asynccontextmanager
    async def blob(self, repository: RepositoryName, digest: Digest, start: int) -> AsyncIterator[RemoteBlob]:
        """The bytes from `start` on. Raises BlobUnknown, UpstreamFailed, also while they are read."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        async with self._request("GET", f"/v2/{repository}/blobs/{digest}", repository, headers) as response:
            if response.status_code in _GONE:
                raise BlobUnknown({"name": repository, "digest": digest})
            _check(response)
            if start and response.status_code != 206:
                raise UpstreamFailed(message="the upstream does not resume")
            length = response.headers.get("Content-Length")
            yield RemoteBlob(int(length) + start if length else None, _pieces(response))

    async def document(self, path: str, repository: RepositoryName, query: Mapping[str, str]) -> tuple[Any, str]:
        """A JSON answer and its Link header. Raises NotFound, UpstreamFailed."""
        wanted = f"{path}?{httpx.QueryParams(dict(query))}" if query else path
        async with self._request("GET", wanted, repository) as response:
            if response.status_code in _GONE:
                raise NotFound({"path": path})
            _check(response)
            content = await _content(response)
            try:
                return json.loads(content), response.headers.get("Link", "")
            except ValueError as error:
                raise UpstreamFailed(message="the upstream's answer is not JSON") from error

    # --- requests

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, repository: RepositoryName, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """One request; a second one where the first was told to log in. Raises UpstreamFailed."""
        try:
            challenge: str | None = None
            async with self._sent(method, path, repository, headers) as response:
                if response.status_code != 401 or not (challenge := response.headers.get("WWW-Authenticate")):
                    yield response
                    return
            await self._log_in(challenge, repository)
            async with self._sent(method, path, repository, headers) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise UpstreamFailed({"upstream": self._base, "reason": str(error) or type(error).__name__}) from error

    @asynccontextmanager
    async def _sent(
        self, method: str, path: str, repository: RepositoryName, headers: Mapping[str, str] | None
    ) -> AsyncIterator[httpx.Response]:
        own = dict(headers or {})
        known = self._tokens.get(repository) or self._tokens.get("")
        if known is not None and known[1] > time.monotonic():
            own["Authorization"] = known[0]
        async with self._client.stream(method, self._base + path, headers=own) as response:
            yield response

    async def _log_in(self, challenge: str, repository: RepositoryName) -> None:
        """Get what the challenge asks for; without it the same request is answered with 401 once more."""
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic" and self._credentials:
            encoded = base64.b64encode(":".join(self._credentials).encode()).decode()
            self._tokens[""] = (f"Basic {encoded}", float("inf"))
        if kind.lower() != "bearer":
            return
        given = dict(_CHALLENGE.findall(rest))
        if urlsplit(given.get("realm", "")).scheme not in ("http", "https"):
            raise UpstreamFailed(message="the upstream's challenge has no realm")
        query = {"scope": f"repository:{repository}:pull"}
        if "service" in given:
            query["service"] = given["service"]
        credentials = self._credentials or httpx.USE_CLIENT_DEFAULT
        response = await self._client.get(given["realm"], params=query, auth=credentials)
        _check(response)
        document = response.json()
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str):
            raise UpstreamFailed(message="the upstream's realm gave no token")
        if len(self._tokens) >= _TOKENS_MAX:
            self._tokens.clear()
        lifetime = float(document.get("expires_in") or _TOKEN_S)
        self._tokens[repository] = (f"Bearer {token}", time.monotonic() + lifetime * 0.9)


def _check(response: httpx.Response) -> None:
    if response.status_code not in (200, 206):
        raise UpstreamFailed({"status": response.status_code}, message="the upstream answers with an error")


def _declared(response: httpx.Response) -> Digest | None:
    try:
        return parse_digest(response.headers.get("Docker-Content-Digest", ""))
    except DigestInvalid:
        return None


async def _content(response: httpx.Response) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > MANIFEST_BYTES_MAX:
            raise UpstreamFailed(message="the upstream sent too much")
        pieces.append(piece)
    return b"".join(pieces)


async def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in response.aiter_raw(_PIECE_BYTES):
            yield piece
    except httpx.HTTPError as error:
        raise UpstreamFailed({"reason": str(error) or type(error).__name__}) from error
