"""Reading manifests and blobs over HTTP (OCI distribution 1.1, "Pull")."""

import json

import pytest
from tests.engine.registry.served import OCI_INDEX, OCI_MANIFEST, ServedRegistry, code, digest_of, index

LAYER = bytes(range(256)) * 8  # 2048 bytes


def test_the_base_says_that_this_is_a_registry(registry: ServedRegistry) -> None:
    answer = registry.client.get("/")
    assert answer.status_code == 200
    assert answer.json() == {}
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert registry.client.head("/").status_code == 200


def test_a_manifest_comes_by_tag_and_by_digest_as_it_was_pushed(registry: ServedRegistry) -> None:
    manifest = registry.push("pull/image", "v1", LAYER)
    digest = digest_of(manifest)
    for reference in ("v1", digest):
        answer = registry.client.get(f"/pull/image/manifests/{reference}")
        assert answer.status_code == 200
        assert answer.content == manifest
        assert answer.headers["Content-Type"] == OCI_MANIFEST
        assert answer.headers["Docker-Content-Digest"] == digest
        head = registry.client.head(f"/pull/image/manifests/{reference}")
        assert head.status_code == 200
        assert head.content == b""
        assert int(head.headers["Content-Length"]) == len(manifest)
        assert head.headers["Docker-Content-Digest"] == digest


def test_the_type_is_the_stored_one_whatever_is_accepted(registry: ServedRegistry) -> None:
    registry.push("pull/accept", "v1", LAYER)
    answer = registry.client.get("/pull/accept/manifests/v1", headers={"Accept": OCI_INDEX})
    assert answer.headers["Content-Type"] == OCI_MANIFEST


@pytest.mark.parametrize("reference", ["nosuch", "sha256:" + "0" * 64])
def test_unknown_manifests_are_404(registry: ServedRegistry, reference: str) -> None:
    registry.push("pull/image", "v1", LAYER)
    for name in ("pull/image", "pull/nosuch"):
        answer = registry.client.get(f"/{name}/manifests/{reference}")
        assert (answer.status_code, code(answer)) == (404, "MANIFEST_UNKNOWN")
        assert registry.client.head(f"/{name}/manifests/{reference}").status_code == 404


def test_a_malformed_reference_is_400(registry: ServedRegistry) -> None:
    answer = registry.client.get("/pull/image/manifests/sha256:totallywrong")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    answer = registry.client.get("/pull/image/manifests/.INVALID_MANIFEST_NAME")
    assert (answer.status_code, code(answer)) == (400, "TAG_INVALID")


def test_a_blob_comes_whole(registry: ServedRegistry) -> None:
    digest = registry.upload("pull/blob", LAYER)
    answer = registry.client.get(f"/pull/blob/blobs/{digest}")
    assert answer.status_code == 200
    assert answer.content == LAYER
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["Accept-Ranges"] == "bytes"
    head = registry.client.head(f"/pull/blob/blobs/{digest}")
    assert head.status_code == 200
    assert int(head.headers["Content-Length"]) == len(LAYER)
    assert head.content == b""


