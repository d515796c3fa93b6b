"""The client of a registry: one repository at one endpoint, for one transfer. All of it runs on threads.

    connect()     finds the endpoints that answer and learns what they ask for (GET /v2/)
    Repository    manifests, blobs and uploads; authenticates when it is told to, and again when a token has run out

Sources: OCI distribution specification 1.1, Docker "Token Authentication Specification".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from riverport.engine.errors import EngineError, SystemFailure
from riverport.engine.images.answers import (
    RegistryError,
    RegistryUnreachable,
    error_of,
    json_of,
    read_body,
)
from riverport.engine.images.blob_source import BlobSource
from riverport.engine.images.credentials import Challenge, Credentials
from riverport.engine.images.endpoints import Endpoint
from riverport.engine.images.manifests import ACCEPTED, MAX_MANIFEST_BYTES, InvalidManifest, digest_of, matches
from riverport.engine.images.reference import is_digest
from riverport.engine.images.session import USER_AGENT, Content, Session
from riverport.engine.images.tries import ATTEMPTS, Tries

if TYPE_CHECKING:
    import httpx

MAX_TOKEN_BYTES: Final = 1 << 20


class Repository:
    """Requests to `<endpoint>/v2/<path>/…`; to be closed. `actions` are "pull" or "pull,push"."""

    def __init__(self, session: Session, path: str, credentials: Credentials, actions: str = "pull") -> None:
        self.session = session
        self.endpoint = session.endpoint
        self.path = path
        self._credentials = credentials
        self._actions = actions

    def close(self) -> None:
        self.session.close()

    def abort(self) -> None:
        """End every request that is under way, from any thread; they raise Aborted."""
        self.session.abort()

    def authenticate(self) -> None:
        """Whether the credentials are good for anything. Raises RegistryError with 401 or 403."""
        with self.session.request("GET", f"{self.endpoint.url}/v2/", "", lambda asked: self._answer(asked, "")):
            return

    def manifest(self, reference: str) -> tuple[bytes, str, str]:
        """The bytes, the media type and the digest of a tag or digest; the digest is that of the bytes."""
        with self.request("GET", f"manifests/{reference}", {"Accept": ", ".join(ACCEPTED)}) as response:
            body = read_body(response, MAX_MANIFEST_BYTES)
            media_type = response.headers.get("Content-Type", "")
            stated = response.headers.get("Docker-Content-Digest", "")
        wanted = reference if is_digest(reference) else stated
        if wanted and is_digest(wanted) and not matches(body, wanted):
            raise InvalidManifest(f"manifest verification failed for digest {wanted}")
        return body, media_type, wanted if wanted and is_digest(wanted) else digest_of(body)

    def manifest_exists(self, reference: str) -> str | None:
        """The digest of a manifest that is there, or None."""
        try:
            with self.request("HEAD", f"manifests/{reference}", {"Accept": ", ".join(ACCEPTED)}) as response:
                return str(response.headers.get("Docker-Content-Digest", "")) or reference
        except RegistryError as error:
            if error.answer == 404:
                return None
            raise

    def tags(self) -> list[str]:
        found: list[str] = []
        place: str | None = "tags/list?n=1000"
        while place is not None:
            with self.request("GET", place) as response:
                document = json_of(read_body(response, MAX_MANIFEST_BYTES))
                link = response.links.get("next", {}).get("url")
            found += [tag for tag in document.get("tags") or () if isinstance(tag, str)]
            place = _joined(f"{self.endpoint.url}/v2/{self.path}/tags/list", link) if link else None
        return found

    def small_blob(self, digest: str, limit: int) -> bytes:
        with self.request("GET", f"blobs/{digest}") as response:
            body = read_body(response, limit)
        if not matches(body, digest):
            raise InvalidManifest(f"verification failed for digest {digest}")
        return body

    def blob(self, digest: str, size: int) -> BlobSource:
        def ask(headers: Mapping[str, str], tries: Tries) -> "AbstractContextManager[httpx.Response]":
            return self.request("GET", f"blobs/{digest}", headers, tries=tries)

        return BlobSource(self.session, ask, digest, size)

    def has_blob(self, digest: str) -> bool:
        try:
            with self.request("HEAD", f"blobs/{digest}"):
                return True
        except RegistryError as error:
            if error.answer == 404:
                return False
            raise

    def put_manifest(self, reference: str, body: bytes, media_type: str) -> None:
        with self.request("PUT", f"manifests/{reference}", {"Content-Type": media_type}, body):
            return

    # ---- uploads

    def start_upload(self, mount: str = "", source: str = "") -> str | None:
        """The place to send a blob to; None if the registry took `mount` over from the repository `source` instead."""
        query = f"?mount={mount}&from={source}" if mount else ""
        extra = f"repository:{source}:pull" if mount else ""
        with self.request(
            "POST", f"blobs/uploads/{query}", {"Content-Length": "0"}, b"", extra_scope=extra
        ) as response:
            if mount and response.status_code == 201:
                return None
            return self._location(response)

    def send(self, location: str, content: Iterator[bytes]) -> str:
        """A part of a blob, of a length that need not be known; returns the place for what follows."""
        headers = {"Content-Type": "application/octet-stream"}
        with self.request("PATCH", location, headers, content, repeat=False) as response:
            return self._location(response)

    def finish_upload(self, location: str, digest: str, content: Iterator[bytes] | None = None, size: int = 0) -> None:
        """The end of an upload, with `size` more bytes."""
        mark = "&" if urlsplit(location).query else "?"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with self.request("PUT", f"{location}{mark}digest={digest}", headers, content or b"", repeat=False):
            return

    def cancel_upload(self, location: str) -> None:
        with self.request("DELETE", location, repeat=False):
            return

    def _location(self, response: "httpx.Response") -> str:
        """May be relative, and may lie on another host."""
        location = response.headers.get("Location", "")
        if not location:
            raise RegistryUnreachable("the registry did not say where to upload to")
        return _joined(str(response.request.url), location)

    # ---- asking

    def request(
        self,
        method: str,
        place: str,
        headers: Mapping[str, str] | None = None,
        content: Content = None,
        *,
        repeat: bool = True,
        extra_scope: str = "",
        tries: Tries | None = None,
    ) -> "AbstractContextManager[httpx.Response]":
        """See `Session.request`; `place` is below the repository, or a whole URL."""
        url = place if "://" in place else f"{self.endpoint.url}/v2/{self.path}/{place}"
        scope = f"repository:{self.path}:{self._actions}" + (f" {extra_scope}" if extra_scope else "")

        def answer(challenges: list[Challenge]) -> str:
            return self._answer(challenges, scope)

        return self.session.request(method, url, scope, answer, headers, content, repeat, tries)

    def _answer(self, challenges: Sequence[Challenge], scope: str) -> str:
        """A value of the Authorization header, "" if we have none."""
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                return "Bearer " + self._token(challenge.parameters, scope)
            if challenge.scheme == "basic" and self._credentials.username:
                return self._credentials.basic()
        return ""

    def _token(self, parameters: Mapping[str, str], scope: str) -> str:
        if self._credentials.registry_token:
            return self._credentials.registry_token
        realm = parameters["realm"]
        if realm.lower().startswith("http:") and not self.endpoint.is_plain and self._credentials:
            raise RegistryUnreachable(f"the registry wants the password to be sent in the clear to {realm}")
        query: list[tuple[str, Any]] = [("service", parameters["service"])] if parameters.get("service") else []
        query += [("scope", part) for part in scope.split()]
        if self._credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": self._credentials.identity_token,
                "client_id": USER_AGENT,
                "service": parameters.get("service", ""),
                "scope": scope,
            }
            return self._token_in(self.session.send("POST", realm, data=form))
        headers = {"Authorization": self._credentials.basic()} if self._credentials.username else {}
        if self._credentials.username:
            query.append(("account", self._credentials.username))
        return self._token_in(self.session.send("GET", realm, params=query, headers=headers))

    def _token_in(self, response: "httpx.Response") -> str:
        try:
            if response.status_code >= 400:
                raise error_of(response)
            document = json_of(read_body(response, MAX_TOKEN_BYTES))
        finally:
            response.close()
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isprintable() or not token.isascii() or not token:
            raise RegistryUnreachable("authorization server did not include a token in the response")
        return token


def connect(
    candidates: Sequence[Endpoint],
    path: str,
    credentials: Credentials,
    on_abort: Callable[[Callable[[], None]], None],
    actions: str = "pull",
    attempts: int = ATTEMPTS,
) -> Iterator[Repository]:
    """Repositories at the endpoints that answer, in order; mirrors are asked as nobody in particular.

    `on_abort` is told how to end all that waits for an endpoint, before it is asked for the first time.

    Raises the last endpoint's error if none answers at all.
    """
    answered = False
    failure: EngineError | None = None
    for endpoint in candidates:
        own = Credentials() if endpoint.is_mirror else credentials
        repository = Repository(Session(endpoint, attempts), path, own, actions)
        on_abort(repository.abort)
        try:
            repository.session.ping()
        except EngineError as error:
            repository.close()
            # Of the two ways to an insecure registry the first error says more: nobody is there.
            failure = failure if failure is not None and not endpoint.verify else error
            continue
        answered = True
        yield repository
    if not answered:
        raise failure or SystemFailure("no endpoint of the registry is known")


def _joined(base: str, link: str) -> str:
    """Where a registry points to, by a path or a whole URL."""
    try:
        return urljoin(base, link)
    except ValueError as error:
        raise RegistryUnreachable(f"the registry points to {link!r}: {error}") from error
