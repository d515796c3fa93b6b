"""Medians, ratios, targets, and how a run is laid out."""

import io
import re
from pathlib import Path

import pytest
from benchmarks.figures import FIGURES, chosen
from benchmarks.progress import Progress
from benchmarks.results import KAFKA, RIVERPORT, Measure, Outcome
from benchmarks.stage import FAST, FULL

from benchmarks import bench, churn, document, machine, plots, results

RATE = Measure("rate", "produce", "k/s", True, 1.5)
WAIT = Measure("wait", "p99", "ms", False, 0.7)


def outcome(measure: Measure, theirs: list[float], ours: list[float]) -> Outcome:
    return Outcome("some", "Some figure", measure, {KAFKA: theirs, RIVERPORT: ours})


def test_the_ratio_is_that_of_medians_so_one_bad_round_changes_nothing() -> None:
    assert outcome(RATE, [100, 100, 1], [200, 900, 200]).ratio == 2.0


def test_a_measure_of_one_broker_has_no_ratio() -> None:
    assert Outcome("some", "Some", RATE, {RIVERPORT: [5.0]}).ratio is None


@pytest.mark.parametrize(
    ("measure", "ratio", "met"),
    [(RATE, 1.5, True), (RATE, 1.49, False), (WAIT, 0.7, True), (WAIT, 0.71, False)],
)
def test_a_target_is_met_on_the_side_that_is_better(measure: Measure, ratio: float, met: bool) -> None:
    assert measure.meets(ratio) is met


def test_a_target_beside_one_peer_is_not_missed_for_another() -> None:
    values = {"dockerd": [100.0], "podman": [40.0], RIVERPORT: [35.0]}
    beside_all = Outcome("some", "Some", Measure("idle", "memory", "MB", False, 0.4), values)
    beside_one = Outcome("some", "Some", Measure("idle", "memory", "MB", False, 0.4, "dockerd"), values)
    assert (beside_all.met, beside_one.met) == (False, True)
    assert (beside_all.measure.target_text, beside_one.measure.target_text) == ("≤ 0.4", "≤ 0.4 of dockerd")
    assert Outcome.from_json(beside_one.as_json()) == beside_one


def test_a_table_is_aligned_and_names_a_figure_once() -> None:
    lines = results.table([outcome(RATE, [1000], [2000]), outcome(WAIT, [10], [9])]).splitlines()
    assert len(lines) == 4
    assert sum("Some figure" in line for line in lines) == 1
    assert [line.index("≥") for line in lines if "≥" in line] == [line.index("≤") for line in lines if "≤" in line]
    assert lines[2].endswith("met")
    assert lines[3].endswith("missed")


def test_a_result_read_back_is_the_same() -> None:
    made = outcome(WAIT, [1.5, 2.5], [0.5])
    assert Outcome.from_json(made.as_json()) == made


@pytest.mark.parametrize(
    ("value", "text"), [(1234567.0, "1,234,567"), (42.25, "42.2"), (1.234, "1.23"), (0.0123, "0.012"), (None, "-")]
)
def test_numbers_have_as_many_digits_as_the_eye_can_use(value: float | None, text: str) -> None:
    assert results.number(value) == text


def test_fresh_nodes_and_the_last_word_on_memory_have_rounds_of_their_own() -> None:
    counts = dict.fromkeys((figure.name for figure in FIGURES), 0)
    for number in range(bench.total_rounds(FULL)):
        for figure in bench.figures_of_round(list(FIGURES), FULL, number):
            counts[figure.name] += 1
    assert counts["100b-1"] == FULL.rounds
    assert counts["start"] == FULL.fresh_rounds
    assert counts["memory"] == 1


def test_memory_is_read_after_every_load() -> None:
    last = bench.figures_of_round(list(FIGURES), FULL, bench.total_rounds(FULL) - 1)
    assert last[-1].name == "memory"


