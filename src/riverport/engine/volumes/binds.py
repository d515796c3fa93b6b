"""`-v [SOURCE:]TARGET[:MODE]` and `--volumes-from CONTAINER[:MODE]`, taken apart.

A source with a leading slash is a path of the host, else a volume's name. A mode is a comma-separated list with at most
one word of each kind.
"""

import posixpath
from typing import Final

from riverport.engine.errors import InvalidParameter
from riverport.engine.volumes.mount_point import BIND, VOLUME, MountPoint

PROPAGATIONS: Final = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_KINDS: Final = (
    frozenset({"rw", "ro"}),
    frozenset({"z", "Z"}),
    frozenset({"nocopy"}),
    PROPAGATIONS,
    frozenset({"consistent", "cached", "delegated", "default"}),
)


def parse_bind(text: str, driver: str = "") -> MountPoint:
    """One entry of HostConfig.Binds. Raises InvalidParameter in Docker's words."""
    parts = text.split(":")
    source, target, mode = "", parts[0], ""
    if len(parts) == 2:
        source, target = parts
    elif len(parts) == 3:
        source, target, mode = parts
    # `/target:ro` could be meant as a target with a mode, which there is not.
    if len(parts) > 3 or not parts[0] or (len(parts) == 2 and is_mode(target)):
        raise InvalidParameter(f"invalid volume specification: '{text}'")
    words = mode_words(mode)
    kind = BIND if source.startswith("/") else VOLUME
    problem = destination_problem(target) or _option_problem(kind, words)
    if problem:
        why = f'invalid mount config for type "{kind}": {problem}'
        raise InvalidParameter(f"invalid volume specification: '{text}': {why}")
    return MountPoint(
        type=kind,
        destination=normal(target),
        source=normal(source) if kind == BIND else "",
        name=source if kind == VOLUME else "",
        driver=(driver or "local") if kind == VOLUME else "",
        mode=mode or ("z" if source and kind == VOLUME else ""),
        writable="ro" not in words,
        propagation=next(iter(words & PROPAGATIONS), ""),
        anonymous=not source,
        copies=kind == VOLUME and "nocopy" not in words,
        creates=kind == BIND,
    )


def parse_volumes_from(text: str) -> tuple[str, str]:
    """(container, mode). Raises InvalidParameter."""
    if not text:
        raise InvalidParameter("volumes-from specification cannot be an empty string")
    container, _, mode = text.partition(":")
    if mode_words(mode) & PROPAGATIONS or "nocopy" in mode_words(mode):
        raise InvalidParameter(f"invalid mode: {mode}")
    return container, mode


def mode_words(mode: str) -> frozenset[str]:
    """Raises InvalidParameter for a mode that makes no sense."""
    if not is_mode(mode):
        raise InvalidParameter(f"invalid mode: {mode}")
    return frozenset(mode.split(",") if mode else ())


def is_mode(text: str) -> bool:
    """Whether this is a mode; the empty one is."""
    words = text.split(",") if text else []
    known = all(any(word in kind for kind in _KINDS) for word in words)
    return known and all(sum(word in kind for word in words) <= 1 for kind in _KINDS)


def destination_problem(target: str) -> str:
    """Why nothing can be mounted there, in Docker's words; empty if it can."""
    if not target:
        return "field Target must not be empty"
    if not target.startswith("/"):
        return f"invalid mount path: '{target}' mount path must be absolute"
    if normal(target) == "/":
        return "invalid specification: destination can't be '/'"
    return ""


def normal(path: str) -> str:
    """A path without `.`, `..` and needless slashes; links are not looked at."""
    return "/" + posixpath.normpath(path).lstrip("/") if path.startswith("/") else posixpath.normpath(path)


def _option_problem(kind: str, words: frozenset[str]) -> str:
    if kind == BIND and "nocopy" in words:
        return "field VolumeOptions must not be specified"
    if kind == VOLUME and words & PROPAGATIONS:
        return "field BindOptions must not be specified"
    return ""
