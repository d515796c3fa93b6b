"""How often something is asked of a registry that fails, and how long to wait in between.

Docker tries a layer five times (`max-download-attempts`) however much of it has come; containerd begins to count anew
with every byte. Here a count begins anew once a connection has brought PROGRESS_BYTES: a registry that gives a little
and hangs up has its five tries, a large layer gets through a network that breaks off now and then.
"""

from typing import Final

ATTEMPTS: Final = 5
"""Where `max-download-attempts` does not say otherwise, and of pushes."""
PROGRESS_BYTES: Final = 4 << 20
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 30.0


class Tries:
    """Of one thing, in whatever part of it something fails: who asks within a try counts here, too."""

    __slots__ = ("_arrived", "_attempts", "_failures")

    def __init__(self, attempts: int = ATTEMPTS) -> None:
        self._attempts = attempts
        self._failures = 0
        self._arrived = 0

    def again(self) -> bool:
        """One has failed; whether there is another."""
        self._failures += 1
        self._arrived = 0
        return self._failures < self._attempts

    def arrived(self, count: int) -> None:
        """Bytes that were not here before."""
        self._arrived += count
        if self._arrived >= PROGRESS_BYTES:
            self._failures = 0

    def pause_seconds(self, retry_after: str = "") -> float:
        return pause_seconds(self._failures, retry_after)


def pause_seconds(failures: int, retry_after: str = "") -> float:
    """How long to wait before asking again: as the registry says, within bounds, or twice as long each time."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), _LONGEST_PAUSE_SECONDS)
    return min(_FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1), _LONGEST_PAUSE_SECONDS)
