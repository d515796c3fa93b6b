"""The engine as a whole: what it is made of, the order in which it starts, recovers and stops."""

import asyncio
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Final, Protocol

from riverport.base.logging import get_logger
from riverport.engine.containers.collaborators import Collaborators
from riverport.engine.containers.containers import Containers
from riverport.engine.containers.machine import read_machine
from riverport.engine.events import Events
from riverport.engine.images.store import ImageStore
from riverport.engine.lock import DirectoryLock
from riverport.engine.networks.networks import Networks
from riverport.engine.runtime.runtime import Runtime, RuntimeSettings
from riverport.engine.settings import Settings
from riverport.engine.settings_reload import attributes, take_over
from riverport.engine.state import State
from riverport.engine.storage.store import Storage
from riverport.engine.volumes.volumes import Volumes

if TYPE_CHECKING:
    from riverport.engine.build.builder import Builder

log = get_logger(__name__)

_DIRECTORY_MODE: Final = 0o711
"""Who may know a path below it may use it (bind mounts into containers of other users); nobody may look around."""


class Part(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Engine:
    """Made once per process; handlers of the API get it as their first argument.

    Parts are started from the bottom up, so that each finds those below it recovered: layers before images, all of them
    before containers. They stop in the opposite order.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError when another daemon has these directories."""
        self.settings = settings
        roots = dict.fromkeys((settings.data_root, settings.exec_root))
        for root in roots:
            root.mkdir(parents=True, exist_ok=True, mode=_DIRECTORY_MODE)
        self._locks = [DirectoryLock(root) for root in roots]
        self.state = State(settings.data_root / "engine.db")
        self.events = Events()
        self.id = self._own_id()
        self.runtime = Runtime(
            RuntimeSettings(
                exec_root=settings.exec_root / "containers",
                cache=settings.data_root / "seccomp",
                cgroup_parent=settings.cgroup_parent,
                driver=settings.runtime,
                init_path=settings.init_path,
            )
        )
        self.storage = Storage(settings.data_root, self.state)
        self.images = ImageStore(settings, self.state, self.storage, self.events)
        self.volumes = Volumes(
            settings.data_root / "volumes",
            settings.exec_root / "volumes",
            self.state,
            self.events,
            self.images.image_layers,
        )
        self.networks = Networks(settings.networks, self.state, self.events)
        self.containers = Containers(
            Collaborators(
                settings,
                self.state,
                self.events,
                self.storage,
                self.images,
                self.networks,
                self.volumes,
                self.runtime,
                read_machine(settings),
            )
        )
        self._builder: Builder | None = None
        self._making_builder = asyncio.Lock()
        self._parts: list[Part] = [
            self.runtime,
            self.storage,
            self.images,
            self.volumes,
            self.networks,
            self.containers,
        ]

    async def start(self) -> None:
        for part in self._parts:
            await part.start()

    def reload(self, told: Settings) -> None:
        """Take over what may change while the daemon runs, and make the firewall's table anew. Raises SystemFailure."""
        self.networks.rebuild_firewall()
        self.settings, waiting = take_over(self.settings, told)
        if waiting:
            log.warning("settings that have changed wait for the next start", settings=", ".join(waiting))
        self.runtime.settings = replace(self.runtime.settings, driver=self.settings.runtime)
        self.images.settings = self.settings
        self.containers.use(self.settings)
        self.events.publish("daemon", "reload", self.id, {"name": gethostname(), **attributes(self.settings)})

    async def get_builder(self) -> "Builder":
        """The builder, made when it is first asked for: it brings a fifth of all imports."""
        async with self._making_builder:
            if self._builder is None:
                module = await asyncio.to_thread(import_module, "riverport.engine.build.builder")
                builder: Builder = module.Builder(
                    self.settings.data_root,
                    self.state,
                    self.events,
                    self.images,
                    self.storage,
                    self.runtime,
                    self.networks,
                    self.volumes,
                    self.containers,
                )
                await builder.start()
                self._parts.append(builder)
                self._builder = builder
            return self._builder

    async def clear_away(self) -> None:
        """What builds of a killed daemon have left; clients need not wait for it."""
        if (self.settings.data_root / "build").exists():
            await self.get_builder()

    async def stop(self) -> None:
        for part in reversed(self._parts):
            try:
                await part.stop()
            except Exception:
                log.exception("a part did not stop", part=type(part).__name__)
        self.state.close()
        for lock in self._locks:
            lock.release()

    def _own_id(self) -> str:
        """A name for this data root that stays, as /info shows it."""
        known = self.state.load("engine")
        if "id" not in known:
            known["id"] = {"value": Path("/proc/sys/kernel/random/uuid").read_text().strip()}
            self.state.save("engine", "id", known["id"])
        return str(known["id"]["value"])
