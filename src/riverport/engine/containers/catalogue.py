"""All containers, by id, name and prefix; their documents and their events.

Everything here is memory and one SQLite write: nothing waits, so nothing that hangs can hold it up.
"""

from collections.abc import Iterator, Mapping

from riverport.engine.containers.container import Clock, Container
from riverport.engine.containers.names import Index
from riverport.engine.errors import SystemFailure
from riverport.engine.events import Events
from riverport.engine.state import State

KIND = "containers"


class Catalogue:
    def __init__(self, state: State, events: Events, clock_ns: Clock) -> None:
        self.names = Index()
        self.clock_ns = clock_ns
        self._state = state
        self._events = events
        self._containers: dict[str, Container] = {}

    def __iter__(self) -> Iterator[Container]:
        """In the order of their making; a copy, so that removals do not disturb."""
        return iter(list(self._containers.values()))

    def load(self) -> None:
        for document in sorted(self._state.load(KIND).values(), key=lambda document: document["created_at_ns"]):
            container = Container.of(document)
            self.names.reserve(container.name, container.id)
            self._enter(container)

    def get(self, reference: str) -> Container:
        """By id, name or unique prefix; raises NotFound."""
        return self._containers[self.names.find(reference)]

    def has(self, container_id: str) -> bool:
        return container_id in self._containers

    def add(self, container: Container) -> None:
        """Its name is reserved already."""
        self.save(container)
        self._enter(container)

    def save(self, container: Container) -> None:
        """Raises SystemFailure where there is no room for it."""
        self._state.save(KIND, container.id, container.document())

    def note(self, container: Container) -> None:
        """As `save`, of what has happened to it, whether or not that can be written now."""
        self._state.note(KIND, container.id, container.document())

    def forget(self, container: Container) -> None:
        """After this its name is free."""
        self._state.delete(KIND, [container.id])
        self._containers.pop(container.id, None)
        self.names.discard(container.id)
        self.names.release(container.name, container.id)

    def rename(self, container: Container, name: str) -> None:
        """`name` is reserved already."""
        old, container.name = container.name, name
        try:
            self.save(container)
        except SystemFailure:
            container.name = old
            self.names.release(name, container.id)
            raise
        self.names.release(old, container.id)

    def publish(self, container: Container, action: str, attributes: Mapping[str, str] | None = None) -> None:
        """An event about a container: its labels, its image and name, and what the action adds."""
        self._events.publish("container", action, container.id, {
            **(container.config["Labels"] or {}),
            "image": container.config["Image"], "name": container.name, **(attributes or {})})  # fmt: skip

    def publish_prune(self, reclaimed_bytes: int) -> None:
        self._events.publish("container", "prune", "", {"reclaimed": str(reclaimed_bytes)})

    def _enter(self, container: Container) -> None:
        self._containers[container.id] = container
        self.names.add(container.id)
