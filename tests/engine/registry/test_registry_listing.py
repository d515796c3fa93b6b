"""Tags, catalog, referrers and deletion over HTTP (OCI distribution 1.1, "Content Discovery", "Content Management")."""

from collections.abc import Callable

import httpx
import pytest
from tests.engine.registry.served import (
    OCI_INDEX,
    OCI_MANIFEST,
    ServedRegistry,
    code,
    descriptor,
    digest_of,
    image,
    index,
)

LAYER = b"layer"
TAGS = ["1.0", "1.10", "1.9", "A", "_x", "latest", "v1"]


def pages(registry: ServedRegistry, path: str, key: str, limit: int) -> list[list[str]]:
    """All pages, as a client follows them."""
    found: list[list[str]] = []
    following: str | None = f"{path}?n={limit}"
    while following is not None:
        answer = registry.client.get(following)
        assert answer.status_code == 200
        found.append(answer.json()[key])
        following = next_page(answer)
    return found


def next_page(answer: httpx.Response) -> str | None:
    link = answer.links.get("next")
    return link["url"].removeprefix("/v2") if link else None


@pytest.fixture(scope="module")
def tagged(registry: ServedRegistry) -> ServedRegistry:
    manifest = registry.push("list/tags", "latest", LAYER)
    registry.put("list/tags", digest_of(manifest), manifest, tag=TAGS)
    return registry


def test_tags_in_the_order_of_their_bytes(tagged: ServedRegistry) -> None:
    assert tagged.client.get("/list/tags/tags/list").json() == {"name": "list/tags", "tags": TAGS}


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_pages_of_tags_add_up(tagged: ServedRegistry, limit: int) -> None:
    found = pages(tagged, "/list/tags/tags/list", "tags", limit)
    assert [tag for page in found for tag in page] == TAGS
    assert all(len(page) == limit for page in found[:-1])


def test_tags_behind_one(tagged: ServedRegistry) -> None:
    assert tagged.client.get("/list/tags/tags/list?last=1.9").json()["tags"] == TAGS[3:]
    assert tagged.client.get("/list/tags/tags/list?n=2&last=A").json()["tags"] == TAGS[4:6]
    assert tagged.client.get("/list/tags/tags/list?last=zzz").json()["tags"] == []


def test_no_tags_asked_for_are_none_and_no_next_page(tagged: ServedRegistry) -> None:
    answer = tagged.client.get("/list/tags/tags/list?n=0")
    assert (answer.status_code, answer.json()["tags"]) == (200, [])
    assert "Link" not in answer.headers


@pytest.mark.parametrize("count", ["-1", "x", "1.5", "٣"])
def test_what_is_no_count_is_400(tagged: ServedRegistry, count: str) -> None:
    assert tagged.client.get("/list/tags/tags/list", params={"n": count}).status_code == 400


def test_tags_of_an_unknown_repository_are_404(registry: ServedRegistry) -> None:
    answer = registry.client.get("/list/nosuch/tags/list")
    assert (answer.status_code, code(answer)) == (404, "NAME_UNKNOWN")


def test_the_catalog_has_all_repositories(serve: Callable[..., ServedRegistry]) -> None:
    own = serve()
    assert own.client.get("/_catalog").json() == {"repositories": []}
    names = ["a", "a/b", "b", "c-d/e"]
    for name in reversed(names):
        own.upload(name, LAYER)
    assert own.client.get("/_catalog").json() == {"repositories": names}
    assert pages(own, "/_catalog", "repositories", 3) == [["a", "a/b", "b"], ["c-d/e"]]


# --- referrers


def about(subject: bytes, kind: str, **fields: object) -> bytes:
    empty = descriptor(b"{}", "application/vnd.oci.empty.v1+json")
    described = descriptor(subject, OCI_MANIFEST)
    return image(b"", config=empty, layers=[empty], artifactType=kind or None, subject=described, **fields)


