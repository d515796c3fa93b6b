"""The part of docs/guides/benchmarks.md that is measured, written from a run's results; the words around it stay."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, results
from benchmarks.plots import OVERVIEW

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def fill(document: Path, content: dict[str, Any], plots: Sequence[Path]) -> None:
    """Replace what stands between the marks of `document`. Raises ValueError where they are missing."""
    before, found, rest = document.read_text().partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{document} has no place for results, between {BEGIN} and {END}")
    document.write_text(f"{before}{BEGIN}\n\n{measured(content, plots, document.parent)}\n\n{END}{after}")


def measured(content: dict[str, Any], plots: Sequence[Path], folder: Path) -> str:
    outcomes = [results.Outcome.from_json(item) for item in content["outcomes"]]
    rounds = max(len(values) for outcome in outcomes for values in outcome.values.values())
    paragraphs = [
        f"{' and '.join(content['products'].values())}; {machine.in_words(content['machine'])}; "
        f"`{content['command']}` of {content['started'][:10]}, medians of {rounds} rounds.",
        results.summary(outcomes),
        results.markdown(outcomes),
        *(f"A figure failed: {failure}" for failure in content["failures"]),
        *(_picture(path, folder) for path in sorted(plots, key=lambda path: path.stem != OVERVIEW)),
    ]
    return "\n\n".join(paragraphs)


def _picture(path: Path, folder: Path) -> str:
    return f"![{path.stem}]({path.relative_to(folder)})"
