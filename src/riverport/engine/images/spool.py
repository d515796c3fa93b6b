"""An archive of images as it is read: files on the disk by their names, in whatever order they come.

Nothing of it is unpacked under its own name, so names can do no harm: they are keys. Links are followed among the keys.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from riverport.engine.storage import tar_reader as tar
from riverport.engine.storage.compression import decompressed
from riverport.engine.storage.tar_reader import InvalidArchive, Source, TarReader
from riverport.engine.storage.unpack import clean

MAX_FILES: Final = 20_000
MAX_DOCUMENT_BYTES: Final = 16 << 20
_MAX_LINKS: Final = 16


class Spool:
    """`new_file` names an empty place for each file; `remove` takes all that is left away."""

    def __init__(self, new_file: Callable[[], Path]) -> None:
        self._new_file = new_file
        self._files: dict[bytes, Path] = {}
        self._links: dict[bytes, bytes] = {}

    def read(self, source: Source) -> None:
        """All of it; on a thread. Raises InvalidArchive."""
        reader = TarReader(decompressed(source))
        for count, entry in enumerate(reader):
            if count >= MAX_FILES:
                raise InvalidArchive(f"the archive has more than {MAX_FILES} files")
            name = clean(entry.name)
            if entry.type == tar.REGULAR:
                self._write(name, reader)
            elif entry.type == tar.SYMLINK:
                self._links[name] = clean(name.rpartition(b"/")[0] + b"/" + entry.link)
            elif entry.type == tar.LINK:
                self._links[name] = clean(entry.link)

    def _write(self, name: bytes, reader: TarReader) -> None:
        path = self._new_file()
        replaced = self._files.get(name)
        self._files[name] = path
        with path.open("wb", buffering=0) as file:
            for piece in reader.data():
                left = memoryview(piece)
                while left:
                    left = left[file.write(left) :]
        if replaced is not None:
            replaced.unlink()

    def find(self, name: str) -> Path | None:
        """The file of a name, through links."""
        key = clean(name.encode("utf-8", "surrogateescape"))
        for _ in range(_MAX_LINKS):
            path = self._files.get(key)
            if path is not None:
                return path
            target = self._links.get(key)
            if target is None:
                return None
            key = target
        return None

    def need(self, name: str) -> Path:
        path = self.find(name)
        if path is None:
            raise InvalidArchive(f"invalid archive: {name} is missing")
        return path

    def document(self, name: str) -> bytes:
        """The content of a small file."""
        path = self.need(name)
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise InvalidArchive(f"invalid archive: {name} has more than {MAX_DOCUMENT_BYTES} bytes")
        return path.read_bytes()

    def remove(self) -> None:
        for path in self._files.values():
            path.unlink(missing_ok=True)
