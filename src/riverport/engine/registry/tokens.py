"""Bearer tokens: Docker's token authentication (distribution, "Token Authentication Specification").

A request without a token is told where to get one and for which scopes; the token, a JWT, lists what its bearer may
do. The registry can be its own issuer (`/token`, with the users of an htpasswd file), or trust another one's key.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from riverport.base.http.messages import Request, Response, json_response
from riverport.engine.registry.access import Caller, Scope
from riverport.engine.registry.basic import Users, basic_credentials
from riverport.engine.registry.errors import Denied, NotFound, Unauthorized
from riverport.engine.registry.rules import EVERYTHING, Rules

SERVICE = "riverport-registry"
ISSUER = "riverport"
LIFETIME_S = 300
SECRET_BYTES_MIN = 32
SCOPES_MAX = 100
_CLOCK_SKEW_S = 60
_FORM_BYTES = 64 << 10
_HOST = re.compile(r"[A-Za-z0-9.\-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_ELLIPTIC = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class KeyInvalid(ValueError):
    """A file that holds no key which tokens can be signed or checked with."""


@dataclass(frozen=True, slots=True)
class Key:
    """`private` is None for a key that only checks. The algorithm is the key's: never what a token says of itself."""

    algorithm: str
    public: Any
    private: Any = None


