"""A registry that fails as it is told, and an image store that pulls from it. Both live in one event loop.

    registry.serve("team/app", image_of(LAYER))     a repository with one image, `latest`
    registry.fail("/blobs/", Cut(100), Answer(503))  what the next two requests of blobs get instead of an answer
    world.pull("team/app")                           the image; or `world.refused("team/app")`, the error

Every request is kept in `asked`. Pauses between tries are written down (`world.pauses`), not waited for.
"""

import asyncio
import base64
import gzip
import hashlib
import json
import re
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import pytest
from tests.engine.storage.archives import Archive

from riverport.engine.errors import EngineError
from riverport.engine.events import Events
from riverport.engine.images.credentials import Credentials
from riverport.engine.images.image import Image
from riverport.engine.images.manifests import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST
from riverport.engine.images.progress import Progress
from riverport.engine.images.pull import pull
from riverport.engine.images.reference import parse
from riverport.engine.images.session import Session
from riverport.engine.images.store import ImageStore
from riverport.engine.settings import Settings
from riverport.engine.state import State
from riverport.engine.storage.store import Storage

LIMIT_S: Final = 60.0
"""Nothing here waits; a test that hangs ends all the same."""
TABLES: Final = ("images", "image_names", "manifests", "blobs", "layers")
USER: Final = Credentials("user", "secret")

Result = TypeVar("Result")
Headers = Mapping[str, str]


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Headers
    """Names in lower case."""


@dataclass(frozen=True)
class Answer:
    """Instead of the usual one; with `length` another Content-Length than the body's is claimed."""

    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=dict)
    length: int | None = None


@dataclass(frozen=True)
class Cut:
    """The usual answer, but the connection ends after `count` bytes of its body; None: before it begins."""

    count: int | None = None


@dataclass(frozen=True)
class Held:
    """The usual answer, once `until` is set; `reached` says that a request waits."""

    until: asyncio.Event
    reached: asyncio.Event


Fault = Answer | Cut | Held | None


@dataclass(frozen=True)
class Layer:
    """As a registry has it; `diff_id` is that of the archive within."""

    blob: bytes
    diff_id: str

    @property
    def digest(self) -> str:
        return digest_of(self.blob)


def layer_of(content: bytes, name: str = "file", *, level: int = 0) -> Layer:
    """Not made smaller by default, so that its bytes can be counted."""
    plain = Archive().file(name, content).bytes()
    return Layer(gzip.compress(plain, level, mtime=0), digest_of(plain))


@dataclass
class Published:
    """An image: what its documents say can be changed before it is served."""

    layers: list[Layer]
    config: bytes
    manifest: dict[str, Any]
    media_type: str = DOCKER_MANIFEST

    @classmethod
    def of(cls, *layers: Layer, **config: Any) -> Self:
        raw = json.dumps(
            {
                "os": "linux",
                "architecture": "amd64",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
                **config,
            }
        ).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": DOCKER_CONFIG, "digest": digest_of(raw), "size": len(raw)},
            "layers": [
                {"mediaType": DOCKER_LAYER, "digest": layer.digest, "size": len(layer.blob)} for layer in layers
            ],
        }
        return cls(list(layers), raw, manifest)


