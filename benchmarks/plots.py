"""A picture per figure: a bar for each broker's median, a dot for each round. Needs matplotlib (extra `bench`)."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.results import KAFKA, RIVERPORT, Outcome, number

COLOURS = {KAFKA: "#9aa0a6", RIVERPORT: "#0b7285"}
NAMES = {KAFKA: "Apache Kafka", RIVERPORT: "Riverport"}


def draw(outcomes: Iterable[Outcome], folder: Path) -> list[Path]:
    """Write an SVG for each figure into `folder`. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    # Text as text, and no dates or random ids: small files that only change with the numbers.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "riverport", "font.size": 9})
    return [_draw_figure(name, list(group), folder) for name, group in groupby(outcomes, lambda o: o.figure)]


def _draw_figure(name: str, outcomes: Sequence[Outcome], folder: Path) -> Path:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(outcomes), figsize=(2.3 * len(outcomes) + 0.4, 2.6), squeeze=False)
    for axis, outcome in zip(axes[0], outcomes, strict=True):
        _draw_measure(axis, outcome)
    figure.suptitle(outcomes[0].title, fontweight="bold")
    figure.tight_layout()
    path = folder / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _draw_measure(axis: Any, outcome: Outcome) -> None:
    products = [product for product in (KAFKA, RIVERPORT) if outcome.values.get(product)]
    for at, product in enumerate(products):
        values, median = outcome.values[product], outcome.median(product)
        axis.bar(at, median, width=0.6, color=COLOURS[product])
        axis.scatter([at] * len(values), values, s=8, color="black", alpha=0.5, zorder=3)
        axis.annotate(number(median), (at, 0), (0, 3), textcoords="offset points", ha="center", color="white")
    axis.set_xticks(range(len(products)), [NAMES[product] for product in products])
    axis.set_ylim(bottom=0)
    better = "more is better" if outcome.measure.more_is_better else "less is better"
    ratio = "" if outcome.ratio is None else f"  (ratio {outcome.ratio:.2f})"
    axis.set_title(f"{outcome.measure.label}, {outcome.measure.unit}{ratio}", fontsize=8)
    axis.set_xlabel(better, fontsize=7, color="#666666")
    axis.spines[["top", "right"]].set_visible(False)
