"""One at a time for each key: who comes later waits, and who comes first may wait for those who came later."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted_by: list[object] = field(default_factory=list)
    taken_by: object = None


class Turns:
    """A key is known as long as somebody wants it, also while its turn passes from one to the next."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}
        self._serving: list[object] = []
        self._changed = asyncio.Event()
        """Set and replaced whenever somebody wants something no more."""

    def __len__(self) -> int:
        return len(self._turns)

    @asynccontextmanager
    async def of(self, key: str, who: object) -> AsyncIterator[None]:
        turn = self._turns.setdefault(key, _Turn())
        turn.wanted_by.append(who)
        try:
            async with turn.lock:
                turn.taken_by = who
                yield
        finally:
            turn.wanted_by.remove(who)
            if not turn.wanted_by:
                del self._turns[key]
            self._tell()

    async def served(self, had: Collection[str], who: object) -> None:
        """Return when nobody wants what `who` has its turn of or had it; `had` are those keys, and may become more.

        Those do not count who only serve others themselves, as `who` does from now on.
        """
        self._serving.append(who)
        self._tell()
        try:
            while any(self._is_wanted(turn) for key, turn in self._turns.items() if key in had or turn.taken_by is who):
                await self._changed.wait()
        finally:
            self._serving.remove(who)

    def _is_wanted(self, turn: _Turn) -> bool:
        return any(who not in self._serving for who in turn.wanted_by)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