def load_key(content: bytes) -> Key:
    """A PEM key, RSA or elliptic, private or public; anything else is a shared secret. Raises KeyInvalid."""
    if not content.lstrip().startswith(b"-----BEGIN"):
        secret = content.strip()
        if len(secret) < SECRET_BYTES_MIN:
            raise KeyInvalid(f"a shared secret has {SECRET_BYTES_MIN} bytes or more")
        return Key("HS256", secret, secret)
    try:
        private: Any = serialization.load_pem_private_key(content, None) if b"PRIVATE KEY" in content else None
        public: Any = private.public_key() if private else _public(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyInvalid(f"not a key in PEM, or one with a password: {error}") from error
    if isinstance(public, rsa.RSAPublicKey):
        return Key("RS256", public, private)
    if isinstance(public, ec.EllipticCurvePublicKey) and (algorithm := _ELLIPTIC.get(public.curve.name)):
        return Key(algorithm, public, private)
    raise KeyInvalid("tokens are signed with RSA or with the NIST curves")


def _public(content: bytes) -> Any:
    if b"CERTIFICATE" in content:
        from cryptography.x509 import load_pem_x509_certificate

        return load_pem_x509_certificate(content).public_key()
    return serialization.load_pem_public_key(content)


def own_key(path: Path) -> Key:
    """The key of a registry that was given none: made once, readable by its owner."""
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        temporary = path.with_suffix(".tmp")
        temporary.touch(mode=0o600)
        temporary.write_bytes(pem)
        temporary.rename(path)
    return load_key(path.read_bytes())


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who tokens come from and whom they are for."""

    key: Key
    name: str = ISSUER
    service: str = SERVICE
    realm: str = ""
    """Where tokens are to be had; "" is /token at the host by which a client calls this registry."""
    scheme: str = "http"
    """Of that address; a proxy in front says X-Forwarded-Proto."""


class Tokens:
    """Access by tokens. Without `users` another service issues them."""

    def __init__(
        self,
        issuer: Issuer,
        users: Users | None = None,
        rules: Rules = EVERYTHING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._users = users
        self._rules = rules
        self._clock = clock

    async def identify(self, request: Request, wanted: Scope | None) -> Caller:
        kind, _, token = request.headers.get("Authorization").partition(" ")
        if kind.lower() != "bearer":
            raise self._unauthorized(request, wanted)
        claims = self._claims(token.strip())
        if claims is None:
            raise self._unauthorized(request, wanted, "invalid_token")
        granted = _granted(claims)
        if wanted is not None and not _covers(granted, wanted):
            raise self._unauthorized(request, wanted, "insufficient_scope")
        return Caller(str(claims.get("sub") or ""), partial(_covers, granted))

    def _claims(self, token: str) -> dict[str, Any] | None:
        """None: not signed by the issuer, not for this service, too old or too new."""
        key = self._issuer.key
        try:
            found: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                audience=self._issuer.service,
                issuer=self._issuer.name,
                options={"require": ["exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
            now = self._clock()
            is_current = float(found.get("nbf", 0)) - _CLOCK_SKEW_S <= now < float(found["exp"]) + _CLOCK_SKEW_S
        except (jwt.InvalidTokenError, TypeError, ValueError):
            return None
        return found if is_current else None

    def _unauthorized(self, request: Request, wanted: Scope | None, error: str = "") -> Unauthorized:
        parts = {"realm": self._realm(request), "service": self._issuer.service}
        if wanted is not None:
            # Who pushes also looks whether a blob is there already: one token for both.
            actions = "pull,push" if wanted.action == "push" else wanted.action
            parts["scope"] = f"{wanted.kind}:{wanted.name}:{actions}"
        if error:
            parts["error"] = error
        challenge = ",".join(f'{name}="{value}"' for name, value in parts.items())
        return Unauthorized(str(wanted) if wanted else None, headers={"WWW-Authenticate": f"Bearer {challenge}"})

    def _realm(self, request: Request) -> str:
        if self._issuer.realm:
            return self._issuer.realm
        host = request.headers.get("Host")
        if _HOST.fullmatch(host) is None:
            host = "localhost"
        scheme = request.headers.get("X-Forwarded-Proto").lower() or self._issuer.scheme
        return f"{'https' if scheme == 'https' else 'http'}://{host}/token"

    # --- issuing

    async def token(self, request: Request) -> Response:
        """GET with Basic credentials, as docker does, or POST of an OAuth 2 form, as containerd does."""
        if self._users is None or self._issuer.key.private is None:
            raise NotFound(message="tokens for this registry come from elsewhere")
        if request.method == "POST":
            form = parse_qs((await request.body(_FORM_BYTES)).decode("utf-8", "replace"))
            user = await self._password_grant({name: values[0] for name, values in form.items()})
            scopes = form.get("scope", [])
        else:
            header = request.headers.get("Authorization")
            user = await self._user(basic_credentials(header)) if header else ""
            scopes = request.many("scope")
        granted = [found for scope in _split(scopes) if (found := self._permitted(user, scope))]
        return self._issued(user, granted)

    async def _password_grant(self, form: Mapping[str, str]) -> str:
        if form.get("grant_type") != "password":
            raise Unauthorized(message="the grant types of this registry are: password")
        return await self._user((form.get("username", ""), form.get("password", "")))

    async def _user(self, credentials: tuple[str, str] | None) -> str:
        """Raises Unauthorized."""
        assert self._users is not None
        if credentials is None or not await self._users.check(*credentials):
            raise Unauthorized(message="incorrect username or password")
        return credentials[0]

    def _permitted(self, user: str, text: str) -> dict[str, Any] | None:
        """What the rules leave of a scope that was asked for."""
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        kind = kind.partition("(")[0]  # repository(plugin)
        if kind not in ("repository", "registry") or not name:
            return None
        asked = dict.fromkeys(actions.split(","))
        given = [action for action in asked if self._rules.allow(user, Scope(kind, name, action))]
        return {"type": kind, "name": name, "actions": given} if given else None

    def _issued(self, user: str, granted: list[dict[str, Any]]) -> Response:
        now = int(self._clock())
        claims = {
            "iss": self._issuer.name,
            "sub": user,
            "aud": self._issuer.service,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_S,
            "jti": secrets.token_hex(16),
            "access": granted,
        }
        token = jwt.encode(claims, self._issuer.key.private, algorithm=self._issuer.key.algorithm)
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        document = {"token": token, "access_token": token, "expires_in": LIFETIME_S, "issued_at": issued}
        return json_response(document, headers={"Cache-Control": "no-store"})


def _split(scopes: Iterable[str]) -> list[str]:
    found = [part for text in scopes for part in text.split()]
    if len(found) > SCOPES_MAX:
        raise Denied(message=f"at most {SCOPES_MAX} scopes in a token")
    return found


def _granted(claims: Mapping[str, Any]) -> frozenset[tuple[str, str, str]]:
    """(kind, name, action) of all that a token gives; what is malformed gives nothing."""
    entries = claims.get("access")
    found: set[tuple[str, str, str]] = set()
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("actions"), list):
            found.update((str(entry.get("type")), str(entry.get("name")), str(action)) for action in entry["actions"])
    return frozenset(found)


def _covers(granted: frozenset[tuple[str, str, str]], wanted: Scope) -> bool:
    return bool(granted & {(wanted.kind, wanted.name, wanted.action), (wanted.kind, wanted.name, "*")})
