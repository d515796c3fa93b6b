"""What `RUN --mount` mounts: from options to entries of the runtime's spec, and the caches that outlive builds.

A bind shows a part of the context, of another stage or of an image. What is written into one is gone after the step:
a writable bind, or one of several layers, is an overlay with a top of its own.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from riverport.engine.build.caches import CacheMounts
from riverport.engine.build.config import clean_path
from riverport.engine.build.copying import Copier, Manner
from riverport.engine.build.mounts import Mount
from riverport.engine.build.sources import real_path
from riverport.engine.errors import InvalidParameter
from riverport.engine.linux.inroot import Root
from riverport.engine.storage.lowers import Lowers

Json = dict[str, Any]

SCRIPTS = "/dev/pipes"


@dataclass(slots=True)
class Prepared:
    """`entries` for the spec; `targets` are (path, whether a directory) that must be there before."""

    entries: list[Json] = field(default_factory=list)
    targets: list[tuple[str, bool]] = field(default_factory=list)

    def make_places(self, root: Root) -> list[str]:
        """Makes what is missing of the targets and says what that was, parents first."""
        made: list[str] = []
        for target, is_directory in self.targets:
            path = ""
            *parents, last = real_path(root, target).split("/")
            for part in (*parents, last):
                path = f"{path}/{part}" if path else part
                if root.exists(path, follow=False):
                    continue
                if part is last and not is_directory and path == real_path(root, target):
                    os.close(root.create(path))
                else:
                    root.mkdir(path)
                made.append(path)
        return made


TreeAndLayers = tuple[Root, tuple[Path, ...]]
"""A tree of files as one root, and as its layers, topmost first."""


class Trees(Protocol):
    """Where binds come from: `from=name`, or the context for an empty name."""

    def tree(self, name: str) -> AbstractAsyncContextManager[TreeAndLayers]: ...


@asynccontextmanager
async def prepared(
    mounts: list[Mount], working_directory: str, trees: Trees, caches: CacheMounts, scratch: Path
) -> AsyncIterator[Prepared]:
    """`scratch` is a directory for this step; what is in it, and locks of caches, go at the end.

    Raises InvalidParameter, NotFound.
    """
    found = Prepared()
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        for number, mount in enumerate(mounts):
            target = clean_path(os.path.join("/", working_directory, mount.target)) if mount.target else ""
            place = scratch / str(number)
            match mount.type:
                case "secret" | "ssh":
                    continue  # `check_session` has refused those that are needed
                case _ if not target or target == "/":
                    raise InvalidParameter(f'invalid mount target "{target or mount.target}"')
                case "tmpfs":
                    size = [f"size={mount.size_bytes}"] if mount.size_bytes else []
                    entry, is_directory = _entry(target, "tmpfs", "tmpfs", ["nosuid", "nodev", *size]), True
                case "cache":
                    directory = await stack.enter_async_context(caches.held(mount, target))
                    if mount.from_ and not any(directory.iterdir()):
                        await _fill(directory, mount, trees)
                    access = "ro" if mount.read_only else "rw"
                    entry, is_directory = _entry(target, "bind", str(directory), ["rbind", "rprivate", access]), True
                case _:
                    root, layers = await stack.enter_async_context(trees.tree(mount.from_))
                    entry, is_directory = await asyncio.to_thread(_bind, mount, target, root, layers, place)
            found.entries.append(entry)
            found.targets.append((target, is_directory))
        yield found


def script(content: bytes, name: str, place: Path) -> Json:
    """A here-document that begins with `#!`, as a program; the entry that mounts it below SCRIPTS."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    place.chmod(0o755)
    return _entry(f"{SCRIPTS}/{name}", "bind", str(place), ["rbind", "rprivate", "ro"])


def _bind(mount: Mount, target: str, root: Root, layers: tuple[Path, ...], place: Path) -> tuple[Json, bool]:
    source = real_path(root, mount.source)
    try:
        status = root.stat(source or ".", follow=False)
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidParameter(f'failed to compute cache key: "/{source}": not found') from None
    access = "ro" if mount.read_only else "rw"
    view = Lowers.of(layers)
    if stat.S_ISDIR(status.st_mode):
        lowers = [os.fsdecode(path) for path in view.descend(source.encode("utf-8", "surrogateescape")).directories]
        if mount.read_only and len(lowers) == 1:
            return _entry(target, "bind", lowers[0], ["rbind", "rprivate", "ro"]), True
        return _overlay(target, lowers, status, place, access), True
    directory, _, name = source.rpartition("/")
    entry = view.descend(directory.encode("utf-8", "surrogateescape")).find(name.encode("utf-8", "surrogateescape"))
    if entry is None:
        raise InvalidParameter(f'failed to compute cache key: "/{source}": not found')
    path = os.fsdecode(entry[1])
    if not mount.read_only:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
        os.chown(place, status.st_uid, status.st_gid)
        path = str(place)
    return _entry(target, "bind", path, ["rbind", "rprivate", access]), False


def _overlay(target: str, lowers: list[str], status: os.stat_result, place: Path, access: str) -> Json:
    for name in ("upper", "work"):
        (place / name).mkdir(parents=True)
    # The top's own directory is what the target looks like.
    os.chown(place / "upper", status.st_uid, status.st_gid)
    os.chmod(place / "upper", stat.S_IMODE(status.st_mode))
    if any(":" in lower or "," in lower for lower in lowers):
        raise InvalidParameter(f"cannot mount {target}: its source has a colon or comma in its path")
    options = [f"lowerdir={':'.join(lowers)}", f"upperdir={place}/upper", f"workdir={place}/work", access]
    return _entry(target, "overlay", "overlay", options)


async def _fill(directory: Path, mount: Mount, trees: Trees) -> None:
    def copy(root: Root) -> None:
        with Root(directory) as into:
            Copier(root, into, Manner(owner=None)).directory(real_path(root, mount.source), "/")

    async with trees.tree(mount.from_) as (root, _):
        await asyncio.to_thread(copy, root)


def _entry(target: str, kind: str, source: str, options: list[str]) -> Json:
    return {"destination": target, "type": kind, "source": source, "options": options}
