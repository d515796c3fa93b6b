"""The `filters` parameter, as the CLI writes it (`{"name":{"c1":true}}`) and as docker-py does (`{"name":["c1"]}`).

Keys are ANDed and the values of a key ORed, except that all `label` values must hold.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from riverport.engine.errors import InvalidParameter

_TRUE: Final = frozenset({"1", "true"})
_FALSE: Final = frozenset({"0", "false"})


class Filters:
    """What a client asked for; without an entry for a key everything matches."""

    __slots__ = ("_wanted",)

    def __init__(self, wanted: Mapping[str, Iterable[str]] | None = None) -> None:
        self._wanted: dict[str, list[str]] = {key: list(values) for key, values in (wanted or {}).items()}

    @classmethod
    def parse(cls, text: str, allowed: Collection[str]) -> "Filters":
        """Raises InvalidParameter for what is not JSON of either form, or a key that is not allowed."""
        if not text:
            return cls()
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidParameter(f"invalid filter: {error}") from error
        if not isinstance(document, dict):
            raise InvalidParameter("invalid filter")
        wanted = {key: _values(value) for key, value in document.items()}
        for key in wanted:
            if key not in allowed:
                raise InvalidParameter(f"invalid filter '{key}'")
        return cls(wanted)

    def __contains__(self, key: str) -> bool:
        return bool(self._wanted.get(key))

    def __bool__(self) -> bool:
        return any(self._wanted.values())

    def get(self, key: str) -> list[str]:
        return self._wanted.get(key, [])

    def exact(self, key: str, value: str) -> bool:
        """Whether one of the values is this one."""
        return key not in self or value in self._wanted[key]

    def search(self, key: str, *names: str) -> bool:
        """Whether a value, read as a regular expression (as a text if it is none), is found in one of `names`."""
        return key not in self or any(_found(value, name) for value in self._wanted[key] for name in names)

    def prefix(self, key: str, value: str) -> bool:
        """Whether one of the values is how this one begins, as ids are abbreviated."""
        return key not in self or any(value.startswith(wanted) for wanted in self._wanted[key])

    def labels(self, labels: Mapping[str, str] | None, key: str = "label") -> bool:
        """Whether every wanted `name` or `name=value` is among the labels; `label!` is the opposite of each."""
        return all(_has_label(wanted, labels or {}) for wanted in self.get(key)) and not any(
            _has_label(wanted, labels or {}) for wanted in self.get(key + "!")
        )

    def flag(self, key: str, default: bool) -> bool:
        """Raises InvalidParameter for what is neither true nor false, or both."""
        if key not in self:
            return default
        values = {value.lower() for value in self._wanted[key]}
        if values <= _TRUE:
            return True
        if values <= _FALSE:
            return False
        raise InvalidParameter(f"invalid filter '{key}={sorted(self._wanted[key])}'")


def _values(value: object) -> list[str]:
    if isinstance(value, dict):
        return [key for key, on in value.items() if on]
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return value
    if isinstance(value, str):
        return [value]
    raise InvalidParameter("invalid filter")


def _found(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return pattern in text


def _has_label(wanted: str, labels: Mapping[str, str]) -> bool:
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)
