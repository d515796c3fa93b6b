"""A volume, and what the options of the driver `local` mean: `type`, `device` and `o`, as mount(8) has them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.linux import syscalls

LOCAL: Final = "local"
ANONYMOUS_LABEL: Final = "com.docker.volume.anonymous"
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_OPTIONS: Final = ("type", "o", "device", "size")
_FLAGS: Final[Mapping[str, tuple[int, bool]]] = {
    "ro": (syscalls.MS_RDONLY, True),
    "rw": (syscalls.MS_RDONLY, False),
    "nosuid": (syscalls.MS_NOSUID, True),
    "suid": (syscalls.MS_NOSUID, False),
    "nodev": (syscalls.MS_NODEV, True),
    "dev": (syscalls.MS_NODEV, False),
    "noexec": (syscalls.MS_NOEXEC, True),
    "exec": (syscalls.MS_NOEXEC, False),
    "sync": (syscalls.MS_SYNCHRONOUS, True),
    "async": (syscalls.MS_SYNCHRONOUS, False),
    "dirsync": (syscalls.MS_DIRSYNC, True),
    "noatime": (syscalls.MS_NOATIME, True),
    "atime": (syscalls.MS_NOATIME, False),
    "nodiratime": (syscalls.MS_NODIRATIME, True),
    "diratime": (syscalls.MS_NODIRATIME, False),
    "relatime": (syscalls.MS_RELATIME, True),
    "strictatime": (syscalls.MS_STRICTATIME, True),
    "bind": (syscalls.MS_BIND, True),
    "rbind": (syscalls.MS_BIND | syscalls.MS_REC, True),
    "defaults": (0, True),
}


@dataclass(slots=True, frozen=True)
class Volume:
    """`labels` and `options` are None where the client gave none: the API tells null from {}."""

    name: str
    driver: str
    created_at: str  # RFC 3339
    labels: Mapping[str, str] | None
    options: Mapping[str, str] | None

    @property
    def is_anonymous(self) -> bool:
        return ANONYMOUS_LABEL in (self.labels or {})

    def document(self) -> dict[str, Any]:
        return {
            "driver": self.driver,
            "created_at": self.created_at,
            "labels": None if self.labels is None else dict(self.labels),
            "options": None if self.options is None else dict(self.options),
        }

    @classmethod
    def from_document(cls, name: str, document: Mapping[str, Any]) -> "Volume":
        return cls(name, document["driver"], document["created_at"], document["labels"], document["options"])


@dataclass(slots=True, frozen=True)
class MountCall:
    """Arguments of mount(2), but for the target."""

    source: str
    fstype: str
    flags: int
    data: str


def check_new(name: str, driver: str, options: Mapping[str, str]) -> None:
    """Raises InvalidParameter or NotFound, in Docker's words, if there can be no such volume."""
    if driver != LOCAL:
        raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
    if len(name) < 2:
        raise InvalidParameter(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    problem = _options_problem(options)
    if problem:
        raise InvalidParameter(f"create {name}: {problem}")


def _options_problem(options: Mapping[str, str]) -> str:
    for key in options:
        if key not in _OPTIONS:
            return f'invalid option: "{key}"'
    if "size" in options:
        if not re.fullmatch(r"\d+(\.\d+)? ?([kmgtp]i?)?b?", options["size"].lower()):
            return f"invalid size: '{options['size']}'"
        return "quota size requested but no quota support"
    for key in ("device", "type"):
        others = [other for other in _OPTIONS if other != key]
        if not options.get(key) and any(options.get(other) for other in others):
            return f'missing required option: "{key}"'
    return ""


def mount_call(options: Mapping[str, str] | None) -> MountCall | None:
    """How a volume with these options is mounted; None for one that is a plain directory."""
    if not options or not options.get("device"):
        return None
    flags, data = 0, []
    for word in filter(None, options.get("o", "").split(",")):
        flag, is_set = _FLAGS.get(word, (0, False))
        if word not in _FLAGS:
            data.append(word)
        elif is_set:
            flags |= flag
        else:
            flags &= ~flag
    return MountCall(options["device"], options.get("type", ""), flags, ",".join(data))
