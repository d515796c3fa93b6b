"""What a registry's answers say, and its failures in the words that dockerd and Go have for them."""

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from riverport.engine.errors import EngineError, SystemFailure
from riverport.engine.images.credentials import parse_challenges
from riverport.engine.images.manifests import InvalidManifest

if TYPE_CHECKING:
    import httpx

REUSABLE_BYTES: Final = 1 << 16
"""What is left of an answer is read up to here, so that its connection serves the next request."""
_MAX_ERROR_BYTES: Final = 1 << 16


class RegistryError(EngineError):
    """What a registry answered instead: its code ("MANIFEST_UNKNOWN"), as Docker prints it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = status
        self.code = code
        self.retry_after = ""
        """The header, as it came."""


class RegistryUnreachable(SystemFailure):
    """No answer, or the answer broke off."""


class Aborted(SystemFailure):
    """Nobody waits for the transfer any more."""


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


def drain(response: "httpx.Response") -> None:
    import httpx

    if response.is_stream_consumed or response.is_closed:
        return
    count = 0
    try:
        for piece in response.iter_raw():
            count += len(piece)
            if count > REUSABLE_BYTES:
                return
    except (httpx.TransportError, httpx.StreamError):
        return


def error_of(response: "httpx.Response") -> RegistryError:
    """The registry's own words where it has any (OCI distribution, "Error Codes")."""
    error = _error_of(response)
    error.retry_after = response.headers.get("Retry-After", "")
    return error


def _error_of(response: "httpx.Response") -> RegistryError:
    body = b""
    if response.request.method != "HEAD":
        try:
            body = read_body(response, _MAX_ERROR_BYTES)
        except EngineError:
            body = b""
    status = response.status_code
    if status >= 500:
        # Whatever it says about it: a server that fails may not be one that speaks this protocol.
        return RegistryError(
            status, "UNKNOWN", f"received unexpected HTTP status: {status} {response.reason_phrase}".rstrip()
        )
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
    shown = body[:256].decode(errors="replace").strip() or response.reason_phrase
    text = {
        401: "unauthorized: authentication required",
        403: "denied: requested access to the resource is denied",
        404: "manifest unknown: manifest unknown",
    }.get(status, f"{_words(code)}: {shown}")
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


def reason(error: BaseException, url: str = "") -> str:
    """As Go puts it where scripts look for it."""
    text = str(error) or type(error).__name__
    if "Connection refused" in text:
        return f"dial tcp {_address(url)}: connect: connection refused" if url else "connection refused"
    if any(words in text for words in _NAME_FAILURES):
        return f"dial tcp: lookup {_address(url).rpartition(':')[0]}: no such host" if url else "no such host"
    return next((words for beginning, words in _ENDINGS.items() if beginning in text), text)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port or (80 if parts.scheme == 'http' else 443)}"
    except ValueError:
        return url  # whatever a registry calls one


_ENDINGS: Final = {
    "peer closed connection without sending complete message body": "unexpected EOF",
    "Server disconnected without sending a response": "EOF",
    "Connection reset by peer": "connection reset by peer",
    "timed out": "i/o timeout",
}
"""Go's words for what httpx says of a connection that ended."""
_NAME_FAILURES = ("Name or service not known", "failure in name resolution", "No address associated with hostname")
"""Of getaddrinfo(3)."""
