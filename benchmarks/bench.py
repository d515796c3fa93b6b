"""A run: both brokers warmed up, then rounds; in each round every figure on each broker, the brokers taking turns."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from benchmarks.figures import PRODUCER, SINGLE, Figure
from benchmarks.load import LoadFailed
from benchmarks.nodes import NodeFailed, Product
from benchmarks.progress import Progress
from benchmarks.results import Outcome
from benchmarks.stage import Scale, Stage

WARM_UP_SECONDS = 17


@dataclass(slots=True)
class Findings:
    """`outcomes` by (figure, measure), in order; `failures` are sentences."""

    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, figure: Figure, product: Product, values: dict[str, float]) -> None:
        for measure in figure.measures:
            key = (figure.name, measure.key)
            outcome = self.outcomes.setdefault(key, Outcome(figure.name, figure.title, measure))
            outcome.values.setdefault(product.key, []).append(values[measure.key])


def with_rounds(scale: Scale, rounds: int | None) -> Scale:
    if rounds is None:
        return scale
    return replace(scale, rounds=rounds, fresh_rounds=min(rounds, scale.fresh_rounds))


def run(
    stage: Stage, figures: list[Figure], findings: Findings, after_round: Callable[[], None], progress: Progress
) -> None:
    """Measure everything into `findings`. A figure that fails on a broker is noted, and the run goes on."""
    scale = stage.scale
    if any(not figure.on_fresh_nodes for figure in figures):
        for number in range(scale.warm_ups):
            for product in stage.products:
                progress.step(f"warm-up {number + 1}/{scale.warm_ups}: {product.title}", WARM_UP_SECONDS)
                warm_up(stage, product)
    rounds = total_rounds(scale)
    for number in range(rounds):
        # Who goes first changes, so that neither always has the machine as the other left it.
        order = stage.products if number % 2 == 0 else stage.products[::-1]
        for figure in figures_of_round(figures, scale, number):
            for product in order:
                progress.step(f"round {number + 1}/{rounds}: {figure.title}: {product.title}", figure.seconds)
                try:
                    findings.add(figure, product, figure.run(stage, product))
                except (LoadFailed, NodeFailed) as error:
                    findings.failures.append(f"{figure.title}, {product.title}: {error}")
        after_round()


def total_rounds(scale: Scale) -> int:
    return max(scale.rounds, scale.fresh_rounds)


def figures_of_round(figures: list[Figure], scale: Scale, number: int) -> list[Figure]:
    last = total_rounds(scale) - 1

    def is_due(figure: Figure) -> bool:
        if figure.once:
            return number == last
        return number < (scale.fresh_rounds if figure.on_fresh_nodes else scale.rounds)

    return [figure for figure in figures if is_due(figure)]


def expected_seconds(figures: list[Figure], scale: Scale, products: int) -> float:
    rounds = (figures_of_round(figures, scale, number) for number in range(total_rounds(scale)))
    return products * (scale.warm_ups * WARM_UP_SECONDS + sum(figure.seconds for due in rounds for figure in due))


def warm_up(stage: Stage, product: Product) -> None:
    """Millions of records of every shape: a JVM compiles what has run hot, and page cache and heap take their size."""
    node, scale = stage.node(product), stage.scale
    for size, records, partitions in ((100, scale.small_records, 1), (1000, scale.large_records, 12)):
        with stage.topic(node, partitions) as topic:
            stage.client(node, "produce", PRODUCER, topic=topic, records=records, size=size)
            stage.client(node, "consume", topic=topic, records=records)
    with stage.topic(node, 1) as topic:
        stage.client(node, "produce", SINGLE, topic=topic, records=scale.single_requests, size=100)
