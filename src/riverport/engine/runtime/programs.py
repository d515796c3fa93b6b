"""Programs kept in memory, sealed, so that they need not protect themselves at each start.

crun, as runc, starts itself a second time from a read-only copy of its file, lest a container overwrites it by way of
/proc/<pid>/exe (CVE-2019-5736). It leaves that out where its file is a memfd with all seals: 3 of the 7 ms of a start.

The zygote holds them, and its shims inherit them: no imports beyond `os` and `fcntl`.
"""

import fcntl
import os

_MFD_EXEC = 0x10  # Linux 6.3
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_COPY_BYTES = 1 << 20


class Programs:
    def __init__(self) -> None:
        self._held: dict[str, tuple[tuple[int, ...], int]] = {}  # path → file as it was, descriptor

    def hold(self, path: str) -> None:
        """Without effect where the kernel does not let it be done, and if it is done already."""
        try:
            now = _identity(path)
            then, fd = self._held.get(path, ((), -1))
            if then == now:
                return
            self._held[path] = now, _sealed_copy(path)
            if fd >= 0:
                os.close(fd)
        except OSError:  # vm.memfd_noexec, for one
            return

    def executable(self, path: str) -> str:
        """What to execute for `path`: the copy, unless the file has become another one since."""
        then, fd = self._held.get(path, ((), -1))
        try:
            return f"/proc/self/fd/{fd}" if fd >= 0 and then == _identity(path) else path
        except OSError:
            return path


def _identity(path: str) -> "tuple[int, ...]":
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _sealed_copy(path: str) -> int:
    name, flags = os.path.basename(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        copy = os.memfd_create(name, flags | _MFD_EXEC)
    except OSError:  # an older kernel, which does not ask
        copy = os.memfd_create(name, flags)
    try:
        with open(path, "rb", buffering=0) as file:
            while os.sendfile(copy, file.fileno(), None, _COPY_BYTES):
                pass
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(copy)
        raise
    return copy
