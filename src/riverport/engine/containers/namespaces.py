"""Work inside other mount namespaces: `/dev/shm` of a container that shares its IPC."""

import os
from pathlib import Path

from riverport.engine.linux import syscalls
from riverport.engine.volumes.placing import in_namespace


async def share_memory(from_pid: int, to_pid: int, target: Path) -> None:
    """Mount process `from_pid`'s /dev/shm at `target` in the mount namespace of `to_pid`. Raises OSError."""
    # Opened here: inside, /proc is the container's, which knows no ids of the host.
    namespace = os.open(f"/proc/{to_pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def act() -> None:
        flags = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC
        tree = syscalls.open_tree(syscalls.AT_FDCWD, "/dev/shm", flags)
        try:
            syscalls.setns(namespace, syscalls.CLONE_NEWNS)
            syscalls.move_mount(tree, target)
        finally:
            os.close(tree)

    try:
        await in_namespace(from_pid, act)
    finally:
        os.close(namespace)
