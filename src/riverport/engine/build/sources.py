"""What COPY and ADD select from a tree of files, and how a selection is identified.

The digests are those of Docker's builder (tarsum version 1: a file's tar header without its times, then its content),
because they stand in the history: `COPY file:<digest> in /app`. They identify a file by name, mode, owner and content,
never by its times. A symbolic link inside a directory counts as what it leads to there; the cache is more exact and
takes a second digest in which a link is a link (`Selection.identity`).

Sources: Moby, tarsum_spec.md; the Dockerfile reference, "COPY", "Adding files".
"""

import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from riverport.engine.build.dockerignore import Ignore
from riverport.engine.build.golang import compile_match, has_wildcards
from riverport.engine.linux.inroot import Root
from riverport.engine.storage import trees

_CHUNK = 1 << 20
_TYPES = (
    (stat.S_ISREG, b"0"),
    (stat.S_ISLNK, b"2"),
    (stat.S_ISCHR, b"3"),
    (stat.S_ISBLK, b"4"),
    (stat.S_ISDIR, b"5"),
    (stat.S_ISFIFO, b"6"),
)
_MOST_LINKS = 255
# Trees are walked by recursion, with two open directories a level.
_DEEPEST = 250


class SourceNotFound(Exception):
    """`path` is not in the tree."""

    def __init__(self, path: str) -> None:
        super().__init__(f"stat {path}: file does not exist")
        self.path = path


@dataclass(frozen=True, slots=True)
class Selection:
    """One source: `path` as it was asked for (its last part names a copied file), `real` where links lead."""

    path: str
    real: str
    is_directory: bool
    digest: str
    identity: str


class Tree:
    """A directory as a source of files: the build's context, or another image."""

    def __init__(self, root: Root, is_context: bool = True) -> None:
        self.root = root
        self._is_context = is_context
        self._digests: dict[str, str] = {}

    def select(self, source: str, exclude: Ignore) -> list[Selection]:
        """Raises SourceNotFound, BadPattern. A pattern that matches nothing selects nothing."""
        source = source.removeprefix("/").removeprefix("./")
        if not has_wildcards(source):
            return [self._selection(source, exclude)]
        pattern = compile_match(source)
        return [self._selection(path, exclude) for path in self.walk("") if pattern.fullmatch(path)]

    def walk(self, top: str) -> Iterator[str]:
        """Everything below `top` in lexical order, links as such; `top` itself is not included."""
        check_depth(top)
        with _directory(self.root, top) as fd:
            names = sorted(os.listdir(fd))
            kinds = [stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode) for name in names]
        for name, is_directory in zip(names, kinds):
            path = posixpath.join(top, name)
            yield path
            if is_directory:
                yield from self.walk(path)

    def real_path(self, path: str) -> str:
        """`path` relative to the root with every link resolved inside it; what does not exist stays as it is."""
        return real_path(self.root, path)

    def digest(self, path: str) -> str:
        """Docker's digest of one entry; a link's is that of what it leads to.

        If that is nothing it is a name: the link's own in a context, the missing one's in an image.
        """
        real = self.real_path(path)
        try:
            return self._digest(real)
        except (FileNotFoundError, NotADirectoryError):
            return path if self._is_context else real

    def _digest(self, real: str) -> str:
        known = self._digests.get(real)
        if known is None:
            known = self._digests[real] = entry_digest(self.root, real)
        return known

    def _selection(self, path: str, exclude: Ignore) -> Selection:
        real = self.real_path(path)
        try:
            status = self.root.stat(real or ".", follow=False)
        except (FileNotFoundError, NotADirectoryError):
            raise SourceNotFound(path) from None
        if not stat.S_ISDIR(status.st_mode):
            digest = self._digest(real)
            return Selection(path, real, False, f"file:{digest}", digest)
        entries = [entry for entry in self.walk(real) if not exclude.matches(_below(real, entry))]
        digests = sorted([*([self._digest(real)] if real else []), *map(self.digest, entries)])
        links = sorted(self._link_identity(entry) for entry in entries if self._is_link(entry))
        digest = hashlib.sha256(",".join(digests).encode("utf-8", "surrogateescape")).hexdigest()
        identity = hashlib.sha256(",".join([digest, *links]).encode("utf-8", "surrogateescape")).hexdigest()
        return Selection(path, real, True, f"dir:{digest}", identity)

    def _is_link(self, path: str) -> bool:
        return stat.S_ISLNK(self.root.stat(path, follow=False).st_mode)

    def _link_identity(self, path: str) -> str:
        return f"{path}\0{self.root.readlink(path)}"


