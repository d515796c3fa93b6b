"""Texts become values as Kafka's ConfigDef has it, and values are shown as Java shows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.base.kinds import HIDDEN, Kind, Password, text_of, value_of


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.BOOLEAN, " True ", True),
        (Kind.BOOLEAN, "FALSE", False),
        (Kind.INT, " +7 ", 7),
        (Kind.INT, "-2147483648", -(2**31)),
        (Kind.INT, "000000000000000000000000000001", 1),
        (Kind.SHORT, "32767", 32767),
        (Kind.LONG, "9223372036854775807", 2**63 - 1),
        (Kind.DOUBLE, "0.5", 0.5),
        (Kind.DOUBLE, "1e3", 1000.0),
        (Kind.DOUBLE, ".5f", 0.5),
        (Kind.STRING, "  a b ", "a b"),
        (Kind.CLASS, " org.example.Thing", "org.example.Thing"),
        (Kind.LIST, " a , b,c ", ("a", "b", "c")),
        (Kind.LIST, " ", ()),
        (Kind.LIST, "a,,b", ("a", "", "b")),
        (Kind.PASSWORD, " secret ", Password("secret")),
    ],
)
def test_a_text_becomes_a_typed_value(kind: Kind, text: str, value: object) -> None:
    assert value_of(kind, text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, "true"),
        (7, "7"),
        (("a", "b"), "a,b"),
        (Password("x"), "x"),
        (0.0, "0.0"),
        (0.05, "0.05"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (-2.5e-10, "-2.5E-10"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (1e22, "1.0E22"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (float("inf"), "Infinity"),
    ],
)
def test_a_value_is_shown_as_java_shows_it(value: object, text: str | None) -> None:
    assert text_of(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_shown_number_is_read_back(value: float) -> None:
    text = text_of(value)
    assert text is not None
    assert value_of(Kind.DOUBLE, text) == value


def test_a_password_is_shown_to_nobody() -> None:
    assert f"{Password('secret')} {Password('secret')!r}" == f"{HIDDEN} {HIDDEN}"
    assert Password("secret") == Password("secret") != Password("other")
