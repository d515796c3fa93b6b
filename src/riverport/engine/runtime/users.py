"""`--user` and `--group-add`, looked up in the container's own /etc/passwd and /etc/group.

A name wins over a number. A number that no file knows is taken as it is, with group 0 and home `/`. Whoever is named
with a group gets that group only; without one, also the groups that list the user.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from riverport.engine.errors import InvalidParameter
from riverport.engine.linux.inroot import Root

_LARGEST_ID = (1 << 31) - 1
_FILE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class User:
    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str

    @property
    def is_root(self) -> bool:
        return self.uid == 0


def look_up(root: Root, user: str, group_add: Sequence[str] = ()) -> User:
    """Files that are missing count as empty; links in /etc are followed inside the root only."""
    return resolve(user, _text(root, "/etc/passwd"), _text(root, "/etc/group"), group_add)


def resolve(user: str, passwd: str, group: str, group_add: Sequence[str] = ()) -> User:
    """Raises InvalidParameter in Docker's words."""
    user_part, _, group_part = user.partition(":")
    wanted = user_part or "0"
    entry = _find_user(wanted, passwd)
    if entry is None:
        if not _is_number(wanted):
            raise InvalidParameter(f"unable to find user {wanted}: no matching entries in passwd file")
        uid, gid, home, name = _number(wanted), 0, "/", ""
    else:
        name, uid, gid, home = entry
    listed: list[int] = []
    if group_part:
        gid = _group_id(group_part, group)
    elif name:
        listed = [number for _, number, members in _groups(group) if name in members]
    for extra in group_add:
        listed.append(_group_id(extra, group))
    # The primary group is among the additional ones, as CVE-2023-25173 taught: else a process loses it by setgroups.
    return User(uid, gid, tuple(dict.fromkeys((gid, *listed))), home or "/")


def _find_user(wanted: str, passwd: str) -> tuple[str, int, int, str] | None:
    by_number = None
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) < 4 or not (_is_number(fields[2]) and _is_number(fields[3])):
            continue
        entry = fields[0], int(fields[2]), int(fields[3]), fields[5] if len(fields) > 5 else ""
        if fields[0] == wanted:
            return entry
        if by_number is None and _is_number(wanted) and entry[1] == int(wanted):
            by_number = entry
    return by_number


def _group_id(wanted: str, group: str) -> int:
    by_number = None
    for name, number, _ in _groups(group):
        if name == wanted:
            return number
        if _is_number(wanted) and number == int(wanted):
            by_number = number
    if by_number is not None:
        return by_number
    if not _is_number(wanted):
        raise InvalidParameter(f"unable to find group {wanted}: no matching entries in group file")
    return _number(wanted)


def _groups(group: str) -> Iterator[tuple[str, int, list[str]]]:
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and _is_number(fields[2]):
            yield fields[0], int(fields[2]), fields[3].split(",") if len(fields) > 3 else []


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _number(text: str) -> int:
    value = int(text)
    if value > _LARGEST_ID:
        raise InvalidParameter(f"uids and gids must be in range 0-{_LARGEST_ID}")
    return value


def _text(root: Root, path: str) -> str:
    try:
        return root.read_bytes(path, _FILE_BYTES).decode(errors="replace")
    except OSError:
        return ""
