"""`riverport demo --cluster`: a leader dies, its partition moves, it returns, and nothing acknowledged is lost."""

import signal
import subprocess
from pathlib import Path

import pytest
from tests.cli.kit import Cli
from tests.cli.test_up_cluster import until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_the_classic_picture_is_shown_act_by_act(temporary: Path) -> None:
    text = Cli().ok("demo", "--cluster")
    acts = text.split("three brokers, up in ")[1:]
    assert len(acts) == 4
    calm, dead, back, read = acts
    assert "P0      B1          0  B1,B2     B1,B2" in calm
    assert "B1 DEAD" in dead
    assert "P0      B2          1  B1,B2     B2 " in dead
    assert "P2      B3          0  B3,B1     B3 " in dead
    assert "B1 up" in back
    assert "B2,B1" in back
    assert "lost 0, doubled 0" in read
    assert not list(temporary.iterdir())


def test_its_figures_are_one_document() -> None:
    told = Cli().json("demo", "--cluster")
    assert (told["lost"], told["doubled"]) == (0, 0)
    assert told["acknowledged"] > 100
    assert told["read"] >= told["acknowledged"]
    assert told["failover_seconds"] > 0


def test_whoever_ends_it_ends_its_brokers(temporary: Path) -> None:
    demo = Cli().start("demo", "--cluster")
    try:
        until(lambda: bool(list(temporary.glob("riverport-*/node-3/meta.properties"))))
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=60)
    finally:
        if demo.poll() is None:
            demo.kill()
    assert demo.returncode == 128 + signal.SIGTERM
    assert not list(temporary.iterdir())
    left = subprocess.run(["pgrep", "-f", str(temporary)], capture_output=True, text=True)
    assert left.stdout == ""


def test_it_takes_a_file_or_a_cluster() -> None:
    assert Cli()("demo").returncode == 2
    assert Cli()("demo", "--cluster", "file").returncode == 2
