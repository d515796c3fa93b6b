"""A registry that fails as it is told.

    registry.publish("team/app", Published.of(LAYER))   a repository with one image, `latest`
    registry.fail("/blobs/", Cut(100), Answer(503))      what the next two requests of blobs get instead of an answer

Every request is kept in `asked`.
"""

import asyncio
import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tests.engine.storage.archives import Archive

from riverport.engine.images.credentials import Credentials
from riverport.engine.images.manifests import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST

USER: Final = Credentials("user", "secret")

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
        self.hide_lengths = False
        """Whether blobs come in chunks, of which nobody knows how many."""
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
        self.abort_connections()
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

    def abort_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

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
        if self.hide_lengths and "/blobs/" in request.target and answer.status < 300:
            lines[1] = "Transfer-Encoding: chunked"
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            writer.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
            return True
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
