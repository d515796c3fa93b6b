"""COPY and ADD as steps: select, look in the cache, copy into a new layer."""

import asyncio
import os
import posixpath
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from riverport.engine.build import sources
from riverport.engine.build.copying import Copier, Manner
from riverport.engine.build.dockerignore import Ignore
from riverport.engine.build.documents import Step
from riverport.engine.build.downloads import Download, download, is_url
from riverport.engine.build.golang import BadPattern
from riverport.engine.build.instructions import Copy
from riverport.engine.build.modes import parse_mode
from riverport.engine.build.owners import parse_owner
from riverport.engine.build.remote import clone, is_git_url
from riverport.engine.build.sources import Selection, SourceNotFound, Tree, combined_digest
from riverport.engine.errors import EngineError, InvalidParameter
from riverport.engine.linux.inroot import Root
from riverport.engine.storage.compression import decompressed
from riverport.engine.storage.tar_reader import InvalidArchive, TarReader
from riverport.engine.storage.unpack import Unpacker

if TYPE_CHECKING:
    from riverport.engine.build.stage import StageRun
    from riverport.engine.build.workshop import Workshop

_PIVOT = "/./"


@dataclass(frozen=True, slots=True)
class _Work:
    """Everything that one instruction copies."""

    instruction: Copy
    selections: list[tuple[Tree, Selection]]
    downloads: list[Download]
    target: str
    unpacks: bool

    @property
    def digest(self) -> str:
        inline = [sources.inline_digest(name, text) for name, text in _contents(self.instruction)]
        selected = [selection.digest for _, selection in self.selections]
        return combined_digest([*selected, *(found.digest for found in self.downloads), *inline])


async def perform(workshop: "Workshop", run: "StageRun", instruction: Copy) -> None:
    """Raises EngineError."""
    async with AsyncExitStack() as stack:
        work = await _select(workshop, run, instruction, stack)
        step = _step(run, work)
        if run.take_cached(step):
            return
        container_id = os.urandom(32).hex()
        await run.take(step, await workshop.changed(run, container_id, lambda root: _copy(root, work)))


async def _select(workshop: "Workshop", run: "StageRun", instruction: Copy, stack: AsyncExitStack) -> _Work:
    keyword = instruction.keyword
    exclude = _ignore(instruction)
    repositories = [source for source in instruction.sources if keyword == "ADD" and is_git_url(source)]
    urls = [source for source in instruction.sources if is_url(source) and source not in repositories]
    paths = [source for source in instruction.sources if source not in urls and source not in repositories]
    if urls and keyword == "COPY":
        raise EngineError("COPY failed: source can't be a URL for COPY")
    if instruction.checksum and (paths or repositories or len(urls) != 1):
        raise InvalidParameter("checksum can't be specified for multiple or local sources")
    tree: Tree | None = None
    if instruction.from_:
        image = await workshop.origin(instruction.from_, run.stage, run.part)
        root, _ = await stack.enter_async_context(workshop.image_tree(image))
        tree = Tree(root, is_context=False)
    elif paths:
        tree = workshop.context_tree()
    downloads = [
        await download(url, instruction.target, instruction.checksum, workshop.directory, run.part) for url in urls
    ]
    selections: list[tuple[Tree, Selection]] = []
    if tree is not None:
        found = await asyncio.to_thread(_selections, tree, paths, exclude, keyword, not instruction.from_)
        selections += [(tree, selection) for selection in found]
    for repository in repositories:
        place = workshop.directory / f"repository-{secrets.token_hex(8)}"
        await clone(repository, place, instruction.keep_git_dir)
        cloned = Tree(stack.enter_context(Root(place)))
        found = await asyncio.to_thread(_selections, cloned, ["."], exclude, keyword, True)
        selections += [(cloned, selection) for selection in found]
    count = len(selections) + len(downloads) + len(instruction.contents)
    if not count:
        raise EngineError(f"{keyword} failed: no source files were specified")
    if count > 1 and not instruction.target.endswith("/"):
        raise EngineError(
            f"When using {keyword} with more than one source file, the destination must be a directory and end with a /"
        )
    target = instruction.target
    if not target.startswith("/"):
        target = posixpath.join("/", run.draft.config["WorkingDir"], target)
    unpacks = keyword == "ADD" and instruction.unpack is not False
    return _Work(instruction, selections, downloads, target, unpacks)


