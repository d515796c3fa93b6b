"""The command: `python -m benchmarks kafka | cluster | engine | churn | report`."""

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import bench, document, figures, machine, results, stage
from benchmarks.cluster_figures import CLUSTER_FIGURES
from benchmarks.clusters import CLUSTER_SETTINGS, SIZE, Cluster
from benchmarks.load import LoadFailed, NoClient, compile_client
from benchmarks.nodes import KAFKA_HEAP, KAFKA_JVM, SETTINGS, ApacheKafka, Node, NodeFailed, Product, Riverport
from benchmarks.progress import Progress

OUT = Path(__file__).parent / "out"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast, beside the originals.")
    verbs = made.add_subparsers(dest="verb", required=True)
    for verb, what in (
        ("kafka", "both brokers in one run"),
        ("cluster", "three brokers of each kind in one run"),
        ("engine", "container engines beside dockerd and podman, in namespaces of their own; needs root"),
    ):
        run = verbs.add_parser(verb, help=f"measure {what}")
        run.add_argument("--only", nargs="+", default=[], metavar="FIGURE", help="these figures; --list names them")
        run.add_argument("--list", action="store_true", help="name the figures")
        size = run.add_mutually_exclusive_group()
        size.add_argument("--fast", action="store_true", help="less of everything, in about a third of the time")
        size.add_argument("--quick", action="store_true", help="only shows that it works; the numbers mean nothing")
        run.add_argument("--repeat", type=int, metavar="N", help="rounds")
        run.add_argument("--alone", action="store_true", help="Riverport without the others")
        run.add_argument("--work", type=Path, metavar="DIR", help="where data is kept during the run")
        run.add_argument("--out", type=Path, metavar="DIR", help="where the results go")
        run.add_argument("--no-plots", action="store_true")
    churn = verbs.add_parser("churn", help="memory of Riverport under load and reconnecting clients")
    churn.add_argument("--minutes", type=float, default=10.0)
    report = verbs.add_parser("report", help="table and plots of results that lie there")
    report.add_argument("results", type=Path, metavar="results.json")
    report.add_argument("--plots", type=Path, metavar="DIR", help="draw the figures into this folder")
    report.add_argument("--document", type=Path, metavar="FILE", help="write both into this page; plots lie beside it")
    return made