def test_a_full_run_fits_into_half_an_hour_and_a_fast_one_into_ten_minutes() -> None:
    assert bench.expected_seconds(list(FIGURES), FULL, 2) < 30 * 60
    assert bench.expected_seconds(list(FIGURES), FAST, 2) < bench.expected_seconds(list(FIGURES), FULL, 2)


def test_chosen_figures_keep_their_order() -> None:
    assert [figure.name for figure in chosen(["start", "gzip"], FIGURES)] == ["gzip", "start"]


def test_progress_counts_weights_and_not_steps() -> None:
    out = io.StringIO()
    progress = Progress(100, out)
    progress.step("a long one", 90)
    progress.step("a short one", 10)
    assert out.getvalue().splitlines() == ["  0%  a long one", " 90%  a short one"]


def test_growth_is_that_of_means_once_caches_have_their_size() -> None:
    readings = [(at, 30.0 if at < 30 else 40.0 if at < 60 else 41.0) for at in range(90)]
    assert churn.growth_of([(float(at), value) for at, value in readings], 90) == 1.0


def test_the_file_system_is_that_of_the_nearest_mount_point() -> None:
    assert machine.describe(Path("/proc/self"))["file_system"] == "proc"


@pytest.mark.slow
def test_a_figure_is_drawn_as_a_small_picture_and_all_ratios_as_another(tmp_path: Path) -> None:
    overview, path = plots.draw([outcome(RATE, [1, 2, 3], [4, 5, 6]), outcome(WAIT, [2], [1])], tmp_path)
    assert path == tmp_path / "some.svg"
    assert path.stat().st_size < 100_000
    assert "Some figure" in path.read_text()
    assert "Some figure: p99" in overview.read_text()


@pytest.mark.parametrize(("measure", "gain"), [(RATE, 2.0), (WAIT, 0.5)])
def test_a_gain_says_how_much_better_whichever_side_is_better(measure: Measure, gain: float) -> None:
    assert outcome(measure, [10], [20]).gain == gain


def content(**given: object) -> dict[str, object]:
    return {
        "command": "python -m benchmarks kafka",
        "started": "2026-01-02T03:04:05+00:00",
        "products": {KAFKA: "Apache Kafka 4", RIVERPORT: "Riverport 1"},
        "machine": machine.describe(Path("/")),
        "outcomes": [outcome(RATE, [1, 1], [2, 2]).as_json(), outcome(WAIT, [10], [9]).as_json()],
        "failures": [],
        **given,
    }


def test_a_page_is_filled_between_its_marks_and_again_with_other_results(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = document.marks("kafka")
    page.write_text(f"before\n\n{begin}\n{end}\n\nafter\n")
    pictures = [tmp_path / "page" / "some.svg", tmp_path / "page" / "ratios.svg"]
    document.fill(page, content(), pictures)
    first = page.read_text()
    assert first.startswith("before\n")
    assert first.endswith("after\n")
    assert "1 of 2 targets are reached." in first
    assert "medians of 2 rounds" in first
    assert first.index("page/ratios.svg") < first.index("page/some.svg")
    document.fill(page, content(failures=["Some figure: it broke"]), [])
    assert "it broke" in page.read_text()
    document.fill(page, content(), pictures)
    assert page.read_text() == first


def test_results_of_a_cluster_have_a_place_of_their_own(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    places = [mark for verb in ("kafka", "cluster") for mark in document.marks(verb)]
    page.write_text("\n".join(places))
    document.fill(page, content(verb="cluster"), [])
    text = page.read_text()
    assert text.startswith("\n".join(places[:3]))
    assert "1 of 2 targets are reached." in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing to fill")
    with pytest.raises(ValueError, match="no place"):
        document.fill(page, content(), [])
    assert page.read_text() == "nothing to fill"


def test_the_guide_has_a_place_for_results_and_its_pictures_exist() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "benchmarks.md"
    text = guide.read_text()
    for mark in (*document.marks("kafka"), *document.marks("cluster")):
        assert text.count(mark) == 1
    for path in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (guide.parent / path).exists(), path
