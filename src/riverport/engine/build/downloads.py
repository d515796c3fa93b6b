"""ADD from a URL, and contexts that are one: what is fetched, and under which name.

Source: the Dockerfile reference, "ADD", "Adding files from URLs".
"""

import asyncio
import email.message
import email.utils
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from riverport.engine.build.sources import entry_digest
from riverport.engine.errors import EngineError, InvalidParameter
from riverport.engine.linux.inroot import Root

if TYPE_CHECKING:
    import httpx

    from riverport.engine.build.transcript import Part

_UNNAMED = "__unnamed__"
_CONNECT_S = 30.0
_SILENCE_S = 60.0
_REDIRECTS = 10
_PROGRESS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Download:
    """A file `name` in a directory of its own, 0600; its time is the server's Last-Modified, else 0."""

    directory: Path
    name: str
    digest: str


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


async def download(url: str, target: str, checksum: str, directory: Path, part: "Part") -> Download:
    """Raises EngineError. `target` matters where the URL has no file name."""
    place = directory / f"download-{secrets.token_hex(8)}"
    await asyncio.to_thread(place.mkdir, parents=True)
    name, time = await fetch(url, place / _UNNAMED, part)
    if not name and target.endswith("/"):
        raise EngineError(f"ADD failed: cannot determine filename for source {url}")
    return await asyncio.to_thread(_settled, place, name or _UNNAMED, time, checksum)


def _settled(place: Path, name: str, time: float, checksum: str) -> Download:
    file = place / name
    (place / _UNNAMED).rename(file)
    file.chmod(0o600)
    os.utime(file, (time, time))
    if checksum:
        _check(file, checksum)
    with Root(place) as root:
        # A download's digest has no prefix: Docker's builder takes it as it comes from its hash.
        return Download(place, name, entry_digest(root, name))


def _check(file: Path, checksum: str) -> None:
    algorithm, _, wanted = checksum.partition(":")
    if algorithm not in ("sha256", "sha384", "sha512") or len(wanted) != hashlib.new(algorithm).digest_size * 2:
        raise InvalidParameter(f"invalid checksum digest format: {checksum}")
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, algorithm).hexdigest()
    if found != wanted:
        raise EngineError(f"ADD failed: digest mismatch {algorithm}:{found}: {checksum}")


async def fetch(url: str, file: Path, part: "Part | None") -> tuple[str, float]:
    """Writes what the URL has into `file`; its name ("" if there is none) and its time. Raises EngineError."""
    import httpx

    timeout = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
    try:
        async with (
            httpx.AsyncClient(timeout=timeout, follow_redirects=True, max_redirects=_REDIRECTS) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code >= 400:
                raise EngineError(f"failed to GET {url} with status {response.status_code} {response.reason_phrase}")
            with file.open("wb") as out:
                await _write(response, out, part)
            if part is not None:
                part.say("\n")
            return _file_name(url, response.headers.get("Content-Disposition", "")), _modified(response)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EngineError(f'Get "{url}": {error}') from error


async def _write(response: "httpx.Response", out: Any, part: "Part | None") -> None:
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else 0
    told = current = 0
    async for piece in response.aiter_raw():
        await asyncio.to_thread(out.write, piece)
        current += len(piece)
        if part is not None and (current - told >= _PROGRESS_BYTES or current == total):
            told = current
            detail = {"current": current, **({"total": total} if total else {})}
            part.emit({"status": "Downloading", "progressDetail": detail})
            await part.room()


def _file_name(url: str, disposition: str) -> str:
    path = unquote(urlsplit(url).path)
    if path and not path.endswith("/"):
        return _safe(path)
    if disposition:
        message = email.message.Message()
        message["Content-Disposition"] = disposition
        name = message.get_filename() or ""
        return "" if name.endswith("/") else _safe(name)
    return ""


def _safe(path: str) -> str:
    name = path.rpartition("/")[2]
    return "" if name in (".", "..") or "\0" in name else name


def _modified(response: "httpx.Response") -> float:
    try:
        return email.utils.parsedate_to_datetime(response.headers["Last-Modified"]).timestamp()
    except (KeyError, ValueError):
        return 0.0
