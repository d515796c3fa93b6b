"""An image of one program: busybox under all its names."""

import io
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

CHANGES = ('CMD ["sh"]', "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
"""What the image says of itself beside its files."""

USERS = {"root": 0, "daemon": 1, "bin": 2, "sys": 3, "mail": 8, "www-data": 33, "operator": 37, "nobody": 65534}
_DIRECTORIES = {
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    **dict.fromkeys(
        ["bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "usr/sbin", "var", "var/opt"], 0o755
    ),
}
_PT_INTERP = 3


class NoBusybox(Exception):
    """There is no busybox that would run in an empty root."""


def find() -> Path:
    """This machine's busybox. Raises NoBusybox."""
    found = shutil.which("busybox")
    if found is None:
        raise NoBusybox("there is no busybox")
    if not is_static(Path(found).read_bytes()):
        raise NoBusybox(f"{found} is linked to libraries, which an empty image does not have")
    return Path(found)


def is_static(program: bytes) -> bool:
    """Whether an ELF file names no interpreter, which is the dynamic linker (System V ABI, "Program Header")."""
    if program[:4] != b"\x7fELF" or program[4] != 2 or program[5] != 1:
        return False  # 64 bits, little-endian: what this runs on
    (offset,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    return all(struct.unpack_from("<I", program, offset + size * index)[0] != _PT_INTERP for index in range(count))


def applets(program: Path) -> list[str]:
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    return sorted(set(listed.stdout.split()) - {"busybox"})


def image_tar(program: bytes, names: Sequence[str], users: Mapping[str, int] = USERS) -> bytes:
    """The image's files. The same arguments make the same bytes, so that layers are shared."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in sorted(_DIRECTORIES.items()):
            _add(tar, name, mode, type=tarfile.DIRTYPE)
        _add(tar, "bin/busybox", 0o755, program)
        for name in names:
            _add(tar, f"bin/{name}", 0o777, type=tarfile.SYMTYPE, linkname="busybox")
        for name, text in _etc(users).items():
            _add(tar, f"etc/{name}", 0o600 if name == "shadow" else 0o644, text.encode())
    return buffer.getvalue()


def _etc(users: Mapping[str, int]) -> dict[str, str]:
    home = {"root": "/root"}
    shell = {"root": "/bin/sh"}
    passwd = [f"{n}:x:{i}:{i}:{n}:{home.get(n, '/home')}:{shell.get(n, '/bin/false')}\n" for n, i in users.items()]
    return {
        "group": "".join(f"{name}:x:{number}:\n" for name, number in users.items()),
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "passwd": "".join(passwd),
        "shadow": "".join(f"{name}:*:::::::\n" for name in users),
    }


def _add(tar: tarfile.TarFile, name: str, mode: int, data: bytes = b"", **fields: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    entry.size = len(data)
    for field, value in fields.items():
        setattr(entry, field, value)
    tar.addfile(entry, io.BytesIO(data))
