"""Attach, exec and logs over hijacked connections: nothing is lost, and each end closes when it should."""

import socket
from typing import Any

import pytest
from tests.engine.containers.streams import create, hijack, inspect, run, start, wait
from tests.engine.harness import Engine
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Message, Request

BOTH = "stream=1&stdout=1&stderr=1"


def test_attach_before_the_start_loses_nothing(engine: Engine) -> None:
    container = create(engine, "sh", "-c", "echo out; echo err >&2")
    with hijack(engine, f"/containers/{container}/attach?{BOTH}") as attached:
        assert attached.status == 101
        assert attached.headers["content-type"] == "application/vnd.docker.multiplexed-stream"
        start(engine, container)
        assert attached.read_streams() == (b"out\n", b"err\n")


def test_attach_without_upgrade_and_in_an_old_version(engine: Engine) -> None:
    container = create(engine, "echo", "hi")
    with hijack(engine, f"/v1.41/containers/{container}/attach?{BOTH}", headers={"Upgrade": ""}) as attached:
        assert attached.status == 200
        assert attached.headers["content-type"] == "application/vnd.docker.raw-stream"
        start(engine, container)
        assert attached.read_streams() == (b"hi\n", b"")


def test_the_end_of_the_input_is_not_the_end_of_the_output(engine: Engine) -> None:
    container = create(engine, "sh", "-c", "cat; echo done", OpenStdin=True, StdinOnce=True)
    with hijack(engine, f"/containers/{container}/attach?{BOTH}&stdin=1") as attached:
        attached.write(b"before the start\n")
        start(engine, container)
        attached.write(b"after it\n")
        attached.write_eof()
        assert attached.read_streams() == (b"before the start\nafter it\ndone\n", b"")


def test_a_client_that_goes_leaves_the_container_running(engine: Engine) -> None:
    container = run(engine, "sh", "-c", "while true; do echo x; sleep 0.01; done")
    with hijack(engine, f"/containers/{container}/attach?{BOTH}") as attached:
        attached.read_until(b"x\n")
    with hijack(engine, f"/containers/{container}/attach?{BOTH}") as again:
        again.read_until(b"x\n")
    state: Any = inspect(engine, container)["State"]
    assert state["Running"]


def test_a_client_that_does_not_read_holds_up_nobody(engine: Engine) -> None:
    container = create(engine, "sh", "-c", "seq 300000; echo end >/done; sleep 1000")
    with hijack(engine, f"/containers/{container}/attach?{BOTH}") as slow:
        assert slow.status == 101
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        start(engine, container)
        assert engine.cli("ps", "-q").stdout.strip() == container[:12]
        assert engine.api("DELETE", f"/containers/{container}?force=1")[0] == 204


def test_detach_keys_leave_the_container_and_tell_it(engine: Engine) -> None:
    container = run(engine, "cat", Tty=True, OpenStdin=True)
    with hijack(engine, f"/containers/{container}/attach?{BOTH}&stdin=1&detachKeys=ctrl-a,x") as attached:
        assert attached.headers["content-type"] == "application/vnd.docker.raw-stream"
        attached.write(b"hello\n")
        attached.read_until(b"hello\r\nhello\r\n")
        attached.write(b"\x01x")
        assert attached.read_all() == b""
    state: Any = inspect(engine, container)["State"]
    assert state["Running"]
    status, answer = engine.api("POST", f"/containers/{container}/attach?detachKeys=ctrl-aa")
    assert (status, answer["message"]) == (400, "Invalid detach keys (ctrl-aa) provided")


def test_logs_are_replayed_to_who_attaches_late(engine: Engine) -> None:
    container = run(engine, "sh", "-c", "echo early; echo wrong >&2")
    wait(engine, container)
    with hijack(engine, f"/containers/{container}/attach?logs=1&stdout=1&stderr=1") as attached:
        assert attached.read_streams() == (b"early\n", b"wrong\n")


def test_a_terminal_has_a_size_that_changes(engine: Engine) -> None:
    command = "stty size; read x; stty size"
    container = create(engine, "sh", "-c", command, Tty=True, OpenStdin=True, HostConfig={"ConsoleSize": [33, 99]})
    with hijack(engine, f"/containers/{container}/attach?{BOTH}&stdin=1") as attached:
        start(engine, container)
        attached.read_until(b"33 99")
        assert engine.api("POST", f"/containers/{container}/resize?h=12&w=34")[0] == 200
        attached.write(b"\n")
        attached.read_until(b"12 34")
    assert engine.api("POST", f"/containers/{container}/resize?h=x&w=34")[0] == 400


def websocket(connection: socket.socket, path: str) -> WSConnection:
    client = WSConnection(ConnectionType.CLIENT)
    connection.sendall(client.send(Request(host="docker", target=path)))
    while True:
        client.receive_data(connection.recv(65536))
        for event in client.events():
            assert isinstance(event, AcceptConnection), event
            return client


