"""`.dockerignore` and `COPY --exclude`: which paths of a context are left out.

The last matching pattern wins, `!` takes back, `**` runs over directories, and a pattern that matches a directory
matches all below it. Source: the Dockerfile reference, "build context", ".dockerignore files".
"""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from riverport.engine.build.golang import compile_match, join_chunks, read_class

# Runs that are no whole parts of a path (`a**b`); each multiplies the time of a match by the length of the path.
_MOST_FREE_RUNS = 2


@dataclass(frozen=True, slots=True)
class _Pattern:
    expression: re.Pattern[str]
    takes_back: bool


class Ignore:
    """Raises ValueError for a bad pattern."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [_compiled(pattern) for pattern in map(str.strip, patterns) if pattern]

    @property
    def takes_back(self) -> bool:
        """Something below an ignored directory may be wanted after all."""
        return any(pattern.takes_back for pattern in self._patterns)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def matches(self, path: str) -> bool:
        """`path` is relative, with "/" between its parts, and clean."""
        parts = path.split("/")
        candidates = [path, *("/".join(parts[:end]) for end in range(1, len(parts)))]
        ignored = False
        for pattern in self._patterns:
            if pattern.takes_back == ignored and any(map(pattern.expression.fullmatch, candidates)):
                ignored = not pattern.takes_back
        return ignored


NOTHING = Ignore(())


def read_patterns(text: str) -> list[str]:
    """The patterns of a `.dockerignore`: comments and empty lines go, a leading "/" means nothing."""
    patterns: list[str] = []
    for line in text.removeprefix("\ufeff").splitlines():
        if line.startswith("#") or not (pattern := line.strip()):
            continue
        sign, pattern = ("!", pattern[1:].strip()) if pattern.startswith("!") else ("", pattern)
        if pattern:
            pattern = posixpath.normpath(pattern)
            pattern = pattern.lstrip("/") or pattern[:1]
        patterns.append(sign + pattern)
    return patterns


def _compiled(pattern: str) -> _Pattern:
    takes_back = pattern.startswith("!")
    if takes_back:
        pattern = pattern[1:]
        if not pattern:
            raise ValueError('illegal exclusion pattern: "!"')
    pattern = posixpath.normpath(pattern)
    # Docker checks a pattern with Go's matcher and then matches with its own.
    compile_match(pattern)
    return _Pattern(re.compile(_expression(pattern), re.DOTALL), takes_back)


def _expression(pattern: str) -> str:
    """`**/` runs over any directories or none, a last `**` over everything, `*` and `?` stop at "/"."""
    first, *rest = _segments(pattern)
    if not rest:
        return first
    *middle, last = rest
    out = [first]
    for segment in middle:
        # What ends in "/" may stop where it first fits (see join_chunks); a free run has to be tried everywhere.
        out.append(f"(?>(?:.*?/)??{segment})" if segment.endswith("/") else f"(?:.*/)?{segment}")
    if sum(not segment.endswith("/") for segment in middle) > _MOST_FREE_RUNS:
        raise ValueError(f"too many ** in pattern {pattern}")
    if not last:
        out.append(".*")
    elif not first and not middle and not pattern.startswith("**/") and not re.search(r"[*?\[\\]", pattern[2:]):
        # Docker takes `**name` for any path that ends so, not only for whole parts of one.
        out.append(f".*{last}")
    else:
        out.append(f"(?:.*/)?{last}")
    return "".join(out)


def _segments(pattern: str) -> list[str]:
    """The expressions between the `**`s, whose following "/" is theirs."""
    segments: list[str] = []
    chunks = [""]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if pattern.startswith("**", position - 1):
            position += 1
            position += pattern.startswith("/", position)
            segments.append(join_chunks(chunks, "[^/]"))
            chunks = [""]
        elif character == "*":
            chunks.append("")
        elif character == "?":
            chunks[-1] += "[^/]"
        elif character == "[":
            parts: list[str] = []
            position = read_class(pattern, position, parts)
            chunks[-1] += "".join(parts)
        elif character == "\\" and position < len(pattern):
            chunks[-1] += re.escape(pattern[position])
            position += 1
        else:
            chunks[-1] += re.escape(character)
    return [*segments, join_chunks(chunks, "[^/]")]
