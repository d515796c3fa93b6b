"""The zygote and the shims: making them, finding them again."""

from dataclasses import dataclass
from pathlib import Path

from riverport.engine.runtime.handle import Shim
from riverport.engine.runtime.model import ExitStatus, RootfsLike


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    exec_root: Path  # <exec_root>/<container id>/: socket, bundle, exit file; on a tmpfs if possible
    cache: Path  # compiled seccomp filters
    cgroup_parent: str = "/docker"
    driver: str = "crun"  # crun | runc
    init_path: str | None = None  # tini or catatonit for --init; None: looked for
    remap_uid: int | None = None  # userns-remap: the first host id of the range
    remap_gid: int | None = None
    remap_size: int = 65536


class Runtime:
    def __init__(self, settings: RuntimeSettings) -> None:
        self.settings = settings

    async def start(self) -> None:
        """Start the zygote."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End the zygote. Shims, and the containers on them, stay."""
        raise NotImplementedError

    async def prepare(self, container_id: str, rootfs: RootfsLike, private_network: bool) -> Shim:
        """A shim with the root file system mounted and its network namespace made (loopback is up)."""
        raise NotImplementedError

    async def recover(self, container_id: str) -> Shim | ExitStatus | None:
        """What became of a container that was started before: its shim, how it ended, or None if never started."""
        raise NotImplementedError