def test_the_empty_blob_is_a_blob(registry: ServedRegistry) -> None:
    digest = registry.upload("pull/empty", b"")
    answer = registry.client.get(f"/pull/empty/blobs/{digest}")
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=0-0", 0, 1),
    ],
)
def test_parts_of_a_blob(registry: ServedRegistry, header: str, start: int, end: int) -> None:
    digest = registry.upload("pull/range", LAYER)
    answer = registry.client.get(f"/pull/range/blobs/{digest}", headers={"Range": header})
    assert answer.status_code == 206
    assert answer.content == LAYER[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/2048"


@pytest.mark.parametrize("header", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-"])
def test_parts_that_are_not_there_are_416(registry: ServedRegistry, header: str) -> None:
    digest = registry.upload("pull/range", LAYER)
    answer = registry.client.get(f"/pull/range/blobs/{digest}", headers={"Range": header})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */2048"


def test_a_part_of_something_else_is_the_whole(registry: ServedRegistry) -> None:
    digest = registry.upload("pull/range", LAYER)
    for known, status in ((f'"{digest}"', 206), ('"other"', 200)):
        headers = {"Range": "bytes=0-9", "If-Range": known}
        assert registry.client.get(f"/pull/range/blobs/{digest}", headers=headers).status_code == status


def test_unknown_blobs_are_404(registry: ServedRegistry) -> None:
    digest = registry.upload("pull/blob", LAYER)
    for path in (f"/pull/blob/blobs/sha256:{'0' * 64}", f"/pull/other/blobs/{digest}"):
        answer = registry.client.get(path)
        assert (answer.status_code, code(answer)) == (404, "BLOB_UNKNOWN")
        assert registry.client.head(path).status_code == 404


def test_what_the_client_has_already_is_304(registry: ServedRegistry) -> None:
    manifest = registry.push("pull/known", "v1", LAYER)
    for path, digest in (("manifests/v1", digest_of(manifest)), (f"blobs/{digest_of(LAYER)}", digest_of(LAYER))):
        answer = registry.client.get(f"/pull/known/{path}", headers={"If-None-Match": f'"{digest}"'})
        assert (answer.status_code, answer.content) == (304, b"")
        answer = registry.client.get(f"/pull/known/{path}", headers={"If-None-Match": '"other"'})
        assert answer.status_code == 200


def test_what_was_pushed_is_never_a_page_of_this_host(registry: ServedRegistry) -> None:
    digest = registry.upload("pull/page", b"<script>alert(1)</script>")
    answer = registry.client.get(f"/pull/page/blobs/{digest}")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_an_index_and_its_images(registry: ServedRegistry) -> None:
    first, second = registry.push("pull/index", "a", LAYER), registry.push("pull/index", "b", LAYER, b"more")
    document = index(first, second)
    assert registry.put("pull/index", "multi", document).status_code == 201
    answer = registry.client.get("/pull/index/manifests/multi")
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [digest_of(first), digest_of(second)]


def test_paths_that_are_nothing_are_404_and_wrong_methods_405(registry: ServedRegistry) -> None:
    for path in ("/nosuch", "/a/b", "/a/manifests", "/a/blobs/", "/../etc/passwd"):
        assert registry.client.get(path).status_code == 404, path
    answer = registry.client.post("/a/manifests/v1")
    assert (answer.status_code, code(answer)) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, PUT"


@pytest.mark.parametrize("name", ["UPPER", "a..b", "a/../b", "-a", "a%2F%2Fb"])
def test_what_is_no_name_is_400(registry: ServedRegistry, name: str) -> None:
    answer = registry.client.get(f"/x/{name}/manifests/v1")
    # httpx resolves ".." by itself; then it is another, unknown repository.
    assert (answer.status_code, code(answer)) in ((400, "NAME_INVALID"), (404, "MANIFEST_UNKNOWN"))


def test_a_name_with_the_words_of_paths_in_it(registry: ServedRegistry) -> None:
    name = "manifests/blobs/uploads/tags/list"
    manifest = registry.push(name, "latest", LAYER)
    assert registry.client.get(f"/{name}/manifests/latest").content == manifest
    assert registry.client.get(f"/{name}/tags/list").json() == {"name": name, "tags": ["latest"]}


def test_figures_for_prometheus(registry: ServedRegistry) -> None:
    registry.client.get("/")
    text = registry.client.get(f"http://{registry.host}/metrics").text
    assert 'registry_answers_total{method="GET",resource="other",status="200"}' in text
    assert "registry_uploads 0" in text


def test_errors_have_the_form_of_the_specification(registry: ServedRegistry) -> None:
    answer = registry.client.get("/a/blobs/sha256:short")
    assert json.loads(answer.content)["errors"][0]["detail"] == {"digest": "sha256:short"}
    assert code(answer) == "DIGEST_INVALID"
