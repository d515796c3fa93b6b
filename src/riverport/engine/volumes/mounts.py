"""The entries of HostConfig.Mounts, which `--mount` writes: checked, and made mount points."""

from collections.abc import Mapping
from typing import Any, Final

from riverport.engine.errors import InvalidParameter
from riverport.engine.volumes.binds import PROPAGATIONS, destination_problem, normal
from riverport.engine.volumes.mount_point import BIND, IMAGE, TMPFS, VOLUME, MountPoint
from riverport.engine.volumes.tmpfs import data_of

_OWN_OPTIONS: Final = {BIND: "BindOptions", VOLUME: "VolumeOptions", TMPFS: "TmpfsOptions", IMAGE: "ImageOptions"}


def parse_mount(entry: Mapping[str, Any]) -> MountPoint:
    """Raises InvalidParameter in Docker's words. Whether a host path exists is not asked here."""
    kind = entry.get("Type") or ""
    problem = _problem(kind, entry)
    if problem:
        raise InvalidParameter(f'invalid mount config for type "{kind}": {problem}')
    target = normal(entry["Target"])
    writable = not entry.get("ReadOnly")
    if kind == BIND:
        return _bind(entry, target, writable)
    if kind == VOLUME:
        return _volume(entry, target, writable)
    if kind == IMAGE:
        subpath = (entry.get("ImageOptions") or {}).get("Subpath") or ""
        return MountPoint(IMAGE, target, entry["Source"], writable=False, subpath=subpath)
    return MountPoint(TMPFS, target, writable=writable, options=data_of(entry.get("TmpfsOptions") or {}, writable))


def _problem(kind: str, entry: Mapping[str, Any]) -> str:
    if kind not in _OWN_OPTIONS:
        return "mount type unknown"
    problem = destination_problem(entry.get("Target") or "")
    if problem:
        return problem
    for owner, name in _OWN_OPTIONS.items():
        if owner != kind and entry.get(name) is not None:
            return f"field {name} must not be specified"
    source, options = entry.get("Source") or "", entry.get(_OWN_OPTIONS[kind]) or {}
    if kind == BIND:
        return _bind_problem(source, options, bool(entry.get("ReadOnly")))
    if kind == VOLUME:
        return _volume_problem(source, options, bool(entry.get("ReadOnly")))
    if kind == IMAGE:
        return "" if source else "field Source must not be empty"
    return "field Source must not be specified" if source else ""


def _bind_problem(source: str, options: Mapping[str, Any], read_only: bool) -> str:
    propagation = options.get("Propagation") or ""
    if not source:
        return "field Source must not be empty"
    if propagation and propagation not in PROPAGATIONS:
        return f"invalid propagation mode: {propagation}"
    if not source.startswith("/"):
        return f"invalid mount path: '{source}' mount path must be absolute"
    if options.get("ReadOnlyForceRecursive"):
        if options.get("ReadOnlyNonRecursive"):
            return "mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive"
        if not read_only:
            return "option ReadOnlyForceRecursive requires ReadOnly to be set"
    return ""


def _volume_problem(source: str, options: Mapping[str, Any], read_only: bool) -> str:
    subpath = options.get("Subpath") or ""
    if not source and read_only:
        return "must not set ReadOnly mode when using anonymous volumes"
    if not source and subpath:
        return "must not set Subpath when using anonymous volumes"
    if subpath.startswith("/") or ".." in subpath.split("/"):
        return "subpath must be a relative path within the volume"
    return ""


def _bind(entry: Mapping[str, Any], target: str, writable: bool) -> MountPoint:
    options = entry.get("BindOptions") or {}
    return MountPoint(
        BIND,
        target,
        normal(entry["Source"]),
        writable=writable,
        propagation=options.get("Propagation") or "",
        creates=bool(options.get("CreateMountpoint")),
        is_recursive=not options.get("NonRecursive"),
        read_only_recursive=not options.get("ReadOnlyNonRecursive"),
        must_read_only_recursive=bool(options.get("ReadOnlyForceRecursive")),
    )


def _volume(entry: Mapping[str, Any], target: str, writable: bool) -> MountPoint:
    options = entry.get("VolumeOptions") or {}
    driver = options.get("DriverConfig") or {}
    name = entry.get("Source") or ""
    return MountPoint(
        VOLUME,
        target,
        name=name,
        driver=driver.get("Name") or "local",
        mode="z",
        writable=writable,
        anonymous=not name,
        copies=not options.get("NoCopy") and not options.get("Subpath"),
        subpath=options.get("Subpath") or "",
        labels=options.get("Labels") or {},
        driver_options=driver.get("Options") or {},
    )
