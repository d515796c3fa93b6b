"""Garbage collection: frees what nothing names, beside a server that goes on taking pushes.

    manifests (if asked)  that no tag leads to, older than the grace
    links                 blobs of a repository that none of its manifests names, untouched for the grace
    blobs                 that no repository links: the rows first, in a transaction; then their files, each looked at
                          once more under the write lock (`Index.sweep`)
    strays                files without a row: of a process that was killed between a file's rename and its row

A push is blobs first, manifest last; between them its blobs are named by nothing. They are kept by the grace: whenever
a client is told that a blob is there its link is as good as new (`store.REFRESH_S`). A manifest that arrives finds
its blobs or is refused, never half; what it names is checked in the transaction that stores it.

Each step is one short transaction, so that pushes wait for milliseconds. The steps are of use alone, may be interrupted
anywhere, and may be run by several processes at once.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from riverport.engine.registry.blobs import BlobFiles
from riverport.engine.registry.digests import Digest
from riverport.engine.registry.index import Index

GRACE_S = 3600
"""What a client has been told of stays for this long, less `store.REFRESH_S`."""
STEP_ROWS = 500
STEP_FILES = 100


@dataclass(slots=True)
class Collected:
    """What a collection has freed."""

    manifests: int = 0
    links: int = 0
    blobs: int = 0
    bytes: int = 0
    repositories: int = 0


class Collector:
    """One collection: run `steps` to the end, or one of its deeds."""

    def __init__(self, index: Index, files: BlobFiles, now: int, grace_s: int = GRACE_S) -> None:
        self._index = index
        self._files = files
        self._before = now - grace_s
        self.collected = Collected()

    def run(self, *, untagged: bool = False) -> Collected:
        """All steps, one after another. `untagged`: also manifests that no tag leads to."""
        for _ in self.steps(untagged=untagged):
            pass
        return self.collected

    def steps(self, *, untagged: bool = False) -> Iterator[None]:
        """Something else may happen to the registry wherever this stops."""
        if untagged:
            for home in self._homes():
                self.drop_manifests(home)
                yield
        while self.drop_links():
            yield
        while freed := self.drop_blobs():
            yield
            for digest in freed:
                self.sweep(digest)
                yield
        for count, digest in enumerate(self._files.digests()):
            # Looked at without the lock, so that thousands of files that belong here cost no transaction.
            if not self._index.is_known(digest):
                self.sweep(digest)
            if count % STEP_FILES == 0:
                yield
        self.drop_repositories()

    def _homes(self) -> list[int]:
        with self._index.transaction() as writer:
            return [home for (home,) in writer.execute("SELECT id FROM repositories")]

    def drop_manifests(self, home: int) -> None:
        """Of one repository: those that no tag leads to, directly, through an index or as a subject's referrer."""
        with self._index.transaction() as writer:
            unwanted = [(key,) for key in _unreachable(writer, home, self._before)]
            writer.executemany("DELETE FROM manifests WHERE id = ?", unwanted)
            self.collected.manifests += len(unwanted)

    def drop_links(self) -> int:
        """Some links whose blobs no manifest of the repository names; how many."""
        with self._index.transaction() as writer:
            found = writer.execute(
                "SELECT repository, digest FROM links WHERE touched < ? AND NOT EXISTS (SELECT 1 FROM parts"
                " WHERE parts.repository = links.repository AND parts.digest = links.digest) LIMIT ?",
                (self._before, STEP_ROWS),
            ).fetchall()
            writer.executemany("DELETE FROM links WHERE repository = ? AND digest = ?", found)
            self.collected.links += len(found)
            return len(found)

    def drop_blobs(self) -> list[Digest]:
        """The rows of some blobs that no repository links; their files are to be swept."""
        with self._index.transaction() as writer:
            found = writer.execute(
                "SELECT digest FROM blobs"
                " WHERE NOT EXISTS (SELECT 1 FROM links WHERE links.digest = blobs.digest) LIMIT ?",
                (STEP_ROWS,),
            ).fetchall()
            writer.executemany("DELETE FROM blobs WHERE digest = ?", found)
            return [Digest(digest) for (digest,) in found]

    def sweep(self, digest: Digest) -> None:
        """Unlink a file, unless it has become a blob again."""
        self.collected.bytes += self._index.sweep(digest, partial(self._remove, digest))

    def _remove(self, digest: Digest) -> int:
        self.collected.blobs += 1
        return self._files.remove(digest)

    def drop_repositories(self) -> None:
        """Those in which nothing is left."""
        with self._index.transaction() as writer:
            self.collected.repositories += writer.execute(
                "DELETE FROM repositories WHERE id NOT IN (SELECT repository FROM links)"
                " AND id NOT IN (SELECT repository FROM manifests)"
            ).rowcount


def _unreachable(writer: sqlite3.Connection, home: int, before: int) -> list[int]:
    """Manifests older than `before` that neither a tag nor a younger manifest leads to.

    What leads on: an index to its manifests, and a subject to those that are about it (signatures, SBOMs).
    """
    rows = writer.execute("SELECT id, digest, subject, pushed FROM manifests WHERE repository = ?", (home,)).fetchall()
    by_digest = {digest: key for key, digest, _, _ in rows}
    leads_to: dict[int, list[int]] = {key: [] for key in by_digest.values()}
    for manifest, digest in writer.execute("SELECT manifest, digest FROM parts WHERE repository = ?", (home,)):
        if digest in by_digest:
            leads_to[manifest].append(by_digest[digest])
    for key, _, subject, _ in rows:
        if subject in by_digest:
            leads_to[by_digest[subject]].append(key)
    tagged = {key for (key,) in writer.execute("SELECT manifest FROM tags WHERE repository = ?", (home,))}
    waiting = [key for key, _, _, pushed in rows if key in tagged or pushed >= before]
    reached = set(waiting)
    while waiting:
        for key in leads_to[waiting.pop()]:
            if key not in reached:
                reached.add(key)
                waiting.append(key)
    return [key for key, _, _, _ in rows if key not in reached]
