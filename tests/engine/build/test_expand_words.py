"""Variables in words: the forms of the Dockerfile reference, quoting, and errors in Docker's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.build.expand import ExpansionError, Style, expand, split

VARIABLES = {"name": "value", "empty": "", "path": "a/b.tar.gz", "words": "80 443", "_x1": "under", "star": "a*b"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$name", "value"),
        ("${name}", "value"),
        ("$name.txt", "value.txt"),
        ("${name}txt", "valuetxt"),
        ("$_x1", "under"),
        ("$missing", ""),
        ("a$", "a$"),
        ("$$name", "name"),
        ("$1abc", "abc"),
        (r"\$name", "$name"),
        (r"\\$name", r"\value"),
        ("'$name'", "$name"),
        ('"$name"', "value"),
        (r'"\$name"', "$name"),
        (r'"\n"', r"\n"),
        (r'"a\"b"', 'a"b'),
        ("'a'\"b\"c", "abc"),
        ("it's \"$name\" 'xy", 'its "$name" xy'),
        ("${missing-word}", "word"),
        ("${empty-word}", ""),
        ("${empty:-word}", "word"),
        ("${missing:-${name}}", "value"),
        ("${name+word}", "word"),
        ("${missing+word}", ""),
        ("${empty+word}", "word"),
        ("${empty:+word}", ""),
        ("${name?no}", "value"),
        ("${path#*/}", "b.tar.gz"),
        ("${path#*.}", "tar.gz"),
        ("${path##*.}", "gz"),
        ("${path%.*}", "a/b.tar"),
        ("${path%%.*}", "a/b"),
        ("${path%x}", "a/b.tar.gz"),
        ("${path/./-}", "a/b-tar.gz"),
        ("${path//./-}", "a/b-tar-gz"),
        (r"${path/\//-}", "a-b.tar.gz"),
        (r"${star#a\*}", "b"),
        ("${path/t*/X}", "a/b.X"),
        ("<<EOF", "<<EOF"),
        ("a < b", "a < b"),
    ],
)
def test_a_word_expands(text: str, result: str) -> None:
    assert expand(text, VARIABLES) == result


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("${name", 'failed to process "${name": unsupported modifier () in substitution'),
        ("${", "failed to process \"${\": syntax error: missing '}'"),
        ("${}", 'failed to process "${}": syntax error: bad substitution'),
        ("${:x}", 'failed to process "${:x}": syntax error: bad substitution'),
        ("${name:x}", 'failed to process "${name:x}": unsupported modifier (:x) in substitution'),
        ("${name:-x", "failed to process \"${name:-x\": syntax error: missing '}'"),
        ("${name/x", "failed to process \"${name/x\": syntax error: missing '/' in ${}"),
        ("${name:#x}", 'failed to process "${name:#x}": unsupported modifier (:#) in substitution'),
        ("'open", 'failed to process "\'open": unexpected end of statement while looking for matching single-quote'),
        ('"open', 'failed to process "\\"open": unexpected end of statement while looking for matching double-quote'),
        ("${missing?}", 'failed to process "${missing?}": missing: is not allowed to be unset'),
        ("${empty:?}", 'failed to process "${empty:?}": empty: is not allowed to be empty'),
        ("${missing:?why not}", 'failed to process "${missing:?why not}": missing: why not'),
    ],
)
def test_a_fault_is_told_as_docker_tells_it(text: str, fault: str) -> None:
    with pytest.raises(ExpansionError) as raised:
        expand(text, VARIABLES)
    assert str(raised.value) == fault


def test_another_escape_character_leaves_backslashes_alone() -> None:
    assert expand(r"c:\$name`$x", VARIABLES, escape="`") == r"c:\value$x"


def test_a_value_with_spaces_is_several_words_unless_quoted() -> None:
    assert split("$words 8080", VARIABLES) == ["80", "443", "8080"]
    assert split('"$words" 8080', VARIABLES) == ["80 443", "8080"]
    assert split(r"a\ b '' c", VARIABLES) == ["a b", "c"]


def test_a_heredoc_keeps_its_quotes_and_expands() -> None:
    style = Style(plain_quotes=True)
    assert expand("say \"$name\" and '$name' and \\$name\n", VARIABLES, style=style) == (
        "say \"value\" and 'value' and $name\n"
    )


def test_unset_variables_stay_where_they_are_only_looked_at() -> None:
    assert expand("$missing ${missing} ${missing:-x} $name", VARIABLES, style=Style(keep_unset=True)) == (
        "$missing ${missing} ${missing:-x} value"
    )


def test_deep_nesting_is_refused_not_a_crash() -> None:
    with pytest.raises(ExpansionError):
        expand("${a:-" * 5000 + "x" + "}" * 5000, {})


def test_patterns_with_many_stars_end_soon() -> None:
    """Backtracking over each star would take longer than the universe has."""
    variables = {"long": "a" * 5000}
    assert expand("${long#" + "*a" * 30 + "*b}", variables) == variables["long"]
    assert expand("${long//" + "*a" * 30 + "*b/x}", {"long": "a" * 200}) == "a" * 200


@given(st.text(alphabet="ab${}:-+?#%/'\"\\<* \n", max_size=30))
def test_any_text_expands_or_says_why_not(text: str) -> None:
    variables = {"a": "1 2", "b": ""}
    try:
        words = split(text, variables)
    except ExpansionError:
        with pytest.raises(ExpansionError, match=r"^failed to process "):
            expand(text, variables)
    else:
        assert all(words)
        assert len("".join(words)) <= len(expand(text, variables))


@given(st.text(alphabet=st.characters(exclude_characters="$'\"\\<"), max_size=30))
def test_text_without_special_characters_stays(text: str) -> None:
    assert expand(text, {}) == text
