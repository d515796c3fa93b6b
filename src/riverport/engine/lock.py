"""One daemon per directory."""

import fcntl
import os
from pathlib import Path

from riverport.base.settings import ConfigError


class DirectoryLock:
    """An exclusive lock that ends with the process, however it ends; the file says who holds it."""

    def __init__(self, directory: Path) -> None:
        """Raises ConfigError when another process has it."""
        path = directory / "engine.lock"
        # Close-on-exec: shims outlive the daemon, and must not hold its lock.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._fd, 32).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise ConfigError(f"{directory} is in use by another daemon (process {holder or 'unknown'})") from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        os.close(self._fd)
