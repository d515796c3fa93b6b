"""The `--name=value` options of an instruction, checked against those it has."""

from collections.abc import Mapping
from dataclasses import dataclass

from riverport.engine.build.suggest import suggestion


@dataclass(frozen=True, slots=True)
class Flags:
    """Values as written; a boolean one is "true" or "false", and one that may be repeated is in `lists`."""

    values: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]

    def get(self, name: str) -> str:
        return self.values.get(name, "")

    def true(self, name: str) -> bool:
        return self.values.get(name) == "true"

    def all(self, name: str) -> tuple[str, ...]:
        return self.lists.get(name, ())


def parse_flags(
    given: tuple[str, ...], strings: tuple[str, ...] = (), booleans: tuple[str, ...] = (), lists: tuple[str, ...] = ()
) -> Flags:
    """Raises ValueError with Docker's text."""
    values: dict[str, str] = {}
    many: dict[str, tuple[str, ...]] = {}
    for text in given:
        flag, equals, value = text.partition("=")
        name = flag[2:]
        if name not in (known := strings + booleans + lists):
            raise ValueError(f"unknown flag: {flag}{suggestion(name, known)}")
        if name in values:
            raise ValueError(f"duplicate flag specified: {flag}")
        if (not equals and name not in booleans) or (not value and equals and name in booleans):
            raise ValueError(f"missing a value on flag: {flag}")
        if name in lists:
            many[name] = (*many.get(name, ()), value)
        elif name in booleans:
            values[name] = value.lower() or "true"
            if values[name] not in ("true", "false"):
                raise ValueError(f"expecting boolean value for flag {flag}, not: {value}")
        else:
            values[name] = value
    return Flags(values, many)
