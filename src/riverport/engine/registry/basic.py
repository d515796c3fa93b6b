"""Users and passwords: an htpasswd file with bcrypt, and HTTP's Basic authentication over it (RFC 7617)."""

import asyncio
import base64
import binascii
import hashlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from riverport.base.http.messages import Request, Response
from riverport.base.logging import get_logger
from riverport.engine.registry.access import Caller, Scope
from riverport.engine.registry.errors import Denied, NotFound, Unauthorized
from riverport.engine.registry.rules import EVERYTHING, Rules

log = get_logger(__name__)

REALM = "Riverport registry"
_BCRYPT = ("$2a$", "$2b$", "$2x$", "$2y$")
_BCRYPT_BYTES = 72
"""bcrypt sees no more of a password; htpasswd(1) cuts the rest off too."""
_REMEMBERED_S = 300.0
_REMEMBERED_MAX = 10_000
_AT_ONCE = 2
"""Passwords that are checked at a time: each takes a core for 50 ms or more, and anybody may send one."""
_NOBODY = b"$2b$10$abcdefghijklmnopqrstuuxZwcEnHs9v7QI6qZ3vX8yWn1bXv5Wb2"
"""Compared where there is no such user, so that an answer's time does not tell."""


class UsersInvalid(ValueError):
    """A line that is no user with a bcrypt password; the text names it."""


class Users:
    """The users of an htpasswd file (`htpasswd -B`); read again when it has changed."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError, UsersInvalid, and ImportError where bcrypt is not installed."""
        import bcrypt

        self._verify = bcrypt.checkpw
        self._path = path
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._hashes: dict[str, bytes] = {}
        self._known: dict[bytes, float] = {}  # what was right lately: until when
        self._secret = os.urandom(32)
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._read()

    def _read(self) -> None:
        stat = self._path.stat()
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen != self._seen:
            self._hashes = parse_htpasswd(self._path.read_text(encoding="utf-8"))
            self._seen = seen

    def _refresh(self) -> None:
        try:
            self._read()
        except (OSError, ValueError) as error:
            # Somebody is editing it: the users of before are still good.
            log.error("the users' file cannot be read", path=self._path, error=error)

    async def check(self, user: str, password: str) -> bool:
        """Whether this is the user's password."""
        self._refresh()
        wanted = self._hashes.get(user)
        given = password.encode()
        key = hashlib.sha256(b"\0".join([self._secret, wanted or b"", user.encode(), given])).digest()
        if wanted is not None and self._known.get(key, 0.0) > self._clock():
            return True
        async with self._room:
            is_right = await asyncio.to_thread(self._compare, given, wanted or _NOBODY)
        if not is_right or wanted is None:
            return False
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        self._known[key] = self._clock() + _REMEMBERED_S
        return True

    def _compare(self, password: bytes, wanted: bytes) -> bool:
        try:
            return self._verify(password[:_BCRYPT_BYTES], wanted)
        except ValueError:  # a NUL in the password, a salt that is none
            return False


def parse_htpasswd(text: str) -> dict[str, bytes]:
    """Raises UsersInvalid."""
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, hashed = line.strip().partition(":")
        if not colon or not user or not hashed.startswith(_BCRYPT):
            raise UsersInvalid(f"line {number}: write USER:HASH with a bcrypt hash (htpasswd -B)")
        found[user] = hashed.encode()
    return found


def basic_credentials(header: str) -> tuple[str, str] | None:
    """User and password of an Authorization header; None if it has none."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


class Basic:
    """Every request carries user and password."""

    def __init__(self, users: Users, rules: Rules = EVERYTHING) -> None:
        self._users = users
        self._rules = rules

    async def identify(self, request: Request, wanted: Scope | None) -> Caller:
        header = request.headers.get("Authorization")
        user = await self._user(header) if header else ""
        # Without a scope it is the base, of which clients learn here how to log in.
        if wanted is None:
            is_allowed = bool(user)
        else:
            is_allowed = self._rules.allow(user, wanted)
        if is_allowed:
            return Caller(user, partial(self._rules.allow, user))
        detail = str(wanted) if wanted else None
        raise Denied(detail) if user else _unauthorized(detail)

    async def _user(self, header: str) -> str:
        """Raises Unauthorized."""
        found = basic_credentials(header)
        if found is None or not await self._users.check(*found):
            raise _unauthorized(None)
        return found[0]

    async def token(self, request: Request) -> Response:
        raise NotFound(message="this registry takes passwords, not tokens")


def _unauthorized(detail: str | None) -> Unauthorized:
    return Unauthorized(detail, headers={"WWW-Authenticate": f'Basic realm="{REALM}"'})
