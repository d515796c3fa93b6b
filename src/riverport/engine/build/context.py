"""The build's context: the client's archive, or what a URL has, in a directory of its own.

An archive may be packed in any of the usual ways, and nothing in it leads out of the directory
(`storage/unpack.py`). The client has applied `.dockerignore` already; what is left to do with it is to take the
Dockerfile and itself out of the context if they are ignored.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from riverport.engine.build.dockerignore import Ignore, read_patterns
from riverport.engine.build.golang import BadPattern
from riverport.engine.build.sources import real_path
from riverport.engine.errors import InvalidParameter
from riverport.engine.linux.inroot import Root
from riverport.engine.storage.compression import decompressed
from riverport.engine.storage.tar_reader import Source, TarReader
from riverport.engine.storage.unpack import Unpacker

DOCKERFILE_BYTES = 16 << 20
DEFAULT_DOCKERFILE = "Dockerfile"
_MEMORY_BYTES = 8 << 20
_PIECE_BYTES = 1 << 20


async def unpack_context(body: AsyncIterator[bytes], directory: Path, scratch: Path) -> None:
    """Raises InvalidArchive. `directory` exists and is empty; `scratch` is for an archive that is large.

    The whole archive is here before a thread reads it: there are few threads, and one that waited for a client which
    sends nothing would be missing everywhere else.
    """
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES, dir=str(scratch)) as file:
        pieces: list[bytes] = []
        size = total = 0
        async for piece in body:
            pieces.append(piece)
            size, total = size + len(piece), total + len(piece)
            if size >= _PIECE_BYTES:
                data, pieces, size = b"".join(pieces), [], 0
                if total > _MEMORY_BYTES:
                    await asyncio.to_thread(file.write, data)
                else:
                    file.write(data)
        file.write(b"".join(pieces))
        file.seek(0)
        await asyncio.to_thread(unpack_archive, decompressed(file), directory)


def unpack_archive(source: Source, directory: Path) -> None:
    with Root(directory) as root:
        unpacker = Unpacker(root, layer=False)
        try:
            unpacker.run(TarReader(source))
        finally:
            unpacker.close()


def read_dockerfile(directory: Path, name: str) -> tuple[bytes, str]:
    """The Dockerfile's text, and the name under which it was found ("dockerfile" will do for the default).

    Raises InvalidParameter.
    """
    with Root(directory) as root:
        names = (name, name.lower()) if name == DEFAULT_DOCKERFILE else (name,)
        for candidate in names:
            try:
                return root.read_bytes(real_path(root, candidate), DOCKERFILE_BYTES), candidate
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise InvalidParameter(f"cannot read {candidate}: {(error.strerror or str(error)).lower()}") from error
    raise InvalidParameter(f"Cannot locate specified Dockerfile: {name}")


def remove_ignored(directory: Path, dockerfile: str) -> None:
    """Raises InvalidParameter if `.dockerignore` is none."""
    with Root(directory) as root:
        try:
            text = root.read_bytes(".dockerignore", DOCKERFILE_BYTES).decode("utf-8", "surrogateescape")
        except OSError:
            return
        try:
            ignore = Ignore(read_patterns(text))
        except (ValueError, BadPattern) as error:
            raise InvalidParameter(f"error reading .dockerignore: {error}") from error
        for name in (".dockerignore", dockerfile):
            name = real_path(root, name)
            if name and ignore.matches(name):
                root.remove_tree(name)


async def remove_context(directory: Path) -> None:
    await asyncio.to_thread(shutil.rmtree, directory, True)
