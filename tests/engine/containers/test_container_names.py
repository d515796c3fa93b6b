"""Names, and who is found by them."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.containers.names import Index, check_name, generate_name
from riverport.engine.errors import Conflict, InvalidParameter, NotFound

A, B, C = "a" * 64, "ab" + "c" * 62, "d" * 64


def index() -> Index:
    made = Index()
    for container_id, name in ((A, "one"), (B, "two"), (C, "aaaa")):
        made.reserve(name, container_id)
        made.add(container_id)
    return made


def test_a_full_id_wins_over_a_name_and_a_name_over_a_prefix() -> None:
    known = index()
    assert known.find(A) == A
    assert known.find("aaaa") == C
    assert known.find("/two") == B
    assert known.find("abc") == B


def test_a_prefix_must_be_unique() -> None:
    with pytest.raises(InvalidParameter, match="multiple IDs found with provided prefix: a"):
        index().find("a")


@pytest.mark.parametrize("reference", ["x", "", "f" * 64])
def test_who_is_not_there_is_not_found(reference: str) -> None:
    with pytest.raises(NotFound, match=f"No such container: {reference}"):
        index().find(reference)


def test_a_name_in_use_is_refused_and_names_its_owner() -> None:
    known = index()
    with pytest.raises(Conflict) as refused:
        known.reserve("/one", "e" * 64)
    assert str(refused.value) == (
        f'Conflict. The container name "/one" is already in use by container "{A}". You have to remove (or rename) '
        "that container to be able to reuse that name."
    )


def test_a_name_is_free_after_its_owner_has_gone_but_nobody_else_releases_it() -> None:
    known = index()
    known.release("one", B)
    with pytest.raises(Conflict):
        known.reserve("one", B)
    known.release("one", A)
    assert known.reserve("one", B) == "one"


def test_a_name_reserved_for_a_container_in_the_making_finds_nobody() -> None:
    known = Index()
    known.reserve("soon", A)
    with pytest.raises(NotFound):
        known.find("soon")


@pytest.mark.parametrize("name", ["", "a", "-a", "a b", "a/b", "ä1", "_ab"])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        check_name(name)
    assert str(refused.value) == f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"


def test_a_taken_name_gets_a_number() -> None:
    draws = itertools.count()
    name = generate_name(lambda limit: next(draws) % limit, lambda name: not name[-1].isdigit())
    assert re.fullmatch(r"[a-z]+_[a-z]+\d+", name)


@given(st.integers(0, 10**6))
def test_made_names_are_good_names(seed: int) -> None:
    name = generate_name(lambda limit: seed % limit, lambda name: False)
    assert check_name(name) == name