def main(words: list[str] | None = None) -> int:
    given = parser().parse_args(words)
    # What is started would compile every module again: an installation has them compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        if given.verb == "report":
            return _report(given)
        if given.verb == "churn":
            return _churn(given)
        measure = _measure_engines if given.verb == "engine" else _measure
        return measure(given, sys.argv[1:] if words is None else words)
    except (NoClient, NodeFailed, LoadFailed, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between a run of single brokers and one of clusters."""

    figures: tuple[figures.Figure, ...]
    full: stage.Scale
    fast: stage.Scale
    make: Callable[[Product, Path], stage.Subject]
    replicas: int
    settings: dict[str, str]


KINDS = {
    "kafka": _Kind(figures.FIGURES, stage.FULL, stage.FAST, Node, 1, SETTINGS),
    "cluster": _Kind(CLUSTER_FIGURES, stage.CLUSTER_FULL, stage.CLUSTER_FAST, Cluster, SIZE, CLUSTER_SETTINGS),
}


def _measure(given: argparse.Namespace, words: list[str]) -> int:
    kind = KINDS[given.verb]
    chosen = figures.chosen(given.only, kind.figures)
    if given.list:
        return _list(chosen)
    scale = stage.QUICK if given.quick else kind.fast if given.fast else kind.full
    scale = bench.with_rounds(scale, given.repeat)
    started = datetime.now(UTC)
    out: Path = given.out or OUT / started.strftime("%Y%m%d-%H%M%S")
    out.mkdir(parents=True, exist_ok=True)
    client = compile_client(OUT / "bin")
    findings = bench.Findings()
    about = _about(given, words, started)
    if given.work is not None:
        Path(given.work).mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="riverport-bench-", dir=given.work))
    try:
        products: list[Product] = [Riverport()] if given.alone else [ApacheKafka(work), Riverport()]
        about["products"] = {product.key: product.title for product in products}
        about["machine"] = machine.describe(work)
        print(machine.in_words(about["machine"]), file=sys.stderr)
        progress = Progress(bench.expected_seconds(chosen, scale, len(products)))
        if not given.quick:
            progress.step("touching memory", 0)
            about["touched_memory_mb"] = machine.touch_memory() >> 20
        with stage.Stage(products, scale, client, work, kind.make, kind.replicas) as ready:
            bench.run(ready, chosen, findings, lambda: _save(out, about, findings), progress)
        progress.end()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _show(out, findings, given.verb, plots=not given.no_plots)
    return 1 if findings.failures else 0


def _measure_engines(given: argparse.Namespace, words: list[str]) -> int:
    from benchmarks import engine_figures, engine_stage, engines

    chosen = figures.chosen(given.only, engine_figures.ENGINE_FIGURES)
    if given.list:
        return _list(chosen)
    if lacking := engines.missing():
        raise NodeFailed(lacking)
    scale = engine_stage.QUICK if given.quick else engine_stage.FAST if given.fast else engine_stage.FULL
    scale = bench.with_rounds(scale, given.repeat)
    started = datetime.now(UTC)
    out: Path = given.out or OUT / started.strftime("%Y%m%d-%H%M%S")
    out.mkdir(parents=True, exist_ok=True)
    products = engines.products(alone=given.alone)
    findings = bench.Findings()
    about = {"command": _command(words), "verb": given.verb, "started": started.isoformat(timespec="seconds")}
    about["products"] = {product.key: product.title for product in products}
    work = Path(tempfile.mkdtemp(prefix="rp-bench-", dir=given.work))
    try:
        about["machine"] = machine.describe(work)
        print(machine.in_words(about["machine"]), file=sys.stderr)
        progress = Progress(bench.expected_seconds(chosen, scale, len(products)))
        with engine_stage.EngineStage(products, scale, work) as ready:
            bench.run(ready, chosen, findings, lambda: _save(out, about, findings), progress)
        progress.end()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _show(out, findings, given.verb, plots=not given.no_plots)
    return 1 if findings.failures else 0


def _list(chosen: list[figures.Figure]) -> int:
    print("\n".join(f"{figure.name:<18}{figure.title}" for figure in chosen))
    return 0


def _command(words: list[str]) -> str:
    return shlex.join(["python", "-m", "benchmarks", *_what_matters(words)])


def _about(given: argparse.Namespace, words: list[str], started: datetime) -> dict[str, Any]:
    return {
        "command": _command(words),
        "verb": given.verb,
        "started": started.isoformat(timespec="seconds"),
        "settings": KINDS[given.verb].settings,
        "kafka_jvm": [*KAFKA_HEAP, *KAFKA_JVM],
    }


def _what_matters(words: list[str]) -> list[str]:
    """The words of a command without those that only say where results go."""
    kept, rest = [], iter(words)
    for word in rest:
        if word in ("--out", "--work"):
            next(rest, None)
        elif word != "--no-plots" and not word.startswith(("--out=", "--work=")):
            kept.append(word)
    return kept


def _save(out: Path, about: dict[str, Any], findings: bench.Findings) -> None:
    content = {
        **about,
        "outcomes": [outcome.as_json() for outcome in findings.outcomes.values()],
        "failures": findings.failures,
    }
    (out / "results.json").write_text(json.dumps(content, indent=1) + "\n")


def _show(out: Path, findings: bench.Findings, verb: str, *, plots: bool) -> None:
    outcomes = list(findings.outcomes.values())
    print(results.table(outcomes))
    for failure in findings.failures:
        print(f"failed: {failure}", file=sys.stderr)
    print(f"\n{out}/results.json")
    if plots:
        _draw(outcomes, out, verb)


def _draw(outcomes: list[results.Outcome], folder: Path, verb: str) -> list[Path]:
    from benchmarks import plots

    try:
        folder.mkdir(parents=True, exist_ok=True)
        drawn = plots.draw(outcomes, folder, plots.OVERVIEW if verb == "kafka" else f"{verb}-{plots.OVERVIEW}")
    except ImportError:
        print('no plots without matplotlib: pip install -e ".[bench]"', file=sys.stderr)
        return []
    print("\n".join(str(path) for path in drawn))
    return drawn


def _report(given: argparse.Namespace) -> int:
    content = json.loads(given.results.read_text())
    outcomes = [results.Outcome.from_json(item) for item in content["outcomes"]]
    print(f"`{content['command']}`, {content['started']}: {machine.in_words(content['machine'])}\n")
    print(results.markdown(outcomes))
    if given.document is not None:
        folder = given.plots or given.document.with_suffix("")
        document.fill(given.document, content, _draw(outcomes, folder, content.get("verb", "kafka")))
    elif given.plots is not None:
        _draw(outcomes, given.plots, content.get("verb", "kafka"))
    return 0


def _churn(given: argparse.Namespace) -> int:
    from benchmarks import churn

    work = Path(tempfile.mkdtemp(prefix="riverport-churn-"))
    try:
        with stage.Stage([Riverport()], stage.QUICK, compile_client(OUT / "bin"), work) as ready:
            return churn.run(ready, given.minutes * 60)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
