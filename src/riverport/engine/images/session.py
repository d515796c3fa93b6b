"""Requests to one endpoint of a registry: repeated where that helps, redirected, authenticated, ended from outside.

Everything here runs on threads. What is asked again after a failure is bounded (`Tries`), and `abort` ends whatever
waits for the network. Only the endpoint itself is told who asks, and only it may say where a token comes from: a store
of blobs elsewhere, to which it redirects, could name a place of its own that the password is then sent to.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from riverport.engine.images.answers import (
    REUSABLE_BYTES,
    Aborted,
    RegistryError,
    RegistryUnreachable,
    drain,
    error_of,
    reason,
)
from riverport.engine.images.credentials import Challenge, parse_challenges
from riverport.engine.images.endpoints import Endpoint
from riverport.engine.images.tries import ATTEMPTS, Tries

if TYPE_CHECKING:
    import ssl

    import httpx

MAX_REDIRECTS: Final = 5
_CONNECT_SECONDS: Final = 15.0
_READ_SECONDS: Final = 60.0
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
USER_AGENT: Final = "riverport"

Content = Iterator[bytes] | bytes | None
Answerer = Callable[[list[Challenge]], str]
"""From what a registry asks for to a value of the Authorization header, "" if there is none."""


class Session:
    """To be closed."""

    def __init__(self, endpoint: Endpoint, attempts: int = ATTEMPTS) -> None:
        import httpx

        from riverport.engine.images.dialing import Dialer

        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every URL, and tokens' are nobody's business
        self.endpoint = endpoint
        self._attempts = attempts
        self._aborted = threading.Event()
        self._authorization: dict[str, str] = {}  # by scope
        self._challenges: list[Challenge] = []
        self._authorizing = threading.Lock()  # held while a token is fetched, which several threads wait for
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.client = httpx.Client(
            verify=_tls(endpoint.verify),
            trust_env=not _is_local(endpoint.url),  # proxies of the environment, but not to this machine
            timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )
        self._dialer = Dialer()
        self._dialer.serve(self.client)

    def tries(self) -> Tries:
        """Those of one thing."""
        return Tries(self._attempts)

    def close(self) -> None:
        self.client.close()

    def abort(self) -> None:
        """End every request that is under way, from any thread; they raise Aborted."""
        self._aborted.set()
        self._dialer.abort()
        with self._lock:
            connections = list(self._sockets)
        for connection in connections:
            _end(connection)

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
        tries: Tries | None = None,
    ) -> Iterator["httpx.Response"]:
        """An answer below 400, with its body still to be read. Raises RegistryError, RegistryUnreachable, Aborted.

        With `repeat=False` nothing is asked twice, as what was sent is gone. `tries` are those of what it is part of.
        """
        ask = _Ask(method, url, headers or {}, content, repeat, scope, answer, tries or self.tries())
        response = self._ask(ask)
        try:
            if response.status_code >= 400:
                raise error_of(response)
            yield response
        finally:
            self._done(response)

    def _ask(self, ask: "_Ask") -> "httpx.Response":
        renewed = False
        while True:
            try:
                response = self._answered(ask, renewed)
            except (RegistryUnreachable, RegistryError) as error:
                # An error is the token server's here, which may be as busy as a registry.
                retry_after = error.retry_after if isinstance(error, RegistryError) else ""
                passes = isinstance(error, RegistryUnreachable) or error.answer in _AGAIN
                if not passes or not ask.repeat or not ask.tries.again():
                    raise
                self.pause(ask.tries.pause_seconds(retry_after))
                continue
            if response is None:
                renewed = True
                continue
            if response.status_code not in _AGAIN or not ask.repeat or not ask.tries.again():
                return response
            seconds = ask.tries.pause_seconds(response.headers.get("Retry-After", ""))
            self._done(response)
            self.pause(seconds)

    def _answered(self, ask: "_Ask", renewed: bool) -> "httpx.Response | None":
        """None if it was a 401 to which there is something new to say. Raises RegistryError of a token server."""
        response = self._follow(ask)
        if response.status_code != 401 or renewed:
            return response
        is_last = False
        try:
            is_last = not self._renew(response, ask) or not ask.repeat
        finally:
            if not is_last:
                self._done(response)
        return response if is_last else None

    def _follow(self, ask: "_Ask") -> "httpx.Response":
        """The answer after redirects, which only what asks for something follows."""
        url = ask.url
        for _ in range(MAX_REDIRECTS):
            response = self._send(ask.method, url, {**ask.headers, **self._authorized(ask, url)}, ask.content)
            if response.status_code not in _REDIRECTS or ask.method not in ("GET", "HEAD"):
                return response
            location = response.headers.get("Location", "")
            self._done(response)
            try:
                target = urljoin(url, location)
                is_web = urlsplit(target).scheme in ("http", "https")
            except ValueError:
                is_web = False
            if not is_web:
                raise RegistryUnreachable(f'{ask.method.capitalize()} "{url}": the registry redirects to {location!r}')
            url = target
        raise RegistryUnreachable(f'{ask.method.capitalize()} "{url}": stopped after {MAX_REDIRECTS} redirects')

    def _send(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> "httpx.Response":
        return self.send(method, url, headers=dict(headers), content=content)

    def send(self, method: str, url: str, **parts: Any) -> "httpx.Response":
        """One request, as httpx builds it, and its answer, to be closed. Raises RegistryUnreachable, Aborted."""
        import httpx

        self.check()
        try:
            request = self.client.build_request(method, url, extensions={"trace": self._note}, **parts)
            return self.client.send(request, stream=True)
        except (httpx.TransportError, httpx.InvalidURL, UnicodeError, OSError) as error:
            self.check()
            raise RegistryUnreachable(f'{method.capitalize()} "{url}": {reason(error, url)}') from error

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep what `abort` has to end, from its first moment: a registry may take a request and never answer."""
        if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        connection = info["return_value"].get_extra_info("socket")
        with self._lock:
            self._sockets = [*(one for one in self._sockets if one.fileno() >= 0), connection]
        if self._aborted.is_set():
            _end(connection)

    def _done(self, response: "httpx.Response") -> None:
        if response.num_bytes_downloaded < REUSABLE_BYTES and not self._aborted.is_set():
            drain(response)  # so that the connection can be used again
        response.close()

    def check(self) -> None:
        if self._aborted.is_set():
            raise Aborted("the transfer was given up")

    def pause(self, seconds: float) -> None:
        """Before something is asked again. Raises Aborted."""
        self._aborted.wait(seconds)
        self.check()

    def _authorized(self, ask: "_Ask", url: str) -> dict[str, str]:
        if not self._is_own(url):
            return {}  # a redirect's target and an upload's place may lie elsewhere
        with self._authorizing:
            if ask.scope not in self._authorization and self._challenges:
                self._authorization[ask.scope] = ask.answer(self._challenges)
            found = self._authorization.get(ask.scope, "")
        return {"Authorization": found} if found else {}

    def _renew(self, response: "httpx.Response", ask: "_Ask") -> bool:
        """Answer what a 401 asks for; False if there is nothing new to say."""
        challenges = parse_challenges(response.headers.get_list("WWW-Authenticate"))
        if not challenges or not self._is_own(str(response.request.url)):
            return False
        sent = response.request.headers.get("Authorization", "")
        with self._authorizing:
            if self._authorization.get(ask.scope, "") not in ("", sent):
                return True  # by another thread, after this request was sent
            self._authorization.pop(ask.scope, None)
            self._challenges = challenges
            self._authorization[ask.scope] = found = ask.answer(challenges)
        return bool(found) and found != sent

    def _is_own(self, url: str) -> bool:
        try:
            return _origin(url) == _origin(self.endpoint.url)
        except ValueError:
            return False  # no address at all


@dataclass(frozen=True, slots=True)
class _Ask:
    method: str
    url: str
    headers: Mapping[str, str]
    content: Content
    repeat: bool
    scope: str
    answer: Answerer
    tries: Tries


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host.startswith("127.") or host == "::1"


@cache
def _tls(verify: bool) -> "ssl.SSLContext":
    """Made once (28 ms), as Go reads the system's certificates once."""
    import httpx

    return httpx.create_ssl_context(verify=verify)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """RFC 6454: what has it in common is the same server."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended
