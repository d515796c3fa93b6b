"""The engine's memory: documents by kind and id in one SQLite database.

What an answer promises is written before the answer goes out. WAL with `synchronous=NORMAL`: a killed daemon loses
nothing that was written, a power cut may lose the last commits, never the database (SQLite, "Write-Ahead Logging").
Everything is read once at the start; afterwards memory is the truth and this follows it.

A full disk refuses what is new (`save`), but not what has happened (`note`, `delete`): a container that has filled the
disk has ended all the same, and must be removable. There is room of its own for that, and where that is used up,
too, it is written as soon as it can be.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from riverport.base.logging import get_logger
from riverport.base.reserve import reserve
from riverport.engine.errors import SystemFailure

log = get_logger(__name__)

ROOM_BYTES = 4 << 20
"""Taken in advance for each of database and WAL, which SQLite begins anew after 1,000 pages of 4 KB."""

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
        self._behind: dict[tuple[str, str], str | None] = {}  # bodies to be written, None: to be deleted
        _take_room(path)

    def load(self, kind: str) -> dict[str, dict[str, Any]]:
        rows = self._database.execute("SELECT id, body FROM documents WHERE kind = ?", (kind,))
        return {key: json.loads(body) for key, body in rows}

    def save(self, kind: str, key: str, document: dict[str, Any]) -> None:
        """Raises SystemFailure where it cannot be written."""
        self._put(kind, key, _body(document))
        self._behind.pop((kind, key), None)
        self._catch_up()

    def note(self, kind: str, key: str, document: dict[str, Any]) -> None:
        """As `save`, of what is so already, and cannot be refused: it is written as soon as it can be."""
        self._follow(kind, key, _body(document))

    def delete(self, kind: str, keys: Iterable[str]) -> None:
        """What is gone is gone, too, where that cannot be written now."""
        for key in keys:
            self._follow(kind, key, None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside is there as a whole or not at all. May be nested; holds no `await`.

        Raises SystemFailure where it cannot be written.
        """
        if self._depth == 0:
            self._catch_up()
            if self._behind:
                raise SystemFailure("the engine's state cannot be written")
            self._execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                self._execute("COMMIT")
        except BaseException:
            if self._depth == 1 and self._database.in_transaction:  # SQLite may have ended it by itself
                self._database.execute("ROLLBACK")
            raise
        finally:
            self._depth -= 1

    def close(self) -> None:
        self._catch_up()
        self._database.close()

    # --- writing

    def _follow(self, kind: str, key: str, body: str | None) -> None:
        try:
            self._put(kind, key, body)
        except SystemFailure as error:
            if self._depth:
                raise
            if not self._behind:
                log.error("the state cannot be written, what happens is kept in memory until it can", reason=str(error))
            self._behind[kind, key] = body
            return
        self._behind.pop((kind, key), None)
        self._catch_up()

    def _catch_up(self) -> None:
        if not self._behind or self._depth:
            return
        for (kind, key), body in list(self._behind.items()):
            try:
                self._put(kind, key, body)
            except SystemFailure:
                return
            del self._behind[kind, key]
        log.info("the state is written again")

    def _put(self, kind: str, key: str, body: str | None) -> None:
        if body is None:
            self._execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, key))
        else:
            self._execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, body))

    def _execute(self, statement: str, values: tuple[str, ...] = ()) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise SystemFailure(f"the engine's state cannot be written: {error}") from error


def _body(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _take_room(path: Path) -> None:
    """The files stay as long as they are; what lies behind their ends is nobody else's."""
    for file in (path, path.with_name(f"{path.name}-wal")):
        if file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
            try:
                reserve(descriptor, os.fstat(descriptor).st_size, ROOM_BYTES)
            finally:
                os.close(descriptor)
