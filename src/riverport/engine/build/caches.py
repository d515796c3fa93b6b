"""Directories of `RUN --mount=type=cache`: they outlive builds, are shared or locked, counted and pruned."""

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from riverport.engine.build.mounts import Mount
from riverport.engine.state import State
from riverport.engine.storage import trees

KIND = "build_caches"
_DEFAULT_MODE = 0o755


@dataclass(slots=True)
class Cache:
    """`key` is what the mount names; several of one key exist where "private" ones were used at once."""

    key: str
    description: str
    created_at: float
    used_at: float
    uses: int = 0


class CacheMounts:
    """All cache directories below `directory`."""

    def __init__(self, directory: Path, state: State) -> None:
        self._directory = directory
        self._state = state
        self._caches: dict[str, Cache] = {}
        self._holders: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        documents = self._state.load(KIND)
        found = set(os.listdir(self._directory))
        self._caches = {name: Cache(**document) for name, document in documents.items() if name in found}
        self._state.delete(KIND, [name for name in documents if name not in found])
        for name in found - self._caches.keys():
            await asyncio.to_thread(trees.remove, self._directory / name)

    @asynccontextmanager
    async def held(self, mount: Mount, target: str) -> AsyncIterator[Path]:
        """The directory of a cache, for one step: "locked" waits, "private" takes a free one or a new one."""
        key = mount.identity or target
        lock = self._locks.setdefault(key, asyncio.Lock())
        if mount.sharing == "locked":
            await lock.acquire()
        try:
            name = self._take(mount, key)
            try:
                yield self._directory / name / "data"
            finally:
                self._holders[name] -= 1
        finally:
            if mount.sharing == "locked":
                lock.release()

    def _take(self, mount: Mount, key: str) -> str:
        names = [name for name, cache in self._caches.items() if cache.key == key]
        if mount.sharing == "private":
            names = [name for name in names if not self._holders.get(name)]
        name = names[0] if names else self._make(mount, key)
        cache = self._caches[name]
        cache.used_at, cache.uses = time.time(), cache.uses + 1
        self._state.save(KIND, name, asdict(cache))
        self._holders[name] = self._holders.get(name, 0) + 1
        return name

    def _make(self, mount: Mount, key: str) -> str:
        name = hashlib.sha256(f"{key}\0{secrets.token_hex(8)}".encode("utf-8", "surrogateescape")).hexdigest()[:25]
        data = self._directory / name / "data"
        data.mkdir(parents=True)
        os.chmod(data, _DEFAULT_MODE if mount.mode is None else mount.mode)
        os.chown(data, mount.uid or 0, mount.gid or 0)
        now = time.time()
        self._caches[name] = Cache(key, f"cached mount {key}", now, now)
        return name

    async def usage(self) -> list[dict[str, Any]]:
        """`BuildCache` of /system/df."""
        return [await asyncio.to_thread(self._entry, name, cache) for name, cache in self._caches.items()]

    async def prune(self, until: float | None = None, ids: frozenset[str] = frozenset()) -> tuple[list[str], int]:
        """Removes caches that no step holds and that were last used before `until`; their ids, and bytes."""
        removed: list[str] = []
        total = 0
        for name, cache in list(self._caches.items()):
            if self._holders.get(name) or (until is not None and cache.used_at >= until) or (ids and name not in ids):
                continue
            del self._caches[name]
            total += await asyncio.to_thread(_size, self._directory / name)
            self._state.delete(KIND, [name])
            await asyncio.to_thread(trees.remove, self._directory / name)
            removed.append(name)
        return removed, total

    def _entry(self, name: str, cache: Cache) -> dict[str, Any]:
        return {
            "ID": name,
            "Type": "exec.cachemount",
            "Description": cache.description,
            "InUse": bool(self._holders.get(name)),
            "Shared": False,
            "Size": _size(self._directory / name),
            "CreatedAt": _rfc3339(cache.created_at),
            "LastUsedAt": _rfc3339(cache.used_at),
            "UsageCount": cache.uses,
        }


def _rfc3339(seconds: float) -> str:
    whole, nanoseconds = divmod(round(seconds * 10**9), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{nanoseconds:09d}Z"


def _size(directory: Path) -> int:
    total = 0
    waiting = [os.fsencode(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
    return total
