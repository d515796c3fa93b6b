"""Points in time as the API writes and reads them; inside they are nanoseconds since the epoch, 0 for "never"."""

import re
from datetime import UTC, datetime

from riverport.engine.errors import InvalidParameter

SECOND_NS = 1_000_000_000
ZERO = "0001-01-01T00:00:00Z"
_NUMBER = re.compile(r"(-?\d+)(?:\.(\d{1,9})\d*)?")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d(?::\d\d(?::\d\d)?)?)(?:\.(\d{1,9})\d*)?)?(Z|[+-]\d\d:\d\d)?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}


def rfc3339(time_ns: int) -> str:
    """RFC 3339 with as many digits as it takes (Go's RFC3339Nano); the zero time for 0."""
    if not time_ns:
        return ZERO
    seconds, fraction = divmod(time_ns, SECOND_NS)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{digits}Z"


def rfc3339_fixed(time_ns: int) -> str:
    """With all nine digits, so that lines of a log align."""
    seconds, fraction = divmod(time_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def parse_time(text: str, now_ns: int) -> int:
    """`1700000000[.5]`, RFC 3339 (shortened from the right), or how long ago as `1h30m`. Raises InvalidParameter."""
    if found := _NUMBER.fullmatch(text):
        return int(found[1]) * SECOND_NS + int((found[2] or "").ljust(9, "0"))
    if found := _RFC3339.fullmatch(text):
        clock = (found[2] or "00") + ":00:00"[: 8 - len(found[2] or "00")]
        try:
            moment = datetime.fromisoformat(f"{found[1]}T{clock}{found[4] or '+00:00'}")
        except ValueError:
            raise InvalidParameter(f'parsing time "{text}": out of range') from None
        return int(moment.timestamp()) * SECOND_NS + int((found[3] or "").ljust(9, "0"))
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return now_ns - round(sum(float(number) * _UNITS[unit] for number, unit in parts))
    raise InvalidParameter(f'parsing time "{text}" as "2006-01-02T15:04:05": cannot parse "{text}" as "2006"')


def duration_text(nanoseconds: int) -> str:
    """A duration as Go prints it: `1m30s`, `1.5s`, `100ms`."""
    if nanoseconds < SECOND_NS:
        for unit, size in (("ms", 1e6), ("µs", 1e3)):
            if nanoseconds >= size:
                return f"{nanoseconds / size:.9g}{unit}"
        return f"{nanoseconds}ns" if nanoseconds else "0s"
    minutes, rest = divmod(nanoseconds, 60 * SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / SECOND_NS:.9g}s"
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}" if minutes else seconds


def human_duration(nanoseconds: int) -> str:
    """As `ps` shows ages: "Less than a second", "About an hour", "3 weeks"."""
    seconds = nanoseconds // SECOND_NS
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if (minutes := seconds // 60) < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(nanoseconds / (3600 * SECOND_NS) + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for unit, size, limit in (
        ("days", 24, 2 * 24 * 7),
        ("weeks", 24 * 7, 2 * 24 * 30),
        ("months", 24 * 30, 2 * 24 * 365),
    ):
        if hours < limit:
            return f"{hours // size} {unit}"
    return f"{hours // (24 * 365)} years"
