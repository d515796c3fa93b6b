"""Signals by name and number, as the API takes them: `SIGTERM`, `term`, `15`, `RTMIN+3`."""

import signal

from riverport.engine.errors import InvalidParameter

_RTMIN, _RTMAX = 34, 64
_NAMES = {entry.name.removeprefix("SIG"): int(entry) for entry in signal.Signals}
_NAMES |= {f"RTMIN+{offset}" if offset else "RTMIN": _RTMIN + offset for offset in range(16)}
_NAMES |= {f"RTMAX-{offset}" if offset else "RTMAX": _RTMAX - offset for offset in range(15)}


def parse_signal(text: str) -> int:
    """Raises InvalidParameter with the text that `kill` and `create` answer."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if 0 < number <= _RTMAX:
            return number
    else:
        number = _NAMES.get(text.upper().removeprefix("SIG"), 0)
        if number:
            return number
    raise InvalidParameter(f"invalid signal: {text}")
