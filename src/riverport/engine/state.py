"""The engine's memory: documents by kind and id in one SQLite database.

What an answer promises is written before the answer goes out. WAL with `synchronous=NORMAL`: a killed daemon loses
nothing that was written, a power cut may lose the last commits, never the database (SQLite, "Write-Ahead Logging").
Everything is read once at the start; afterwards memory is the truth and this follows it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = "CREATE TABLE IF NOT EXISTS documents (kind TEXT, id TEXT, body TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID"


class State:
    """Documents; a kind is a noun in the plural ("containers"), an id is unique within its kind.

    A commit takes about 0.03 ms, so callers on the event loop write directly.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(_SCHEMA)
        self._depth = 0

    def load(self, kind: str) -> dict[str, dict[str, Any]]:
        rows = self._database.execute("SELECT id, body FROM documents WHERE kind = ?", (kind,))
        return {key: json.loads(body) for key, body in rows}

    def save(self, kind: str, key: str, document: dict[str, Any]) -> None:
        body = json.dumps(document, separators=(",", ":"))
        self._database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, body))

    def delete(self, kind: str, keys: Iterable[str]) -> None:
        self._database.executemany("DELETE FROM documents WHERE kind = ? AND id = ?", ((kind, key) for key in keys))

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside is there as a whole or not at all. May be nested; holds no `await`."""
        if self._depth == 0:
            self._database.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._database.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._database.execute("COMMIT")

    def close(self) -> None:
        self._database.close()
