"""Uploads and manifests over HTTP (OCI distribution 1.1, "Push")."""

import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from tests.engine.registry.served import (
    OCI_CONFIG,
    OCI_MANIFEST,
    ServedRegistry,
    below,
    code,
    descriptor,
    digest_of,
    image,
    index,
)

from riverport.engine.registry.uploads import Limits

BLOB = bytes(range(256)) * 40  # 10,240 bytes
CHUNK = {"Content-Type": "application/octet-stream"}


def has(registry: ServedRegistry, name: str, content: bytes, algorithm: str = "sha256") -> bool:
    answer = registry.client.get(f"/{name}/blobs/{digest_of(content, algorithm)}")
    return answer.status_code == 200 and answer.content == content


def patch(registry: ServedRegistry, location: str, content: bytes, start: int | None = None) -> httpx.Response:
    headers = dict(CHUNK)
    if start is not None:
        headers["Content-Range"] = f"{start}-{start + len(content) - 1}"
    return registry.client.patch(location, content=content, headers=headers)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_in_one_request(registry: ServedRegistry, algorithm: str) -> None:
    digest = digest_of(BLOB, algorithm)
    answer = registry.client.post("/push/one/blobs/uploads/", params={"digest": digest}, content=BLOB)
    assert answer.status_code == 201
    assert below(answer) == f"/push/one/blobs/{digest}"
    assert answer.headers["Docker-Content-Digest"] == digest
    assert has(registry, "push/one", BLOB, algorithm)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("told", [True, False])
def test_a_blob_by_post_and_put(registry: ServedRegistry, algorithm: str, told: bool) -> None:
    content = BLOB + algorithm.encode() + bytes(told)
    location = registry.begin("push/two", **({"digest-algorithm": algorithm} if told else {}))
    answer = registry.client.put(location, params={"digest": digest_of(content, algorithm)}, content=content)
    assert answer.status_code == 201
    assert has(registry, "push/two", content, algorithm)


