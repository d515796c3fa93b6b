"""`riverport completion`: what may come next, and the scripts that ask for it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from riverport.cli.completion import SCRIPTS, candidates
from riverport.cli.main import COMMANDS, main
from riverport.testing import Broker


def words_after(*typed: str) -> list[str]:
    return [candidate.partition("\t")[0] for candidate in candidates(list(typed))]


def test_commands_and_verbs() -> None:
    assert words_after("") == list(COMMANDS)
    assert words_after("co") == ["consume", "configs", "completion"]
    assert words_after("groups", "de") == ["describe", "delete", "delete-offsets"]
    assert words_after("kafka", "") == ["format", "start", "random-uuid"]
    assert words_after("nonsense", "") == []


def test_options_and_their_values() -> None:
    assert "--from-beginning" in words_after("consume", "orders", "--")
    assert words_after("produce", "orders", "--compression", "") == ["none", "gzip", "snappy", "lz4", "zstd"]
    assert words_after("produce", "orders", "-z", "s") == ["snappy"]
    assert words_after("completion", "") == ["bash", "zsh", "fish"]
    assert words_after("configs", "set", "br") == ["broker", "broker-logger"]


@pytest.mark.parametrize(
    "typed",
    [("demo", ""), ("produce", "t", "--file", ""), ("log", "dump", ""), ("kafka", "start", ""), ("up", "--dir", "")],
)
def test_files_are_the_shells_business(typed: tuple[str, ...]) -> None:
    assert words_after(*typed) == [":files"]


def test_every_candidate_says_what_it_is() -> None:
    for command, (_, text) in COMMANDS.items():
        assert f"{command}\t{text}" in candidates([""])
    for typed in (["topics", ""], ["groups", ""], ["consume", "t", "--"], ["up", "--"]):
        assert all("\t" in candidate for candidate in candidates(typed))


@pytest.fixture(scope="module")
def bootstrap() -> str:  # type: ignore[misc]
    with Broker() as broker:
        broker.create_topic("orders")
        broker.create_topic("payments")
        yield broker.bootstrap


def test_topics_come_from_the_cluster_that_is_named(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVERPORT_BOOTSTRAP", "127.0.0.1:1")
    assert words_after("consume", "") == []
    assert words_after("consume", "-b", bootstrap, "o") == ["orders"]
    host, port = bootstrap.split(":")
    assert words_after("consume", "-b", host, ":", port, "p") == ["payments"]  # as bash splits it
    monkeypatch.setenv("RIVERPORT_BOOTSTRAP", bootstrap)
    assert words_after("topics", "describe", "orders", "") == ["orders", "payments"]
    assert words_after("groups", "describe", "") == []


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_is_one_of_its_shell(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    assert "riverport completion --words" in script.read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(script)], check=True, timeout=20)


def test_bash_completes_with_it(bootstrap: str, tmp_path: Path) -> None:
    (tmp_path / "one file.txt").write_text("")
    script = tmp_path / "script"
    script.write_text(
        SCRIPTS["bash"] + 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _riverport; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    scripts = Path(sys.executable).parent

    def complete(*typed: str) -> list[str]:
        done = subprocess.run(
            ["bash", str(script), "riverport", *typed],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=tmp_path,
            env={"PATH": f"{scripts}:/usr/bin:/bin", "RIVERPORT_BOOTSTRAP": bootstrap},
        )
        assert done.stderr == ""
        return done.stdout.split("\n")[:-1]

    assert complete("top") == ["topics"]
    assert complete("topics", "describe", "pay") == ["payments"]
    assert complete("demo", "one") == ["one file.txt"]
