"""Device nodes and who may use them: --device, --device-cgroup-rule, --privileged.

The six standard devices (null, zero, full, random, urandom, tty) come from the OCI runtime itself; what is made here is
what the client asks for, and the control group's list, which starts with "nothing".
"""

import os
import re
import stat
from collections.abc import Iterator
from typing import Any

from riverport.engine.errors import InvalidParameter

_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
_PERMISSIONS = re.compile(r"[rwm]{1,3}")
_NOT_COPIED = {"pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"}
"""Directories of /dev that a container has its own of."""

_Rule = dict[str, Any]


def _allow(kind: str, major: int | None, minor: int | None, access: str) -> _Rule:
    rule: _Rule = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


_DENY_ALL: _Rule = {"allow": False, "access": "rwm"}
_STANDARD = [
    _allow("c", None, None, "m"),  # making a node is not using it
    _allow("b", None, None, "m"),
    *(_allow("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),  # null zero full random urandom
    *(_allow("c", 5, minor, "rwm") for minor in (0, 1, 2)),  # tty console ptmx
    _allow("c", 136, None, "rwm"),  # pts
]


def plan(host_config: dict[str, Any]) -> tuple[list[dict[str, Any]], list[_Rule]]:
    """(`linux.devices`, `linux.resources.devices`). Looks at the host's /dev. Raises InvalidParameter."""
    if host_config.get("Privileged"):
        return list(_all_of_the_host("/dev")), [{"allow": True, "access": "rwm"}]
    nodes: list[dict[str, Any]] = []
    rules = [_DENY_ALL, *_STANDARD]
    for mapping in host_config.get("Devices") or []:
        for node in mapped(mapping["PathOnHost"], mapping.get("PathInContainer") or mapping["PathOnHost"]):
            nodes.append(node)
            rules.append(_allow(node["type"], node["major"], node["minor"], mapping.get("CgroupPermissions") or "rwm"))
    rules += [parse_rule(text) for text in host_config.get("DeviceCgroupRules") or []]
    return nodes, rules


def parse_rule(text: str) -> _Rule:
    """`c 1:3 mr`, `a *:* rwm`: the kernel's form (cgroup-v1/devices.rst). Raises InvalidParameter."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidParameter(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = match.groups()
    return _allow(kind, None if major == "*" else int(major), None if minor == "*" else int(minor), access)


def check_permissions(text: str) -> None:
    """Raises InvalidParameter unless it is some of r, w and m, each once."""
    if text and (not _PERMISSIONS.fullmatch(text) or len(set(text)) != len(text)):
        raise InvalidParameter(f"invalid device mode: {text}")


def mapped(on_host: str, inside: str) -> Iterator[dict[str, Any]]:
    """The node, or every node below a directory, under its name in the container; links are resolved on the host."""
    place = os.path.realpath(on_host)
    try:
        found = os.stat(place)
        if not stat.S_ISDIR(found.st_mode):
            node = _node(inside, found)
            if node is None:
                raise InvalidParameter(
                    f'error gathering device information while adding custom device "{on_host}": not a device node'
                )
            yield node
            return
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise InvalidParameter(
            f'error gathering device information while adding custom device "{on_host}": {reason}'
        ) from error
    for directory, names, files in os.walk(place):
        names.sort()
        for name in sorted(files):
            path = f"{directory}/{name}"
            node = _node(inside + path[len(place) :], os.lstat(path))
            if node is not None:
                yield node


def _all_of_the_host(top: str) -> Iterator[dict[str, Any]]:
    for directory, names, files in os.walk(top):
        if directory == top:
            names[:] = sorted(set(names) - _NOT_COPIED)
        for name in sorted(files):
            if directory == top and name in _NOT_COPIED:
                continue
            try:
                node = _node(f"{directory}/{name}", os.lstat(f"{directory}/{name}"))
            except OSError:  # devices come and go
                continue
            if node is not None:
                yield node


def _node(path: str, found: os.stat_result) -> dict[str, Any] | None:
    kind = "b" if stat.S_ISBLK(found.st_mode) else "c" if stat.S_ISCHR(found.st_mode) else ""
    if not kind:
        return None
    return {
        "path": path,
        "type": kind,
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }
