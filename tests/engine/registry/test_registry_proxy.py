"""A cache of another registry: what is fetched, how often, and what holds while the other one fails."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
from tests.engine.registry.served import OCI_MANIFEST, ServedRegistry, code, descriptor, digest_of, image, index

from riverport.engine.registry.basic import Basic, Users
from riverport.engine.registry.digests import Digest
from riverport.engine.registry.errors import BlobUnknown, ManifestUnknown, NotFound, UpstreamFailed
from riverport.engine.registry.names import Reference, RepositoryName
from riverport.engine.registry.proxy import RemoteBlob, RemoteManifest
from riverport.engine.registry.rules import EVERYTHING
from riverport.engine.registry.tokens import Issuer, Tokens, load_key
from riverport.engine.registry.upstream import RemoteRegistry

NAME = "library/app"
BLOB = bytes(range(256)) * 4096  # 1 MiB
CONFIG = b"{}"


class FakeUpstream:
    """A registry of one repository, counted; `blob` is sent in pieces, each when `go` is set."""

    def __init__(self) -> None:
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.is_down = False
        self.breaks_after: list[int] = []
        self.documents: dict[str, Any] = {}
        self.says_length = True
        self.go = threading.Event()
        self.go.set()

    def add(self, tag: str, *blobs: bytes) -> bytes:
        manifest = image(CONFIG, *blobs)
        for blob in (CONFIG, *blobs):
            self.blobs[digest_of(blob)] = blob
        self.manifests[tag] = self.manifests[digest_of(manifest)] = manifest
        return manifest

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.is_down:
            raise UpstreamFailed()

    async def digest(self, repository: RepositoryName, reference: Reference) -> Digest | None:
        self._called(f"HEAD {reference}")
        if reference not in self.manifests:
            raise ManifestUnknown()
        return Digest(digest_of(self.manifests[reference]))

    async def manifest(self, repository: RepositoryName, reference: Reference) -> RemoteManifest:
        self._called(f"GET {reference}")
        if reference not in self.manifests:
            raise ManifestUnknown()
        content = self.manifests[reference]
        return RemoteManifest(Digest(digest_of(content)), "", content)

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int:
        self._called("HEAD blob")
        if digest not in self.blobs:
            raise BlobUnknown()
        return len(self.blobs[digest])

    @asynccontextmanager
    async def blob(self, repository: RepositoryName, digest: Digest, start: int) -> AsyncIterator[RemoteBlob]:
        self._called(f"GET blob from {start}")
        if digest not in self.blobs:
            raise BlobUnknown()
        content = self.blobs[digest]
        yield RemoteBlob(len(content) if self.says_length else None, self._pieces(content[start:]))

    async def _pieces(self, content: bytes) -> AsyncIterator[bytes]:
        end = self.breaks_after.pop(0) if self.breaks_after else len(content)
        for at in range(0, end, 65536):
            yield content[at : min(at + 65536, end)]
            await asyncio.to_thread(self.go.wait)
        if end < len(content):
            raise UpstreamFailed()

    async def document(self, path: str, repository: RepositoryName, query: Mapping[str, str]) -> tuple[Any, str]:
        self._called(f"LIST {path}")
        if path not in self.documents:
            raise NotFound()
        return self.documents[path], ""

    async def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
def cache(serve: Callable[..., ServedRegistry], upstream: FakeUpstream) -> Iterator[ServedRegistry]:
    yield serve(upstream=upstream, proxy_ttl_s=0.0)
    upstream.go.set()


def get(cache: ServedRegistry, path: str) -> httpx.Response:
    return cache.client.get(f"/{NAME}/{path}")


def test_what_was_pulled_once_is_here(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    manifest = upstream.add("v1", BLOB)
    for _ in range(2):
        assert get(cache, f"manifests/{digest_of(manifest)}").content == manifest
        assert get(cache, f"blobs/{digest_of(BLOB)}").content == BLOB
    assert upstream.calls == [f"GET {digest_of(manifest)}", "GET blob from 0"]


def test_a_tag_is_asked_for_and_fetched_only_if_it_moved(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    first = upstream.add("v1", BLOB)
    assert get(cache, "manifests/v1").content == first
    assert get(cache, "manifests/v1").content == first
    second = upstream.add("v1", BLOB, b"more")
    assert get(cache, "manifests/v1").content == second
    assert upstream.calls == ["GET v1", "HEAD v1", "HEAD v1", "GET v1"]
    assert get(cache, f"manifests/{digest_of(first)}").content == first


def test_a_tag_is_believed_for_a_while(serve: Callable[..., ServedRegistry], upstream: FakeUpstream) -> None:
    cache = serve(upstream=upstream, proxy_ttl_s=3600.0)
    upstream.add("v1", BLOB)
    for _ in range(3):
        assert get(cache, "manifests/v1").status_code == 200
    assert upstream.calls == ["GET v1"]


def test_an_upstream_that_is_down_leaves_what_is_here(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    manifest = upstream.add("v1", BLOB)
    upstream.documents[f"/v2/{NAME}/tags/list"] = {"name": NAME, "tags": ["v1", "v2"]}
    get(cache, "manifests/v1")
    get(cache, f"blobs/{digest_of(BLOB)}")
    assert get(cache, "tags/list").json()["tags"] == ["v1", "v2"]
    upstream.is_down = True
    assert get(cache, "manifests/v1").content == manifest
    assert get(cache, f"blobs/{digest_of(BLOB)}").content == BLOB
    assert get(cache, "tags/list").json()["tags"] == ["v1"]
    for path in ("manifests/v2", f"blobs/{digest_of(CONFIG)}"):
        assert get(cache, path).status_code == 502


def test_what_is_not_there_is_404(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    assert code(get(cache, "manifests/nosuch")) == "MANIFEST_UNKNOWN"
    assert code(get(cache, f"blobs/{digest_of(b'x')}")) == "BLOB_UNKNOWN"
    assert cache.client.head(f"/{NAME}/blobs/{digest_of(b'x')}").status_code == 404
    assert code(get(cache, "tags/list")) == "NAME_UNKNOWN"


def test_a_tag_that_went_upstream_is_gone(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    upstream.add("v1", BLOB)
    get(cache, "manifests/v1")
    del upstream.manifests["v1"]
    assert get(cache, "manifests/v1").status_code == 404


def test_to_be_asked_about_a_blob_is_no_reason_to_fetch_it(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    upstream.add("v1", BLOB)
    head = cache.client.head(f"/{NAME}/blobs/{digest_of(BLOB)}")
    assert int(head.headers["Content-Length"]) == len(BLOB)
    assert upstream.calls == ["HEAD blob"]


def test_clients_that_pull_one_blob_at_once_share_one_fetch(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    upstream.add("v1", BLOB)
    upstream.go.clear()
    path = f"/{NAME}/blobs/{digest_of(BLOB)}"

    def pull(number: int) -> bytes:
        headers = {"Range": "bytes=1000-"} if number == 0 else {}
        with httpx.stream("GET", f"http://{cache.host}/v2{path}", headers=headers, timeout=30) as answer:
            arrived.release()
            return answer.read()

    arrived = threading.Semaphore(0)
    with ThreadPoolExecutor(5) as pool:
        pulls = [pool.submit(pull, number) for number in range(5)]
        for _ in pulls:
            arrived.acquire()  # its answer has begun, while the blob has not come yet
        upstream.go.set()
        found = [each.result() for each in pulls]
    assert found == [BLOB[1000:], BLOB, BLOB, BLOB, BLOB]
    assert upstream.calls == ["GET blob from 0"]


def test_a_fetch_that_breaks_off_goes_on(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    upstream.add("v1", BLOB)
    upstream.breaks_after = [100_000, 200_000]
    assert get(cache, f"blobs/{digest_of(BLOB)}").content == BLOB
    assert upstream.calls == ["GET blob from 0", "GET blob from 100000", "GET blob from 300000"]


def test_a_fetch_that_fails_leaves_nothing_and_is_tried_again(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    upstream.add("v1", BLOB)
    upstream.breaks_after = [100_000, 0, 0, 0]
    with pytest.raises(httpx.RemoteProtocolError):
        get(cache, f"blobs/{digest_of(BLOB)}")
    assert list((cache.root / "uploads").iterdir()) == []
    assert get(cache, f"blobs/{digest_of(BLOB)}").content == BLOB


def test_nobody_gets_a_whole_blob_that_is_another(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    upstream.add("v1", BLOB)
    upstream.blobs[digest_of(BLOB)] = BLOB[:-1] + b"!"
    with pytest.raises(httpx.RemoteProtocolError):
        get(cache, f"blobs/{digest_of(BLOB)}")
    upstream.blobs[digest_of(BLOB)] = BLOB
    assert get(cache, f"blobs/{digest_of(BLOB)}").content == BLOB


def test_a_blob_of_unknown_length_is_sent_when_it_is_here(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    upstream.add("v1", BLOB)
    upstream.says_length = False
    assert get(cache, f"blobs/{digest_of(BLOB)}").content == BLOB


def test_the_empty_blob_comes_through(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    upstream.add("v1", b"")
    assert get(cache, f"blobs/{digest_of(b'')}").content == b""


def test_a_blob_of_another_repository_is_not_fetched_again(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    manifest = upstream.add("v1", BLOB)
    get(cache, f"blobs/{digest_of(BLOB)}")
    cache.client.get(f"/other/manifests/{digest_of(manifest)}")
    assert cache.client.get(f"/other/blobs/{digest_of(BLOB)}").content == BLOB
    assert upstream.calls.count("GET blob from 0") == 1


def test_a_cache_takes_no_pushes(cache: ServedRegistry) -> None:
    for answer in (
        cache.client.post(f"/{NAME}/blobs/uploads/"),
        cache.client.put(f"/{NAME}/manifests/v1", content=b"{}"),
    ):
        assert (answer.status_code, code(answer)) == (405, "UNSUPPORTED")


def test_referrers_of_an_upstream_that_lists_none_are_at_the_tag(cache: ServedRegistry, upstream: FakeUpstream) -> None:
    subject = upstream.add("v1", BLOB)
    artifact = {**descriptor(b"artifact", OCI_MANIFEST), "artifactType": "application/x-sbom"}
    listed = json.loads(index()) | {"manifests": [artifact]}
    upstream.manifests[digest_of(subject).replace(":", "-")] = json.dumps(listed).encode()
    path = f"/{NAME}/referrers/{digest_of(subject)}"
    assert cache.client.get(path).json()["manifests"] == [artifact]
    assert cache.client.get(path, params={"artifactType": "other"}).json()["manifests"] == []
    upstream.documents[f"/v2{path}"] = {"manifests": []}
    assert cache.client.get(path).json()["manifests"] == []


# --- over HTTP


def cached(
    serve: Callable[..., ServedRegistry], origin: ServedRegistry, user: str = "", password: str = ""
) -> ServedRegistry:
    remote = RemoteRegistry(f"http://{origin.host}", user, password)
    return serve(name="cache", upstream=remote, proxy_ttl_s=0.0)


def pulls(cache: ServedRegistry, manifest: bytes, layer: bytes) -> None:
    assert cache.client.get(f"/{NAME}/manifests/v1").content == manifest
    assert cache.client.get(f"/{NAME}/blobs/{digest_of(layer)}").content == layer


def test_a_cache_of_a_registry(serve: Callable[..., ServedRegistry]) -> None:
    origin = serve(name="origin")
    manifest = origin.push(NAME, "v1", BLOB)
    origin.put(NAME, "v2", manifest)
    cache = cached(serve, origin)
    pulls(cache, manifest, BLOB)
    answer = cache.client.get(f"/{NAME}/tags/list?n=1")
    assert answer.json()["tags"] == ["v1"]
    assert cache.client.get(answer.links["next"]["url"].removeprefix("/v2")).json()["tags"] == ["v2"]
    assert cache.client.get(f"/{NAME}/manifests/nosuch").status_code == 404
    assert cache.client.get("/nosuch/tags/list").status_code == 404
    assert cache.client.head(f"/{NAME}/blobs/{digest_of(BLOB)}").status_code == 200
    assert cache.client.get(f"/{NAME}/referrers/{digest_of(manifest)}").json()["manifests"] == []
    origin.stop()
    pulls(cache, manifest, BLOB)


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_cache_logs_in(serve: Callable[..., ServedRegistry], tmp_path: Path, kind: str) -> None:
    (tmp_path / "users").write_text("u:" + bcrypt.hashpw(b"p", bcrypt.gensalt(4)).decode())
    users = Users(tmp_path / "users")
    access = Basic(users) if kind == "basic" else Tokens(Issuer(load_key(bytes(range(65, 97)))), users, EVERYTHING)
    open_origin = serve(name="origin")
    manifest = open_origin.push(NAME, "v1", BLOB)
    open_origin.stop()
    origin = serve(name="origin", access=access)
    cache = cached(serve, origin, "u", "p")
    pulls(cache, manifest, BLOB)
    stranger = serve(name="stranger", upstream=RemoteRegistry(f"http://{origin.host}"))
    assert stranger.client.get(f"/{NAME}/manifests/v1").status_code == 404


def test_an_upstream_that_is_not_there(serve: Callable[..., ServedRegistry]) -> None:
    origin = serve(name="origin")
    cache = cached(serve, origin)
    origin.stop()
    answer = cache.client.get(f"/{NAME}/manifests/v1")
    assert (answer.status_code, code(answer)) == (502, "UNKNOWN")


@pytest.mark.parametrize("url", ["", "registry-1.docker.io", "ftp://x", "http://", "http://x?y"])
def test_an_upstream_is_a_url(url: str) -> None:
    with pytest.raises(ValueError):
        RemoteRegistry(url)