def _selections(tree: Tree, paths: Sequence[str], exclude: Ignore, keyword: str, from_context: bool) -> list[Selection]:
    found: list[Selection] = []
    for path in paths:
        try:
            found += tree.select(path.replace(_PIVOT, "/") if path != _PIVOT else path, exclude)
        except SourceNotFound as error:
            hint = "file not found in build context or excluded by .dockerignore: " if from_context else ""
            raise EngineError(f"{keyword} failed: {hint}{error}") from error
        except BadPattern as error:
            raise InvalidParameter(f"{keyword} failed: {error}") from error
        except OSError as error:
            raise EngineError(f"{keyword} failed: {error.filename}: {(error.strerror or '').lower()}") from error
    return found


def _ignore(instruction: Copy) -> Ignore:
    try:
        return Ignore(instruction.exclude)
    except (ValueError, BadPattern) as error:
        raise InvalidParameter(f"{instruction.keyword} failed: {error}") from error


def _step(run: "StageRun", work: _Work) -> Step:
    instruction = work.instruction
    given = (("chown", instruction.chown), ("chmod", instruction.chmod))
    flags = "".join(f"--{name}={value} " for name, value in given if value)
    comment = f"#(nop) {instruction.keyword} {flags}{work.digest} in {instruction.target} "
    identity = (
        *(f"{selection.path}={selection.identity}" for _, selection in work.selections),
        *(f"exclude={pattern}" for pattern in instruction.exclude),
        f"from={bool(instruction.from_)} parents={instruction.parents} unpack={instruction.unpack}",
    )
    return Step(run.draft, (*run.draft.shell, comment), identity)


def _contents(instruction: Copy) -> Iterator[tuple[str, bytes]]:
    for name, text, _ in instruction.contents:
        yield name, text.encode("utf-8", "surrogateescape")


def _copy(root: Root, work: _Work) -> None:
    """Into the opened root of the new layer; on a thread."""
    try:
        manner = _manner(root, work)
        copiers = {tree: Copier(tree.root, root, manner) for tree, _ in work.selections}
        for tree, selection in work.selections:
            _copy_selection(root, work, copiers[tree], selection, tree)
        for found in work.downloads:
            with Root(found.directory) as directory:
                Copier(directory, root, manner).file(found.name, found.name, work.target)
        for name, content in _contents(work.instruction):
            Copier(root, root, manner).text(content, name, work.target)
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise EngineError(f"failed to copy files: {error.filename or work.target}: {said}") from error


def _manner(root: Root, work: _Work) -> Manner:
    instruction = work.instruction
    owner: tuple[int, int] | None = (0, 0)
    if instruction.chown:
        owner = parse_owner(root, instruction.chown)
    elif instruction.from_:
        owner = None
    try:
        mode = parse_mode(instruction.chmod) if instruction.chmod else None
    except ValueError as error:
        raise InvalidParameter(str(error)) from error
    return Manner(owner, mode, _ignore(instruction))


def _copy_selection(root: Root, work: _Work, copier: Copier, selection: Selection, tree: Tree) -> None:
    target = work.target
    if work.instruction.parents:
        target = _below_parents(target, selection, work.instruction.sources)
    if selection.is_directory:
        copier.directory(selection.real, target)
        return
    if work.unpacks and _unpack(tree.root, selection.real, root, target):
        return
    copier.file(selection.real, posixpath.basename(selection.path), target)


def _below_parents(target: str, selection: Selection, asked: Sequence[str]) -> str:
    """`--parents` keeps the source's directories below the target; those before a `/./` in it are left out."""
    path = selection.path
    for source in asked:
        head, pivot, _ = source.lstrip("/").removeprefix("./").partition(_PIVOT)
        if pivot and re.match(re.escape(head) + "(/|$)", path):
            path = path[len(head) :].lstrip("/")
            break
    kept = path if selection.is_directory else posixpath.dirname(path)
    return posixpath.join(target, kept) + ("" if selection.is_directory else "/")


class _FileSource:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int) -> bytes:
        return os.read(self._fd, size)


def _unpack(tree: Root, path: str, root: Root, target: str) -> bool:
    """Whether `path` is an archive, by its content; then it is unpacked at `target`, owners as in it."""
    fd = tree.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not _is_archive(fd):
            return False
        os.lseek(fd, 0, os.SEEK_SET)
        place = sources.real_path(root, target)
        root.make_dirs(place)
        unpacker = Unpacker(root, place.encode("utf-8", "surrogateescape"), layer=False)
        try:
            unpacker.run(TarReader(decompressed(_FileSource(fd))))
        finally:
            unpacker.close()
        return True
    finally:
        os.close(fd)


def _is_archive(fd: int) -> bool:
    try:
        return next(iter(TarReader(decompressed(_FileSource(fd)))), None) is not None
    except InvalidArchive:
        return False
