"""How Go prints and reads what a Dockerfile's history and errors contain: quoted strings, durations, path patterns.

Docker writes `CMD ["sh" "-c"]` with Go's `%q`, a health check's times as Go durations, and matches the sources of
COPY with `filepath.Match`. Images built here and there carry the same history only if these are the same.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

NANOSECOND_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MAX_DURATION = (1 << 63) - 1

_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
}  # fmt: skip


class BadPattern(ValueError):
    """`filepath.ErrBadPattern`."""

    def __init__(self) -> None:
        super().__init__("syntax error in pattern")


def quote(text: str, mark: str = '"') -> str:
    """`strconv.Quote`: printable characters stay, others become escapes; undecodable bytes (surrogates) `\\xNN`."""
    return mark + "".join(_quoted(character, mark) for character in text) + mark


def quote_all(words: Iterable[str]) -> str:
    """A []string printed with `%q`."""
    return "[" + " ".join(quote(word) for word in words) + "]"


def quote_rune(number: int) -> str:
    """An integer printed with `%q`: the character of that number."""
    valid = 0 <= number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
    return quote(chr(number) if valid else "\ufffd", "'")


def _quoted(character: str, mark: str) -> str:
    if character == mark:
        return "\\" + mark
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable() or code == 0xFFFD:
        return character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_duration(text: str) -> int:
    """Nanoseconds of "1h15m30.918s"; raises ValueError with Go's text."""
    sign, rest = (text[0], text[1:]) if text[:1] in ("+", "-") else ("+", text)
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"time: invalid duration {quote(text)}")
    total, position = 0.0, 0
    exact = 0
    while position < len(rest):
        part = _DURATION_PART.match(rest, position)
        if part is None:
            raise ValueError(_duration_fault(text, rest[position:]))
        number, unit = part[1], NANOSECOND_UNITS[part[2]]
        whole, _, fraction = number.partition(".")
        exact += int(whole or "0") * unit
        total += float("0." + fraction) * unit if fraction else 0.0
        position = part.end()
    nanoseconds = exact + int(total)
    if nanoseconds > _MAX_DURATION:
        raise ValueError(f"time: invalid duration {quote(text)}")
    return -nanoseconds if sign == "-" else nanoseconds


def _duration_fault(text: str, rest: str) -> str:
    number = re.match(r"(\d+\.?\d*|\.\d+)", rest, re.ASCII)
    if number is None:
        return f"time: invalid duration {quote(text)}"
    unit = re.match(r"[^0-9.]*", rest[number.end() :])
    assert unit is not None
    if not unit[0]:
        return f"time: missing unit in duration {quote(text)}"
    return f"time: unknown unit {quote(unit[0])} in duration {quote(text)}"


def format_duration(nanoseconds: int) -> str:
    """`time.Duration.String`: "1m30s", "1.5s", "0s"."""
    if nanoseconds == 0:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    rest = abs(nanoseconds)
    if rest < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if rest >= size:
                return sign + _decimal(rest, size) + unit
    seconds, fraction = divmod(rest, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = _decimal(seconds * 10**9 + fraction, 10**9) + "s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    if not rest:
        return str(whole)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}"


def match(pattern: str, name: str) -> bool:
    """`filepath.Match` of Unix: `*` and `?` stop at "/", classes `[a-z]` and `[^a]`, a backslash escapes.

    Raises BadPattern.
    """
    return compile_match(pattern).fullmatch(name) is not None


@lru_cache(maxsize=256)
def compile_match(pattern: str) -> re.Pattern[str]:
    chunks: list[list[str]] = [[]]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            chunks.append([])
        elif character == "?":
            chunks[-1].append("[^/]")
        elif character == "[":
            position = read_class(pattern, position, chunks[-1])
        elif character == "\\":
            if position == len(pattern):
                raise BadPattern
            chunks[-1].append(re.escape(pattern[position]))
            position += 1
        else:
            chunks[-1].append(re.escape(character))
    return re.compile(join_chunks(["".join(chunk) for chunk in chunks], "[^/]"), re.DOTALL)


def join_chunks(chunks: list[str], anything: str, shortest: bool = False) -> str:
    """The expression of a glob that was cut at its stars; `anything` is what one star may run over.

    Every star but the last may stop at the first place where what follows it fits, and never reconsider (an atomic
    group): `a*a*a*a*b` would otherwise take time exponential in its stars.
    """
    first, *rest = chunks
    *middle, last = [chunk for chunk in rest[:-1] if chunk] + rest[-1:] if rest else [""]
    stars = "".join(f"(?>{anything}*?{chunk})" for chunk in middle)
    tail = f"{anything}*{'?' if shortest else ''}{last}" if rest else ""
    return first + stars + tail


def read_class(pattern: str, position: int, out: list[str]) -> int:
    """Reads a class from after its "[" and returns where it ends. An empty class is a bad pattern, as is a lone "-"."""
    negated = pattern[position : position + 1] == "^"
    position += negated
    ranges: list[str] = []
    while True:
        if pattern[position : position + 1] == "]" and ranges:
            break
        low, position = _class_character(pattern, position)
        high = low
        if pattern[position : position + 1] == "-":
            high, position = _class_character(pattern, position + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")
    body = "".join(ranges)
    if not body:
        out.append("." if negated else "(?!)")
    else:
        out.append(f"[{'^' if negated else ''}{body}]")
    return position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    if position >= len(pattern) or pattern[position] in "-]":
        raise BadPattern
    if pattern[position] == "\\":
        position += 1
        if position >= len(pattern):
            raise BadPattern
    if position + 1 >= len(pattern):
        raise BadPattern
    return pattern[position], position + 1


def has_wildcards(pattern: str) -> bool:
    """Whether a source of COPY is a pattern at all; what a backslash escapes does not count."""
    return re.search(r"[*?\[]", re.sub(r"\\.", "", pattern, flags=re.DOTALL)) is not None
