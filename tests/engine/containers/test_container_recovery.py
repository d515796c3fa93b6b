"""The daemon is killed and started again: containers, their output, exit codes and policies are what they were."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

import pytest
from tests.engine import harness
from tests.engine.containers.streams import create, hijack, inspect, run, start, wait
from tests.engine.containers.test_container_life import until

from riverport.engine.state import State

pytestmark = pytest.mark.skipif(harness.kind_under_test().key != "riverport", reason="dockerd dies with its containerd")


@pytest.fixture(scope="module")
def mortal(able: None) -> Iterator[harness.Engine]:
    engine = harness.Engine()
    yield engine
    engine.close()


@pytest.fixture
def engine(mortal: harness.Engine) -> Iterator[harness.Engine]:
    if not mortal.is_running:
        mortal.start()
    yield mortal
    mortal.sweep()


def state_of(engine: harness.Engine, container: str) -> dict[str, Any]:
    found: Any = inspect(engine, container)["State"]
    return dict(found)


def test_what_runs_goes_on_and_loses_no_line(engine: harness.Engine) -> None:
    counting = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done"
    container = run(engine, "sh", "-c", counting, HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "8099"}]}})
    engine.kill()
    engine.start()
    assert state_of(engine, container)["Status"] == "running"
    assert engine.cli("exec", container, "echo", "inside").stdout == "inside\n"
    assert engine.cli("port", container).stdout.startswith("80/tcp -> 0.0.0.0:8099")
    engine.api("POST", f"/containers/{container}/stop?t=0")
    lines = engine.cli("logs", container).stdout.split()
    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    assert state_of(engine, container)["ExitCode"] == 137


def test_who_ran_and_ended_before_its_start_was_written_down_has_run(engine: harness.Engine) -> None:
    """Else a client that heard no answer starts it again, and all is done twice (found by scripts/engine-kill)."""
    container = create(engine, "sh", "-c", "echo once; sleep 0.2; exit 7")
    state = State(engine.place.data / "engine.db")
    created = state.load("containers")[container]
    start(engine, container)
    engine.kill()
    until(lambda: not engine.isolation.processes())
    state.save("containers", container, created)
    state.close()
    engine.start()
    found = state_of(engine, container)
    assert (found["Status"], found["ExitCode"]) == ("exited", 7)
    assert not found["StartedAt"].startswith("0001")
    assert engine.cli("logs", container).stdout == "once\n"


def test_an_end_is_known_when_the_kill_comes_after_the_shim_has_gone(engine: harness.Engine) -> None:
    """Its exit file is gone, too, and the container was written down as running."""
    container = run(engine, "true")
    wait(engine, container)
    engine.kill()
    state = State(engine.place.data / "engine.db")
    document = state.load("containers")[container]
    ending = {"code": 7, "oom_killed": False, "finished_at": time.time()}
    document["state"] |= {"running": True, "exit_code": 0, "ending": ending}
    state.save("containers", container, document)
    state.close()
    engine.start()
    found = state_of(engine, container)
    assert (found["Status"], found["ExitCode"]) == ("exited", 7)


def test_a_creation_that_was_cut_short_leaves_no_files(engine: harness.Engine) -> None:
    """The root was made, and the kill came before the container was written down (found by scripts/engine-kill)."""
    layers = engine.place.data / "overlay2"
    before = set(layers.iterdir())
    container = create(engine, "true")
    assert set(layers.iterdir()) > before
    engine.kill()
    state = State(engine.place.data / "engine.db")
    state.delete("containers", [container])
    state.close()
    engine.start()
    assert set(layers.iterdir()) == before


def test_who_ended_and_was_to_remove_itself_does_so_at_the_next_start(engine: harness.Engine) -> None:
    """The kill came between the end and the removal (found by scripts/engine-kill)."""
    container = run(engine, "true", HostConfig={"AutoRemove": False})
    until(lambda: state_of(engine, container)["Status"] == "exited")
    fresh = create(engine, "true", HostConfig={"AutoRemove": True})
    engine.kill()
    state = State(engine.place.data / "engine.db")
    document = state.load("containers")[container]
    document["host_config"]["AutoRemove"] = True
    state.save("containers", container, document)
    state.close()
    engine.start()
    until(lambda: engine.cli("ps", "-aq", "--no-trunc").stdout.split() == [fresh])


def test_who_ended_meanwhile_has_its_code_its_time_and_its_last_words(engine: harness.Engine) -> None:
    container = run(engine, "sh", "-c", "while [ ! -e /go ]; do sleep 0.01; done; echo bye; exit 7")
    removed = run(engine, "sleep", "0.1", name="removed", HostConfig={"AutoRemove": True})
    engine.cli("exec", "-d", container, "sh", "-c", "sleep 0.3; touch /go")
    engine.kill()
    until(lambda: not engine.isolation.processes() or _ended(engine, container))
    engine.start()
    until(lambda: state_of(engine, container)["Status"] == "exited")
    assert state_of(engine, container)["ExitCode"] == 7
    assert engine.cli("logs", container).stdout == "bye\n"
    until(lambda: engine.api("GET", f"/containers/{removed}/json")[0] == 404)


def _ended(engine: harness.Engine, container: str) -> bool:
    return (engine.place.exec / "containers" / container / "exit.json").exists() or not (
        engine.place.exec / "containers" / container
    ).exists()


def test_attached_clients_end_with_the_daemon_and_can_come_back(engine: harness.Engine) -> None:
    container = run(engine, "sh", "-c", "while true; do echo x; sleep 0.05; done")
    with hijack(engine, f"/containers/{container}/attach?stream=1&stdout=1") as attached:
        attached.read_until(b"x\n")
        engine.kill()
        attached.read_all()
    engine.start()
    with hijack(engine, f"/containers/{container}/attach?stream=1&stdout=1") as attached:
        attached.read_until(b"x\n")


def test_policies_when_the_daemon_comes_back(engine: harness.Engine) -> None:
    def policy(name: str) -> dict[str, Any]:
        return {"RestartPolicy": {"Name": name}}

    def sleeping(name: str, **config: object) -> str:
        return run(engine, "sleep", "1000", name=name, StopSignal="SIGKILL", **config)

    always = sleeping("always", HostConfig=policy("always"))
    unless = sleeping("unless", HostConfig=policy("unless-stopped"))
    never = sleeping("never")
    stopped = sleeping("stopped", HostConfig=policy("unless-stopped"))
    engine.api("POST", f"/containers/{stopped}/stop?t=0")
    engine.stop()  # in peace: containers end with the daemon
    assert engine.isolation.processes() == [] or engine.cgroups() == []
    engine.start()
    until(lambda: state_of(engine, always)["Running"] and state_of(engine, unless)["Running"])
    assert state_of(engine, never)["Status"] == "exited"
    assert state_of(engine, stopped)["Status"] == "exited"


def test_a_container_that_waits_for_its_restart_is_restarted(engine: harness.Engine) -> None:
    container = run(engine, "false", HostConfig={"RestartPolicy": {"Name": "always"}})
    until(lambda: int(str(inspect(engine, container)["RestartCount"])) >= 2)
    engine.kill()
    engine.start()
    count = int(str(inspect(engine, container)["RestartCount"]))
    until(lambda: int(str(inspect(engine, container)["RestartCount"])) > count)


def test_health_and_pause_are_remembered(engine: harness.Engine) -> None:
    second = 1_000_000_000
    container = run(
        engine, "sleep", "1000", Healthcheck={"Test": ["CMD", "true"], "Interval": second // 20})  # fmt: skip
    until(lambda: state_of(engine, container)["Health"]["Status"] == "healthy")
    paused = run(engine, "sleep", "1000")
    engine.api("POST", f"/containers/{paused}/pause")
    engine.kill()
    engine.start()
    assert state_of(engine, container)["Health"]["Status"] == "healthy"
    assert state_of(engine, paused)["Status"] == "paused"
    assert engine.api("POST", f"/containers/{paused}/unpause")[0] == 204


@pytest.mark.slow
def test_whatever_moment_the_kill_comes_nothing_is_left_over(engine: harness.Engine) -> None:
    """Creations, starts, exits and removals are cut at many places; afterwards every container is whole, or gone."""
    for delay_ms in (5, 20, 45):
        stop = threading.Event()
        workers = [threading.Thread(target=_busy, args=(engine, stop)) for _ in range(3)]
        for worker in workers:
            worker.start()
        time.sleep(0.1 + delay_ms / 1000)
        engine.kill()
        stop.set()
        for worker in workers:
            worker.join(30)
        engine.start()
        for row in engine.api("GET", "/containers/json?all=1")[1]:
            assert row["State"] in ("created", "running", "exited"), row
            if row["State"] == "created":
                assert engine.api("POST", f"/containers/{row['Id']}/start")[0] == 204
            if row["State"] != "running":
                assert wait(engine, row["Id"]) == 0
        engine.sweep()
        assert engine.cgroups() == []
        assert engine.mounts() == []
        assert list((engine.place.data / "containers").iterdir()) == []


def _busy(engine: harness.Engine, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            container = create(engine, "true")
            start(engine, container)
            wait(engine, container)
            engine.api("DELETE", f"/containers/{container}")
        except (OSError, AssertionError, HTTPException):
            return  # the daemon is gone in the middle of a call


def test_a_shim_that_is_killed_is_an_end_like_another(engine: harness.Engine) -> None:
    import os

    container = run(engine, "sleep", "1000")
    pid = json.loads((engine.place.exec / "containers" / container / "shim.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: state_of(engine, container)["Status"] == "exited")
    assert state_of(engine, container)["ExitCode"] == 137
    start(engine, container)


def test_containers_that_remove_themselves_end_while_no_daemon_is_there(engine: harness.Engine) -> None:
    """Settling removes them; taken for removals that were cut short as well, they kept the daemon from starting."""
    removed = [run(engine, "sleep", "0.2", HostConfig={"AutoRemove": True}) for _ in range(5)]
    engine.kill()
    time.sleep(0.5)
    engine.start()
    until(lambda: all(engine.api("GET", f"/containers/{container}/json")[0] == 404 for container in removed))
