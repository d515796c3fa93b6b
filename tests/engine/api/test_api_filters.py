import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.api.filters import Filters
from riverport.engine.errors import InvalidParameter

ALLOWED = ("name", "label", "label!", "id", "dangling")


@pytest.mark.parametrize("text", ['{"name":{"c1":true,"c2":true}}', '{"name":["c1","c2"]}'])
def test_both_forms_say_the_same(text: str) -> None:
    filters = Filters.parse(text, ALLOWED)
    assert filters.get("name") == ["c1", "c2"]
    assert filters.exact("name", "c2")
    assert not filters.exact("name", "c3")
    assert filters.exact("id", "anything")


def test_nothing_wanted_matches_everything() -> None:
    filters = Filters.parse("", ALLOWED)
    assert not filters
    assert filters.search("name", "x")
    assert filters.labels({})


def test_values_that_are_off_are_not_wanted() -> None:
    assert not Filters.parse('{"name":{"c1":false}}', ALLOWED)


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"name":1}', '{"name":[1]}', "x" * 10, '{"name":null}'])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid filter"):
        Filters.parse(text, ALLOWED)


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'nope'$"):
        Filters.parse('{"nope":["1"]}', ALLOWED)


def test_labels_are_anded_and_may_be_excluded() -> None:
    filters = Filters({"label": ["a", "b=2"], "label!": ["c"]})
    assert filters.labels({"a": "", "b": "2"})
    assert not filters.labels({"a": ""})
    assert not filters.labels({"a": "", "b": "3"})
    assert not filters.labels({"a": "", "b": "2", "c": "x"})
    assert not filters.labels(None)


def test_names_are_searched_as_patterns_and_as_text_if_they_are_none() -> None:
    assert Filters({"name": ["^/web"]}).search("name", "/web-1")
    assert not Filters({"name": ["^/web"]}).search("name", "/db", "/x/web")
    assert Filters({"name": ["we"]}).search("name", "/db", "/web")
    assert Filters({"name": ["a(b"]}).search("name", "/a(b")


def test_flags_are_true_or_false_and_not_both() -> None:
    assert Filters({"dangling": ["1"]}).flag("dangling", False) is True
    assert Filters({"dangling": ["false"]}).flag("dangling", True) is False
    assert Filters().flag("dangling", True) is True
    for wrong in (["perhaps"], ["true", "false"]):
        with pytest.raises(InvalidParameter, match="invalid filter 'dangling="):
            Filters({"dangling": wrong}).flag("dangling", True)


@given(st.dictionaries(st.sampled_from(ALLOWED), st.lists(st.text(min_size=1), unique=True)))
def test_what_a_client_writes_is_what_is_read(wanted: dict[str, list[str]]) -> None:
    as_list = Filters.parse(json.dumps(wanted), ALLOWED)
    as_map = Filters.parse(json.dumps({key: dict.fromkeys(values, True) for key, values in wanted.items()}), ALLOWED)
    for key, values in wanted.items():
        assert as_list.get(key) == as_map.get(key) == values


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(InvalidParameter):
        Filters.parse(text, ALLOWED)
