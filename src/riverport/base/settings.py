"""Settings as tables: one row is the whole truth about one key, and everything else is derived from the rows.

    LAG_MAX = Setting("replica.lag.time.max.ms", LONG, 30_000, at_least(1), "A follower not caught up for ...", HIGH)
    TABLE = Table([LAG_MAX])
    values = parse(TABLE, {"replica.lag.time.max.ms": "10000"})
    values.integer("replica.lag.time.max.ms")

What kinds of values there are and how a text becomes one is in `kinds`. A wrong value is a `ConfigError` that names the
key, the value and what is allowed; all wrong values of one parse are reported together. An unknown key is no error:
`unknown_keys` finds them and the nearest known names, and the caller says so.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from riverport.base.kinds import HIDDEN, Kind, Password, text_of, value_of

INT_MAX: Final = 2**31 - 1
LONG_MAX: Final = 2**63 - 1
DOUBLE_MAX: Final = 1.7976931348623157e308


class Importance(Enum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Update(Enum):
    """How a value may change while a process runs."""

    READ_ONLY = "read-only"
    PER_BROKER = "per-broker"
    CLUSTER_WIDE = "cluster-wide"


BOOLEAN, STRING, INT, SHORT, LONG = Kind.BOOLEAN, Kind.STRING, Kind.INT, Kind.SHORT, Kind.LONG
DOUBLE, LIST, CLASS, PASSWORD = Kind.DOUBLE, Kind.LIST, Kind.CLASS, Kind.PASSWORD
HIGH, MEDIUM, LOW = Importance.HIGH, Importance.MEDIUM, Importance.LOW
READ_ONLY, PER_BROKER, CLUSTER_WIDE = Update.READ_ONLY, Update.PER_BROKER, Update.CLUSTER_WIDE


class Required:
    """The default of a key that has none: the key must be given."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = Required()


class ConfigError(Exception):
    """One or more wrong values; `str()` names each key, its value and what is allowed, one per line."""

    def __init__(self, problems: "str | Sequence[str]") -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class Check:
    """What a value must satisfy.

    `problem(value)` says what is wrong with a value, None if nothing is; a pair also names the part of the value that
    is wrong. `allowed` is the short form for tables. The sentences begin as Kafka's do, since programs compare them.
    """

    __slots__ = ("allowed", "distinct", "problem")

    def __init__(
        self, problem: Callable[[Any], str | tuple[str, str] | None], allowed: str, *, distinct: bool = False
    ) -> None:
        self.problem = problem
        self.allowed = allowed
        self.distinct = distinct  # a list's duplicates are dropped before it is checked


def at_least(low: int | float) -> Check:
    def problem(value: Any) -> str | None:
        if value is None:
            return "Value must be non-null"
        return None if value >= low else f"Value must be at least {low}"

    return Check(problem, f"[{low},...]")


def between(low: int | float, high: int | float) -> Check:
    def problem(value: Any) -> str | None:
        if value is None:
            return "Value must be non-null"
        if value < low:
            return f"Value must be at least {low}"
        return None if value <= high else f"Value must be no more than {high}"

    return Check(problem, f"[{low},...,{high}]")


def between_or(low: int, high: int, other: int) -> Check:
    """A value in the range, or the one value outside of it that has a meaning of its own."""

    def problem(value: Any) -> str | None:
        if value is not None and (value == other or low <= value <= high):
            return None
        return f"Value must be between {low} and {high} or equal to {other}"

    return Check(problem, f"[{low},...,{high}] or {other}")


def in_(*choices: str) -> Check:
    def problem(value: Any) -> str | None:
        return None if value in choices else f"String must be one of: {', '.join(choices)}"

    return Check(problem, f"[{', '.join(choices)}]")


def in_any_case(*choices: str) -> Check:
    """As `in_`, upper and lower case taken as equal; `choices` are upper case."""

    def problem(value: Any) -> str | None:
        if value is not None and value.upper() in choices:
            return None
        return f"String must be one of (case insensitive): {', '.join(choices)}"

    return Check(problem, f"(case insensitive) [{', '.join(choices)}]")


def items(*choices: str, empty: bool = True, null: bool = False) -> Check:
    """A list without empty entries, all of them among `choices` if there are any. Duplicates are dropped."""

    def problem(value: Any) -> str | tuple[str, str] | None:
        if value is None:
            return None if null else "Value must be non-null"
        if not value and not empty:
            return "List must not be empty" + (f"; it may hold {', '.join(choices)}" if choices else "")
        for entry in value:
            if entry == "":
                return "List must not hold an empty entry"
            if choices and entry not in choices:
                return entry, f"String must be one of: {', '.join(choices)}"
        return None

    words = [f"[{', '.join(choices)}]" if choices else "", "" if empty else "not empty", "or null" if null else ""]
    return Check(problem, " ".join(filter(None, words)), distinct=True)


NON_EMPTY = Check(lambda value: "String must be non-empty" if value == "" else None, "non-empty string")
NON_NULL = Check(lambda value: "entry must be non null" if value is None else None, "non-null string")


