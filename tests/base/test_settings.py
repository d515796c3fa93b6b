from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.base.kinds import HIDDEN, Kind
from riverport.base.settings import (
    BOOLEAN,
    DOUBLE,
    INT,
    LIST,
    LONG,
    PASSWORD,
    REQUIRED,
    SHORT,
    STRING,
    Check,
    ConfigError,
    Setting,
    Table,
    at_least,
    between,
    between_or,
    in_,
    in_any_case,
    items,
    parse,
    unknown_keys,
)


def setting(kind: Kind, check: Check | None = None, default: object = None) -> Setting:
    return Setting("a.key", kind, default, check, "What it is for.")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (BOOLEAN, "yes"),
        (BOOLEAN, ""),
        (INT, "1_000"),
        (INT, "2147483648"),
        (INT, "1.0"),
        (INT, ""),
        (INT, "\u0661"),
        (SHORT, "32768"),
        (LONG, "9" * 5000),
        (DOUBLE, "1_0"),
        (DOUBLE, "inf"),
        (DOUBLE, "half"),
    ],
)
def test_a_wrong_text_is_refused_by_name(kind: Kind, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        setting(kind).value_of(text)
    assert str(raised.value).startswith(f"Invalid value {text} for configuration a.key: ")


@pytest.mark.parametrize(
    ("check", "good", "bad", "allowed", "problem"),
    [
        (at_least(1), "1", "0", "[1,...]", "must be at least 1"),
        (between(1, 9), "9", "10", "[1,...,9]", "must be no more than 9"),
        (between_or(1, 9, -1), "-1", "0", "[1,...,9] or -1", "between 1 and 9 or equal to -1"),
    ],
)
def test_numbers_are_checked(check: Check, good: str, bad: str, allowed: str, problem: str) -> None:
    row = setting(INT, check)
    assert row.value_of(good) == int(good)
    assert row.allowed == allowed
    with pytest.raises(ConfigError, match=problem):
        row.value_of(bad)


def test_texts_are_checked() -> None:
    with pytest.raises(ConfigError, match="must be one of: a, b"):
        setting(STRING, in_("a", "b")).value_of("A")
    assert setting(STRING, in_any_case("A", "B")).value_of("b") == "b"
    with pytest.raises(ConfigError, match=r"must be one of \(case insensitive\): A, B"):
        setting(STRING, in_any_case("A", "B")).value_of("c")


def test_lists_are_checked_and_lose_duplicates() -> None:
    row = setting(LIST, items("a", "b", empty=False))
    assert row.value_of("b,a,b") == ("b", "a")
    assert row.allowed == "[a, b] not empty"
    for text, problem in (
        ("", "must not be empty; it may hold a, b"),
        ("a,,b", "an empty entry"),
        ("a,c", "value c for .*: String must be one of: a, b"),
    ):
        with pytest.raises(ConfigError, match=problem):
            row.value_of(text)
    assert setting(LIST).value_of("a,a") == ("a", "a")


def test_all_wrong_values_are_told_at_once() -> None:
    table = Table(
        [
            Setting("node.id", INT, REQUIRED, at_least(0), "The id."),
            Setting("threads", INT, 8, at_least(1), "Threads."),
            Setting("secret", PASSWORD, None, Check(lambda _: "too short", ""), "Secret."),
        ]
    )
    with pytest.raises(ConfigError) as raised:
        parse(table, {"threads": "0", "secret": "12345"})
    assert raised.value.problems == [
        "Missing required configuration node.id, which has no default value: The id.",
        "Invalid value 0 for configuration threads: Value must be at least 1",
        f"Invalid value {HIDDEN} for configuration secret: too short",
    ]


def test_values_are_read_by_type() -> None:
    table = Table(
        [
            Setting("i", INT, 1, None, ""),
            Setting("n", INT, None, None, ""),
            Setting("d", DOUBLE, 0.5, None, ""),
            Setting("f", BOOLEAN, True, None, ""),
            Setting("t", STRING, "x", None, ""),
            Setting("l", LIST, ("x",), None, ""),
            Setting("p", PASSWORD, None, None, ""),
        ]
    )
    values = parse(table, {"p": "secret", "plugin.key": "kept"})
    assert (values.integer("i"), values.maybe_integer("n"), values.number("d")) == (1, None, 0.5)
    assert values.flag("f") is True
    assert (values.text("t"), values.maybe_text("t"), values.items_of("l")) == ("x", "x", ("x",))
    assert values.secret("p") == "secret"
    assert repr(values["p"]) == HIDDEN
    assert values.given["plugin.key"] == "kept"
    assert "plugin.key" not in values
    assert list(values) == list(table)


def test_an_unknown_key_comes_with_the_nearest_known_ones() -> None:
    table = Table([Setting(key, INT, 1, None, "") for key in ("log.retention.ms", "log.retention.bytes", "node.id")])
    assert unknown_keys(table, ["node.id", "log.retentoin.ms", "zookeeper.connect"]) == {
        "log.retentoin.ms": ["log.retention.ms", "log.retention.bytes"],
        "zookeeper.connect": [],
    }


@given(st.text(), st.sampled_from(list(Kind)))
def test_any_text_is_a_value_or_a_config_error(text: str, kind: Kind) -> None:
    with suppress(ConfigError):
        setting(kind).value_of(text)


def test_a_value_that_is_not_given_is_none() -> None:
    assert setting(INT).value_of(None) is None
