"""Who we are to a registry: what the client of the engine sends along, and what the registry asks for.

Sources: RFC 9110 "WWW-Authenticate", RFC 6750, Docker "Token Authentication Specification", the engine API's
"Authentication".
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from riverport.engine.errors import InvalidParameter

_SCHEME: Final = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9-]*)\s+(?=[A-Za-z_]+\s*=)|\s*,?\s*(Basic)\s*(?:,|$)", re.I)
_PARAMETER: Final = re.compile(r'\s*,?\s*([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Credentials:
    """All empty: nobody in particular."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """A refresh token that the registry gave at login."""
    registry_token: str = ""
    """A bearer token to be shown as it is."""

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)

    def basic(self) -> str:
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def from_header(text: str) -> Credentials:
    """`X-Registry-Auth`: base64url of JSON. Raises InvalidParameter."""
    if not text:
        return Credentials()
    try:
        data = base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4))
        document = json.loads(data or b"{}")
    except (ValueError, binascii.Error) as error:
        raise InvalidParameter(f"invalid X-Registry-Auth header: {error}") from error
    return from_document(document)


def from_document(document: Any) -> Credentials:
    """Of `/auth`, of `X-Registry-Auth`, of one registry in `X-Registry-Config`."""
    if not isinstance(document, dict):
        raise InvalidParameter("invalid X-Registry-Auth header: no object")

    def text(key: str) -> str:
        value = document.get(key) or ""
        if not isinstance(value, str):
            raise InvalidParameter(f"invalid X-Registry-Auth header: {key} is no text")
        return value

    username, password = text("username"), text("password")
    if text("auth") and not username:
        try:
            username, _, password = base64.b64decode(text("auth")).decode().partition(":")
        except ValueError as error:
            raise InvalidParameter(f"invalid X-Registry-Auth header: {error}") from error
    return Credentials(username, password, text("identitytoken"), text("registrytoken"))


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """What a 401 asks for, in its order; what cannot be read is passed over."""
    found: list[Challenge] = []
    for header in headers:
        at = 0
        while match := _SCHEME.match(header, at):
            at = match.end()
            parameters: dict[str, str] = {}
            while (parameter := _PARAMETER.match(header, at)) is not None:
                quoted = parameter[2]
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else parameter[3]
                parameters[parameter[1].lower()] = value
                at = parameter.end()
            found.append(Challenge((match[1] or match[2]).lower(), parameters))
    return found
