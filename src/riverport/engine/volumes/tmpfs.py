"""Options of memory file systems: `--tmpfs /run:size=64m,exec` and TmpfsOptions."""

from collections.abc import Mapping
from typing import Any, Final

from riverport.engine.errors import InvalidParameter

DEFAULTS: Final = ("noexec", "nosuid", "nodev")
_OPPOSITES: Final = {
    word: (on, off)
    for on, off in (
        ("rw", "ro"),
        ("exec", "noexec"),
        ("suid", "nosuid"),
        ("dev", "nodev"),
        ("async", "sync"),
        ("atime", "noatime"),
        ("diratime", "nodiratime"),
        ("relatime", "norelatime"),
        ("strictatime", "nostrictatime"),
        ("mand", "nomand"),
    )
    for word in (on, off)
}
_ALONE: Final = frozenset({"dirsync", "remount"})
_PROPAGATIONS: Final = frozenset(
    {"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable", "bind", "rbind"}
)
_VALUED: Final = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_UNITS: Final = (("g", 30), ("m", 20), ("k", 10))


def merged(options: str) -> list[str]:
    """The mount options: Docker's defaults, then what was asked for; the last word on a matter counts.

    Raises InvalidParameter, naming what tmpfs does not know.
    """
    chosen: dict[object, str] = {}
    unknown = []
    for option in [*DEFAULTS, "rprivate", *filter(None, options.split(","))]:
        key, equals, _ = option.partition("=")
        if option in _OPPOSITES:
            chosen[_OPPOSITES[option]] = option
        elif option in _PROPAGATIONS:
            chosen[_PROPAGATIONS] = option
        elif option in _ALONE or (equals and key in _VALUED):
            chosen[key] = option
        else:
            unknown.append(option)
    if unknown:
        words = " ".join(f'"{option}"' for option in unknown)
        raise InvalidParameter(f"invalid tmpfs option [{words}]")
    return list(chosen.values())


def data_of(options: Mapping[str, Any], writable: bool) -> str:
    """TmpfsOptions as mount options: SizeBytes, Mode and, since API 1.46, Options [["noexec"], ["key", "value"]].

    Raises InvalidParameter.
    """
    words = [] if writable else ["ro"]
    size, mode = options.get("SizeBytes") or 0, options.get("Mode") or 0
    if not isinstance(size, int) or not isinstance(mode, int) or mode < 0:
        raise InvalidParameter('invalid mount config for type "tmpfs": SizeBytes and Mode must be numbers')
    if mode:
        words.append(f"mode={mode:o}")
    if size > 0:
        words.append(f"size={_size_text(size)}")
    for entry in options.get("Options") or []:
        if not isinstance(entry, list) or len(entry) not in (1, 2):
            raise InvalidParameter('invalid mount config for type "tmpfs": invalid option array length')
        words.append("=".join(map(str, entry)))
    return ",".join(words)


def _size_text(size: int) -> str:
    for unit, shift in _UNITS:
        if size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return str(size)
