"""The parts of docs/guides/benchmarks.md that are measured, written from a run's results; the words around them stay.

A run of one broker and one of a cluster have each their place.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, results
from benchmarks.plots import OVERVIEW


def marks(verb: str) -> tuple[str, str]:
    """What stands before and behind the results of a kind of run."""
    place = "measured" if verb == "kafka" else f"measured {verb}"
    return f"<!-- {place}: begin -->", f"<!-- {place}: end -->"


def fill(document: Path, content: dict[str, Any], plots: Sequence[Path]) -> None:
    """Replace what stands between the marks of `document`. Raises ValueError where they are missing."""
    begin, end = marks(content.get("verb", "kafka"))
    before, found, rest = document.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{document} has no place for results, between {begin} and {end}")
    document.write_text(f"{before}{begin}\n\n{measured(content, plots, document.parent)}\n\n{end}{after}")


def measured(content: dict[str, Any], plots: Sequence[Path], folder: Path) -> str:
    outcomes = [results.Outcome.from_json(item) for item in content["outcomes"]]
    rounds = max(len(values) for outcome in outcomes for values in outcome.values.values())
    paragraphs = [
        f"{_and(content['products'].values())}; {machine.in_words(content['machine'])}; "
        f"`{content['command']}` of {content['started'][:10]}, medians of {rounds} rounds.",
        results.summary(outcomes),
        results.markdown(outcomes),
        *(f"A figure failed: {failure}" for failure in content["failures"]),
        *(_picture(path, folder) for path in sorted(plots, key=lambda path: not path.stem.endswith(OVERVIEW))),
    ]
    return "\n\n".join(paragraphs)


def _and(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _picture(path: Path, folder: Path) -> str:
    return f"![{path.stem}]({path.relative_to(folder)})"
