"""Any request is answered: with what was asked for, or with an error of the specification. Never with a 500."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.registry.served import OCI_INDEX, OCI_MANIFEST, descriptor, digest_of, image, index

from riverport.base.http.messages import ClientGone, FileRange, HttpError, Request, Response
from riverport.base.metrics import Registry as Metrics
from riverport.engine.registry.access import Open
from riverport.engine.registry.application import Application
from riverport.engine.registry.calls import Registry
from riverport.engine.registry.digests import digest_of as parsed_digest
from riverport.engine.registry.index import Push
from riverport.engine.registry.manifests import parse_manifest
from riverport.engine.registry.names import Tag, parse_name
from riverport.engine.registry.settings import Settings
from riverport.engine.registry.store import Store
from riverport.engine.registry.uploads import Limits

BLOBS = [b"", b"{}", b"layer" * 100]
DIGESTS = [digest_of(blob, algorithm) for blob in BLOBS for algorithm in ("sha256", "sha512")]
MANIFESTS = [image(b"{}", BLOBS[2]), index(image(b"{}", BLOBS[2])), image(b"{}", subject=descriptor(BLOBS[2]))]
ODD = st.text(max_size=12) | st.sampled_from(["..", "%2e%2e%2f", "a%00b", "sha256:" + "0" * 63, "", "-1", "9" * 30])


def mostly(usual: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 5).flatmap(lambda chance: usual if chance else ODD)


REFERENCES = mostly(st.sampled_from([*DIGESTS, *map(digest_of, MANIFESTS), "latest"]))
NAMES = mostly(st.sampled_from(["a", "b/c"]))
PATHS = st.one_of(
    st.builds("/v2/{}/manifests/{}".format, NAMES, REFERENCES),
    st.builds("/v2/{}/blobs/{}".format, NAMES, REFERENCES),
    st.builds("/v2/{}/blobs/uploads/".format, NAMES),
    st.builds("/v2/{}/blobs/uploads/{}".format, NAMES, mostly(st.just("UPLOAD"))),
    st.builds("/v2/{}/tags/list".format, NAMES),
    st.builds("/v2/{}/referrers/{}".format, NAMES, REFERENCES),
    st.sampled_from(["/", "/v2/", "/v2/_catalog", "/token", "/metrics"]),
    ODD,
)
QUERIES = st.dictionaries(
    st.sampled_from(["digest", "mount", "from", "digest-algorithm", "n", "last", "artifactType", "tag"]),
    mostly(st.sampled_from([*DIGESTS, "sha512", "a", "b/c", "1", "0"])),
    max_size=2,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": mostly(st.sampled_from([OCI_MANIFEST, OCI_INDEX, "application/octet-stream", ""])),
        "Content-Range": st.sampled_from(["0-1", "0-499", "500-501"]) | ODD,
        "Range": st.sampled_from(["bytes=0-1", "bytes=-5", "bytes=9-", "bytes=1-0"]) | ODD,
        "If-None-Match": st.sampled_from(['"x"', "*", *DIGESTS]) | ODD,
        "If-Match": st.sampled_from(['"x"', "*", *DIGESTS]) | ODD,
        "Authorization": ODD,
    },
)
BODIES = st.sampled_from([*BLOBS, *MANIFESTS]) | st.binary(max_size=20)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
ENDS = st.sampled_from([None, None, None, ClientGone("gone"), HttpError(408, "late")])


class Case(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    end: Exception | None  # what the body ends with
    is_chunked: bool


CASES = st.builds(Case, METHODS, PATHS, QUERIES, HEADERS, BODIES, ENDS, st.booleans())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("requests"), Limits(sessions=20, blob_bytes=1000))
    # One store for all examples: what one leaves behind the next one meets.
    store.index._writer.execute("PRAGMA synchronous=OFF")
    asyncio.run(filled(store))
    yield store
    store.close()


async def filled(store: Store) -> None:
    name = parse_name("a")
    for blob in BLOBS:
        for algorithm in ("sha256", "sha512"):
            await store.add_blob(name, parsed_digest(blob, algorithm), Request("POST", "/", None, blob).stream(), None)
    for manifest in MANIFESTS:
        push = Push(parsed_digest(manifest), manifest, parse_manifest(manifest, None), [Tag("latest")])
        await store.put_manifest(name, push)


@settings(max_examples=100)
@given(st.lists(CASES, min_size=1, max_size=12))
def test_any_requests_are_answered(store: Store, cases: list[Case]) -> None:
    application = Application(Registry(Settings(store.files.root, metrics=True), store, store, Open(), Metrics()))

    async def work() -> None:
        upload = "nosuch"
        for case in cases:
            try:
                response = await application.handle(request(case, upload))
            except ClientGone:
                continue
            check(response, store.files.root)
            if response.status == 202:
                upload = response.headers.get("Docker-Upload-UUID", upload)

    asyncio.run(work())


def request(case: Case, upload: str) -> Request:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(case.body), 100):
            yield case.body[at : at + 100]
        if case.end is not None:
            raise case.end

    target = f"{case.path.replace('UPLOAD', upload)}?{urlencode(case.query)}"
    length = {"Transfer-Encoding": "chunked"} if case.is_chunked else {"Content-Length": str(len(case.body))}
    return Request(case.method, target, {**case.headers, **length, "Host": "x"}, pieces)


def check(response: Response, root: Path) -> None:
    assert response.status < 500
    for name, value in response.headers.items():
        assert "\n" not in value, name
        assert "\r" not in value, name
        value.encode("utf-8")
    if isinstance(response.body, FileRange):
        assert response.body.path.is_relative_to(root / "blobs")
        assert response.body.path.stat().st_size >= response.body.offset + (response.body.length or 0)
    elif response.status >= 400:
        assert isinstance(response.body, bytes)
        for entry in json.loads(response.body)["errors"]:
            assert entry["code"].replace("_", "").isupper()