class FaultyRegistry:
    """Speaks HTTP/1.1 as far as pulls need it; use it as `async with`."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.ranges = True
        """Whether `Range` is heeded."""
        self.realm: str | None = None
        """Of a token server; with one, every request needs a token."""
        self.tokens: set[str] = set()
        """That are good now."""
        self.dead = False
        """Takes requests and hangs up."""
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self._faults: list[tuple[str, list[Fault]]] = []
        self._issued = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.url = f"http://{self.host}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    # ---- what it has

    def publish(self, path: str, image: Published, tag: str = "latest") -> None:
        body = json.dumps(image.manifest).encode()
        self.publish_bytes(path, body, image.media_type, tag)
        self.blobs[digest_of(image.config)] = image.config
        for layer in image.layers:
            self.blobs[layer.digest] = layer.blob

    def publish_bytes(self, path: str, manifest: bytes, media_type: str = DOCKER_MANIFEST, tag: str = "latest") -> None:
        for reference in (tag, digest_of(manifest)):
            self.manifests[path, reference] = (manifest, media_type)

    # ---- what it does wrong

    def fail(self, part: str, *faults: Fault) -> None:
        """The next requests whose target has `part` in it get these, in turn; None is the usual answer."""
        self._faults.append((part, list(faults)))

    def fail_always(self, part: str, fault: Fault) -> None:
        self.fail(part, *[fault] * 1000)

    def need_tokens(self, realm: str | None = None) -> None:
        self.realm = realm or f"{self.url}/token"

    def targets(self, part: str) -> list[Request]:
        """Requests whose target has `part` in it, in order."""
        return [request for request in self.asked if part in request.target]

    # ---- the connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while (request := await _read(reader)) is not None:
                self.asked.append(request)
                if self.dead or not await self._answer(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is to go on."""
        fault = next((faults.pop(0) for part, faults in self._faults if faults and part in request.target), None)
        if isinstance(fault, Held):
            fault.reached.set()
            await fault.until.wait()
        answer = fault if isinstance(fault, Answer) else self._usual(request)
        body = b"" if request.method == "HEAD" else answer.body
        length = answer.length if answer.length is not None else len(answer.body)
        head = {"Content-Length": str(length), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Whatever')}"]
        lines += [f"{name}: {value}" for name, value in head.items()]
        if isinstance(fault, Cut):
            if fault.count is None:
                return False
            body = body[: fault.count]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        await writer.drain()
        return not isinstance(fault, Cut) and len(body) == length

    # ---- the usual answers

    def _usual(self, request: Request) -> Answer:
        if request.target.startswith("/token"):
            self._issued += 1
            token = f"token-{self._issued}"
            self.tokens.add(token)
            return _json({"token": token})
        if self.realm is not None and request.headers.get("authorization", "")[7:] not in self.tokens:
            challenge = f'Bearer realm="{self.realm}",service="test",scope="repository:x:pull"'
            return _error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        if request.target == "/v2/":
            return _json({})
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/?]+)", request.target)
        if match is None:
            return _error(404, "NAME_UNKNOWN", "repository name not known to registry")
        if match[2] == "manifests":
            found = self.manifests.get((match[1], match[3]))
            if found is None:
                return _error(404, "MANIFEST_UNKNOWN", "manifest unknown")
            return Answer(200, found[0], {"Content-Type": found[1], "Docker-Content-Digest": digest_of(found[0])})
        blob = self.blobs.get(match[3])
        if blob is None:
            return _error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return self._part(blob, request.headers.get("range", "") if self.ranges else "")

    def _part(self, blob: bytes, wanted: str) -> Answer:
        match = re.fullmatch(r"bytes=(\d+)-", wanted)
        if match is None:
            return Answer(200, blob)
        start = int(match[1])
        if start >= len(blob):
            return Answer(416, b"", {"Content-Range": f"bytes */{len(blob)}"})
        return Answer(206, blob[start:], {"Content-Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"})


_PHRASES: Final = {
    200: "OK", 206: "Partial Content", 307: "Temporary Redirect", 401: "Unauthorized", 404: "Not Found",
    416: "Range Not Satisfiable", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip


def _json(document: object) -> Answer:
    return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _error(status: int, code: str, message: str, headers: Headers | None = None) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(status, body, {"Content-Type": "application/json", **(headers or {})})


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers)


def basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()


# ---- the side that pulls


class World:
    """A registry and an image store with nothing in it."""

    def __init__(self, root: Path, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.root = root
        self.pauses: list[float] = []
        self.state = State(root / "engine.db")
        self.images = ImageStore(
            Settings(root, root / "run"), self.state, Storage(root, self.state), Events(), lambda: 1
        )
        self.registry = FaultyRegistry()
        self.closing = [self.registry]
        """Registries that end with it."""

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(asyncio.wait_for(work, LIMIT_S))

    async def start(self) -> None:
        await self.registry.__aenter__()
        await self.images.storage.start()
        await self.images.start()

    async def stop(self) -> None:
        for registry in self.closing:
            await registry.__aexit__()
        self.state.close()

    async def pulling(self, path: str, credentials: Credentials = USER) -> Image:
        reference = parse(path if path.startswith("127.") else f"{self.registry.host}/{path}").or_latest()
        return await pull(self.images, reference, credentials, Progress())

    def pull(self, path: str, credentials: Credentials = USER) -> Image:
        return self.run(self.pulling(path, credentials))

    def refused(self, path: str, credentials: Credentials = USER) -> EngineError:
        """The error of a pull, of which nothing is left."""
        with pytest.raises(EngineError) as caught:
            self.pull(path, credentials)
        self.assert_nothing_left()
        return caught.value

    def files(self, image: Image) -> dict[str, bytes]:
        """What is in the layers of an image, by name."""
        stack = self.images.layers.stack(image.chain)
        return {path.name: path.read_bytes() for layer in stack for path in layer.diff.iterdir()}

    def left(self) -> list[str]:
        """Every file, directory and row that there is because of images."""
        overlay = self.root / "overlay2"
        places = [overlay / "l", self.root / "blobs" / "arriving", self.root / "blobs" / "sha256"]
        found = [str(entry) for place in places for entry in place.iterdir()]
        found += [str(entry) for entry in overlay.iterdir() if entry.name != "l"]
        found += [f"{kind} {key}" for kind in TABLES for key in self.state.load(kind)]
        return found + [f"arriving {chain}" for chain in self.images.arriving]

    def assert_nothing_left(self) -> None:
        assert self.left() == []
        assert self.images.count() == 0
        assert len(self.images.layers) == 0


@contextmanager
def made_world(root: Path, patch: pytest.MonkeyPatch) -> Iterator[World]:
    with asyncio.Runner() as runner:
        world = World(root, runner)

        def pause(session: Session, seconds: float) -> None:
            world.pauses.append(seconds)
            session.check()

        patch.setattr(Session, "_wait", pause)
        world.run(world.start())
        try:
            yield world
        finally:
            world.run(world.stop())
