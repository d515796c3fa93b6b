"""From method and path to whatever a product keeps behind a route.

A pattern's `{id}` takes one segment, `{name:path}` any number of them, as names of images and repositories need. Paths
are matched percent-encoded and what matched is decoded afterwards, so an encoded slash never splits a segment. Literal
text comes before `{id}`, and that before `{name:path}`: "/images/search" is not an image that is called search.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote

Target = TypeVar("Target")

_FIELD = re.compile(r"\{(\w+)(:path)?\}")


@dataclass(slots=True, frozen=True)
class Match(Generic[Target]):
    target: Target
    params: dict[str, str]


class Router(Generic[Target]):
    """Built once from all routes; a look-up tries literal paths by dict, then the patterns of that method."""

    def __init__(self, routes: Iterable[tuple[str, str, Target]]) -> None:
        self._literal: dict[tuple[str, str], Target] = {}
        self._patterns: dict[str, list[tuple[tuple[int, int], re.Pattern[str], Target]]] = {}
        for method, pattern, target in routes:
            if "{" not in pattern:
                assert (method, pattern) not in self._literal, f"two routes for {method} {pattern}"
                self._literal[method, pattern] = target
            else:
                self._patterns.setdefault(method, []).append((_rank(pattern), _compiled(pattern), target))
        for found in self._patterns.values():
            found.sort(key=lambda entry: entry[0])

    def match(self, method: str, path: str) -> Match[Target] | None:
        """The route for a path, still percent-encoded; None is a 404 (or a 405, see `methods`)."""
        if (target := self._literal.get((method, path))) is not None:
            return Match(target, {})
        for _, pattern, target in self._patterns.get(method, ()):
            if found := pattern.fullmatch(path):
                return Match(target, {name: unquote(value) for name, value in found.groupdict().items()})
        return None

    def methods(self, path: str) -> list[str]:
        """The methods that a path has, for the Allow header of a 405."""
        known = {method for method, _ in self._literal} | self._patterns.keys()
        return sorted(method for method in known if self.match(method, path) is not None)


def _rank(pattern: str) -> tuple[int, int]:
    """Fewer wide fields first, then the longer literal text."""
    wide = sum(1 for field in _FIELD.finditer(pattern) if field[2])
    return wide, -len(_FIELD.sub("", pattern))


def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    at = 0
    for field in _FIELD.finditer(pattern):
        parts += [re.escape(pattern[at : field.start()]), f"(?P<{field[1]}>{'.+' if field[2] else '[^/]+'})"]
        at = field.end()
    return re.compile("".join([*parts, re.escape(pattern[at:])]), re.DOTALL)
