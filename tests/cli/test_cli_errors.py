"""What a command says and how it ends when something is wrong, whichever command it is."""

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.cli.kit import COMMAND, Cli

from riverport.cli.main import COMMANDS, main
from riverport.testing import Broker

ASKING = [
    ("topics", "list"),
    ("topics", "create", "t"),
    ("produce", "t"),
    ("consume", "t"),
    ("groups", "list"),
    ("configs", "describe", "topic", "t"),
    ("cluster",),
]
"""One of each command that talks to a cluster."""


def test_without_words_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    usage = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == usage
    assert all(f"  {command} " in usage for command in COMMANDS)


def test_its_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    import riverport

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"riverport {riverport.__version__}\n"


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_no_broker(words: tuple[str, ...], lonely_cli: Cli) -> None:
    refused = lonely_cli(*words)
    assert (refused.returncode, refused.stdout) == (1, "")
    first, second = refused.stderr.splitlines()
    assert first == "riverport: no broker answers at 127.0.0.1:1: Connection refused"
    assert "riverport up" in second


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_an_address_that_is_none(words: tuple[str, ...], lonely_cli: Cli) -> None:
    refused = lonely_cli(*words, "-b", "here:there")
    assert (refused.returncode, refused.stderr) == (
        1,
        "riverport: 'here:there' is no broker address: expected host:port\n",
    )


def test_a_server_of_another_kind(lonely_cli: Cli) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            peer.recv(10)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.close()

        threading.Thread(target=answer, daemon=True).start()
        refused = lonely_cli("topics", "list", "-b", f"127.0.0.1:{server.getsockname()[1]}")
    assert refused.returncode == 1
    assert "connected, but it does not speak Kafka's protocol" in refused.stderr


@pytest.mark.slow
def test_every_json_is_one_document(cli: Cli, broker: Broker) -> None:
    broker.create_topic("orders")
    cli.ok("groups", "reset-offsets", "shop", "--topic", "orders", "--to-latest", "--execute")
    for words in (
        ("topics", "list"),
        ("topics", "describe"),
        ("topics", "create", "one", "two", "--dry-run"),
        ("topics", "alter", "orders", "--config", "segment.ms=60000"),
        ("topics", "delete", "nothing", "--if-exists"),
        ("groups", "list"),
        ("groups", "describe"),
        ("groups", "reset-offsets", "shop", "--all-topics", "--to-current"),
        ("configs", "describe", "broker", "1", "--all"),
        ("configs", "set", "topic", "orders", "segment.ms=70000"),
        ("configs", "unset", "topic", "orders", "segment.ms"),
        ("cluster",),
        ("produce", "orders"),
    ):
        printed = cli.ok(*words, "--json")
        assert printed.count("\n") == 1, words
        assert isinstance(json.loads(printed), dict), words


def test_an_empty_cluster_is_no_error() -> None:
    with Broker() as broker:
        cli = Cli(broker.bootstrap)
        assert cli.ok("topics", "list") == "no topics; make one with `riverport topics create NAME`\n"
        assert cli.ok("topics", "describe") == "no topics; make one with `riverport topics create NAME`\n"
        assert cli.ok("groups", "list") == "no groups\n"
        assert cli.ok("groups", "describe") == "no groups\n"
        assert cli.json("groups", "describe") == {"groups": []}


def test_a_reader_that_closed_before_the_table_came(cli: Cli, broker: Broker) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "configs", "describe", "broker", "1", "--all"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=cli.env,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_terminal_cannot_show_is_spelled_out(encoding: str, cli: Cli) -> None:
    done = cli("topics", "describe", "注文", env={"PYTHONIOENCODING": encoding})
    assert done.returncode == 1
    assert "there is no topic '\\u6ce8\\u6587'" in done.stderr


def test_ctrl_c_while_a_broker_does_not_answer() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        waiting = Cli(f"127.0.0.1:{silent.getsockname()[1]}").start("topics", "list")
        silent.accept()
        waiting.send_signal(signal.SIGINT)
        out, said = waiting.communicate(timeout=20)
    assert (waiting.returncode, out, said) == (130, "", "")


def test_help_imports_no_part_of_kafka() -> None:
    code = (
        "import sys; from riverport.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([n for n in sys.modules if n.startswith(('riverport.kafka', 'asyncio', 'ssl', 'logging', 'tempfile'))])"
    )
    commands = [[name, "--help"] for name in COMMANDS]
    for words in ([], *commands, ["groups", "reset-offsets", "-h"], ["kafka", "format", "-h"], ["completion", "bash"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=30)
        assert done.stdout.splitlines()[-1] == "[]", words
