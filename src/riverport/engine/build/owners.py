"""`--chown=user[:group]`: numbers, or names that the image's own /etc/passwd and /etc/group know."""

from riverport.engine.errors import EngineError
from riverport.engine.linux.inroot import Root

_CANNOT = "unable to convert uid/gid chown string to host mapping"
_FILE_BYTES = 4 << 20
_LARGEST = (1 << 32) - 2


def parse_owner(root: Root, text: str) -> tuple[int, int]:
    """Without a group, the user's text names the group too. Raises EngineError with Docker's text."""
    user, colon, group = text.partition(":")
    if ":" in group:
        raise EngineError(f"{_CANNOT}: invalid chown string format: {text}")
    uid = _find(root, user, "/etc/passwd", "uid for user", "user")
    return uid, _find(root, group if colon else user, "/etc/group", "gid for group", "group")


def _find(root: Root, name: str, file: str, what: str, kind: str) -> int:
    if name.isascii() and name.isdigit():
        if int(name) > _LARGEST:
            raise EngineError(f"{_CANNOT}: can't find {what} {name}")
        return int(name)
    try:
        lines = root.read_bytes(file, _FILE_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        fields = line.split(":")
        if len(fields) > 2 and fields[0] == name and fields[2].isdigit():
            return int(fields[2])
    raise EngineError(f"{_CANNOT}: can't find {what} {name}: no such {kind}: {name}")
