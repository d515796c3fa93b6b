"""Archives for tests, by Python's own tarfile, and what a directory looks like in a form that compares."""

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

NEEDS_ROOT = [
    pytest.mark.containers,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers have owners, devices and trusted.* attributes"),
]
TIME = 1_700_000_000


class Archive:
    """`Archive().file("a", b"x").dir("d").bytes()`"""

    def __init__(self, format: int = tarfile.PAX_FORMAT) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w", format=format)

    def add(self, name: str, type: bytes, data: bytes = b"", **fields: Any) -> "Archive":
        member = tarfile.TarInfo(name)
        member.type, member.size, member.mtime = type, len(data), TIME
        for key, value in fields.items():
            setattr(member, key, value)
        self._tar.addfile(member, io.BytesIO(data))
        return self

    def file(self, name: str, data: bytes = b"", **fields: Any) -> "Archive":
        return self.add(name, tarfile.REGTYPE, data, **fields)

    def dir(self, name: str, **fields: Any) -> "Archive":
        return self.add(name, tarfile.DIRTYPE, **{"mode": 0o755, **fields})

    def symlink(self, name: str, target: str, **fields: Any) -> "Archive":
        return self.add(name, tarfile.SYMTYPE, linkname=target, **fields)

    def link(self, name: str, target: str) -> "Archive":
        return self.add(name, tarfile.LNKTYPE, linkname=target)

    def device(self, name: str, major: int, minor: int, type: bytes = tarfile.CHRTYPE) -> "Archive":
        return self.add(name, type, devmajor=major, devminor=minor)

    def xattr(self, name: str, data: bytes, **attributes: bytes) -> "Archive":
        records = {f"SCHILY.xattr.{key.replace('__', '.')}": value.decode("utf-8", "surrogateescape")
                   for key, value in attributes.items()}  # fmt: skip
        return self.file(name, data, pax_headers=records)

    def bytes(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def tree(root: Path) -> dict[str, object]:
    """Every path below `root` with what it is: content, target of a link, device, or its type."""
    found: dict[str, object] = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory) / name
            status = path.lstat()
            key = str(path.relative_to(root))
            if stat.S_ISREG(status.st_mode):
                found[key] = path.read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                found[key] = f"-> {os.readlink(path)}"
            elif stat.S_ISCHR(status.st_mode):
                found[key] = (os.major(status.st_rdev), os.minor(status.st_rdev))
            else:
                found[key] = "directory" if stat.S_ISDIR(status.st_mode) else "other"
    return found
