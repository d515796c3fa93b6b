"""Pictures of a run: one of all ratios, and one per figure, a bar for each broker's median and a dot for each round.

Needs matplotlib (extra `bench`).
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.results import KAFKA, PEERS, RIVERPORT, Outcome, number, peers

COLOURS = {KAFKA: "#9aa0a6", "dockerd": "#9aa0a6", "podman": "#c5b8d9", RIVERPORT: "#0b7285"}
NAMES = {**PEERS, RIVERPORT: "Riverport"}


OVERVIEW = "ratios"
"""What the names of pictures of all ratios end in."""


def draw(outcomes: Iterable[Outcome], folder: Path, overview: str = OVERVIEW) -> list[Path]:
    """Write an SVG of all ratios and one for each figure into `folder`. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    # Text as text, and no dates or random ids: small files that only change with the numbers.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "riverport", "font.size": 9})
    outcomes = list(outcomes)
    compared = [outcome for outcome in outcomes if outcome.gain is not None]
    drawn = [_draw_overview(compared, folder / f"{overview}.svg")] if compared else []
    return drawn + [_draw_figure(name, list(group), folder) for name, group in groupby(outcomes, lambda o: o.figure)]


def _draw_overview(outcomes: Sequence[Outcome], path: Path) -> Path:
    """How many times better than the best of the others, a bar for each measure, and a mark where its target lies."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.5, 0.19 * len(outcomes) + 0.9))
    for at, outcome in enumerate(outcomes):
        gain, target = outcome.gain, outcome.measure.target
        assert gain is not None
        axis.barh(at, gain - 1, left=1, height=0.7, color=COLOURS[RIVERPORT] if gain >= 1 else "#c92a2a")
        if target is not None:
            axis.plot(target if outcome.measure.more_is_better else 1 / target, at, "k|", markersize=7)
    axis.set_yticks(range(len(outcomes)), [f"{o.title}: {o.measure.label}" for o in outcomes], fontsize=6.5)
    axis.invert_yaxis()
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.axvline(1, color="black", linewidth=0.8)
    others = " and ".join(NAMES[peer] for peer in peers(outcomes))
    axis.set_xlabel(f"times better than {others} (1 is equal; marks are targets)", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return _saved(figure, path)


def _draw_figure(name: str, outcomes: Sequence[Outcome], folder: Path) -> Path:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(outcomes), figsize=(2.3 * len(outcomes) + 0.4, 2.6), squeeze=False)
    for axis, outcome in zip(axes[0], outcomes, strict=True):
        _draw_measure(axis, outcome)
    figure.suptitle(outcomes[0].title, fontweight="bold")
    figure.tight_layout()
    return _saved(figure, folder / f"{name}.svg")


def _saved(figure: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    # Lines end in blanks, and change with the version.
    path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))
    return path


def _draw_measure(axis: Any, outcome: Outcome) -> None:
    products = [product for product in NAMES if outcome.values.get(product)]
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