class Setting:
    """One key: its type, default, check, meaning, and whether Riverport acts on it (`effect`)."""

    __slots__ = ("check", "default", "doc", "effect", "importance", "internal", "key", "kind", "source", "update")

    def __init__(
        self,
        key: str,
        kind: Kind,
        default: Any,
        check: Check | None,
        doc: str,
        importance: Importance = MEDIUM,
        update: Update = READ_ONLY,
        *,
        effect: bool = True,
        internal: bool = False,
        source: str = "",
    ) -> None:
        self.key = key
        self.kind = kind
        self.default = default  # of the kind's Python type, None, or REQUIRED
        self.check = check
        self.doc = doc
        self.importance = importance
        self.update = update
        self.effect = effect
        self.internal = internal  # left out of descriptions and documentation
        self.source = source

    def __repr__(self) -> str:
        return f"Setting({self.key!r}, {self.kind.name}, {self.default!r})"

    @property
    def sensitive(self) -> bool:
        return self.kind is PASSWORD

    @property
    def allowed(self) -> str:
        """The allowed values in short, as Kafka's documentation writes them; empty if anything of the type is."""
        return self.check.allowed if self.check else ""

    def value_of(self, text: str | None) -> Any:
        """The typed value of `text`. Raises ConfigError."""
        try:
            value = None if text is None else value_of(self.kind, text)
        except ValueError as wrong:
            raise ConfigError(invalid(self.key, HIDDEN if self.sensitive else text, str(wrong))) from wrong
        if value is not None and self.check is not None and self.check.distinct:
            value = tuple(dict.fromkeys(value))
        self.ensure_valid(value)
        return value

    def ensure_valid(self, value: Any) -> None:
        """Raises ConfigError if this typed value is not allowed."""
        problem = self.check.problem(value) if self.check else None
        if problem is not None:
            shown = HIDDEN if self.sensitive else f"[{', '.join(value)}]" if type(value) is tuple else text_of(value)
            part, words = problem if isinstance(problem, tuple) else (shown, problem)
            raise ConfigError(invalid(self.key, part, words))

    def default_text(self) -> str | None:
        """The default as text, or None if there is none."""
        return None if self.default is REQUIRED else text_of(self.default)


def invalid(key: str, value: object, problem: str) -> str:
    """The sentence for a wrong value; it begins as Kafka's does, which clients show to their users."""
    return f"Invalid value {'null' if value is None else value} for configuration {key}: {problem}"


class Table(Mapping[str, Setting]):
    """Settings by key, in the order of their rows."""

    __slots__ = ("_rows", "defaults", "required")

    def __init__(self, rows: Iterable[Setting]) -> None:
        self._rows = {row.key: row for row in rows}
        self.required = [row.key for row in self._rows.values() if row.default is REQUIRED]
        self.defaults: dict[str, Any] = {row.key: row.default for row in self._rows.values()}

    def __getitem__(self, key: str) -> Setting:
        return self._rows[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def nearest(self, key: str, count: int = 3) -> list[str]:
        """The known keys that `key` may be a misspelling of, the likeliest first."""
        import difflib  # only needed once something is misspelt

        return difflib.get_close_matches(key, [row.key for row in self._rows.values() if not row.internal], count, 0.75)


class Values(Mapping[str, Any]):
    """Typed values of every key of a table; `given` holds the texts that were set, unknown keys included."""

    __slots__ = ("_values", "given")

    def __init__(self, values: dict[str, Any], given: Mapping[str, str]) -> None:
        self._values = values
        self.given = given

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def integer(self, key: str) -> int:
        value = self._values[key]
        assert type(value) is int, (key, value)
        return value

    def maybe_integer(self, key: str) -> int | None:
        value = self._values[key]
        assert value is None or type(value) is int, (key, value)
        return value

    def number(self, key: str) -> float:
        value = self._values[key]
        assert type(value) is float, (key, value)
        return value

    def flag(self, key: str) -> bool:
        value = self._values[key]
        assert type(value) is bool, (key, value)
        return value

    def text(self, key: str) -> str:
        value = self._values[key]
        assert type(value) is str, (key, value)
        return value

    def maybe_text(self, key: str) -> str | None:
        value = self._values[key]
        assert value is None or type(value) is str, (key, value)
        return value

    def items_of(self, key: str) -> tuple[str, ...]:
        value = self._values[key]
        assert type(value) is tuple, (key, value)
        return value

    def secret(self, key: str) -> str | None:
        value = self._values[key]
        assert value is None or type(value) is Password, key
        return None if value is None else value.value


def parse(table: Table, given: Mapping[str, str]) -> Values:
    """Typed values of all keys of `table`. Raises ConfigError with every wrong value and every missing key."""
    values = table.defaults.copy()
    problems: dict[str, list[str]] = {}
    for key, text in given.items():  # a few of hundreds of rows
        if (row := table.get(key)) is not None:
            try:
                values[key] = row.value_of(text)
            except ConfigError as wrong:
                problems[key] = wrong.problems
    for key in table.required:
        if key not in given:
            problems[key] = [f"Missing required configuration {key}, which has no default value: {table[key].doc}"]
    if problems:
        raise ConfigError([problem for key in table if key in problems for problem in problems[key]])
    return Values(values, dict(given))


def unknown_keys(table: Table, given: Iterable[str]) -> dict[str, list[str]]:
    """Keys that no row has, with the known keys nearest to each."""
    return {key: table.nearest(key) for key in given if key not in table}
