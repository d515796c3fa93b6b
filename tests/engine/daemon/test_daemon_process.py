"""`riverport engine start` as a process: readiness, signals, refusals, and what a killed daemon leaves to the next."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engine import harness

from riverport.testing.isolation import Isolation

ENGINE = [sys.executable, "-m", "riverport", "engine", "start"]


def refused(*options: str) -> str:
    done = subprocess.run([*ENGINE, *options], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--host", "ftp://x"], ["hosts", "ftp://x", "unix:///PATH"]),
        (["--runtime", "kata"], ["default-runtime", "kata", "crun, runc"]),
        (["--mtu", "x", "--ip", "y"], ["mtu", "ip"]),
        (["--tlsverify", "--tlscert", "/nowhere"], ["tlskey", "tlscacert"]),
        (["--config-file", "/nowhere.json"], ["/nowhere.json"]),
    ],
)
def test_wrong_settings_are_named_before_anything_starts(options: list[str], parts: list[str]) -> None:
    told = refused(*options)
    for part in parts:
        assert part in told
    assert "Traceback" not in told


def test_a_key_in_the_file_and_a_flag_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"mtu": 1400}')
    assert (
        f"unable to configure the Docker daemon with file {path}: the following directives are specified both as a "
        "flag and in the configuration file: mtu: (from flag: 1500, from file: 1400)"
    ) in refused("--config-file", str(path), "--mtu", "1500")


def test_a_misspelt_key_is_met_with_the_right_one(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"registry-mirors": []}')
    assert "did you mean registry-mirrors?" in refused("--config-file", str(path))


def test_readiness_is_one_line_and_one_notification(able: None, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, Isolation() as isolation:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        roots = ["--data-root", str(tmp_path / "data"), "--exec-root", str(tmp_path / "exec")]
        hosts = ["--host", "tcp://127.0.0.1:0", "--host", f"unix://{tmp_path}/s"]
        words = [*ENGINE, "--json", *roots, *hosts, "--pidfile", str(tmp_path / "pid")]
        daemon = subprocess.Popen(
            isolation.command(words),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        assert daemon.stdout is not None
        told = json.loads(daemon.stdout.readline())
        assert told["ready"] is True
        assert told["pid"] == daemon.pid == int((tmp_path / "pid").read_text())
        port = int(told["hosts"][0].rpartition(":")[2])
        assert told["hosts"] == [f"tcp://127.0.0.1:{port}", f"unix://{tmp_path}/s"]
        assert manager.recv(100) == b"READY=1"
        with isolation.connect("127.0.0.1", port) as client:
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        daemon.terminate()
        assert daemon.wait(20) == 0
        assert manager.recv(100) == b"STOPPING=1"
        daemon.stdout.close()
        assert not (tmp_path / "s").exists()
        assert not (tmp_path / "pid").exists()


def test_two_daemons_never_share_a_directory(engine: harness.Engine, tmp_path: Path) -> None:
    fresh = ["--host", f"unix://{tmp_path}/s"]
    for roots in (
        ["--data-root", str(engine.place.data), "--exec-root", str(tmp_path / "exec")],
        ["--data-root", str(tmp_path / "data"), "--exec-root", str(engine.place.exec)],
    ):
        told = refused(*fresh, *roots)
        assert "in use by another daemon" in told
        assert str(engine.pid) in told


def test_a_socket_that_another_process_serves_is_left_alone(engine: harness.Engine, tmp_path: Path) -> None:
    roots = ["--data-root", str(tmp_path / "data"), "--exec-root", str(tmp_path / "exec")]
    command = [*ENGINE, "--host", f"unix://{engine.place.socket}", *roots, "--cgroup-parent", "/riverport-second"]
    done = engine.isolation.run(command, timeout=30)
    assert done.returncode == 1
    assert "another process listens on it" in done.stderr
    assert engine.api("GET", "/_ping")[0] == 200


@pytest.mark.slow
def test_containers_survive_a_kill_with_their_output_and_exit_codes(make_engine: Callable[..., harness.Engine]) -> None:
    engine = make_engine()
    loop = "i=0; while [ $i -lt 150 ]; do echo line $i; i=$((i+1)); sleep 0.005; done; exit 7"
    engine.cli("run", "-d", "--name", "counting", "busybox", "sh", "-c", loop)
    engine.cli("run", "-d", "--name", "sleeping", "busybox", "sleep", "1000")
    before = engine.cli("inspect", "-f", "{{.State.Pid}}", "sleeping").stdout
    engine.kill()
    engine.start()
    assert engine.cli("inspect", "-f", "{{.State.Pid}}", "sleeping").stdout == before
    assert engine.cli("exec", "sleeping", "echo", "alive").stdout == "alive\n"
    assert engine.cli("wait", "counting").stdout == "7\n"
    assert engine.cli("logs", "counting").stdout.splitlines() == [f"line {number}" for number in range(150)]


@pytest.mark.slow
def test_a_container_that_ended_while_no_daemon_ran_is_found_with_its_exit_code(
    make_engine: Callable[..., harness.Engine],
) -> None:
    engine = make_engine()
    engine.cli("run", "-d", "--name", "short", "busybox", "sh", "-c", "sleep 0.3; echo end; exit 5")
    engine.cli("run", "-d", "--rm", "--name", "gone", "busybox", "sh", "-c", "sleep 0.3")
    pid = int(engine.cli("inspect", "-f", "{{.State.Pid}}", "short").stdout)
    engine.kill()
    descriptor = os.pidfd_open(pid)
    try:
        import select

        select.select([descriptor], [], [], 20)
    finally:
        os.close(descriptor)
    engine.start()
    assert engine.cli("wait", "short").stdout == "5\n"
    assert engine.cli("logs", "short").stdout == "end\n"
    assert engine.cli("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "short").stdout == "exited 5\n"
    engine.cli("wait", "gone", check=False)
    assert "gone" not in engine.cli("ps", "-a", "--format", "{{.Names}}").stdout


@pytest.mark.slow
def test_stopping_in_order_stops_containers_and_policies_start_them_again(
    make_engine: Callable[..., harness.Engine],
) -> None:
    engine = make_engine("--shutdown-timeout", "1")
    for name, policy in (
        ("plain", "no"),
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("stopped", "unless-stopped"),
    ):
        engine.cli("run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "1000")
    engine.cli("stop", "-t", "0", "stopped")
    engine.restart(signal.SIGTERM)
    running = engine.cli("ps", "--format", "{{.Names}}").stdout.split()
    assert sorted(running) == ["always", "unless"]


@pytest.mark.slow
def test_live_restore_keeps_containers_over_a_stop(make_engine: Callable[..., harness.Engine]) -> None:
    engine = make_engine("--live-restore")
    engine.cli("run", "-d", "--name", "kept", "busybox", "sleep", "1000")
    before = engine.cli("inspect", "-f", "{{.State.Pid}}", "kept").stdout
    engine.restart(signal.SIGTERM)
    assert engine.cli("inspect", "-f", "{{.State.Pid}} {{.State.Running}}", "kept").stdout == before.strip() + " true\n"


def test_a_container_whose_shim_hangs_hangs_nobody_else(engine: harness.Engine) -> None:
    engine.cli("run", "-d", "--name", "hung", "busybox", "sleep", "1000")
    pid = int(engine.cli("inspect", "-f", "{{.State.Pid}}", "hung").stdout)
    shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(shim, signal.SIGSTOP)
    stuck = subprocess.Popen(["docker", "exec", "hung", "true"], env=engine.environment)
    try:
        assert "hung" in engine.cli("ps", timeout=10).stdout
        assert engine.cli("run", "--rm", "busybox", "echo", "hi", timeout=20).stdout == "hi\n"
        assert engine.cli("inspect", "-f", "{{.State.Running}}", "hung", timeout=10).stdout == "true\n"
        assert stuck.poll() is None
    finally:
        os.kill(shim, signal.SIGCONT)
        stuck.wait(20)
    assert stuck.returncode == 0
