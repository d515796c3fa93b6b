"""`riverport demo`: a broker, a file, and nothing left behind."""

import signal
import subprocess
from pathlib import Path

import pytest
from tests.cli.kit import Cli

pytestmark = pytest.mark.slow

TEXT = "eins\n\nzwei\tTab\nWörter und 語\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    made = tmp_path / "text.txt"
    made.write_text(TEXT, encoding="utf-8")
    return made


def test_every_line_comes_back_from_its_partition(file: Path) -> None:
    told = Cli().json("demo", str(file))
    assert (told["produced"]["records"], told["consumed"]["records"]) == (4, 4)
    records = [record for partition in told["partitions"] for record in partition["records"]]
    assert sorted((int(record["key"]), record["value"]) for record in records) == list(
        enumerate(TEXT.splitlines(), start=1)
    )
    for partition in told["partitions"]:
        assert [record["offset"] for record in partition["records"]] == list(range(partition["record_count"]))
        assert partition["committed_offset"] == (partition["record_count"] or None)
    assert not list((file.parent / "tmp").iterdir())


def test_the_story_is_short_and_its_values_cannot_drive_the_terminal(file: Path) -> None:
    file.write_bytes(b"\x1b[31mred\n" + b"line\n" * 1000)
    text = Cli().ok("demo", str(file))
    assert "\x1b" not in text
    assert "\\x1b[31mred" in text
    assert text.count("\n") < 140
    assert "more; --all shows them" in text
    assert "broker    up at 127.0.0.1:" in text
    assert Cli().ok("demo", str(file), "--all").count("\n") > 1000


def test_standard_input_and_files_that_are_none(file: Path) -> None:
    told = Cli().json("demo", "-", input=b"only line")
    assert told["consumed"]["records"] == 1
    assert Cli().json("demo", "-", input=b"")["consumed"]["records"] == 0
    missing = Cli()("demo", str(file) + "x")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "No such file or directory\n  give a file that you can read" in missing.stderr
    directory = Cli()("demo", str(file.parent))
    assert directory.returncode == 1
    assert "Is a directory" in directory.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_its_directory_goes(file: Path, number: signal.Signals, code: int) -> None:
    running = Cli().start("demo", "-", stdin=subprocess.PIPE)
    tmp = file.parent / "tmp"
    try:
        while not list(tmp.glob("*/demo-0")):
            assert running.poll() is None
        running.send_signal(number)
        assert running.wait(20) == code
    finally:
        running.kill()
        running.communicate()
    assert not list(tmp.iterdir())
