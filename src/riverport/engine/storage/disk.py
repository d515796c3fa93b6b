"""When what was written has reached the disk: one syncfs(2) for all who wait for it.

The state says that a layer is there, and a power cut may keep what the state says and lose the layer's files, whose
data Linux writes up to half a minute later. So the files come first. A syncfs with nothing else to write costs 4 ms on
a virtual ext4 disk; fsync of each file of a layer would cost that for every file. In a `docker build` of five layers
(0.3 s) it took 6 ms for each, 19 while others wrote to the disk; a `docker load` of 300 MB took 2.1 to 2.5 s instead of
1.6 to 1.8.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

from riverport.engine.errors import SystemFailure
from riverport.engine.linux import syscalls


class Disk:
    """The file system that `root` lies on. Belongs to the event loop; the sync itself runs on a thread.

    Who asks while a sync is running takes the next one, together with all others who do: the running one may have
    passed their files by already.
    """

    def __init__(self, root: Path, sync: Callable[[int], None] | None = None) -> None:
        self._root = root
        self._sync_fd = sync or sync_file_system
        self._fd = -1
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self.failures = 0
        """Syncs that failed. Linux takes pages it could not write for clean, and tells it once: whoever had begun to
        write before a failure cannot trust a later success."""

    async def reached(self, failures: int) -> None:
        """Return when all that was written before the call is on the disk; `failures` is as it was when that began.

        Raises SystemFailure if it may not be.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._sync_after(self._running))
        try:
            await asyncio.shield(self._next)
        except OSError as error:
            raise SystemFailure(f"{self._root} cannot be synced: {(error.strerror or str(error)).lower()}") from error
        if self.failures != failures:
            raise SystemFailure(f"{self._root} could not be synced while this was written")

    async def _sync_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        try:
            await asyncio.to_thread(self._sync)
        except OSError:
            self.failures += 1
            raise

    def _sync(self) -> None:
        if self._fd < 0:
            # Kept open: an error is told to descriptors that were open when it happened (errseq_t).
            self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._sync_fd(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def sync_file_system(fd: int) -> None:
    """syncfs(2); every kernel that has openat2 has it, but a sandbox may not let it through."""
    try:
        syscalls.syncfs(fd)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        os.sync()  # waits as well, and tells no errors
