"""All of a container's mount points out of its configuration: pure, so that precedence can be tested.

What a later source says of a destination replaces what an earlier one said, in this order: --volumes-from, -v, --mount,
the image's own volumes, which only fill places that are still free. Two entries of -v, --mount and --tmpfs for one
destination are refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.volumes.binds import destination_problem, normal, parse_bind, parse_volumes_from
from riverport.engine.volumes.mount_point import TMPFS, VOLUME, MountPoint
from riverport.engine.volumes.mounts import parse_mount

PointsOf = Callable[[str], Sequence[MountPoint]]
"""The mount points of another container, by its name or id; raises NotFound."""


def plan_mounts(config: Mapping[str, Any], host_config: Mapping[str, Any], points_of: PointsOf) -> list[MountPoint]:
    """`config` is merged with the image's. Parents come before what lies in them. Raises InvalidParameter."""
    points = _inherited(host_config.get("VolumesFrom") or [], points_of)
    tmpfs = _tmpfs(host_config.get("Tmpfs") or {})
    taken = set(tmpfs)
    driver = host_config.get("VolumeDriver") or ""
    for bind in host_config.get("Binds") or []:
        point = parse_bind(bind, driver)
        _take(taken, point.destination, point.destination)
        points[point.destination] = point
    for entry in host_config.get("Mounts") or []:
        point = parse_mount(entry)
        _take(taken, point.destination, entry["Target"])
        points[point.destination] = point
    points |= tmpfs
    for path in config.get("Volumes") or {}:
        problem = destination_problem(path)
        if problem:
            raise InvalidParameter(f"invalid volume specification: '{path}': {problem}")
        name_less = MountPoint(VOLUME, normal(path), driver=driver or "local", anonymous=True, copies=True)
        points.setdefault(name_less.destination, name_less)
    return sorted(points.values(), key=depth)


def depth(point: MountPoint) -> int:
    """How deep a destination lies; mounts are made in this order, so that none covers an earlier one."""
    return point.destination.count("/")


def _take(taken: set[str], destination: str, shown: str) -> None:
    if destination in taken:
        raise InvalidParameter(f"Duplicate mount point: {shown}")
    taken.add(destination)


def _inherited(entries: Sequence[str], points_of: PointsOf) -> dict[str, MountPoint]:
    points: dict[str, MountPoint] = {}
    for entry in entries:
        container, mode = parse_volumes_from(entry)
        try:
            inherited = points_of(container)
        except NotFound as error:
            # 404 would mean the image to the CLI, which then pulls it.
            raise InvalidParameter(str(error)) from error
        for point in inherited:
            if not point.is_listed:
                continue
            writable = point.writable and "ro" not in mode.split(",")
            # The other container has filled the volume already, or nobody will.
            points[point.destination] = replace(point, writable=writable, mode=mode, copies=False)
    return points


def _tmpfs(wanted: Mapping[str, str]) -> dict[str, MountPoint]:
    points = {}
    for path, options in wanted.items():
        problem = destination_problem(path)
        if problem:
            raise InvalidParameter(problem)
        point = MountPoint(TMPFS, normal(path), options=options, is_listed=False)
        points[point.destination] = point
    return points
