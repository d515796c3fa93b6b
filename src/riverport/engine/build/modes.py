"""`--chmod`: octal ("755", "0644") or symbolic ("u+x,go=rX"), as chmod(1) reads them (POSIX, chmod, "OPERANDS")."""

import re
from collections.abc import Callable

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_SHIFT = {"u": 6, "g": 3, "o": 0}


def parse_mode(text: str) -> Callable[[int, bool], int]:
    """(mode, whether of a directory) → mode. Raises ValueError."""
    if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777:
        number = int(text, 8)
        return lambda mode, is_directory: number
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    if not all(clauses):
        raise ValueError(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
    actions = [(clause[1] or "a", _ACTION.findall(clause[2])) for clause in clauses if clause]

    def changed(mode: int, is_directory: bool) -> int:
        for who, steps in actions:
            for operator, permissions in steps:
                mode = _apply(mode, is_directory, who, operator, permissions)
        return mode

    return changed


def _apply(mode: int, is_directory: bool, who: str, operator: str, permissions: str) -> int:
    mask = 0
    for letter in who:
        mask |= _WHO[letter]
    bits = _bits(mode, is_directory, permissions) & mask
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    # `=` leaves a directory's set-id bits alone, unless they are named.
    kept = mask & ~(0o6000 if is_directory else 0)
    return (mode & ~kept) | bits


def _bits(mode: int, is_directory: bool, permissions: str) -> int:
    if permissions in _SHIFT:
        return (mode >> _SHIFT[permissions] & 7) * 0o111
    bits = 0
    for letter in permissions:
        match letter:
            case "r":
                bits |= 0o444
            case "w":
                bits |= 0o222
            case "x":
                bits |= 0o111
            case "X":
                bits |= 0o111 if is_directory or mode & 0o111 else 0
            case "s":
                bits |= 0o6000
            case "t":
                bits |= 0o1000
    return bits
