"""Requests to one endpoint of a registry: repeated where that helps, redirected, authenticated, ended from outside.

Everything here runs on threads. What is asked again after a failure is bounded (`ATTEMPTS`), and `abort` ends whatever
waits for the network. Redirects are followed without Authorization: a store of blobs elsewhere has no business with it.
"""

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from riverport.engine.errors import EngineError, SystemFailure
from riverport.engine.images.credentials import Challenge, parse_challenges
from riverport.engine.images.endpoints import Endpoint
from riverport.engine.images.manifests import InvalidManifest

if TYPE_CHECKING:
    import httpx

ATTEMPTS: Final = 5
MAX_REDIRECTS: Final = 5
_CONNECT_SECONDS: Final = 15.0
_READ_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 30.0
_REUSABLE_BYTES: Final = 1 << 16
"""What is left of an answer is read up to here, so that its connection serves the next request."""
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
USER_AGENT: Final = "riverport"

Content = Iterator[bytes] | bytes | None
Answerer = Callable[[list[Challenge]], str]
"""From what a registry asks for to a value of the Authorization header, "" if there is none."""


class RegistryError(EngineError):
    """What a registry answered instead: its code ("MANIFEST_UNKNOWN"), as Docker prints it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = status
        self.code = code


class RegistryUnreachable(SystemFailure):
    """No answer, or the answer broke off."""


class Aborted(SystemFailure):
    """Nobody waits for the transfer any more."""


class Session:
    """To be closed. `pause` is how to wait before something is asked again."""

    def __init__(self, endpoint: Endpoint, pause: Callable[[float], None] | None = None) -> None:
        import httpx

        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every URL, and tokens' are nobody's business
        self.endpoint = endpoint
        self.pause = pause or self._wait
        self._aborted = threading.Event()
        self._authorization: dict[str, str] = {}  # by scope
        self._challenges: list[Challenge] = []
        self._lock = threading.Lock()
        self._streams: set[httpx.Response] = set()
        self.client = httpx.Client(
            verify=endpoint.verify,
            trust_env=not _is_local(endpoint.url),  # proxies of the environment, but not to this machine
            timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        self.client.close()

    def abort(self) -> None:
        """End every request that is under way, from any thread; they raise Aborted."""
        self._aborted.set()
        with self._lock:
            streams = list(self._streams)
        for response in streams:
            network = response.extensions.get("network_stream")
            connection = network.get_extra_info("socket") if network is not None else None
            if connection is not None:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def ping(self) -> None:
        """Whether it is a registry at all, and how it wants to be asked; not repeated if nobody answers."""
        response = self._send("GET", f"{self.endpoint.url}/v2/", {}, None)
        try:
            if response.status_code == 401:
                self._challenges = parse_challenges(response.headers.get_list("WWW-Authenticate"))
            elif response.status_code >= 400 and response.status_code != 404:
                raise error_of(response)
        finally:
            self._done(response)

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        scope: str,
        answer: Answerer,
        headers: Mapping[str, str] | None = None,
        content: Content = None,
        repeat: bool = True,
    ) -> Iterator["httpx.Response"]:
        """An answer below 400, with its body still to be read. Raises RegistryError, RegistryUnreachable, Aborted.

        With `repeat=False` nothing is asked twice, as what was sent is gone.
        """
        ask = _Ask(method, url, headers or {}, content, repeat, scope, answer)
        response = self._ask(ask)
        try:
            if response.status_code >= 400:
                raise error_of(response)
            yield response
        finally:
            self._done(response)

    def _ask(self, ask: "_Ask") -> "httpx.Response":
        renewed = False
        failures = 0
        while True:
            try:
                response = self._follow(ask)
            except RegistryUnreachable:
                failures += 1
                if not ask.repeat or failures == ATTEMPTS:
                    raise
                self.pause(pause_seconds(failures))
                continue
            if response.status_code == 401 and not renewed and self._renew(response, ask) and ask.repeat:
                renewed = True
                self._done(response)
            elif response.status_code in _AGAIN and ask.repeat and failures + 1 < ATTEMPTS:
                failures += 1
                seconds = pause_seconds(failures, response.headers.get("Retry-After", ""))
                self._done(response)
                self.pause(seconds)
            else:
                return response

    def _follow(self, ask: "_Ask") -> "httpx.Response":
        """The answer after redirects, which only what asks for something follows."""
        url = ask.url
        headers = {**ask.headers, **self._authorized(ask)}
        for _ in range(MAX_REDIRECTS):
            response = self._send(ask.method, url, headers, ask.content)
            if response.status_code not in _REDIRECTS or ask.method not in ("GET", "HEAD"):
                return response
            target = urljoin(url, response.headers.get("Location", ""))
            self._done(response)
            if urlsplit(target).scheme not in ("http", "https"):
                break
            url, headers = target, dict(ask.headers)
        raise RegistryUnreachable(f'{ask.method.capitalize()} "{url}": the registry redirects without end')

    def _send(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> "httpx.Response":
        import httpx

        self.check()
        try:
            request = self.client.build_request(method, url, headers=dict(headers), content=content)
            response = self.client.send(request, stream=True)
        except (httpx.TransportError, httpx.InvalidURL, OSError) as error:
            self.check()
            raise RegistryUnreachable(f'{method.capitalize()} "{url}": {reason(error, url)}') from error
        with self._lock:
            self._streams.add(response)
        return response

    def _done(self, response: "httpx.Response") -> None:
        with self._lock:
            self._streams.discard(response)
        if response.num_bytes_downloaded < _REUSABLE_BYTES and not self._aborted.is_set():
            _drain(response)  # so that the connection can be used again
        response.close()

    def check(self) -> None:
        if self._aborted.is_set():
            raise Aborted("the transfer was given up")

    def _wait(self, seconds: float) -> None:
        self._aborted.wait(seconds)
        self.check()

    def _authorized(self, ask: "_Ask") -> dict[str, str]:
        if urlsplit(ask.url)[:2] != urlsplit(self.endpoint.url)[:2]:
            return {}  # an upload's place may lie elsewhere
        if ask.scope not in self._authorization and self._challenges:
            self._authorization[ask.scope] = ask.answer(self._challenges)
        found = self._authorization.get(ask.scope, "")
        return {"Authorization": found} if found else {}

    def _renew(self, response: "httpx.Response", ask: "_Ask") -> bool:
        """Answer what a 401 asks for; False if there is nothing new to say."""
        challenges = parse_challenges(response.headers.get_list("WWW-Authenticate"))
        if not challenges:
            return False
        before = self._authorization.pop(ask.scope, "")
        self._challenges = challenges
        self._authorization[ask.scope] = found = ask.answer(challenges)
        return bool(found) and found != before


@dataclass(frozen=True, slots=True)
class _Ask:
    method: str
    url: str
    headers: Mapping[str, str]
    content: Content
    repeat: bool
    scope: str
    answer: Answerer


def pause_seconds(failures: int, retry_after: str = "") -> float:
    """How long to wait before asking again: as the registry says, within bounds, or twice as long each time."""
    if retry_after.isdigit():
        return min(float(retry_after), _LONGEST_PAUSE_SECONDS)
    return float(min(_FIRST_PAUSE_SECONDS * 2 ** (failures - 1), _LONGEST_PAUSE_SECONDS))


def read_body(response: "httpx.Response", limit: int) -> bytes:
    import httpx

    pieces: list[bytes] = []
    count = 0
    try:
        for piece in response.iter_raw():
            count += len(piece)
            if count > limit:
                raise InvalidManifest(f"the registry's answer has more than {limit} bytes")
            pieces.append(piece)
    except httpx.TransportError as error:
        raise RegistryUnreachable(reason(error)) from error
    return b"".join(pieces)


def _drain(response: "httpx.Response") -> None:
    import httpx

    if response.is_stream_consumed or response.is_closed:
        return
    count = 0
    try:
        for piece in response.iter_raw():
            count += len(piece)
            if count > _REUSABLE_BYTES:
                return
    except (httpx.TransportError, httpx.StreamError):
        return


def error_of(response: "httpx.Response") -> RegistryError:
    """The registry's own words where it has any (OCI distribution, "Error Codes")."""
    body = b""
    if response.request.method != "HEAD":
        try:
            body = read_body(response, 1 << 16)
        except EngineError:
            body = b""
    status = response.status_code
    challenges = parse_challenges(response.headers.get_list("WWW-Authenticate"))
    if status == 401 and any(challenge.parameters.get("error") == "insufficient_scope" for challenge in challenges):
        # There was a token, for less (RFC 6750, 3.1): Docker says of that what it says of a 403.
        return RegistryError(status, "DENIED", "denied: requested access to the resource is denied")
    is_bare = "Authorization" not in response.request.headers
    if status == 401 and is_bare and any(challenge.scheme == "basic" for challenge in challenges):
        return RegistryError(status, "UNAUTHORIZED", "no basic auth credentials")
    try:
        errors = json.loads(body)["errors"]
        texts = [(str(error["code"]), f"{_words(error['code'])}: {error.get('message') or _words(error['code'])}")
                 for error in errors]  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        texts = []
    if texts:
        return RegistryError(status, texts[0][0], texts[0][1])
    code = {401: "UNAUTHORIZED", 403: "DENIED", 404: "MANIFEST_UNKNOWN", 429: "TOOMANYREQUESTS"}.get(status, "UNKNOWN")
    shown = body[:256].decode(errors="replace").strip()
    request = f"{response.request.method} {response.request.url}"
    text = {
        401: "unauthorized: authentication required",
        403: "denied: requested access to the resource is denied",
        404: "manifest unknown: manifest unknown",
    }.get(status, f"received unexpected HTTP status: {status} of {request}: {shown}")
    return RegistryError(status, code, text)


def _words(code: Any) -> str:
    return str(code).lower().replace("_", " ")


def json_of(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RegistryUnreachable(f"the registry's answer is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise RegistryUnreachable("the registry's answer is no JSON object")
    return document


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host.startswith("127.") or host == "::1"


def reason(error: BaseException, url: str = "") -> str:
    """As Go puts it where scripts look for it."""
    text = str(error) or type(error).__name__
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    if "Connection refused" in text:
        return f"dial tcp {parts.hostname}:{port}: connect: connection refused" if url else "connection refused"
    if any(words in text for words in _NAME_FAILURES):
        return f"dial tcp: lookup {parts.hostname}: no such host" if url else "no such host"
    return text


_NAME_FAILURES = ("Name or service not known", "failure in name resolution", "No address associated with hostname")
"""Of getaddrinfo(3)."""
