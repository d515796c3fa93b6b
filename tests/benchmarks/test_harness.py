"""The harness, tiny: every figure on Riverport alone, so that the benchmarks never rot. The numbers mean nothing."""

import json
from pathlib import Path

import pytest
from benchmarks.cluster_figures import CLUSTER_FIGURES
from benchmarks.figures import FIGURES, Figure
from benchmarks.load import NoClient, compile_client

from benchmarks import __main__ as command


@pytest.fixture(scope="module")
def client() -> Path:
    try:
        return compile_client(command.OUT / "bin")
    except NoClient as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "figures"), [("kafka", FIGURES), ("cluster", CLUSTER_FIGURES)])
def test_every_figure_is_measured_and_reported(
    verb: str, figures: tuple[Figure, ...], client: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    status = command.main([verb, "--quick", "--alone", "--no-plots", "--work", str(tmp_path), "--out", str(out)])
    shown = capsys.readouterr()
    assert status == 0, shown.err
    found = json.loads((out / "results.json").read_text())
    assert found["failures"] == []
    assert found["command"] == f"python -m benchmarks {verb} --quick --alone", "where results went is nobody's business"
    measured = {(item["figure"], item["measure"]) for item in found["outcomes"]}
    assert measured == {(figure.name, measure.key) for figure in figures for measure in figure.measures}
    for item in found["outcomes"]:
        assert item["ratio"] is None, "there is nothing to compare with"
        (value,) = item["values"]["riverport"]
        assert value > 0, item
    for figure in figures:
        assert figure.title in shown.out
    assert not list(tmp_path.glob("riverport-bench-*")), "the brokers' directories are left behind"


@pytest.mark.slow
def test_a_broker_that_does_not_start_is_reported_with_what_it_said(
    client: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(command.SETTINGS, "num.io.threads", "0")
    words = ["--only", "single", "--no-plots", "--work", str(tmp_path), "--out", str(tmp_path / "out")]
    assert command.main(["kafka", "--quick", "--alone", *words]) == 1
    assert "num.io.threads" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "figures"), [("kafka", FIGURES), ("cluster", CLUSTER_FIGURES)])
def test_an_unknown_figure_is_refused_with_the_names_of_all(
    verb: str, figures: tuple[Figure, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([verb, "--only", "no-such"]) == 2
    refusal = capsys.readouterr().err
    assert "no-such" in refusal
    assert all(figure.name in refusal for figure in figures)
