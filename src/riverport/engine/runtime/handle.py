"""One container's shim as the daemon sees it."""

import asyncio
from pathlib import Path
from typing import Any

from riverport.engine.runtime.attach import AttachStream
from riverport.engine.runtime.model import ExitStatus, StdioSettings


class ExecHandle:
    """A further process in a running container."""

    pid: int
    exited: "asyncio.Future[int]"  # the exit code


class Shim:
    """Everything one started container hangs on. Made by `Runtime.prepare` or `Runtime.recover`."""

    pid: int
    netns_path: str  # /proc/<pid>/ns/net; the host's where the container has no private network
    root: Path  # /proc/<pid>/root/<merged>: the container's files as the image and the overlay have them
    container_pid: int | None  # the first process, while it runs
    exited: "asyncio.Future[ExitStatus]"  # done after the last byte of output is in the log and at the attached

    async def attach(self, *, stdin: bool, stdout: bool, stderr: bool) -> AttachStream:
        """Before `run`: nothing of the output is lost. After it: from now on."""
        raise NotImplementedError

    async def run(self, spec: dict[str, Any], io: StdioSettings) -> int:
        """Start the container; its first process' id on the host.

        Raises InvalidParameter with runc's words where the command cannot be run (exit codes 126 and 127 hang on
        them; `failure.exit_code` has the code), SystemFailure for all else. The shim is then good for `discard` only.
        """
        raise NotImplementedError

    async def attach_exec(self, exec_id: str, *, stdin: bool, stdout: bool, stderr: bool) -> AttachStream:
        """Attach to an exec that is about to start: nothing of its output is lost."""
        raise NotImplementedError

    async def exec(self, exec_id: str, process: dict[str, Any], io: StdioSettings) -> ExecHandle:
        """Run `process` (an OCI process object) in the container. Errors as in `run`."""
        raise NotImplementedError

    def signal(self, number: int) -> None:
        """To the container's first process. Raises Conflict if it has ended."""
        raise NotImplementedError

    async def resize(self, height: int, width: int, exec_id: str | None = None) -> None:
        raise NotImplementedError

    async def pause(self) -> None:
        raise NotImplementedError

    async def unpause(self) -> None:
        raise NotImplementedError

    async def update(self, resources: dict[str, Any]) -> None:
        """Write limits (Docker's HostConfig keys, those present) into the running container's cgroup."""
        raise NotImplementedError

    async def stats(self) -> dict[str, Any]:
        """`cpu_stats`, `memory_stats`, `blkio_stats`, `pids_stats`, `networks`, `num_procs` as Docker has them."""
        raise NotImplementedError

    async def top(self, ps_args: str) -> tuple[list[str], list[list[str]]]:
        """(titles, rows) of `ps <ps_args>`, this container's processes only."""
        raise NotImplementedError

    async def discard(self) -> None:
        """Let the shim go, and with it mounts, namespaces and what still runs; idempotent. Forget its files."""
        raise NotImplementedError
