"""What steps have to do with containers: whose network one may share, and the one that it may become.

A RUN that fails stays as a stopped container, so that its files can be looked at (`docker ps -a`, `docker commit`),
unless the client wants it removed (`--force-rm`). Steps that succeed stay where the client wants that (`--rm=false`): a
RUN as it ended, and what only says something of the image as a container that has never run, as Docker's builder makes
one for each. COPY and ADD have none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.engine.containers.container import ContainerState
from riverport.engine.containers.directory import ContainerDirectory
from riverport.engine.errors import Conflict, EngineError

if TYPE_CHECKING:
    from riverport.engine.containers.containers import Containers

log = get_logger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A running container whose network a step shares: its namespace, and where its hosts file and the like are."""

    namespace: str
    directory: Path


@dataclass(frozen=True, slots=True)
class StepContainer:
    """`config` and `host_config` are Docker's; its root file system is there under its id."""

    container_id: str
    image_id: str | None
    words: tuple[str, ...]
    config: Json
    host_config: Json
    state: ContainerState

    def request(self) -> Json:
        """As of a create request: its command, and nothing of what the image would do by itself."""
        has_run = self.state.started_at_ns > 0
        return {
            **self.config,
            "Image": self.image_id or "",
            "Entrypoint": None,
            "Cmd": list(self.words),
            "Healthcheck": {"Test": ["NONE"]} if has_run else self.config.get("Healthcheck"),
            "HostConfig": {**self.host_config, "LogConfig": {"Type": "none", "Config": {}}},
        }


@dataclass(frozen=True, slots=True)
class StepContainers:
    data_root: Path
    containers: "Containers"

    def neighbour(self, name: str) -> Neighbour:
        """By name or id. Raises NotFound, or Conflict for one that does not run."""
        other = self.containers.get(name)
        if not other.state.running:
            raise Conflict(
                f"cannot join network namespace of a non running container: container {other.name} is "
                f"{other.state.status.value}"
            )
        return Neighbour(f"/proc/{other.state.pid}/ns/net", ContainerDirectory(self.data_root, other.id).path)

    def has(self, container_id: str) -> bool:
        """Whether a step has become a container: then its files are that one's."""
        return self.containers.catalogue.has(container_id)

    async def keep(self, step: StepContainer) -> None:
        """The build's own error is what counts: where the container cannot be made, the step goes."""
        try:
            await self.containers.creator.adopt(step.container_id, step.image_id or "", step.request(), step.state)
        except EngineError as error:
            log.warning("a step is not kept", container=step.container_id[:12], error=error)
