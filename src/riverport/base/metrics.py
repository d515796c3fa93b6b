"""Metrics: counters, gauges and histograms with bounded buckets, and Prometheus' text form of them.

    metrics = Registry()
    requests = metrics.counter("kafka_requests_total", "Requests handled.", "api")
    fetches = requests.of("Fetch")              # once, where the hot path is set up
    fetches.value += 1                          # one attribute, no lock: one event loop owns a registry

A family with labels makes one metric per combination of label values; from `SERIES_MAX` on, new combinations share
the one labelled "other", so that a client cannot grow memory by inventing names.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

SERIES_MAX: Final = 1000
OTHER: Final = "other"

# Seconds, from 0.1 ms to 10 s.
LATENCY_BUCKETS: Final = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Counter:
    """A number that only grows. Hot paths add to `value` directly."""

    kind = "counter"
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        self.value += amount

    def samples(self) -> Iterator[tuple[str, str, float]]:
        yield "", "", self.value


class Gauge:
    """A number that goes up and down: `value`, or what `read` says whenever somebody looks."""

    kind = "gauge"
    __slots__ = ("read", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self.read: Callable[[], float] | None = None

    def samples(self) -> Iterator[tuple[str, str, float]]:
        yield "", "", self.value if self.read is None else self.read()


class Histogram:
    """How many observations fell into which bucket; `bounds` are the inclusive upper ends, ascending."""

    kind = "histogram"
    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last holds what is beyond every bound
        self.total: float = 0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def quantile(self, share: float) -> float:
        """An upper bound of the value below which `share` of the observations lie; infinity beyond the last bucket."""
        wanted = share * sum(self.counts)
        reached = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            reached += count
            if reached >= wanted:
                return bound
        return float("inf")

    def samples(self) -> Iterator[tuple[str, str, float]]:
        reached = 0
        for bound, count in zip((*map(_number, self.bounds), "+Inf"), self.counts, strict=True):
            reached += count
            yield "_bucket", f'le="{bound}"', reached
        yield "_sum", "", self.total
        yield "_count", "", reached


class Metric(Protocol):
    kind: str

    def samples(self) -> Iterator[tuple[str, str, float]]:
        """Suffix of the name, further label and value of each line of the text form."""


M = TypeVar("M", bound=Metric)


class Family(Generic[M]):
    """All metrics of one name, one per combination of label values."""

    __slots__ = ("_make", "help", "labels", "name", "series")

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...], make: Callable[[], M]) -> None:
        self.name = name
        self.help = help_text
        self.labels = labels
        self._make = make
        self.series: dict[tuple[str, ...], M] = {}

    def of(self, *values: str) -> M:
        """The metric with these label values; keep it where it is used often."""
        assert len(values) == len(self.labels), (self.name, self.labels, values)
        found = self.series.get(values)
        if found is None:
            if len(self.series) >= SERIES_MAX:
                values = (OTHER,) * len(self.labels)
            found = self.series.setdefault(values, self._make())
        return found

    def text(self) -> str:
        kind = next((metric.kind for metric in self.series.values()), "untyped")
        lines = [f"# HELP {self.name} {_escaped(self.help, quotes=False)}\n# TYPE {self.name} {kind}\n"]
        for values, metric in self.series.items():
            own = [f'{label}="{_escaped(value)}"' for label, value in zip(self.labels, values, strict=True)]
            for suffix, more, number in metric.samples():
                labels = ",".join([*own, more] if more else own)
                lines.append(f"{self.name}{suffix}{f'{{{labels}}}' if labels else ''} {_number(number)}\n")
        return "".join(lines)


class Registry:
    """The metrics of one process part, by name. Asking for a name again gives the same family."""

    __slots__ = ("_families",)

    def __init__(self) -> None:
        self._families: dict[str, Family[Any]] = {}

    def counter(self, name: str, help_text: str, *labels: str) -> Family[Counter]:
        return self._families.setdefault(name, Family(name, help_text, labels, Counter))

    def gauge(self, name: str, help_text: str, *labels: str) -> Family[Gauge]:
        return self._families.setdefault(name, Family(name, help_text, labels, Gauge))

    def histogram(
        self, name: str, help_text: str, *labels: str, bounds: Sequence[float] = LATENCY_BUCKETS
    ) -> Family[Histogram]:
        return self._families.setdefault(name, Family(name, help_text, labels, lambda: Histogram(bounds)))

    def text(self) -> str:
        """Everything in Prometheus' text format, version 0.0.4, names in order."""
        return "".join(family.text() for _, family in sorted(self._families.items()) if family.series)


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
