"""Names of images: what people type, what it means, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.images.reference import (
    InvalidReference,
    Reference,
    check_digest,
    is_digest,
    is_repository_path,
    is_tag,
    parse,
)

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("typed", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("someone/thing", "docker.io/someone/thing", "someone/thing"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/thing", "localhost/thing", "localhost/thing"),
        ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x", "127.0.0.1:5000/x"),
        ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
        ("UPPER/x", "UPPER/x", "UPPER/x"),
        ("quay.io/a/b__c-d.e", "quay.io/a/b__c-d.e", "quay.io/a/b__c-d.e"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"a.b/c:t@{DIGEST}", f"a.b/c:t@{DIGEST}", f"a.b/c:t@{DIGEST}"),
    ],
)
def test_what_is_typed_has_one_full_and_one_familiar_form(typed: str, full: str, familiar: str) -> None:
    reference = parse(typed)
    assert str(reference) == full
    assert reference.familiar == familiar
    assert parse(str(reference)) == reference == parse(familiar)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "invalid reference format"),
        (":tag", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("busybox:", "invalid reference format"),
        ("busybox:-x", "invalid reference format"),
        ("busybox:" + "x" * 129, "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("busybox\n", "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("a/Busybox:X", "invalid reference format: repository name (a/Busybox) must be lowercase"),
        ("busybox@sha256:abc", "invalid reference format"),
        ("busybox@sha256:" + "a" * 40, "invalid checksum digest length"),
        ("busybox@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("busybox@sha256:" + "A" * 64, "invalid checksum digest format"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("a/" + "b" * 256, "invalid reference format: repository name must not be more than 255 characters"),
    ],
)
def test_what_names_no_image_is_refused_in_dockers_words(typed: str, message: str) -> None:
    with pytest.raises(InvalidReference) as refused:
        parse(typed)
    assert str(refused.value) == message
    assert refused.value.status == 400


def test_latest_stands_in_only_where_neither_tag_nor_digest_is_given() -> None:
    assert parse("a").or_latest() == Reference("docker.io", "library/a", "latest")
    assert parse("a:b").or_latest().tag == "b"
    assert parse(f"a@{DIGEST}").or_latest().tag is None


def test_a_tag_replaces_a_digest_and_the_other_way_round() -> None:
    assert parse(f"a@{DIGEST}").with_tag("v").familiar == "a:v"
    assert parse("a:v").with_digest(DIGEST).familiar == f"a@{DIGEST}"
    assert parse(f"a:v@{DIGEST}").repository() == parse("a")
    with pytest.raises(InvalidReference, match="invalid tag format"):
        parse("a").with_tag("no tag")


def test_digests_of_every_known_algorithm_are_checked_by_length() -> None:
    for algorithm, digits in (("sha256", 64), ("sha384", 96), ("sha512", 128)):
        assert check_digest(f"{algorithm}:{'0' * digits}")
        assert not is_digest(f"{algorithm}:{'0' * (digits - 1)}")
    assert not is_digest("sha256")
    assert not is_digest("latest")


def test_repositories_and_tags_of_a_registry() -> None:
    assert is_repository_path("a/b-c/d__e")
    assert not is_repository_path("a/../b")
    assert not is_repository_path("A")
    assert is_tag("_x.y-z")
    assert not is_tag(".x")


@given(st.from_regex(r"(?:[a-z0-9.]{1,6}(?::[0-9]{1,4})?/)?[a-z0-9_./-]{1,12}(?::[\w.-]{1,5})?", fullmatch=True))
def test_whatever_is_accepted_keeps_its_meaning_when_shown_and_read_again(typed: str) -> None:
    try:
        reference = parse(typed)
    except InvalidReference:
        return
    assert parse(str(reference)) == reference
    assert parse(reference.familiar) == reference
    assert parse(reference.name).familiar_name == reference.familiar_name


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_refused(typed: str) -> None:
    try:
        reference = parse(typed)
    except InvalidReference:
        return
    assert is_repository_path(reference.path)
