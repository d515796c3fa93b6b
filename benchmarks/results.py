"""Values, medians, ratios: what a run found, as a table for people and as JSON for programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

KAFKA, RIVERPORT = "kafka", "riverport"


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a figure. `target` is the ratio to Apache Kafka that we want to reach, None where there is none."""

    key: str
    label: str
    unit: str
    more_is_better: bool
    target: float | None = None

    def meets(self, ratio: float) -> bool | None:
        if self.target is None:
            return None
        return ratio >= self.target if self.more_is_better else ratio <= self.target

    @property
    def target_text(self) -> str:
        if self.target is None:
            return ""
        return f"{'≥' if self.more_is_better else '≤'} {self.target:g}"


@dataclass(slots=True)
class Outcome:
    """The values of one measure, by broker; one value per repetition."""

    figure: str
    title: str
    measure: Measure
    values: dict[str, list[float]] = field(default_factory=dict)

    def median(self, product: str) -> float | None:
        found = self.values.get(product)
        return median(found) if found else None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none, or nothing to compare with."""
        return None if self.ratio is None else self.measure.meets(self.ratio)

    @property
    def gain(self) -> float | None:
        """How many times better than Apache Kafka, whichever side is better."""
        ratio = self.ratio
        return ratio if ratio is None or self.measure.more_is_better else 1 / ratio if ratio else None

    @property
    def ratio(self) -> float | None:
        """Riverport's median by Apache Kafka's; None while one of them is missing."""
        ours, theirs = self.median(RIVERPORT), self.median(KAFKA)
        return None if ours is None or not theirs else ours / theirs

    def as_json(self) -> dict[str, Any]:
        ratio = self.ratio
        return {
            "figure": self.figure,
            "title": self.title,
            "measure": self.measure.key,
            "label": self.measure.label,
            "unit": self.measure.unit,
            "more_is_better": self.measure.more_is_better,
            "values": self.values,
            "medians": {product: self.median(product) for product in self.values},
            "ratio": ratio,
            "target": self.measure.target,
            "met": self.met,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Outcome":
        measure = Measure(found["measure"], found["label"], found["unit"], found["more_is_better"], found["target"])
        return cls(found["figure"], found["title"], measure, found["values"])


def number(value: float | None) -> str:
    """Three significant digits, grouped; what the eye compares in a column."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """A row per measure: figure (once), measure, unit, both medians, ratio, target, whether it is met."""
    made, last = [], ""
    for outcome in outcomes:
        measure, ratio = outcome.measure, outcome.ratio
        made.append(
            [
                outcome.title if outcome.title != last else "",
                measure.label,
                measure.unit,
                number(outcome.median(KAFKA)),
                number(outcome.median(RIVERPORT)),
                "-" if ratio is None else f"{ratio:.2f}",
                measure.target_text,
                {None: "", True: "met", False: "missed"}[outcome.met],
            ]
        )
        last = outcome.title
    return made


HEAD = ["figure", "measure", "unit", "Apache Kafka", "Riverport", "ratio", "target", ""]
_NUMBERS = {3, 4, 5}


def table(outcomes: Sequence[Outcome]) -> str:
    """Aligned columns for a terminal."""
    lines = [HEAD, *rows(outcomes)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    rule = ["─" * width for width in widths]
    return "\n".join(_aligned(line, widths) for line in (HEAD, rule, *lines[1:]))


def _aligned(line: list[str], widths: list[int]) -> str:
    cells = [
        cell.rjust(width) if at in _NUMBERS else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def summary(outcomes: Sequence[Outcome]) -> str:
    judged = [outcome.met for outcome in outcomes if outcome.met is not None]
    return f"{sum(judged)} of {len(judged)} targets are reached."


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The same as a table in Markdown, for a report."""
    rule = ["---:" if at in _NUMBERS else "---" for at in range(len(HEAD))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (HEAD, rule, *rows(outcomes)))
