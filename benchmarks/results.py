"""Values, medians, ratios: what a run found, as a table for people and as JSON for programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

KAFKA, RIVERPORT = "kafka", "riverport"
PEERS = {KAFKA: "Apache Kafka", "dockerd": "dockerd", "podman": "podman"}
"""What Riverport is measured beside, and what it is called."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a figure. `target` is the ratio to the original that we want to reach, None where there is none.

    It is to be reached beside every peer, or beside `target_peer` alone.
    """

    key: str
    label: str
    unit: str
    more_is_better: bool
    target: float | None = None
    target_peer: str | None = None

    def meets(self, ratio: float) -> bool | None:
        if self.target is None:
            return None
        return ratio >= self.target if self.more_is_better else ratio <= self.target

    @property
    def target_text(self) -> str:
        if self.target is None:
            return ""
        of = f" of {PEERS[self.target_peer]}" if self.target_peer is not None else ""
        return f"{'≥' if self.more_is_better else '≤'} {self.target:g}{of}"


@dataclass(slots=True)
class Outcome:
    """The values of one measure, by product; one value per repetition."""

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
        peer = self.measure.target_peer
        ratio = self.ratio if peer is None else self.ratio_to(peer)
        return None if ratio is None else self.measure.meets(ratio)

    @property
    def gain(self) -> float | None:
        """How many times better than the best of the others, whichever side is better."""
        ratio = self.ratio
        return ratio if ratio is None or self.measure.more_is_better else 1 / ratio if ratio else None

    @property
    def peers(self) -> list[str]:
        return [peer for peer in PEERS if self.values.get(peer)]

    def ratio_to(self, peer: str) -> float | None:
        """Riverport's median by another's; None while one of them is missing."""
        ours, theirs = self.median(RIVERPORT), self.median(peer)
        return None if ours is None or not theirs else ours / theirs

    @property
    def ratio(self) -> float | None:
        """That to the best of the others; None where there is nothing to compare."""
        found = [ratio for peer in self.peers if (ratio := self.ratio_to(peer)) is not None]
        if not found:
            return None
        return min(found) if self.measure.more_is_better else max(found)

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
            "target_peer": self.measure.target_peer,
            "met": self.met,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Outcome":
        measure = Measure(
            found["measure"],
            found["label"],
            found["unit"],
            found["more_is_better"],
            found["target"],
            found.get("target_peer"),
        )
        return cls(found["figure"], found["title"], measure, found["values"])


def number(value: float | None) -> str:
    """Three significant digits, grouped; what the eye compares in a column."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """A row per measure: figure (once), measure, unit, all medians, ratios, target, whether it is met."""
    made, last, others = [], "", peers(outcomes)
    for outcome in outcomes:
        measure = outcome.measure
        made.append(
            [
                outcome.title if outcome.title != last else "",
                measure.label,
                measure.unit,
                *(number(outcome.median(product)) for product in (*others, RIVERPORT)),
                *("-" if ratio is None else f"{ratio:.2f}" for ratio in map(outcome.ratio_to, others)),
                measure.target_text,
                {None: "", True: "met", False: "missed"}[outcome.met],
            ]
        )
        last = outcome.title
    return made


def peers(outcomes: Sequence[Outcome]) -> list[str]:
    """Whom the outcomes compare with; Apache Kafka where nobody is there."""
    return [peer for peer in PEERS if any(peer in outcome.values for outcome in outcomes)] or [KAFKA]


def head(outcomes: Sequence[Outcome]) -> list[str]:
    others = [PEERS[peer] for peer in peers(outcomes)]
    ratios = ["ratio"] if len(others) == 1 else [f"to {other}" for other in others]
    return ["figure", "measure", "unit", *others, "Riverport", *ratios, "target", ""]


def _number_columns(heads: Sequence[str]) -> range:
    """All between the unit and the target."""
    return range(3, len(heads) - 2)


def table(outcomes: Sequence[Outcome]) -> str:
    """Aligned columns for a terminal."""
    heads = head(outcomes)
    lines = [heads, *rows(outcomes)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    rule = ["─" * width for width in widths]
    return "\n".join(_aligned(line, widths) for line in (heads, rule, *lines[1:]))


def _aligned(line: list[str], widths: list[int]) -> str:
    cells = [
        cell.rjust(width) if at in _number_columns(line) else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def summary(outcomes: Sequence[Outcome]) -> str:
    judged = [outcome.met for outcome in outcomes if outcome.met is not None]
    return f"{sum(judged)} of {len(judged)} targets are reached."


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The same as a table in Markdown, for a report."""
    heads = head(outcomes)
    rule = ["---:" if at in _number_columns(heads) else "---" for at in range(len(heads))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *rows(outcomes)))
