"""`meta.properties`: which cluster, node and directory a log directory belongs to (KIP-858 directory ids)."""

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from riverport.base import properties
from riverport.base.files import Files, StorageError
from riverport.base.ids import uuid_bytes, uuid_text

META_PROPERTIES = "meta.properties"


@dataclass(slots=True, frozen=True)
class Identity:
    cluster_id: str
    node_id: int
    directory_id: bytes


def read_identity(files: Files, dir: str) -> Identity | None:
    """What a directory was formatted for, None where it was not. Raises StorageError for a file that says nothing."""
    path = f"{dir}/{META_PROPERTIES}"
    if not files.exists(path):
        return None
    found = properties.loads(files.read(path).decode("utf-8"))
    try:
        node_id = int(found["node.id"] if "node.id" in found else found["broker.id"])
        directory_id = uuid_bytes(found["directory.id"]) if "directory.id" in found else bytes(16)
        return Identity(found["cluster.id"], node_id, directory_id)
    except (KeyError, ValueError) as error:
        raise StorageError("parse", path, 0, f"no identity: {error!r}") from error


def write_identity(files: Files, dir: str, identity: Identity) -> None:
    text = (
        f"#\nversion=1\ncluster.id={identity.cluster_id}\nnode.id={identity.node_id}\n"
        f"directory.id={uuid_text(identity.directory_id)}\n"
    )
    files.replace(f"{dir}/{META_PROPERTIES}", text.encode("utf-8"))
    # The directory's own name, without which a power cut takes all of it. Where the one above may not be read, it has
    # been there before.
    with contextlib.suppress(StorageError):
        files.sync_dir(os.path.dirname(dir))


def load_identities(
    files: Files, dirs: Iterable[str], node_id: int, unusable: dict[str, StorageError]
) -> dict[str, Identity]:
    """Of every directory of a node; those that cannot be read are put into `unusable`.

    Raises StorageError where none was formatted, or one for somebody else.
    """
    found: dict[str, Identity] = {}
    for dir in dirs:
        try:
            identity = read_identity(files, dir)
        except StorageError as error:
            unusable[dir] = error
            continue
        if identity is None:
            continue
        if identity.node_id != node_id:
            raise StorageError(
                "open", dir, 0, f"it was formatted for node {identity.node_id}, but node.id is {node_id}"
            )
        found[dir] = identity
    if not found:
        if unusable:
            raise next(iter(unusable.values()))
        raise not_formatted(next(iter(dirs)))
    clusters = sorted({identity.cluster_id for identity in found.values()})
    if len(clusters) > 1:
        raise StorageError("open", ", ".join(found), 0, f"directories of different clusters: {', '.join(clusters)}")
    return found


def not_formatted(dir: str) -> StorageError:
    reason = f"no {META_PROPERTIES}: the directory is not formatted (riverport kafka format)"
    return StorageError("open", dir, 0, reason)


def give_identities(
    files: Files,
    identities: dict[str, Identity],
    dirs: Iterable[str],
    new_id: Callable[[], bytes],
    unusable: dict[str, StorageError],
) -> None:
    """Format directories that are new to a node that has others: one that was added, a disk that was replaced.

    Those that cannot be written are put into `unusable`.
    """
    known = next(iter(identities.values()))
    for dir in [dir for dir in dirs if dir not in identities and dir not in unusable]:
        identity = Identity(known.cluster_id, known.node_id, new_id())
        try:
            files.mkdir(dir)
            write_identity(files, dir, identity)
        except StorageError as error:
            unusable[dir] = error
        else:
            identities[dir] = identity