class _directory:
    """An open directory in a root; O_PATH would not list."""

    def __init__(self, root: Root, path: str) -> None:
        self._fd = root.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def check_depth(path: str) -> None:
    """Raises OSError for a path of more parts than a tree may have."""
    if path.count("/") >= _DEEPEST:
        raise OSError(errno.ENAMETOOLONG, f"directories are nested more than {_DEEPEST} deep", path[:256])


def real_path(root: Root, path: str) -> str:
    """`path` inside `root`, relative to it, with every link resolved; what does not exist stays as it is."""
    reached: list[str] = []
    waiting = path.split("/")[::-1]
    links = 0
    while waiting:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del reached[-1:]
            continue
        candidate = "/".join([*reached, part])
        target = _link_target(root, candidate)
        if target is None:
            reached.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(f"too many links in {path}")
        if target.startswith("/"):
            reached.clear()
        waiting += target.split("/")[::-1]
    return "/".join(reached)


def _link_target(root: Root, path: str) -> str | None:
    try:
        return root.readlink(path)
    except OSError:
        # No link, or nothing at all.
        return None


def entry_digest(root: Root, path: str) -> str:
    """Tarsum version 1 of what `path` is, links not followed."""
    with root.parent(path) as (directory, name):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        link = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else ""
        capability = trees.read_xattrs(trees.at(directory, os.fsencode(name))).get(b"security.capability")
        digest = hashlib.sha256(header_of(path, status, link, capability))
        if stat.S_ISREG(status.st_mode) and status.st_size:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            with open(fd, "rb", buffering=0) as file:
                while data := file.read(_CHUNK):
                    digest.update(data)
    return digest.hexdigest()


def header_of(path: str, status: os.stat_result, link: str, capability: bytes | None) -> bytes:
    kind = next((letter for test, letter in _TYPES if test(status.st_mode)), b"0")
    device = status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else 0
    fields = [
        (b"name", os.fsencode(path) + (b"/" if kind == b"5" else b"")),
        (b"mode", b"%d" % stat.S_IMODE(status.st_mode)),
        (b"uid", b"%d" % status.st_uid),
        (b"gid", b"%d" % status.st_gid),
        (b"size", b"%d" % (status.st_size if kind == b"0" else 0)),
        (b"typeflag", kind),
        (b"linkname", os.fsencode(link)),
        (b"uname", b""),
        (b"gname", b""),
        (b"devmajor", b"%d" % os.major(device)),
        (b"devminor", b"%d" % os.minor(device)),
    ]
    if capability is not None:
        fields.append((b"security.capability", capability))
    return b"".join(key + value for key, value in fields)


def inline_digest(name: str, content: bytes) -> str:
    """The digest of a here-document as the file that it will be: root's, 0644."""
    status = os.stat_result((stat.S_IFREG | 0o644, 0, 0, 1, 0, 0, len(content), 0, 0, 0))
    return f"file:{hashlib.sha256(header_of(name, status, '', None) + content).hexdigest()}"


def combined_digest(digests: Iterable[str]) -> str:
    """What stands in the history for all sources of one instruction."""
    first, *rest = digests
    if not rest:
        return first
    return "multi:" + hashlib.sha256(",".join([first, *rest]).encode("utf-8", "surrogateescape")).hexdigest()


def _below(top: str, path: str) -> str:
    return path[len(top) + 1 :] if top else path