def test_a_location_that_was_used_up_is_gone(registry: ServedRegistry) -> None:
    location = registry.begin("push/used")
    assert registry.client.put(location, params={"digest": digest_of(BLOB)}, content=BLOB).status_code == 201
    for again in (registry.client.get(location), registry.client.patch(location, content=b"x")):
        assert (again.status_code, code(again)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("last_with_put", [True, False])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_in_chunks(registry: ServedRegistry, last_with_put: bool, algorithm: str) -> None:
    content = BLOB + algorithm.encode() + bytes(last_with_put)
    pieces = [content[at : at + 4000] for at in range(0, len(content), 4000)]
    location = registry.begin("push/chunks")
    sent = 0
    for piece in pieces[:-1] if last_with_put else pieces:
        answer = patch(registry, location, piece, sent)
        sent += len(piece)
        assert answer.status_code == 202
        assert answer.headers["Range"] == f"0-{sent - 1}"
        location = below(answer)
    rest = pieces[-1] if last_with_put else b""
    headers = {"Content-Range": f"{sent}-{sent + len(rest) - 1}"} if rest else {}
    answer = registry.client.put(
        location, params={"digest": digest_of(content, algorithm)}, content=rest, headers=headers
    )
    assert answer.status_code == 201
    assert has(registry, "push/chunks", content, algorithm)


def test_a_stream_without_length_as_docker_sends_it(registry: ServedRegistry) -> None:
    def pieces() -> Iterator[bytes]:
        for at in range(0, len(BLOB), 1000):
            yield BLOB[at : at + 1000]

    location = registry.begin("push/stream")
    answer = registry.client.patch(location, content=pieces())
    assert answer.status_code == 202
    assert answer.headers["Range"] == f"0-{len(BLOB) - 1}"
    answer = registry.client.put(below(answer), params={"digest": digest_of(BLOB)})
    assert answer.status_code == 201
    assert has(registry, "push/stream", BLOB)


def test_chunks_out_of_order_are_416_and_tell_where_to_go_on(registry: ServedRegistry) -> None:
    location = registry.begin("push/order")
    assert patch(registry, location, BLOB[:100], 0).status_code == 202
    for start in (0, 50, 101, 5000):
        answer = patch(registry, location, BLOB[start : start + 100], start)
        assert (answer.status_code, answer.headers["Range"]) == (416, "0-99")
    answer = registry.client.put(
        location, params={"digest": digest_of(BLOB)}, content=BLOB[500:], headers={"Content-Range": "500-10239"}
    )
    assert answer.status_code == 416
    status = registry.client.get(location)
    assert (status.status_code, status.headers["Range"]) == (204, "0-99")
    assert patch(registry, below(status), BLOB[100:], 100).status_code == 202
    assert registry.client.put(location, params={"digest": digest_of(BLOB)}).status_code == 201
    assert has(registry, "push/order", BLOB)


def test_a_chunk_that_contradicts_itself_is_400(registry: ServedRegistry) -> None:
    location = registry.begin("push/liar")
    for header in ("0-5", "nonsense", "9-0"):
        answer = registry.client.patch(location, content=b"0123456789", headers={"Content-Range": header})
        assert (answer.status_code, code(answer)) == (400, "BLOB_UPLOAD_INVALID")
    assert registry.client.get(location).headers["Range"] == "0-0"


def test_a_wrong_digest_is_400_and_nothing_is_stored(registry: ServedRegistry) -> None:
    wrong = digest_of(b"something else")
    location = registry.begin("push/wrong")
    answer = registry.client.put(location, params={"digest": wrong}, content=BLOB)
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    answer = registry.client.post("/push/wrong/blobs/uploads/", params={"digest": wrong}, content=BLOB)
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    for digest in (wrong, digest_of(BLOB)):
        assert registry.client.head(f"/push/wrong/blobs/{digest}").status_code == 404


@pytest.mark.parametrize("digest", ["", "sha256:short", "md5:" + "0" * 32, "nonsense"])
def test_what_is_no_digest_is_400(registry: ServedRegistry, digest: str) -> None:
    location = registry.begin("push/nodigest")
    answer = registry.client.put(location, params={"digest": digest} if digest else {}, content=b"x")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    assert registry.client.get(location).status_code == 204


def test_an_upload_can_be_cancelled(serve: Callable[..., ServedRegistry]) -> None:
    registry = serve()
    location = registry.begin("push/cancel")
    patch(registry, location, BLOB)
    assert registry.client.delete(location).status_code == 204
    for answer in (registry.client.get(location), registry.client.delete(location)):
        assert (answer.status_code, code(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert list((registry.root / "uploads").iterdir()) == []


def test_an_upload_belongs_to_its_repository(registry: ServedRegistry) -> None:
    location = registry.begin("push/mine")
    stolen = location.replace("push/mine", "push/yours")
    assert registry.client.get(stolen).status_code == 404


def test_a_blob_is_mounted_from_another_repository(registry: ServedRegistry) -> None:
    digest = registry.upload("push/source", BLOB)
    for number, source in enumerate(({"from": "push/source"}, {})):
        name = f"push/mounted{number}"
        answer = registry.client.post(f"/{name}/blobs/uploads/", params={"mount": digest, **source})
        assert answer.status_code == 201
        assert below(answer) == f"/{name}/blobs/{digest}"
        assert has(registry, name, BLOB)


def test_a_mount_that_cannot_be_is_an_upload(registry: ServedRegistry) -> None:
    digest = registry.upload("push/source", BLOB)
    for mount, source in ((digest, "push/empty"), (digest_of(b"nowhere"), "push/source")):
        location = registry.begin("push/mounting", mount=mount, **{"from": source})
        assert registry.client.put(location, params={"digest": digest}, content=BLOB).status_code == 201


def test_a_post_with_a_digest_and_no_body_is_an_upload(registry: ServedRegistry) -> None:
    location = registry.begin("push/later", digest=digest_of(BLOB))
    assert registry.client.put(location, params={"digest": digest_of(BLOB)}, content=BLOB).status_code == 201


def test_blobs_that_are_too_large_are_413(serve: Callable[..., ServedRegistry]) -> None:
    small = serve(limits=Limits(blob_bytes=100))
    location = small.begin("a")
    answer = patch(small, location, bytes(101))
    assert (answer.status_code, code(answer)) == (413, "SIZE_INVALID")
    answer = small.client.post("/a/blobs/uploads/", params={"digest": digest_of(bytes(101))}, content=bytes(101))
    assert answer.status_code == 413
    small.upload("a", bytes(100))


def test_uploads_under_way_are_bounded(serve: Callable[..., ServedRegistry]) -> None:
    small = serve(limits=Limits(sessions=3))
    locations = [small.begin("a") for _ in range(3)]
    answer = small.client.post("/a/blobs/uploads/")
    assert (answer.status_code, code(answer)) == (429, "TOOMANYREQUESTS")
    assert int(answer.headers["Retry-After"]) > 0
    small.client.delete(locations[0])
    small.begin("a")


# --- manifests


def test_a_manifest_by_tag_and_by_digest(registry: ServedRegistry) -> None:
    manifest = registry.push("push/manifest", "v1", BLOB)
    digest = digest_of(manifest)
    answer = registry.put("push/manifest", digest, manifest)
    assert answer.status_code == 201
    assert below(answer) == f"/push/manifest/manifests/{digest}"
    assert answer.headers["Docker-Content-Digest"] == digest


def test_a_manifest_by_sha512(registry: ServedRegistry) -> None:
    manifest = registry.push("push/sha512", "v1", BLOB)
    digest = digest_of(manifest, "sha512")
    answer = registry.put("push/sha512", digest, manifest)
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert registry.client.get(f"/push/sha512/manifests/{digest}").content == manifest


def test_a_manifest_under_another_digest_is_400(registry: ServedRegistry) -> None:
    manifest = registry.push("push/manifest", "v1", BLOB)
    answer = registry.put("push/manifest", digest_of(b"other"), manifest)
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


def test_tags_that_come_with_a_digest(registry: ServedRegistry) -> None:
    manifest = registry.push("push/tags", "first", BLOB)
    tags = [f"1.{number}" for number in range(12)]
    answer = registry.put("push/tags", digest_of(manifest), manifest, tag=tags)
    assert answer.status_code == 201
    assert answer.headers["OCI-Tag"].split(", ") == tags
    assert registry.client.get("/push/tags/tags/list").json()["tags"] == sorted([*tags, "first"])
    assert registry.put("push/tags", digest_of(manifest), manifest, tag=["ok", "-bad"]).status_code == 400
    assert registry.put("push/tags", digest_of(manifest), manifest, tag=[str(n) for n in range(101)]).status_code == 414
    assert "ok" not in registry.client.get("/push/tags/tags/list").json()["tags"]


def test_a_tag_moves_to_what_is_pushed_last(registry: ServedRegistry) -> None:
    first = registry.push("push/move", "latest", BLOB)
    second = registry.push("push/move", "latest", BLOB, b"more")
    assert registry.client.get("/push/move/manifests/latest").content == second
    assert registry.client.get(f"/push/move/manifests/{digest_of(first)}").content == first


def test_all_blobs_that_are_missing_are_named(registry: ServedRegistry) -> None:
    config = b"{}"
    registry.upload("push/missing", b"there")
    answer = registry.put("push/missing", "v1", image(config, b"there", b"not there"))
    assert answer.status_code == 400
    errors = answer.json()["errors"]
    assert [entry["code"] for entry in errors] == ["MANIFEST_BLOB_UNKNOWN"] * 2
    assert {entry["detail"]["digest"] for entry in errors} == {digest_of(config), digest_of(b"not there")}
    assert registry.client.get("/push/missing/manifests/v1").status_code == 404


def test_a_blob_of_another_repository_is_missing(registry: ServedRegistry) -> None:
    registry.upload("push/here", b"{}")
    answer = registry.put("push/elsewhere", "v1", image(b"{}"))
    assert (answer.status_code, code(answer)) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_an_index_without_its_manifests_is_refused_unless_the_registry_is_sparse(
    registry: ServedRegistry, serve: Callable[..., ServedRegistry]
) -> None:
    document = index(b"not here")
    assert code(registry.put("push/index", "v1", document)) == "MANIFEST_BLOB_UNKNOWN"
    sparse = serve(sparse=True)
    assert sparse.put("push/index", "v1", document).status_code == 201
    assert sparse.put("push/index", "v2", image(b"not here")).status_code == 201


def test_a_descriptor_that_lies_about_the_size_is_refused(registry: ServedRegistry) -> None:
    registry.upload("push/size", b"{}")
    lying = json.loads(image(b"{}"))
    lying["config"]["size"] = 3
    answer = registry.put("push/size", "v1", json.dumps(lying).encode())
    assert (answer.status_code, code(answer)) == (400, "MANIFEST_INVALID")


def test_layers_that_are_served_elsewhere_may_be_missing(registry: ServedRegistry) -> None:
    registry.upload("push/foreign", b"{}")
    layer = descriptor(b"far away", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    manifest = image(b"{}", layers=[{**layer, "urls": ["https://store.example.com/x"]}])
    assert registry.put("push/foreign", "v1", manifest).status_code == 201


def test_manifests_of_four_megabytes_are_taken_and_larger_ones_413(registry: ServedRegistry) -> None:
    registry.upload("push/large", b"{}")
    manifest = image(b"{}", annotations={str(number): "A" * 10_000 for number in range(400)})
    assert 4_000_000 < len(manifest) < 4 << 20
    assert registry.put("push/large", "v1", manifest).status_code == 201
    assert registry.client.get("/push/large/manifests/v1").content == manifest
    answer = registry.put("push/large", "v2", manifest + b" " * (4 << 20))
    assert (answer.status_code, code(answer)) == (413, "MANIFEST_INVALID")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schemaVersion":1}', b"\x00\xff"])
def test_what_is_no_manifest_is_400(registry: ServedRegistry, content: bytes) -> None:
    answer = registry.put("push/bad", "v1", content, OCI_MANIFEST)
    assert (answer.status_code, code(answer)) == (400, "MANIFEST_INVALID")


def test_an_own_media_type_must_be_that_of_the_request(registry: ServedRegistry) -> None:
    manifest = registry.push("push/type", "v1", BLOB)
    answer = registry.put("push/type", "v2", manifest, "application/vnd.oci.image.index.v1+json")
    assert (answer.status_code, code(answer)) == (400, "MANIFEST_INVALID")


def test_a_push_may_depend_on_what_it_replaces(registry: ServedRegistry) -> None:
    first = registry.push("push/if", "v1", BLOB)
    second = image(b"{}", BLOB)
    registry.upload("push/if", b"{}")

    def put(**headers: str) -> int:
        path = "/push/if/manifests/v1"
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return registry.client.put(path, content=second, headers={"Content-Type": OCI_MANIFEST, **names}).status_code

    assert put(If_None_Match="*") == 412
    assert put(If_Match=f'"{digest_of(b"older")}"') == 412
    assert registry.client.get("/push/if/manifests/v1").content == first
    assert put(If_Match=f'"{digest_of(first)}"') == 201
    assert registry.client.get("/push/if/manifests/v1").content == second


def test_a_config_may_be_any_blob(registry: ServedRegistry) -> None:
    empty = descriptor(b"{}", "application/vnd.oci.empty.v1+json")
    registry.upload("push/artifact", b"{}")
    manifest = image(b"", config=empty, layers=[empty], artifactType="application/x-example")
    assert registry.put("push/artifact", "v1", manifest).status_code == 201
    assert OCI_CONFIG not in manifest.decode()


def test_deleted_in_between_is_missing(registry: ServedRegistry) -> None:
    digest = registry.upload("push/between", b"{}")
    assert registry.client.delete(f"/push/between/blobs/{digest}").status_code == 202
    assert code(registry.put("push/between", "v1", image(b"{}"))) == "MANIFEST_BLOB_UNKNOWN"
