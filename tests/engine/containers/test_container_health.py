"""Health checks against a daemon, and a container that hangs without anybody else hanging with it."""

import json
import os
import signal
import threading
from typing import Any

from tests.engine.containers.streams import inspect, run
from tests.engine.containers.test_container_life import events_of, until
from tests.engine.harness import Engine

SECOND_NS = 1_000_000_000
OFTEN_NS = SECOND_NS // 20


def health(engine: Engine, container: str) -> dict[str, Any]:
    state: Any = inspect(engine, container)["State"]
    return dict(state["Health"])


def checked(engine: Engine, *test: str, **settings: int) -> str:
    return run(engine, "sleep", "1000", Healthcheck={"Test": list(test), "Interval": OFTEN_NS, **settings})


def test_a_container_falls_ill_and_recovers(engine: Engine) -> None:
    container = checked(engine, "CMD-SHELL", "test -e /tmp/fine && echo fine", Retries=2)
    assert health(engine, container)["Status"] == "starting"
    until(lambda: health(engine, container)["Status"] == "unhealthy")
    assert health(engine, container)["FailingStreak"] >= 2
    assert "(unhealthy)" in engine.cli("ps").stdout
    engine.cli("exec", container, "touch", "/tmp/fine")
    until(lambda: health(engine, container)["Status"] == "healthy")
    assert health(engine, container)["Log"][-1]["Output"] == "fine\n"
    told = [action for action in events_of(engine, container) if action.startswith("health_status")]
    assert told == ["health_status:", "health_status:"]
    assert len(health(engine, container)["Log"]) <= 5


def test_a_check_that_takes_too_long_is_killed_and_failed(engine: Engine) -> None:
    container = checked(engine, "CMD", "sh", "-c", "echo begun; sleep 1000", Timeout=SECOND_NS // 5, Retries=1)
    until(lambda: health(engine, container)["Status"] == "unhealthy")
    last = health(engine, container)["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (-1, "Health check exceeded timeout (200ms): begun\n")
    engine.api("POST", f"/containers/{container}/pause")  # no more checks
    _, processes = engine.api("GET", f"/containers/{container}/top?ps_args=-o%20pid,args")
    assert sum("echo begun" in row[1] for row in processes["Processes"]) == 0


def test_a_check_that_cannot_run_is_a_failure(engine: Engine) -> None:
    container = checked(engine, "CMD", "nosuch", Retries=1)
    until(lambda: health(engine, container)["Status"] == "unhealthy")
    assert "executable file not found" in health(engine, container)["Log"][-1]["Output"]


def test_output_is_kept_to_its_limit(engine: Engine) -> None:
    container = checked(engine, "CMD", "seq", "100000")
    until(lambda: health(engine, container)["Status"] == "healthy")
    assert len(health(engine, container)["Log"][0]["Output"]) == 4096


def test_none_switches_an_images_check_off(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", Healthcheck={"Test": ["NONE"]})
    state: Any = inspect(engine, container)["State"]
    assert "Health" not in state


def test_a_container_whose_shim_hangs_holds_up_nobody_else(engine: Engine) -> None:
    hanging = run(engine, "sleep", "1000", name="hanging")
    shim = json.loads((engine.place.exec / "containers" / hanging / "shim.json").read_text())["pid"]
    os.kill(shim, signal.SIGSTOP)
    try:
        asking = threading.Thread(target=engine.cli, args=("exec", "hanging", "true"))
        asking.start()
        assert "hanging" in engine.cli("ps", timeout=10).stdout
        assert engine.cli("run", "--rm", "busybox", "echo", "others", timeout=20).stdout == "others\n"
        assert engine.api("GET", "/containers/hanging/json", timeout=10)[0] == 200
        assert asking.is_alive()
    finally:
        os.kill(shim, signal.SIGCONT)
    asking.join(20)
    assert not asking.is_alive()