def test_manifests_about_another_are_listed(registry: ServedRegistry) -> None:
    subject = registry.push("list/ref", "v1", LAYER)
    registry.upload("list/ref", b"{}")
    sbom = about(subject, "application/x-sbom", annotations={"made": "today"})
    signature = about(subject, "application/x-signature")
    for manifest in (sbom, signature):
        answer = registry.put("list/ref", digest_of(manifest), manifest)
        assert answer.headers["OCI-Subject"] == digest_of(subject)
    answer = registry.client.get(f"/list/ref/referrers/{digest_of(subject)}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == OCI_INDEX
    document = answer.json()
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    found = {entry["digest"]: entry for entry in document["manifests"]}
    assert found == {
        digest_of(sbom): {
            **descriptor(sbom, OCI_MANIFEST),
            "artifactType": "application/x-sbom",
            "annotations": {"made": "today"},
        },
        digest_of(signature): {**descriptor(signature, OCI_MANIFEST), "artifactType": "application/x-signature"},
    }
    answer = registry.client.get(
        f"/list/ref/referrers/{digest_of(subject)}", params={"artifactType": "application/x-sbom"}
    )
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [digest_of(sbom)]


def test_a_referrer_without_artifact_type_has_its_configs(registry: ServedRegistry) -> None:
    subject = registry.push("list/reftype", "v1", LAYER)
    registry.upload("list/reftype", b"{}")
    plain = about(subject, "")
    registry.put("list/reftype", digest_of(plain), plain)
    listed = index(subject=descriptor(subject, OCI_MANIFEST))
    registry.put("list/reftype", digest_of(listed), listed)
    found = registry.client.get(f"/list/reftype/referrers/{digest_of(subject)}").json()["manifests"]
    types = {entry["digest"]: entry.get("artifactType") for entry in found}
    assert types == {digest_of(plain): "application/vnd.oci.empty.v1+json", digest_of(listed): None}


def test_a_subject_may_come_later_or_never(registry: ServedRegistry) -> None:
    registry.upload("list/later", b"{}")
    artifact = about(b"not pushed", "application/x-sbom")
    answer = registry.put("list/later", "sbom", artifact)
    assert (answer.status_code, answer.headers["OCI-Subject"]) == (201, digest_of(b"not pushed"))
    found = registry.client.get(f"/list/later/referrers/{digest_of(b'not pushed')}").json()["manifests"]
    assert [entry["digest"] for entry in found] == [digest_of(artifact)]


def test_nothing_refers_is_an_empty_index_and_never_404(registry: ServedRegistry) -> None:
    for name in ("list/ref", "list/nosuch"):
        answer = registry.client.get(f"/{name}/referrers/sha256:{'0' * 64}")
        assert (answer.status_code, answer.json()["manifests"]) == (200, [])
    assert registry.client.get("/list/ref/referrers/sha256:short").status_code == 400


def test_referrers_that_clients_listed_at_a_tag_are_referrers(registry: ServedRegistry) -> None:
    """What was pushed by clients of registries without the API: an index at the subject's tag."""
    subject = registry.push("list/fallback", "v1", LAYER)
    registry.upload("list/fallback", b"{}")
    artifact = about(subject, "application/x-sbom")
    registry.put("list/fallback", digest_of(artifact), artifact)
    tag = digest_of(subject).replace(":", "-")
    assert registry.put("list/fallback", tag, index(artifact)).status_code == 201
    found = registry.client.get(f"/list/fallback/referrers/{digest_of(subject)}").json()["manifests"]
    assert [entry["digest"] for entry in found] == [digest_of(artifact)]


def test_pages_of_referrers_add_up(registry: ServedRegistry) -> None:
    subject = registry.push("list/refpages", "v1", LAYER)
    registry.upload("list/refpages", b"{}")
    wanted = set()
    for number in range(5):
        artifact = about(subject, "application/x-sbom", annotations={"number": str(number)})
        registry.put("list/refpages", digest_of(artifact), artifact)
        wanted.add(digest_of(artifact))
    found: list[str] = []
    following: str | None = f"/list/refpages/referrers/{digest_of(subject)}?n=2&artifactType=application/x-sbom"
    while following:
        answer = registry.client.get(following)
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        found += [entry["digest"] for entry in answer.json()["manifests"]]
        following = next_page(answer)
    assert len(found) == 5
    assert set(found) == wanted


# --- deletion


def test_a_tag_goes_and_its_manifest_stays(registry: ServedRegistry) -> None:
    manifest = registry.push("list/deltag", "v1", LAYER)
    assert registry.client.delete("/list/deltag/manifests/v1").status_code == 202
    assert registry.client.get("/list/deltag/manifests/v1").status_code == 404
    assert registry.client.get(f"/list/deltag/manifests/{digest_of(manifest)}").status_code == 200
    assert registry.client.get("/list/deltag/tags/list").json()["tags"] == []
    answer = registry.client.delete("/list/deltag/manifests/v1")
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_UNKNOWN")


def test_a_manifest_goes_with_its_tags(registry: ServedRegistry) -> None:
    manifest = registry.push("list/delman", "v1", LAYER)
    kept = registry.push("list/delman", "kept", LAYER, b"more")
    registry.put("list/delman", digest_of(manifest), manifest, tag=["v2"])
    assert registry.client.delete(f"/list/delman/manifests/{digest_of(manifest)}").status_code == 202
    for reference in ("v1", "v2", digest_of(manifest)):
        assert registry.client.get(f"/list/delman/manifests/{reference}").status_code == 404
    assert registry.client.get("/list/delman/manifests/kept").content == kept
    assert registry.client.delete(f"/list/delman/manifests/{digest_of(manifest)}").status_code == 404


def test_a_deleted_referrer_is_not_listed(registry: ServedRegistry) -> None:
    subject = registry.push("list/delref", "v1", LAYER)
    registry.upload("list/delref", b"{}")
    artifact = about(subject, "application/x-sbom")
    registry.put("list/delref", digest_of(artifact), artifact)
    registry.client.delete(f"/list/delref/manifests/{digest_of(artifact)}")
    assert registry.client.get(f"/list/delref/referrers/{digest_of(subject)}").json()["manifests"] == []


def test_a_blob_goes_from_one_repository(registry: ServedRegistry) -> None:
    content = b"only here and there"
    digest = registry.upload("list/delblob", content)
    registry.upload("list/otherblob", content)
    assert registry.client.delete(f"/list/delblob/blobs/{digest}").status_code == 202
    assert registry.client.get(f"/list/delblob/blobs/{digest}").status_code == 404
    assert registry.client.get(f"/list/otherblob/blobs/{digest}").content == content
    answer = registry.client.delete(f"/list/delblob/blobs/{digest}")
    assert (answer.status_code, code(answer)) == (404, "BLOB_UNKNOWN")


def test_the_bytes_go_with_the_last_repository_that_has_them(registry: ServedRegistry) -> None:
    digest = registry.upload("list/lastblob", b"nowhere else")
    encoded = digest.removeprefix("sha256:")
    path = registry.root / "blobs" / "sha256" / encoded[:2] / encoded
    assert path.read_bytes() == b"nowhere else"
    registry.client.delete(f"/list/lastblob/blobs/{digest}")
    assert not path.exists()


def test_a_registry_that_does_not_delete_says_so(serve: Callable[..., ServedRegistry]) -> None:
    kept = serve(delete=False)
    manifest = kept.push("a", "v1", LAYER)
    for path in ("manifests/v1", f"manifests/{digest_of(manifest)}", f"blobs/{digest_of(LAYER)}"):
        answer = kept.client.delete(f"/a/{path}")
        assert (answer.status_code, code(answer)) == (405, "UNSUPPORTED")
    assert kept.client.get("/a/manifests/v1").status_code == 200