def test_a_websocket_gets_bare_output_and_gives_input(engine: Engine) -> None:
    container = run(engine, "sh", "-c", "read x; echo got $x; echo err >&2", OpenStdin=True, StdinOnce=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(engine.place.socket))
        client = websocket(connection, f"/containers/{container}/attach/ws?{BOTH}&stdin=1")
        connection.sendall(client.send(Message(data="hello\n")))
        received, closed = b"", False
        while not closed:
            client.receive_data(connection.recv(65536) or None)
            for event in client.events():
                received += event.data if isinstance(event, BytesMessage) else b""
                closed = closed or isinstance(event, CloseConnection)
    assert sorted(received.decode().splitlines()) == ["err", "got hello"]


def test_what_is_no_websocket_handshake_is_refused(engine: Engine) -> None:
    container = create(engine, "true")
    status, answer = engine.api("GET", f"/containers/{container}/attach/ws")
    assert (status, answer["message"]) == (400, "not a websocket handshake")


def _exec(engine: Engine, container: str, *command: str, **config: object) -> str:
    body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **config}
    status, answer = engine.api("POST", f"/containers/{container}/exec", body)
    assert status == 201, answer
    return str(answer["Id"])


def test_execs_have_streams_codes_and_settings_of_their_own(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", Env=["A=1"], WorkingDir="/tmp")
    exec_id = _exec(
        engine, container, "sh", "-c", "echo $A $B $PWD; id -u; cat; echo err >&2; exit 7",
        Env=["B=2"], User="postgres", WorkingDir="/", AttachStdin=True)  # fmt: skip
    with hijack(engine, f"/exec/{exec_id}/start", {}) as started:
        started.write(b"in\n")
        started.write_eof()
        assert started.read_streams() == (b"1 2 /\n70\nin\n", b"err\n")
    found = engine.api("GET", f"/exec/{exec_id}/json")[1]
    assert (found["Running"], found["ExitCode"], found["ContainerID"]) == (False, 7, container)
    assert engine.api("POST", f"/exec/{exec_id}/start", {})[0] == 409
    assert inspect(engine, container)["ExecIDs"] is None


def test_an_exec_that_cannot_run_says_so_in_its_stream(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    exec_id = _exec(engine, container, "nosuch")
    with hijack(engine, f"/exec/{exec_id}/start", {}) as started:
        out, _ = started.read_streams()
    assert b"executable file not found in $PATH" in out
    assert engine.api("GET", f"/exec/{exec_id}/json")[1]["ExitCode"] == 127
    assert engine.cli("exec", container, "nosuch", check=False).returncode == 127


def test_a_terminal_of_an_exec_is_framed_for_who_asks_for_no_terminal(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    for tty, wanted in ((True, b"x\r\n"), (False, b"\x01\x00\x00\x00\x00\x00\x00\x03x\r\n")):
        exec_id = _exec(engine, container, "echo", "x", Tty=True)
        with hijack(engine, f"/exec/{exec_id}/start", {"Tty": tty}) as started:
            assert started.read_all() == wanted


def test_a_detached_exec_goes_on_by_itself(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    exec_id = _exec(engine, container, "sleep", "1000")
    assert engine.api("POST", f"/exec/{exec_id}/start", {"Detach": True}) == (200, b"")
    assert engine.api("GET", f"/exec/{exec_id}/json")[1]["Running"]
    assert inspect(engine, container)["ExecIDs"] == [exec_id]
    engine.api("POST", f"/containers/{container}/kill")
    assert engine.api("GET", f"/exec/{exec_id}/json")[1]["Running"] is False


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Cmd": []}, 400, "No exec command specified"),
        ({"Cmd": ["true"], "User": "nosuch"}, 400, "unable to find user nosuch: no matching entries in passwd file"),
    ],
)
def test_execs_that_are_refused(engine: Engine, body: dict[str, object], status: int, text: str) -> None:
    container = run(engine, "sleep", "1000")
    assert engine.api("POST", f"/containers/{container}/exec", body) == (status, {"message": text})


def test_execs_need_a_container_that_runs(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", name="here")
    engine.api("POST", "/containers/here/pause")
    status, answer = engine.api("POST", "/containers/here/exec", {"Cmd": ["true"]})
    assert (status, answer["message"]) == (409, "Container here is paused, unpause the container before exec")
    engine.api("POST", "/containers/here/kill")
    status, answer = engine.api("POST", "/containers/here/exec", {"Cmd": ["true"]})
    assert (status, answer["message"]) == (409, f"container {container} is not running")
    assert engine.api("GET", "/exec/abc/json") == (404, {"message": "No such exec instance: abc"})


def test_logs_follow_to_the_end(engine: Engine) -> None:
    container = run(engine, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done")
    out = engine.cli("logs", "-f", "--tail", "all", container).stdout
    assert out == "1\n2\n3\n"
    assert engine.cli("logs", "--tail", "1", container).stdout == "3\n"
    assert engine.cli("logs", "--until", "1", container).stdout == ""


def test_log_drivers(engine: Engine) -> None:
    engine.cli("run", "--name", "loc", "--log-driver", "local", "busybox", "echo", "local")
    assert engine.cli("logs", "loc").stdout == "local\n"
    engine.cli("run", "--name", "non", "--log-driver", "none", "busybox", "echo", "none")
    done = engine.cli("logs", "non", check=False)
    assert "configured logging driver does not support reading" in done.stderr
    status, answer = engine.api("GET", "/containers/nosuch/logs")
    assert (status, answer["message"]) == (400, "Bad parameters: you must choose at least one stream")
