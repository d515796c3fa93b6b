"""What the registry knows: repositories, the blobs they link, manifests, tags. One SQLite database.

The bytes of blobs are files (`blobs.py`), manifests are rows: to push one is one transaction, and what a manifest names
cannot be collected between the check and the commit. Two rules keep rows and files together, also when several
processes work on one registry (`riverport registry garbage-collect` beside a server) and when one is killed:

* a blob's file is complete, on the disk and in its place before its row is committed, and both happen while the
  database's write lock is held (`add_blob`);
* a file is unlinked only while the write lock is held and only if there is no row for it (`sweep`), always in a later
  transaction than the one that took the row away.

So a row always has its file. A crash can leave a file without a row, never seen by anybody; the collector finds it.

Writers run on one thread at a time (`store.py`) and each call is one transaction, on the disk when the call returns.
Readers use a connection of their own and never wait (WAL).
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riverport.engine.registry.digests import Digest
from riverport.engine.registry.errors import (
    BlobUnknown,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
)
from riverport.engine.registry.manifests import Descriptor, Manifest
from riverport.engine.registry.names import Reference, RepositoryName, Tag, is_digest

SCHEMA_VERSION = 1
_LOCK_TIMEOUT_S = 30.0
"""Another process holds the write lock for milliseconds; this is for machines that stand still."""

_SCHEMA = """
CREATE TABLE repositories (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE links (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL REFERENCES blobs (digest),
    touched INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX links_by_digest ON links (digest);
CREATE TABLE manifests (
    id INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    artifact_type TEXT NOT NULL,
    subject TEXT,
    annotations TEXT NOT NULL,
    pushed INTEGER NOT NULL,
    size INTEGER NOT NULL,
    content BLOB NOT NULL,
    UNIQUE (repository, digest)
);
CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest) WHERE subject IS NOT NULL;
CREATE TABLE parts (
    repository INTEGER NOT NULL,
    digest TEXT NOT NULL,
    manifest INTEGER NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    PRIMARY KEY (repository, digest, manifest)
) WITHOUT ROWID;
CREATE INDEX parts_by_manifest ON parts (manifest);
CREATE TABLE tags (
    repository INTEGER NOT NULL,
    tag TEXT NOT NULL,
    manifest INTEGER NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
CREATE INDEX tags_by_manifest ON tags (manifest);
"""


@dataclass(frozen=True, slots=True)
class Link:
    """A blob as a repository has it. `touched` is when a client was last told of it, in seconds."""

    digest: Digest
    size: int
    touched: int


@dataclass(frozen=True, slots=True)
class StoredManifest:
    digest: Digest
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Condition:
    """What a client wants to replace (RFC 9110, If-Match and If-None-Match): digests, or "*" for anything."""

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    def check(self, current: str | None) -> None:
        """Raises PreconditionFailed."""
        if self.match is not None and (current is None or not self.match & {current, "*"}):
            raise PreconditionFailed({"current": current})
        if self.none_match is not None and current is not None and self.none_match & {current, "*"}:
            raise PreconditionFailed({"current": current})


@dataclass(frozen=True, slots=True)
class Push:
    """A manifest to be stored, with what was read from it. Of one that is not checked the parts may be missing."""

    digest: Digest
    content: bytes
    manifest: Manifest
    tags: Sequence[Tag] = ()
    condition: Condition = Condition()
    is_checked: bool = True


class Index:
    """Reading methods may be called at any time from one thread, writing ones from one other."""

    def __init__(self, path: Path) -> None:
        self._writer = self._connect(path)
        self._writer.execute("PRAGMA foreign_keys=ON")
        self._writer.execute("PRAGMA synchronous=FULL")
        self._create()
        self._reader = self._connect(path)
        self._reader.execute("PRAGMA query_only=ON")

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        found = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        found.execute("PRAGMA journal_mode=WAL")
        return found

    def _create(self) -> None:
        with self.transaction() as writer:
            (version,) = writer.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    writer.execute(statement)
                writer.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise ValueError(f"the registry's index has version {version}, this release knows {SCHEMA_VERSION}")

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock; what is written inside is there as a whole or not at all."""
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield self._writer
            self._writer.execute("COMMIT")
        except BaseException:
            # A COMMIT that found the disk full has rolled back by itself.
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    # --- reading

    def link(self, repository: RepositoryName, digest: Digest) -> Link:
        """Raises BlobUnknown."""
        row = self._reader.execute(
            "SELECT size, touched FROM repositories JOIN links ON repository = id JOIN blobs USING (digest)"
            " WHERE name = ? AND digest = ?",
            (repository, digest),
        ).fetchone()
        if row is None:
            raise BlobUnknown({"name": repository, "digest": digest})
        return Link(digest, row[0], row[1])

    def manifest(self, repository: RepositoryName, reference: Reference) -> StoredManifest:
        """Raises ManifestUnknown."""
        if is_digest(reference):
            source = "manifests WHERE manifests.digest = ?"
        else:
            source = "tags JOIN manifests ON manifest = manifests.id WHERE tag = ?"
        row = self._reader.execute(
            f"SELECT digest, media_type, content FROM {source}"
            " AND manifests.repository = (SELECT id FROM repositories WHERE name = ?)"
            + ("" if is_digest(reference) else " AND tags.repository = manifests.repository"),
            (reference, repository),
        ).fetchone()
        if row is None:
            raise ManifestUnknown({"name": repository, "reference": reference})
        return StoredManifest(*row)

    def is_named(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether a manifest of the repository names this blob or manifest."""
        row = self._reader.execute(
            "SELECT 1 FROM parts"
            " WHERE repository = (SELECT id FROM repositories WHERE name = ?) AND digest = ? LIMIT 1",
            (repository, digest),
        ).fetchone()
        return row is not None

    def has_repository(self, repository: RepositoryName) -> bool:
        return _repository_id(self._reader, repository) is not None

    def tags(self, repository: RepositoryName, after: str, limit: int) -> list[str]:
        """Tags behind `after` in the order of their bytes. Raises NameUnknown."""
        found = _repository_id(self._reader, repository)
        if found is None:
            raise NameUnknown({"name": repository})
        return self._names("SELECT tag FROM tags WHERE repository = ? AND tag > ? ORDER BY tag", (found, after), limit)

    def repositories(self, after: str, limit: int) -> list[str]:
        return self._names("SELECT name FROM repositories WHERE name > ? ORDER BY name", (after,), limit)

    def _names(self, query: str, values: tuple[object, ...], limit: int) -> list[str]:
        return [name for (name,) in self._reader.execute(f"{query} LIMIT ?", (*values, limit))]

    def referrers(
        self, repository: RepositoryName, subject: Digest, artifact_type: str, after: str, limit: int
    ) -> list[dict[str, Any]]:
        """Descriptors of the manifests about `subject` behind the digest `after` ("Listing Referrers")."""
        rows = self._reader.execute(
            "SELECT media_type, size, digest, artifact_type, annotations FROM manifests"
            " WHERE repository = (SELECT id FROM repositories WHERE name = ?) AND subject = ? AND digest > ?"
            + (" AND artifact_type = ?" if artifact_type else "")
            + " ORDER BY digest LIMIT ?",
            (repository, subject, after, *([artifact_type] if artifact_type else []), limit),
        )
        return [_descriptor(*row) for row in rows]

    # --- writing

    def add_blob(
        self, repository: RepositoryName, digest: Digest, size: int, place: Callable[[], None], now: int
    ) -> None:
        """Link a blob whose bytes are on the disk; `place` brings the file to its name."""
        with self.transaction() as writer:
            place()
            writer.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (digest, size))
            self._link(writer, repository, digest, now)

    def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName | None, now: int) -> bool:
        """Link a blob that `source`, or without one any repository, has; whether there is such a blob."""
        with self.transaction() as writer:
            found = writer.execute(
                "SELECT 1 FROM links WHERE digest = ?1"
                " AND (?2 IS NULL OR repository = (SELECT id FROM repositories WHERE name = ?2)) LIMIT 1",
                (digest, source),
            ).fetchone()
            if found is not None:
                self._link(writer, repository, digest, now)
            return found is not None

    def touch(self, repository: RepositoryName, digest: Digest, now: int) -> bool:
        """Keep a blob from being collected for a while; whether it is still there."""
        with self.transaction() as writer:
            return (
                writer.execute(
                    "UPDATE links SET touched = max(touched, ?)"
                    " WHERE repository = (SELECT id FROM repositories WHERE name = ?) AND digest = ?",
                    (now, repository, digest),
                ).rowcount
                == 1
            )

    def _link(self, writer: sqlite3.Connection, repository: RepositoryName, digest: Digest, now: int) -> None:
        writer.execute(
            "INSERT INTO links VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET touched = max(touched, excluded.touched)",
            (_made_repository(writer, repository), digest, now),
        )

    def unlink_blob(self, repository: RepositoryName, digest: Digest) -> bool:
        """Take a blob from a repository; whether no repository has it any more (see `sweep`). Raises BlobUnknown."""
        with self.transaction() as writer:
            found = _repository_id(writer, repository)
            if writer.execute("DELETE FROM links WHERE repository = ? AND digest = ?", (found, digest)).rowcount == 0:
                raise BlobUnknown({"name": repository, "digest": digest})
            return (
                writer.execute(
                    "DELETE FROM blobs WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM links WHERE digest = ?1)",
                    (digest,),
                ).rowcount
                == 1
            )

    def is_known(self, digest: Digest) -> bool:
        """Whether some repository has this blob. For writers: of readers' answers only the next write can be sure."""
        return self._writer.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).fetchone() is not None

    def sweep(self, digest: Digest, remove: Callable[[], int]) -> int:
        """Call `remove`, unless some repository has the blob again; the bytes that it freed."""
        with self.transaction():
            return 0 if self.is_known(digest) else remove()

    def put_manifest(self, repository: RepositoryName, push: Push, now: int) -> None:
        """Store a manifest and point its tags at it.

        Raises ManifestBlobUnknown, ManifestInvalid, PreconditionFailed.
        """
        with self.transaction() as writer:
            home = _made_repository(writer, repository)
            for tag in push.tags:
                push.condition.check(_tagged(writer, home, tag))
            if push.is_checked:
                _check(writer, home, push.manifest.blobs, "SELECT size FROM links JOIN blobs USING (digest)")
                _check(writer, home, push.manifest.manifests, "SELECT size FROM manifests")
            key = _stored(writer, home, push, now)
            parts = (*push.manifest.blobs, *push.manifest.manifests)
            writer.executemany(
                "INSERT OR IGNORE INTO parts VALUES (?, ?, ?)", [(home, part.digest, key) for part in parts]
            )
            writer.executemany("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", [(home, tag, key) for tag in push.tags])

    def delete_manifest(self, repository: RepositoryName, digest: Digest) -> None:
        """With the tags that point at it. Raises ManifestUnknown."""
        self._delete(repository, "DELETE FROM manifests WHERE repository = ? AND digest = ?", digest)

    def delete_tag(self, repository: RepositoryName, tag: Tag) -> None:
        """The tag alone. Raises ManifestUnknown."""
        self._delete(repository, "DELETE FROM tags WHERE repository = ? AND tag = ?", tag)

    def _delete(self, repository: RepositoryName, statement: str, reference: Reference) -> None:
        with self.transaction() as writer:
            if writer.execute(statement, (_repository_id(writer, repository), reference)).rowcount == 0:
                raise ManifestUnknown({"name": repository, "reference": reference})


def _repository_id(connection: sqlite3.Connection, repository: RepositoryName) -> int | None:
    row = connection.execute("SELECT id FROM repositories WHERE name = ?", (repository,)).fetchone()
    return None if row is None else int(row[0])


def _made_repository(writer: sqlite3.Connection, repository: RepositoryName) -> int:
    writer.execute("INSERT OR IGNORE INTO repositories (name) VALUES (?)", (repository,))
    found = _repository_id(writer, repository)
    assert found is not None, repository
    return found


def _stored(writer: sqlite3.Connection, home: int, push: Push, now: int) -> int:
    """The row of a manifest; one that is pushed again is as young as a new one."""
    found = push.manifest
    writer.execute(
        "INSERT INTO manifests"
        " (repository, digest, media_type, artifact_type, subject, annotations, pushed, size, content)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " media_type = excluded.media_type, artifact_type = excluded.artifact_type, pushed = excluded.pushed",
        (
            home,
            push.digest,
            found.media_type,
            found.artifact_type,
            found.subject,
            json.dumps(found.annotations),
            now,
            len(push.content),
            push.content,
        ),
    )
    row = writer.execute("SELECT id FROM manifests WHERE repository = ? AND digest = ?", (home, push.digest)).fetchone()
    return int(row[0])


def _tagged(connection: sqlite3.Connection, home: int, tag: Tag) -> str | None:
    """The digest that a tag points at."""
    row = connection.execute(
        "SELECT digest FROM tags JOIN manifests ON manifest = id WHERE tags.repository = ? AND tag = ?", (home, tag)
    ).fetchone()
    return None if row is None else str(row[0])


def _check(writer: sqlite3.Connection, home: int, wanted: Sequence[Descriptor], query: str) -> None:
    """All that a manifest requires is in the repository, as long as it says."""
    missing: list[str] = []
    for part in wanted:
        row = writer.execute(f"{query} WHERE repository = ? AND digest = ?", (home, part.digest)).fetchone()
        if row is None:
            if part.required:
                missing.append(part.digest)
        elif row[0] != part.size:
            detail = {"digest": part.digest, "size": part.size, "stored": row[0]}
            raise ManifestInvalid(detail, message="a descriptor's size is not that of its content")
    if missing:
        raise ManifestBlobUnknown(missing)


def _descriptor(media_type: str, size: int, digest: str, artifact_type: str, annotations: str) -> dict[str, Any]:
    found: dict[str, Any] = {"mediaType": media_type, "size": size, "digest": digest}
    if artifact_type:
        found["artifactType"] = artifact_type
    if annotations != "{}":
        found["annotations"] = json.loads(annotations)
    return found
