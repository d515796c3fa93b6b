"""`RUN --mount=type=…,…`: the option's text to a typed mount (Dockerfile reference, "RUN --mount")."""

import csv
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

from riverport.engine.build.golang import quote
from riverport.engine.build.suggest import suggestion

_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARINGS = ("shared", "private", "locked")
_BOOLEANS = {
    "1": True, "t": True, "T": True, "true": True, "TRUE": True, "True": True,
    "0": False, "f": False, "F": False, "false": False, "FALSE": False, "False": False,
}  # fmt: skip
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid",
    "src", "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtpKMGTP]?)i?[bB]?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Mount:
    """Empty strings and None are "not given"; `identity` names a cache or a secret."""

    type: str = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = True
    size_bytes: int = 0
    identity: str = ""
    sharing: str = ""
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def check_session(mount: Mount) -> None:
    """Secrets and ssh agents come with the session of a BuildKit client; one that need not be there is not there.

    Raises ValueError: BuildKit's words, and why.
    """
    if mount.type not in ("secret", "ssh") or not mount.required:
        return
    name = mount.source or mount.identity or posixpath.basename(mount.target) or "default"
    raise ValueError(
        f"{mount.type} {name}: not found: secrets and ssh agents come with a BuildKit session, which the classic "
        "builder (DOCKER_BUILDKIT=0) does not have"
    )


def check_mount(text: str) -> None:
    """What can be said before variables are known: whether the fields are such, and that `from` holds no variable."""
    for field in _fields(text):
        key, equals, value = field.partition("=")
        if key.lower() == "from" and equals and "$" in value[:-1]:
            raise ValueError("'from' doesn't support variable expansion, define alias stage instead")


def parse_mount(text: str, expand: Callable[[str], str]) -> Mount:
    """Raises ValueError with BuildKit's text."""
    given: dict[str, str | int | bool | None] = {}
    read_only: bool | None = None
    kind = "bind"
    for field in _fields(text):
        key, equals, value = field.partition("=")
        key = key.lower()
        name = _ALIASES.get(key, key)
        if equals:
            value = expand(value)
        elif name not in ("readonly", "readwrite", "required"):
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        else:
            value = "true"
        match name:
            case "type":
                kind = value.lower()
                if kind not in _TYPES:
                    raise ValueError(f"unsupported mount type {quote(value)}{suggestion(value, _TYPES)}")
            case "readonly" | "readwrite":
                read_only = _boolean(key, value) == (name == "readonly")
            case "required":
                _only_for(kind, key, ("secret", "ssh"))
                given["required"] = _boolean(key, value)
            case "size":
                _only_for(kind, key, ("tmpfs",))
                given["size_bytes"] = _size(key, value)
            case "from" | "source" | "target" | "id" | "env":
                given[{"from": "from_", "id": "identity"}.get(name, name)] = value
            case "sharing":
                if value.lower() not in _SHARINGS:
                    raise ValueError(f"unsupported sharing value {quote(value)}{suggestion(value, _SHARINGS)}")
                given["sharing"] = value.lower()
            case "mode" | "uid" | "gid":
                given[name] = _number(name, value)
            case _:
                raise ValueError(f"unexpected key '{key}' in '{field}'{suggestion(key, _KEYS)}")
    if read_only is None:
        read_only = kind not in ("cache", "tmpfs")
    return _checked(Mount(type=kind, read_only=read_only, **given))  # type: ignore[arg-type]


def _fields(text: str) -> list[str]:
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ValueError(f"failed to parse csv mounts: {error}") from None
    return rows[0] if rows else []


def _boolean(key: str, value: str) -> bool:
    if value not in _BOOLEANS:
        raise ValueError(f"invalid value for {key}: {value}")
    return _BOOLEANS[value]


def _only_for(kind: str, key: str, kinds: tuple[str, ...]) -> None:
    if kind not in kinds:
        raise ValueError(f"unexpected key '{key}' for mount type '{kind}'")


def _number(key: str, value: str) -> int:
    base = 8 if key == "mode" else 10
    digits = "01234567" if base == 8 else "0123456789"
    if not value or any(character not in digits for character in value) or int(value, base) >= 1 << 32:
        raise ValueError(f"invalid value {value} for {key}")
    return int(value, base)


def _size(key: str, value: str) -> int:
    found = _SIZE.fullmatch(value)
    if found is None:
        raise ValueError(f"invalid value for {key}: {value}")
    return int(float(found[1]) * 1024 ** " kmgtp".index(found[2].lower() or " "))


def _checked(mount: Mount) -> Mount:
    if mount.type not in ("secret", "ssh", "cache"):
        for key in ("mode", "uid", "gid"):
            if getattr(mount, key) is not None:
                raise ValueError(f"{key} not allowed for {quote(mount.type)} type mounts")
    if mount.type == "secret":
        if mount.from_:
            raise ValueError("secret mount should not have a from")
        if mount.sharing:
            raise ValueError("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.identity):
            raise ValueError("invalid secret mount. one of source, target required")
        if mount.source and mount.identity:
            raise ValueError("both source and id can't be set")
    if mount.sharing and mount.type != "cache":
        raise ValueError(f"invalid cache sharing set for {mount.type} mount")
    return mount
