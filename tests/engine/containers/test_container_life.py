"""From create to removal, against a daemon: what the docker CLI and the API see."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engine.containers.streams import create, inspect, run, start, wait
from tests.engine.harness import Engine


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def events_of(engine: Engine, container: str) -> list[str]:
    until_now = ["--since", "1", "--until", f"{time.time():.9f}", "--format", "{{.Action}}"]
    return engine.cli("events", *until_now, "--filter", f"container={container}").stdout.split()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("busybox", "sh", "-c", "exit 42"), 42, ""),
        (("busybox", "nosuch"), 127, "executable file not found"),
        (("busybox", "/etc/passwd"), 126, "permission denied"),
        (("busybox", "/etc"), 126, "is a directory"),
        (
            ("--user", "nosuch", "busybox", "true"),
            125,
            "unable to find user nosuch: no matching entries in passwd file",
        ),
        (("--memory", "1m", "busybox", "true"), 125, "Minimum memory limit allowed is 6MB"),
    ],
)
def test_exit_codes_of_run(engine: Engine, words: tuple[str, ...], code: int, text: str) -> None:
    done = engine.cli("run", "--rm", *words, check=False)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert engine.cli("ps", "-aq").stdout == ""


def test_the_input_of_run_reaches_the_container_and_its_end_too(engine: Engine) -> None:
    assert (
        engine.cli("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo end", input="a\nb\n").stdout == "a\nb\nend\n"
    )


def test_large_output_comes_whole(engine: Engine) -> None:
    out = engine.cli("run", "--rm", "busybox", "seq", "200000").stdout
    assert out.split() == [str(number) for number in range(1, 200001)]


def test_a_failed_start_is_remembered(engine: Engine) -> None:
    container = create(engine, "nosuch")
    status, answer = engine.api("POST", f"/containers/{container}/start")
    assert status == 400
    state: Any = inspect(engine, container)["State"]
    assert (state["Status"], state["ExitCode"], state["Error"]) == ("created", 127, answer["message"])


def test_start_and_stop_of_what_is_so_already_change_nothing(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    assert engine.api("POST", f"/containers/{container}/start")[0] == 304
    assert engine.api("POST", f"/containers/{container}/stop?t=0")[0] == 204
    assert engine.api("POST", f"/containers/{container}/stop")[0] == 304


def test_stop_sends_the_containers_signal_and_then_kills(engine: Engine) -> None:
    kind = run(engine, "sh", "-c", "trap 'exit 5' INT; while true; do sleep 0.01; done", StopSignal="SIGINT")
    deaf = run(engine, "sleep", "1000")
    engine.api("POST", f"/containers/{kind}/stop")
    engine.api("POST", f"/containers/{deaf}/stop?t=0")
    assert (wait(engine, kind), wait(engine, deaf)) == (5, 137)


def test_a_container_that_does_not_stop_can_be_killed_meanwhile(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    stopping = threading.Thread(target=engine.api, args=("POST", f"/containers/{container}/stop?t=-1"))
    stopping.start()
    until(lambda: "kill" in events_of(engine, container))
    assert engine.cli("ps", "-q").stdout.strip() == container[:12]
    assert engine.api("POST", f"/containers/{container}/kill")[0] == 204
    stopping.join(20)
    assert not stopping.is_alive()


def test_kill_of_what_does_not_run_and_by_what_is_no_signal(engine: Engine) -> None:
    container = create(engine, "true")
    assert engine.api("POST", f"/containers/{container}/kill")[0] == 409
    status, answer = engine.api("POST", f"/containers/{container}/kill?signal=FOO")
    assert (status, answer["message"]) == (400, "invalid signal: FOO")


def test_pause_freezes_and_a_paused_container_can_be_stopped(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    assert engine.api("POST", f"/containers/{container}/pause")[0] == 204
    status, answer = engine.api("POST", f"/containers/{container}/pause")
    assert (status, answer["message"]) == (409, f"Container {container} is already paused")
    assert engine.api("POST", f"/containers/{container}/unpause")[0] == 204
    assert engine.api("POST", f"/containers/{container}/unpause")[0] == 500
    engine.api("POST", f"/containers/{container}/pause")
    assert engine.api("POST", f"/containers/{container}/stop?t=0")[0] == 204


def test_remove_refuses_what_runs_unless_forced(engine: Engine) -> None:
    run(engine, "sleep", "1000", name="runs")
    status, answer = engine.api("DELETE", "/containers/runs")
    assert status == 409
    assert answer["message"] == (
        'cannot remove container "/runs": container is running: stop the container before removing or force remove'
    )
    assert engine.api("DELETE", "/containers/runs?force=1")[0] == 204
    assert engine.api("DELETE", "/containers/runs")[0] == 404


def test_a_name_is_free_when_the_removed_condition_fires(engine: Engine) -> None:
    for _ in range(3):
        container = create(engine, "true", name="again", HostConfig={"AutoRemove": True})
        start(engine, container)
        status, _ = engine.api("POST", f"/containers/{container}/wait?condition=removed")
        assert status in (200, 404)  # 404: it was gone before the question came


def test_wait_answers_its_head_before_anything_happens(engine: Engine) -> None:
    from tests.engine.containers.streams import hijack

    container = create(engine, "sh", "-c", "exit 3")
    with hijack(engine, f"/containers/{container}/wait?condition=next-exit", headers={"Upgrade": ""}) as waiting:
        assert waiting.status == 200
        start(engine, container)
        assert b'{"StatusCode":3}' in waiting.read_until(b"}")


def test_wait_for_what_is_no_condition(engine: Engine) -> None:
    container = create(engine, "true")
    status, answer = engine.api("POST", f"/containers/{container}/wait?condition=foo")
    assert (status, answer["message"]) == (400, 'invalid condition: "foo"')


def test_restart_policies_restart_until_stopped_by_hand(engine: Engine) -> None:
    always = run(engine, "false", HostConfig={"RestartPolicy": {"Name": "always"}})
    twice = run(engine, "false", HostConfig={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}})
    until(lambda: inspect(engine, always)["RestartCount"] == 2)
    assert engine.api("POST", f"/containers/{always}/stop")[0] in (204, 304)
    until(lambda: inspect(engine, twice)["RestartCount"] == 2 and not _running(engine, twice))
    assert _running(engine, always) is False


def _running(engine: Engine, container: str) -> bool:
    state: Any = inspect(engine, container)["State"]
    return bool(state["Running"])


def test_a_removed_container_is_not_restarted(engine: Engine) -> None:
    container = run(engine, "false", HostConfig={"RestartPolicy": {"Name": "always"}})
    assert engine.api("DELETE", f"/containers/{container}?force=1")[0] == 204
    assert engine.api("GET", "/containers/json?all=1")[1] == []


def test_rename_keeps_everything_else(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", name="old-name")
    create(engine, "true", name="taken")
    assert engine.api("POST", "/containers/old-name/rename?name=new-name")[0] == 204
    assert inspect(engine, "new-name")["Id"] == container
    assert engine.api("POST", "/containers/new-name/rename?name=taken")[0] == 409
    status, answer = engine.api("POST", "/containers/new-name/rename?name=new-name")
    assert (status, answer["message"]) == (
        400, "Renaming a container with the same name as its current name")  # fmt: skip
    create(engine, "true", name="old-name")


def test_update_changes_limits_at_once(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", HostConfig={"Memory": 64 << 20})
    status, answer = engine.api(
        "POST", f"/containers/{container}/update",
        {"Memory": 32 << 20, "MemorySwap": 32 << 20, "RestartPolicy": {"Name": "always"}})  # fmt: skip
    assert (status, answer) == (200, {"Warnings": None})
    host_config: Any = inspect(engine, container)["HostConfig"]
    assert (host_config["Memory"], host_config["RestartPolicy"]["Name"]) == (32 << 20, "always")
    _, measured = engine.api("GET", f"/containers/{container}/stats?stream=0&one-shot=1")
    assert measured["memory_stats"]["limit"] == 32 << 20


@pytest.mark.slow
def test_the_daemon_s_limits_stand_beside_a_container_s_own(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine("--default-ulimit", "nofile=100:200", "--default-ulimit", "core=0")
    limits = ("sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c")
    assert engine.cli("run", "--rm", "busybox", *limits).stdout == "100\n200\n0\n"
    assert engine.cli("run", "--rm", "--ulimit", "nofile=50", "busybox", *limits).stdout == "50\n50\n0\n"
    container = run(engine, "sleep", "1000", HostConfig={"Ulimits": [{"Name": "nofile", "Soft": 50, "Hard": 60}]})
    assert inspect(engine, container)["HostConfig"]["Ulimits"] == [
        {"Name": "nofile", "Soft": 50, "Hard": 60}, {"Name": "core", "Soft": 0, "Hard": 0}]  # fmt: skip
    assert engine.cli("exec", container, *limits).stdout == "50\n60\n0\n"


def _cpu_group(engine: Engine, container: str = "") -> Path:
    group = Path("/sys/fs/cgroup/cpu", engine.place.cgroup_parent.strip("/"), container)
    if not (group / "cpu.rt_runtime_us").exists():
        pytest.skip("needs real-time scheduling by control groups of version 1 (RT_GROUP_SCHED)")
    return group


def test_update_changes_weights_and_real_time_within_what_the_parent_has(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    parent, group = _cpu_group(engine), _cpu_group(engine, container)
    weight = Path("/sys/fs/cgroup/blkio", *group.parts[-2:], "blkio.bfq.weight")
    wish = {"CpuRealtimePeriod": 500_000, "CpuRealtimeRuntime": 4_000, "BlkioWeight": 300}
    status, answer = engine.api("POST", f"/containers/{container}/update", wish)
    assert status == 500
    refused = f"Cannot update container {container}: failed to write '4000' to 'cpu.rt_runtime_us'"
    assert answer["message"].startswith(refused)
    assert inspect(engine, container)["HostConfig"]["CpuRealtimeRuntime"] == 0
    # Enough for two: the kernel counts a group for a moment after it has gone, and a restart may be faster than that.
    (parent / "cpu.rt_runtime_us").write_text("20000")
    assert engine.api("POST", f"/containers/{container}/update", wish)[0] == 200
    assert (group / "cpu.rt_period_us").read_text() == "500000\n"
    assert (group / "cpu.rt_runtime_us").read_text() == "4000\n"
    assert weight.read_text() == "300\n"
    assert inspect(engine, container)["HostConfig"]["BlkioWeight"] == 300
    status, answer = engine.api("POST", f"/containers/{container}/restart?t=0")
    assert status == 204, answer
    assert (group / "cpu.rt_runtime_us").read_text() == "4000\n"
    assert weight.read_text() == "300\n"


def test_prune_removes_what_does_not_run_and_fits(engine: Engine) -> None:
    running = run(engine, "sleep", "1000")
    stays = create(engine, "true", Labels={"keep": "1"})
    goes = create(engine, "true")
    _, answer = engine.api("POST", '/containers/prune?filters={"label!":["keep"]}')
    assert answer == {"ContainersDeleted": [goes], "SpaceReclaimed": 0}
    left = {row["Id"] for row in engine.api("GET", "/containers/json?all=1")[1]}
    assert left == {running, stays}


def test_lists_are_filtered_newest_first(engine: Engine) -> None:
    first = run(engine, "sleep", "1000", name="first", Labels={"a": "1", "b": "2"})
    second = create(engine, "true", name="second", Labels={"a": "1"})
    third = run(engine, "sh", "-c", "exit 3", name="third")
    wait(engine, third)

    def listed(query: str) -> list[str]:
        return [row["Names"][0] for row in engine.api("GET", f"/containers/json?{query}")[1]]

    assert listed("") == ["/first"]
    assert listed("all=1") == ["/third", "/second", "/first"]
    assert listed("limit=2") == ["/third", "/second"]
    assert listed('filters={"label":["a=1","b"]}') == ["/first"]
    assert listed('all=1&filters={"name":["sec","thi"]}') == ["/third", "/second"]
    assert listed('filters={"status":["exited"]}') == ["/third"]
    assert listed('all=1&filters={"exited":["3"]}') == ["/third"]
    assert listed(f'all=1&filters={{"id":["{second[:10]}"]}}') == ["/second"]
    assert listed('all=1&filters={"before":["third"]}') == ["/second", "/first"]
    assert listed(f'all=1&filters={{"since":["{first}"]}}') == ["/third", "/second"]
    assert listed('all=1&filters={"ancestor":["busybox"]}') == ["/third", "/second", "/first"]
    assert listed('all=1&filters={"ancestor":["nosuch"]}') == []
    assert engine.api("GET", '/containers/json?filters={"foo":["1"]}')[0] == 400
    assert engine.api("GET", '/containers/json?filters={"status":["foo"]}')[0] == 400


def test_events_tell_a_life_in_order(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", Labels={"l": "v"})
    engine.api("POST", f"/containers/{container}/stop?t=0")
    engine.api("DELETE", f"/containers/{container}")
    assert events_of(engine, container) == ["create", "start", "kill", "kill", "die", "stop", "destroy"]


def test_stats_of_what_runs_and_of_what_does_not(engine: Engine) -> None:
    running, created = run(engine, "sleep", "1000"), create(engine, "true")
    _, measured = engine.api("GET", f"/containers/{running}/stats?stream=0")
    assert measured["precpu_stats"]["system_cpu_usage"] < measured["cpu_stats"]["system_cpu_usage"]
    assert measured["pids_stats"]["current"] == 1
    status, nothing = engine.api("GET", f"/containers/{created}/stats?stream=0")
    assert (status, nothing["pids_stats"], nothing["id"]) == (200, {}, created)


def test_containers_share_namespaces(engine: Engine) -> None:
    donor = run(engine, "sh", "-c", "echo shared > /dev/shm/x; exec sleep 1000", name="donor",
                HostConfig={"IpcMode": "shareable"})  # fmt: skip
    until(lambda: engine.api("POST", f"/containers/{donor}/exec", {"Cmd": ["true"]})[0] == 201)
    shared = [f"--{kind}=container:donor" for kind in ("network", "pid", "ipc")]
    out = engine.cli("run", "--rm", *shared, "busybox", "sh", "-c", "cat /dev/shm/x; hostname").stdout
    assert out.split() == ["shared", donor[:12]]
    engine.cli("stop", "-t", "0", "donor")
    done = engine.cli("run", "--rm", "--network", "container:donor", "busybox", "true", check=False)
    assert "cannot join network namespace of a non running container" in done.stderr


def test_twenty_at_once(engine: Engine) -> None:
    import subprocess

    running = [
        subprocess.Popen(["docker", "run", "--rm", "busybox", "echo", str(number)], env=engine.environment,
                         stdout=subprocess.PIPE)
        for number in range(20)
    ]  # fmt: skip
    outputs = [process.communicate()[0] for process in running]
    assert outputs == [f"{number}\n".encode() for number in range(20)]
    assert engine.cli("ps", "-aq").stdout == ""


def test_links_give_variables_and_names(engine: Engine) -> None:
    run(engine, "sleep", "1000", name="database", Env=["PASSWORD=x"], ExposedPorts={"5432/tcp": {}})
    container = run(engine, "sh", "-c", "env; cat /etc/hosts", name="web",
                    HostConfig={"Links": ["database:db"], "NetworkMode": "bridge"})  # fmt: skip
    wait(engine, container)
    text = engine.cli("logs", "web").stdout
    assert "DB_ENV_PASSWORD=x" in text
    assert "DB_PORT_5432_TCP_PROTO=tcp" in text
    assert "DB_NAME=/web/db" in text
    host_config: Any = inspect(engine, "web")["HostConfig"]
    assert host_config["Links"] == ["/database:/web/db"]
    assert "/web/db" in engine.api("GET", "/containers/json")[1][-1]["Names"]
    assert engine.api("DELETE", "/containers/web/db?link=1")[0] == 204
    assert engine.api("DELETE", "/containers/web?link=1")[0] == 409
