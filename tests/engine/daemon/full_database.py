"""A database of the engine's state on a disk that is full for as long as a test wants it to be."""

import sqlite3
from typing import Any

from riverport.engine.state import State


class FullDatabase:
    """Stands before the connection of a state: nothing is written while `is_full`, everything can be read."""

    def __init__(self, state: State) -> None:
        self._connection = state._database
        self.is_full = True
        state._database = self  # type: ignore[assignment]

    def execute(self, statement: str, values: tuple[str, ...] = ()) -> Any:
        if self.is_full and statement.split()[0] in ("INSERT", "DELETE", "COMMIT"):
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(statement, values)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        self._connection.close()
