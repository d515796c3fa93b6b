"""Go's way to print and match: the histories of images depend on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.build.golang import (
    BadPattern,
    format_duration,
    has_wildcards,
    match,
    parse_duration,
    quote,
    quote_all,
    quote_rune,
)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("sh", '"sh"'),
        ('a "b"', r'"a \"b\""'),
        ("tab\there\n", r'"tab\there\n"'),
        ("bell\x07\x01\x7f", r'"bell\a\x01\x7f"'),
        ("é\u00a0\u200b", '"é\\u00a0\\u200b"'),
        ("back\\slash", r'"back\\slash"'),
        (b"\xff".decode("utf-8", "surrogateescape"), r'"\xff"'),
        ("😀", '"😀"'),
    ],
)
def test_strings_print_as_with_percent_q(text: str, quoted: str) -> None:
    assert quote(text) == quoted


def test_lists_and_numbers_print_as_with_percent_q() -> None:
    assert quote_all(["sh", "-c"]) == '["sh" "-c"]'
    assert quote_all([]) == "[]"
    assert [quote_rune(number) for number in (0, 3, 65, 39)] == [r"'\x00'", r"'\x03'", "'A'", r"'\''"]


@pytest.mark.parametrize(
    ("text", "nanoseconds", "printed"),
    [
        ("0", 0, "0s"),
        ("5m", 300 * 10**9, "5m0s"),
        ("1.5s", 1_500_000_000, "1.5s"),
        ("1h15m30.918s", 4_530_918_000_000, "1h15m30.918s"),
        ("100ms", 100_000_000, "100ms"),
        ("1500µs", 1_500_000, "1.5ms"),
        ("7ns", 7, "7ns"),
        ("-2s", -2_000_000_000, "-2s"),
    ],
)
def test_durations_are_read_and_printed(text: str, nanoseconds: int, printed: str) -> None:
    assert parse_duration(text) == nanoseconds
    assert format_duration(nanoseconds) == printed


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", 'time: invalid duration ""'),
        ("3", 'time: missing unit in duration "3"'),
        ("3x", 'time: unknown unit "x" in duration "3x"'),
        ("abc", 'time: invalid duration "abc"'),
        ("9999999h", 'time: invalid duration "9999999h"'),
    ],
)
def test_bad_durations_are_told(text: str, fault: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_duration(text)
    assert str(raised.value) == fault


@given(st.integers(min_value=-(1 << 62), max_value=1 << 62))
def test_a_printed_duration_reads_back(nanoseconds: int) -> None:
    assert abs(parse_duration(format_duration(nanoseconds)) - nanoseconds) <= 1


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a[^a]b", "a☺b", True),
        ("a[^a][^a][^a]b", "a☺b", False),
        ("[a-ζ]*", "β", True),
        ("*[a-ζ]", "A", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "-", True),
        ("[\\-x]", "a", False),
        ("*x", "xxx", True),
        ("a.b", "axb", False),
        ("**", "a", True),
        ("a\nb", "a\nb", True),
    ],
)
def test_patterns_match_as_filepath_match(pattern: str, name: str, matches: bool) -> None:
    """The table of Go's own documentation and tests of path/filepath."""
    assert match(pattern, name) is matches


@pytest.mark.parametrize("pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\"])
def test_bad_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        match(pattern, "a")


def test_stars_do_not_multiply() -> None:
    assert not match("*a" * 40 + "b", "a" * 250)


def test_wildcards_are_seen_unless_escaped() -> None:
    assert [has_wildcards(text) for text in ("a*", "[a]", "\\\\?", "a\\*b", "plain")] == [True] * 3 + [False] * 2


@given(st.text(alphabet="ab/*", max_size=8), st.text(alphabet="ab/", max_size=8))
def test_stars_match_what_the_plain_definition_says(pattern: str, name: str) -> None:
    def plain(left: str, right: str) -> bool:
        if not left:
            return not right
        if left[0] == "*":
            return plain(left[1:], right) or (bool(right) and right[0] != "/" and plain(left, right[1:]))
        return bool(right) and left[0] == right[0] and plain(left[1:], right[1:])

    assert match(pattern, name) == plain(pattern, name)
