"""A context that is a URL: an archive, or a text that is the Dockerfile itself; or a Git repository.

Source: the OpenAPI description of version 1.50, ImageBuild, `remote`.
"""

import asyncio
import os
import re
import shutil
from pathlib import Path

from riverport.engine.build.context import DOCKERFILE_BYTES, unpack_archive
from riverport.engine.build.downloads import fetch, is_url
from riverport.engine.errors import EngineError, InvalidParameter
from riverport.engine.storage.compression import compression_of, decompressed

_GIT_URL = re.compile(r"(?:https?://.*\.git(?:#.*)?|(?:git://|github\.com/|git@).*)")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_SNIFFED_BYTES = 512
_GIT_SECONDS = 600.0


async def fetch_context(url: str, context: Path, directory: Path) -> bytes | None:
    """Fills `context`; or gives the Dockerfile that the URL is, which then has no context. Raises EngineError."""
    if url == "client-session":
        raise InvalidParameter(
            "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead"
        )
    if is_git_url(url):
        await clone(url, context)
        return None
    if not is_url(url):
        raise InvalidParameter(f"remoteURL ({url}) could not be recognized as URL")
    file = directory / "remote"
    try:
        await fetch(url, file, None)
    except EngineError as error:
        raise EngineError(f"error downloading remote context {url}: {error}") from error
    return await asyncio.to_thread(_open, file, context)


def _open(file: Path, context: Path) -> bytes | None:
    with file.open("rb", buffering=0) as opened:
        start = opened.read(_SNIFFED_BYTES)
        if _is_text(start):
            return start + opened.read(DOCKERFILE_BYTES)
        opened.seek(0)
        unpack_archive(decompressed(opened), context)
    file.unlink()
    return None


def _is_text(start: bytes) -> bool:
    """By the WHATWG's MIME sniffing, 7.1: no byte that a text has no use for."""
    return not compression_of(start) and not any(
        byte <= 0x08 or byte == 0x0B or 0x0E <= byte <= 0x1A or 0x1C <= byte <= 0x1F for byte in start
    )


def is_git_url(text: str) -> bool:
    return _GIT_URL.fullmatch(text) is not None


async def clone(url: str, target: Path, keep_git_directory: bool = False) -> None:
    """`url#reference:directory` into `target`, an empty directory or none. Raises EngineError.

    What matters of the URL is checked before it becomes an argument of git's.
    """
    address, _, fragment = url.partition("#")
    reference, _, subdirectory = fragment.partition(":")
    if address.startswith("github.com/"):
        address = f"https://{address}"
    if reference and not _REFERENCE.fullmatch(reference):
        raise InvalidParameter(f"invalid refspec: {reference}")
    work = target.with_name(f"{target.name}-clone")
    await asyncio.to_thread(work.mkdir, parents=True)
    await _git(work, "init", "--quiet")
    await _git(work, "remote", "add", "origin", address)
    try:
        await _git(work, "fetch", "--quiet", "--depth", "1", "--", "origin", reference or "HEAD")
    except EngineError:
        # Servers of plain files cannot give a part of the history.
        await _git(work, "fetch", "--quiet", "--", "origin", reference or "HEAD")
    await _git(work, "checkout", "--quiet", "FETCH_HEAD")
    await asyncio.to_thread(_move, work, subdirectory, target, keep_git_directory)


def _move(work: Path, subdirectory: str, target: Path, keep_git_directory: bool) -> None:
    if not keep_git_directory:
        shutil.rmtree(work / ".git")
    source = (work / subdirectory.lstrip("/")).resolve()
    if not source.is_relative_to(work.resolve()) or not source.is_dir():
        raise InvalidParameter(f"error setting git checkout: {subdirectory} is not a directory")
    if target.exists():
        target.rmdir()
    shutil.move(source, target)


async def _git(directory: Path, *arguments: str) -> None:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise EngineError("git is needed for a context that is a repository, and is not installed") from error
    try:
        _, said = await asyncio.wait_for(process.communicate(), _GIT_SECONDS)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise EngineError(f"error fetching: {said.decode(errors='replace').strip()}")
