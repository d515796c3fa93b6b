"""What clients send, read without a server: digests, names, ranges, manifests."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.registry.digests import digest_of, parse_algorithm, parse_digest
from riverport.engine.registry.errors import (
    BlobUploadInvalid,
    DigestInvalid,
    ManifestInvalid,
    NameInvalid,
    RangeNotSatisfiable,
    TagInvalid,
)
from riverport.engine.registry.manifests import OCI_INDEX, OCI_MANIFEST, parse_manifest
from riverport.engine.registry.names import parse_name, parse_reference, referrers_tag
from riverport.engine.registry.ranges import Span, parse_chunk, parse_range, upload_range

A = "sha256:" + "a" * 64
B = "sha512:" + "b" * 128


@pytest.mark.parametrize("text", [A, B])
def test_digests_of_both_algorithms_are_taken(text: str) -> None:
    assert parse_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "sha256", "sha256:", A[:-1], A + "a", A.upper(), "sha256:" + "g" * 64, "md5:" + "a" * 32),
        *("sha384:" + "a" * 96, "sha512:" + "a" * 64, A + "\n", "sha256:" + "../" * 21 + "a"),
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(DigestInvalid):
        parse_digest(text)


def test_unknown_algorithms_are_refused() -> None:
    assert parse_algorithm("sha512") == "sha512"
    with pytest.raises(DigestInvalid):
        parse_algorithm("md5")


@pytest.mark.parametrize("text", ["a", "library/busybox", "a-b--c/d_e/f__g.h", "0/1", "a" * 255])
def test_names_of_repositories(text: str) -> None:
    assert parse_name(text) == text


@pytest.mark.parametrize(
    "text", ["", "A", "a/", "/a", "a//b", "a/../b", "-a", "a-", "a___b", "a..b", "a" * 256, "a\n", "ü"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(NameInvalid):
        parse_name(text)


def test_references_are_tags_or_digests() -> None:
    assert parse_reference("v1.0_x-y") == "v1.0_x-y"
    assert parse_reference(A) == A
    for bad in ("", ".a", "-a", "a" * 129, "a b", "a/b"):
        with pytest.raises(TagInvalid):
            parse_reference(bad)
    with pytest.raises(DigestInvalid):
        parse_reference("sha256:short")


def test_referrers_tags_are_cut_to_64_digits() -> None:
    assert referrers_tag(parse_digest(A)) == "sha256-" + "a" * 64
    assert referrers_tag(parse_digest(B)) == "sha512-" + "b" * 64


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=2-5", Span(2, 4)),
        ("bytes=2-", Span(2, 8)),
        ("bytes=-3", Span(7, 3)),
        ("bytes=-30", Span(0, 10)),
        ("bytes=5-100", Span(5, 5)),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
    ],
)
def test_ranges_of_ten_bytes(header: str | None, wanted: Span | None) -> None:
    assert parse_range(header, 10) == wanted


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=5-4", "bytes=-0"])
def test_ranges_outside_name_the_size(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(header, 10)
    assert caught.value.headers["Content-Range"] == "bytes */10"


@given(st.text(max_size=40), st.integers(0, 1 << 40))
def test_any_range_lies_inside_or_is_refused(header: str, size: int) -> None:
    for text in (header, f"bytes={header}"):
        try:
            span = parse_range(text, size)
        except RangeNotSatisfiable:
            continue
        assert span is None or (span.start >= 0 and span.length > 0 and span.start + span.length <= size)


def test_chunks_say_where_they_belong() -> None:
    assert parse_chunk(None, 5) is None
    assert parse_chunk("0-4", 5) == Span(0, 5)
    assert parse_chunk("bytes 5-9/*", None) == Span(5, 5)
    for bad in ("", "5", "5-4", "a-b", "-4", "0-4-5"):
        with pytest.raises(BlobUploadInvalid):
            parse_chunk(bad, None)
    with pytest.raises(BlobUploadInvalid):
        parse_chunk("0-4", 4)


def test_the_range_of_an_upload_is_inclusive() -> None:
    assert upload_range(0) == "0-0"
    assert upload_range(10) == "0-9"


def manifest(**changes: object) -> bytes:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/x-config", "digest": A, "size": 2},
        "layers": [{"mediaType": "application/x-layer", "digest": A, "size": 7}],
    }
    document.update(changes)
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def test_an_image_names_its_config_and_layers() -> None:
    found = parse_manifest(manifest(annotations={"k": "v"}), OCI_MANIFEST)
    assert [part.size for part in found.blobs] == [2, 7]
    assert found.annotations == {"k": "v"}
    assert found.artifact_type == "application/x-config"
    assert found.manifests == ()
    assert found.subject is None


def test_an_own_artifact_type_comes_before_the_configs() -> None:
    found = parse_manifest(manifest(artifactType="application/x-sbom"), OCI_MANIFEST)
    assert found.artifact_type == "application/x-sbom"


def test_an_index_without_artifact_type_has_none() -> None:
    entry = {"mediaType": OCI_MANIFEST, "digest": A, "size": 5}
    subject = {"mediaType": OCI_INDEX, "digest": A, "size": 9}
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry], "subject": subject})
    found = parse_manifest(content.encode(), OCI_INDEX)
    assert (found.artifact_type, found.subject, len(found.manifests)) == ("", A, 1)


def test_the_type_is_read_from_the_manifest_where_the_request_does_not_say() -> None:
    assert parse_manifest(manifest(), None).media_type == OCI_MANIFEST
    assert parse_manifest(manifest(mediaType=None), None).media_type == OCI_MANIFEST
    assert parse_manifest(b'{"schemaVersion": 2, "manifests": []}', "application/json").media_type == OCI_INDEX


def test_parameters_of_a_content_type_are_ignored() -> None:
    assert parse_manifest(manifest(), f"{OCI_MANIFEST}; charset=utf-8").media_type == OCI_MANIFEST


def test_layers_that_are_served_elsewhere_are_not_required() -> None:
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": A, "size": 7}
    linked = {"mediaType": "application/x-layer", "digest": A, "size": 7, "urls": ["https://example.com/x"]}
    found = parse_manifest(manifest(layers=[foreign, linked]), OCI_MANIFEST)
    assert [part.required for part in found.blobs] == [True, False, False]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        manifest(schemaVersion=1),
        manifest(mediaType=OCI_INDEX),
        manifest(mediaType=5),
        manifest(config=None),
        manifest(layers=None),
        manifest(layers={}),
        manifest(layers=["x"]),
        manifest(layers=[{"digest": A}]),
        manifest(layers=[{"digest": "sha256:short", "size": 1}]),
        manifest(layers=[{"digest": A, "size": -1}]),
        manifest(layers=[{"digest": A, "size": True}]),
        manifest(layers=[{"digest": A, "size": 1 << 63}]),
        manifest(layers=[{"digest": A, "size": 1}] * 10_001),
        manifest(manifests=[]),
        manifest(subject="x"),
        manifest(subject={"digest": A}),
        manifest(annotations=[]),
        manifest(annotations={"k": 1}),
        manifest(artifactType=7),
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(content, OCI_MANIFEST)


def test_schema_1_and_unknown_types_are_refused() -> None:
    for kind in ("application/vnd.docker.distribution.manifest.v1+prettyjws", "text/plain"):
        with pytest.raises(ManifestInvalid):
            parse_manifest(manifest(mediaType=None), kind)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(A) | st.just(OCI_MANIFEST),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["digest", "size", "urls", "mediaType"]), inner)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["config", "layers", "manifests", "subject", "annotations", "artifactType"]), JSON)
)
def test_any_json_is_a_manifest_or_refused(fields: dict[str, object]) -> None:
    for kind in (OCI_MANIFEST, OCI_INDEX):
        try:
            found = parse_manifest(json.dumps({"schemaVersion": 2, **fields}).encode(), kind)
        except ManifestInvalid:
            continue
        for part in (*found.blobs, *found.manifests):
            assert re.fullmatch(r"sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})", part.digest)
            assert part.size >= 0


def test_digests_are_of_the_algorithm_that_is_asked_for() -> None:
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_of(b"", "sha512").startswith("sha512:cf83e1357eefb8bd")
