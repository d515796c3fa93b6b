"""What the docker command does over time: terminals, detaching, following, signals, many at once."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from tests.engine import harness

SECONDS = 20


class Terminal:
    """`docker WORDS` on a terminal of its own."""

    def __init__(self, engine: harness.Engine, *words: str, rows: int = 24, columns: int = 80) -> None:
        self._master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            ["docker", *words], stdin=slave, stdout=slave, stderr=slave, env=engine.environment, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str) -> str:
        """Read until the pattern is there; what was seen before it is forgotten."""
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.seen)):
            left = deadline - time.monotonic()
            if left <= 0 or not self._more(left):
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
        self.seen = self.seen[found.end() :]
        return found.group()

    def _more(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            self.seen += os.read(self._master, 65536).decode(errors="replace")
        except OSError:  # the other side has closed
            return False
        return True

    def end(self) -> int:
        while self._more(0.05) or self.process.poll() is None:
            pass
        return self.process.wait(SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def terminal(engine: harness.Engine, *words: str, **size: int) -> Iterator[Terminal]:
    made = Terminal(engine, *words, **size)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def background(engine: harness.Engine, *words: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        ["docker", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=engine.environment,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


# --- terminals


def test_a_shell_on_a_terminal_echoes_runs_and_exits(engine: harness.Engine) -> None:
    with terminal(engine, "run", "-it", "--rm", "busybox", "sh") as shell:
        shell.expect(r"# ")
        shell.type("echo a$((1+1))b; tty; exit 9\r")
        shell.expect("a2b\r\n/dev/pts/0")
        assert shell.end() == 9


def test_the_size_of_the_terminal_is_the_clients_and_follows_it(engine: harness.Engine) -> None:
    with terminal(engine, "run", "-it", "--rm", "busybox", "sh", rows=33, columns=111) as shell:
        shell.expect(r"# ")
        shell.type("sleep 0.3; stty size\r")
        shell.expect("33 111")
        shell.resize(44, 122)
        shell.process.send_signal(signal.SIGWINCH)
        shell.type("while [ \"$(stty size)\" != '44 122' ]; do sleep 0.05; done; echo fol''lowed\r")
        shell.expect("followed")


def test_detach_keys_leave_the_container_running_and_attach_returns(engine: harness.Engine) -> None:
    with terminal(engine, "run", "-it", "--name", "term", "busybox", "sh") as shell:
        shell.expect(r"# ")
        shell.type("X=kept\r")
        shell.expect(r"# ")
        shell.type("\x10\x11")
        assert shell.end() == 0
    assert engine.cli("inspect", "-f", "{{.State.Running}}", "term").stdout == "true\n"
    with terminal(engine, "attach", "--detach-keys", "ctrl-a,d", "term") as shell:
        shell.type("\recho again-$X\r")
        shell.expect("again-kept")
        shell.type("\x10\x11")  # these are none any more
        shell.type("\x01d")
        shell.end()
    assert engine.cli("inspect", "-f", "{{.State.Running}}", "term").stdout == "true\n"


def test_ctrl_c_on_a_terminal_is_the_containers(engine: harness.Engine) -> None:
    script = "trap 'exit 12' INT; echo go; while :; do sleep 0.05; done"
    with terminal(engine, "run", "-it", "--rm", "busybox", "sh", "-c", script) as shell:
        shell.expect("go")
        shell.type("\x03")
        assert shell.end() == 12


def test_exec_on_a_terminal(engine: harness.Engine) -> None:
    engine.cli("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    with terminal(engine, "exec", "-it", "box", "sh") as shell:
        shell.expect(r"# ")
        shell.type("echo in-$((2*3)); exit 4\r")
        shell.expect("in-6")
        assert shell.end() == 4


# --- without one


def test_standard_input_ends_and_output_goes_on(engine: harness.Engine) -> None:
    counted = engine.cli("run", "-i", "--rm", "busybox", "sh", "-c", "wc -c; echo after", input=b"x" * 3_000_000)
    assert counted.stdout.split() == ["3000000", "after"]


def test_a_large_output_comes_whole_and_standard_error_apart(engine: harness.Engine) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo error >&2"
    done = engine.cli("run", "--rm", "busybox", "sh", "-c", script)
    assert done.stdout == "".join(f"line {number}\n" for number in range(20000))
    assert done.stderr == "error\n"


def test_a_signal_to_the_client_is_the_containers(engine: harness.Engine) -> None:
    script = "trap 'echo got; exit 3' TERM; echo go; while :; do sleep 0.05; done"
    with background(engine, "run", "--rm", "busybox", "sh", "-c", script) as client:
        assert line_of(client) == "go\n"
        client.send_signal(signal.SIGTERM)
        assert line_of(client) == "got\n"
        assert client.wait(SECONDS) == 3


def test_a_client_that_is_killed_leaves_its_container_running(engine: harness.Engine) -> None:
    with background(engine, "run", "--name", "left", "busybox", "sh", "-c", "echo go; exec sleep 1000") as client:
        assert line_of(client) == "go\n"
        client.kill()
    assert engine.cli("inspect", "-f", "{{.State.Running}}", "left").stdout == "true\n"


def test_a_client_that_does_not_read_stops_nobody(engine: harness.Engine) -> None:
    """Its output is bounded in the daemon, and everything else answers."""
    with background(engine, "run", "--name", "loud", "busybox", "yes") as client:
        assert line_of(client) == "y\n"
        assert "loud" in engine.cli("ps", timeout=10).stdout
        assert engine.cli("exec", "loud", "echo", "hi", timeout=10).stdout == "hi\n"
        engine.cli("rm", "-f", "loud", timeout=SECONDS)


def test_logs_are_followed_to_the_containers_end(engine: harness.Engine) -> None:
    engine.cli(
        "run", "-d", "--name", "lines", "busybox", "sh", "-c", "echo one; read x < /tmp/none; sleep 0.4; echo two"
    )
    with background(engine, "logs", "-f", "lines") as client:
        output, _ = client.communicate(timeout=SECONDS)
    assert [line for line in output.splitlines() if "none" not in line] == ["one", "two"]
    assert client.returncode == 0


def test_waiting_for_removal_ends_when_the_name_is_free(engine: harness.Engine) -> None:
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.02; done"
    with ThreadPoolExecutor(1) as pool:
        for _ in range(3):
            engine.cli("run", "-d", "--rm", "--name", "same", "busybox", "sh", "-c", script)
            waiting = pool.submit(engine.api, "POST", "/containers/same/wait?condition=removed")
            while engine.cli("logs", "same").stdout != "ready\n":
                pass
            engine.cli("stop", "same")
            assert waiting.result(SECONDS) == (200, {"StatusCode": 5})
            engine.cli("create", "--name", "same", "busybox", "true")
            engine.cli("rm", "same")


def test_the_same_name_can_be_run_again_at_once(engine: harness.Engine) -> None:
    for _ in range(5):
        engine.cli("run", "--rm", "--name", "again", "busybox", "true")


def test_events_come_as_they_happen(engine: harness.Engine) -> None:
    with background(engine, "events", "--filter", "type=container", "--format", "{{json .}}") as client:
        time.sleep(0.3)  # its request has no sign of having been taken
        engine.cli("run", "--rm", "--name", "ev", "--label", "k=v", "busybox", "true")
        actions = []
        while "destroy" not in actions:
            event = json.loads(line_of(client))
            assert event["Actor"]["Attributes"]["name"] == "ev"
            assert event["Actor"]["Attributes"]["k"] == "v"
            actions.append(event["Action"])
    assert actions == ["create", "attach", "start", "die", "destroy"]


def test_live_statistics_show_what_runs(engine: harness.Engine) -> None:
    engine.cli("run", "-d", "--name", "slow", "busybox", "sleep", "1000")
    with background(engine, "stats", "--format", "{{.Name}} {{.PIDs}}") as client:
        while not re.search(r"slow 1", line_of(client)):
            pass


def test_twenty_at_once_all_end_well(engine: harness.Engine) -> None:
    with ThreadPoolExecutor(20) as pool:
        outputs = list(pool.map(lambda n: engine.cli("run", "--rm", "busybox", "echo", str(n)).stdout, range(20)))
    assert outputs == [f"{number}\n" for number in range(20)]
    assert engine.cli("ps", "-aq").stdout == ""


def test_a_container_that_hangs_in_its_stop_hangs_nobody_else(engine: harness.Engine) -> None:
    engine.cli("run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    with background(engine, "stop", "-t", "60", "deaf") as client:
        time.sleep(0.2)
        assert "deaf" in engine.cli("ps", timeout=10).stdout
        assert engine.cli("run", "--rm", "busybox", "echo", "hi", timeout=SECONDS).stdout == "hi\n"
        engine.cli("kill", "deaf", timeout=SECONDS)
        assert client.wait(SECONDS) == 0


def test_attaching_twice_shows_both_the_same(engine: harness.Engine) -> None:
    engine.cli("run", "-d", "-i", "--name", "both", "busybox", "sh", "-c", "while read x; do echo got $x; done")
    with background(engine, "attach", "both") as first, background(engine, "attach", "both") as second:
        time.sleep(0.3)
        assert first.stdin is not None
        first.stdin.write("one\n")
        first.stdin.flush()
        assert line_of(first) == line_of(second) == "got one\n"


@pytest.mark.parametrize("words", [("run", "--rm", "-i"), ("run", "-i")])
def test_cat_ends_with_its_input(engine: harness.Engine, words: tuple[str, ...]) -> None:
    assert engine.cli(*words, "busybox", "cat", input="one\ntwo\n").stdout == "one\ntwo\n"


def test_many_followers_of_one_log_see_every_line(engine: harness.Engine) -> None:
    script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; sleep 0.3; echo last"
    engine.cli("run", "-d", "--name", "many", "busybox", "sh", "-c", script)
    found: list[str] = []
    lock = threading.Lock()

    def follow() -> None:
        output = engine.cli("logs", "-f", "many").stdout
        with lock:
            found.append(output)

    threads = [threading.Thread(target=follow) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = "".join(f"line {number}\n" for number in range(300)) + "last\n"
    assert found == [wanted] * 5
