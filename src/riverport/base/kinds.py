"""Kinds of values that a setting may have, and their texts: a file that Kafka reads is read alike.

The types and their syntax are those of Kafka's ConfigDef: whitespace around a value is dropped, lists are split at
commas, an empty text is an empty list. In Python a value is None, a bool, an int, a float, a str, a tuple of str or a
`Password`.
"""

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

HIDDEN: Final = "[hidden]"


class Kind(Enum):
    """The type of a value; the numbers are those of the DescribeConfigs API."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


class Password:
    """A secret text that no log, message or repr shows."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Password) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


def value_of(kind: Kind, text: str) -> Any:
    """The value that a text stands for. Raises ValueError, whose words say what is wrong with it."""
    return _PARSERS[kind](text)


def text_of(value: Any) -> str | None:
    """A typed value as the text that Kafka would show for it; passwords in clear."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case float():
            return _double_text(value)
        case tuple():
            return ",".join(value)
        case Password():
            return value.value
        case _:
            return str(value)


def _double_text(value: float) -> str:
    """A double as Java prints it: plain between 0.001 and 10,000,000, else with an exponent (1.0E10)."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = repr(value)
        return text if "e" not in text else f"{value:f}".rstrip("0")
    sign, digits, exponent = _decimal_parts(value)
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def _decimal_parts(value: float) -> tuple[str, str, int]:
    """Sign, shortest digits without leading or trailing zeros, and the exponent of the first digit."""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    shift = int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    return "-" if value < 0 else "", digits.rstrip("0"), len(whole) - 1 - leading + shift


_WHOLE = re.compile(r"[+-]?[0-9]+")
_DOUBLE = re.compile(r"[+-]?(?:NaN|Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[fFdD]?")
_COMMA = re.compile(r"\s*,\s*")


def _boolean(text: str) -> bool:
    match text.strip().lower():
        case "true":
            return True
        case "false":
            return False
    raise ValueError("Expected value to be either true or false")


def _whole(kind: Kind, bits: int) -> Callable[[str], int]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def number(text: str) -> int:
        digits = text.strip()
        # 20 characters hold every 64-bit number; more digits than that are not worth converting.
        if _WHOLE.fullmatch(digits) and len(digits.lstrip("+-0")) <= 20 and low <= (value := int(digits)) <= high:
            return value
        raise ValueError(f"Not a number of type {kind.name}; it must be a whole number between {low} and {high}")

    return number


def _double(text: str) -> float:
    if _DOUBLE.fullmatch(text.strip()):
        return float(text.strip().rstrip("fFdD"))
    raise ValueError("Not a number of type DOUBLE")


def _list(text: str) -> tuple[str, ...]:
    stripped = text.strip()
    return tuple(_COMMA.split(stripped)) if stripped else ()


_PARSERS: dict[Kind, Callable[[str], Any]] = {
    Kind.BOOLEAN: _boolean,
    Kind.STRING: str.strip,
    Kind.INT: _whole(Kind.INT, 32),
    Kind.SHORT: _whole(Kind.SHORT, 16),
    Kind.LONG: _whole(Kind.LONG, 64),
    Kind.DOUBLE: _double,
    Kind.LIST: _list,
    Kind.CLASS: str.strip,
    Kind.PASSWORD: lambda text: Password(text.strip()),
}
