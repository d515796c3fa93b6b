"""The engine's other parts, as far as containers need them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from riverport.engine.containers.checks import Machine
from riverport.engine.events import Events
from riverport.engine.settings import Settings
from riverport.engine.state import State

if TYPE_CHECKING:
    from riverport.engine.images.store import ImageStore
    from riverport.engine.networks.networks import Networks
    from riverport.engine.runtime.runtime import Runtime
    from riverport.engine.storage.store import Storage
    from riverport.engine.volumes.volumes import Volumes


@dataclass(slots=True)
class Collaborators:
    """Everybody has the same one; `settings` and `machine` are others once the settings have been read anew."""

    settings: Settings
    state: State
    events: Events
    storage: "Storage"
    images: "ImageStore"
    networks: "Networks"
    volumes: "Volumes"
    runtime: "Runtime"
    machine: Machine
