"""kill -9 of the daemon, the zygote and the shim: nothing is lost that can be kept, nothing is left that should go.

The daemon is a process of its own here; it says what it has reached, a line each, and is killed there.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.engine.leftovers import groups, leftovers
from tests.engine.runtime.bench import Bench, everything, soon, until

from riverport.engine.errors import EngineError
from riverport.engine.runtime.handle import Shim
from riverport.engine.runtime.model import ExitStatus, LogSettings, StdioSettings
from riverport.engine.runtime.runtime import Runtime

pytestmark = pytest.mark.usefixtures("machine")

DAEMON = """
import asyncio, sys
from pathlib import Path
from tests.engine.runtime.bench import Bench, Overlay, soon
from riverport.engine.runtime.model import LogSettings, StdioSettings
from riverport.engine.runtime.runtime import Runtime

def reached(what):
    print(what, flush=True)

async def main():
    bench = Bench.__new__(Bench)
    bench.place = Path(sys.argv[1])
    bench.cgroup_parent = f"/{bench.place.name}"
    bench.shims = []
    from riverport.engine.runtime.runtime import RuntimeSettings
    bench.settings = RuntimeSettings(bench.place / "x", bench.place / "seccomp", bench.cgroup_parent)
    bench.runtime = Runtime(bench.settings)
    await bench.runtime.start()
    reached("started")
    shim = await bench.prepare("a")
    reached("prepared")
    stream = await shim.attach(stdin=False, stdout=True, stderr=True)
    spec = bench.spec(shim, "sh", "-c", sys.argv[2])
    running = asyncio.create_task(shim.run(spec, StdioSettings(log=LogSettings("json-file", bench.log("a")))))
    await asyncio.sleep(0)
    reached("asked")
    await running
    reached("running")
    await shim.exited
    reached("ended")
    await asyncio.sleep(1000)

asyncio.run(main())
"""
COUNT = "for i in $(seq 1 50); do echo $i; sleep 0.01; done; exit 3"


class Daemon:
    def __init__(self, bench: Bench, command: str) -> None:
        source = Path(__file__).parents[3]
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(DAEMON), str(bench.place), command],
            stdout=subprocess.PIPE,
            text=True,
            cwd=source,
            env={**os.environ, "PYTHONPATH": f"{source}:{source / 'src'}"},
        )

    def kill_when(self, phase: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == phase:
                break
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def logged(bench: Bench) -> str:
    return "".join(json.loads(line)["log"] for line in bench.log("a").read_text().splitlines())


NUMBERS = "".join(f"{number}\n" for number in range(1, 51))


@pytest.mark.parametrize("phase", ["started", "prepared", "asked", "running"])
def test_a_daemon_that_is_killed_loses_no_line_and_no_exit_code(phase: str) -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            daemon = Daemon(bench, COUNT)
            await asyncio.to_thread(daemon.kill_when, phase)
            if phase == "asked":  # the request may or may not have been on its way
                await asyncio.sleep(0.1)
            found = await bench.runtime.recover("a")
            if phase in ("started", "prepared"):
                assert found is None
                return
            if phase == "asked" and found is None:
                return
            status = await soon(found.exited) if isinstance(found, Shim) else found
            assert isinstance(status, ExitStatus)
            assert status.code == 3
            assert logged(bench) == NUMBERS
            if isinstance(found, Shim):
                await found.discard()

    asyncio.run(scenario())


@pytest.mark.parametrize("phase", ["running", "ended"])
def test_an_exit_without_a_daemon_is_found_in_the_exit_file(phase: str) -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            daemon = Daemon(bench, COUNT)
            await asyncio.to_thread(daemon.kill_when, phase)
            # The shim goes by itself, and with it everything the kernel held.
            await until(lambda: not groups(bench.cgroup_parent))
            await until((bench.settings.exec_root / "a" / "exit.json").exists)
            status = await bench.runtime.recover("a")
            assert isinstance(status, ExitStatus)
            assert status.code == 3
            assert logged(bench) == NUMBERS
            assert await bench.runtime.recover("a") is None  # once told, forgotten

    asyncio.run(scenario())


def test_a_recovered_container_is_as_good_as_new() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            daemon = Daemon(bench, "while true; do echo tick; sleep 0.05; done")
            await asyncio.to_thread(daemon.kill_when, "running")
            shim = await bench.runtime.recover("a")
            assert isinstance(shim, Shim)
            stream = await shim.attach(stdin=False, stdout=True, stderr=True)
            assert b"tick\n" in await soon(stream.read())
            handle = await shim.exec(
                "e", bench.runtime.exec_process(shim, {}, {"Cmd": ["sh", "-c", "exit 5"]}, None), StdioSettings()
            )
            assert await soon(handle.exited) == 5
            assert (await shim.stats())["pids_stats"]["current"] > 0
            assert (shim.root / "bin/busybox").exists()
            shim.signal(signal.SIGKILL)
            assert (await soon(shim.exited)).code == 137
            await shim.discard()

    asyncio.run(scenario())


def test_two_daemons_after_each_other_lose_nothing() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sh", "-c", COUNT)
            shim.leave()
            others = [Runtime(bench.settings) for _ in range(3)]
            for other in others:
                found = await other.recover("a")
                assert isinstance(found, Shim)
                await other.stop()
            found = await bench.runtime.recover("a")
            assert isinstance(found, Shim)
            assert (await soon(found.exited)).code == 3
            assert logged(bench) == NUMBERS
            await found.discard()

    asyncio.run(scenario())


def test_a_killed_zygote_is_replaced_and_its_shims_live_on() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sh", "-c", "sleep 0.3; exit 3")
            process = bench.runtime._process
            assert process is not None
            process.kill()
            await process.wait()
            assert await bench.output("b", "echo", "hi") == (0, "hi\n", "")
            assert (await soon(shim.exited)).code == 3

    asyncio.run(scenario())


def test_the_zygote_comes_with_the_first_container_and_stays() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            assert bench.runtime._process is None
            await asyncio.gather(bench.prepare("a"), bench.prepare("b"))
            process = bench.runtime._process
            assert process is not None
            await bench.prepare("c")
            assert bench.runtime._process is process

    asyncio.run(scenario())


@pytest.mark.parametrize("driver", ["crun", "runc"])
def test_a_killed_shim_takes_its_container_with_it(driver: str) -> None:
    if shutil.which(driver) is None:
        pytest.skip(f"needs {driver}")

    async def scenario() -> None:
        async with Bench(driver) as bench:
            shim = await bench.run("a", "sh", "-c", "sleep 1000 & sleep 1001; true")
            process = bench.runtime.exec_process(shim, {}, {"Cmd": ["sleep", "1002"]}, None)
            handle = await shim.exec("e", process, StdioSettings())
            os.kill(shim.pid, signal.SIGKILL)
            status = await soon(shim.exited)
            assert status.code == 137
            assert await soon(handle.exited) == 137
            with pytest.raises(EngineError):
                await shim.exec("e2", process, StdioSettings())

    asyncio.run(scenario())


def test_shim_and_daemon_killed_together_are_cleared_up_after_by_the_next_daemon() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            daemon = Daemon(bench, "sleep 1000")
            await asyncio.to_thread(daemon.kill_when, "running")
            record = json.loads((bench.settings.exec_root / "a" / "shim.json").read_text())
            os.kill(record["pid"], signal.SIGKILL)
            await until(lambda: not os.path.exists(f"/proc/{record['pid']}/root/bin"))
            status = await bench.runtime.recover("a")
            assert isinstance(status, ExitStatus)
            assert status.code == 137
            assert bench.runtime.known() == []
            assert leftovers(bench.place / "overlays", bench.cgroup_parent) == []

    asyncio.run(scenario())


def test_a_shim_killed_while_the_runtime_starts_leaves_nothing() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            for number in range(6):
                shim = await bench.prepare(f"c{number}")
                io = StdioSettings(log=LogSettings("json-file", bench.log("a")))
                running = asyncio.ensure_future(shim.run(bench.spec(shim, "sleep", "1000"), io))
                await asyncio.sleep(0.004 * number)
                os.kill(shim.pid, signal.SIGKILL)
                outcome = (await asyncio.gather(running, return_exceptions=True))[0]
                assert isinstance(outcome, EngineError | int)
                await shim.discard()

    asyncio.run(scenario())


def test_a_start_that_is_cancelled_while_the_shim_is_made_ends_at_once_and_nobody_else() -> None:
    """The shim's id was lost then, and the kill meant for it went to the daemon's own process group."""

    async def scenario() -> None:
        async with Bench() as bench:
            for number in range(12):
                preparing = asyncio.ensure_future(bench.prepare(f"c{number}"))
                await asyncio.sleep(0.001 * number)
                preparing.cancel()
                await soon(asyncio.wait([preparing]))
                if not preparing.cancelled():
                    await preparing.result().discard()
            assert leftovers(bench.place / "overlays", bench.cgroup_parent) == []

    asyncio.run(scenario())


def test_a_discard_in_any_phase_leaves_nothing() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            for number in range(6):
                shim = await bench.prepare(f"c{number}")
                stream = await shim.attach(stdin=False, stdout=True, stderr=True)
                running = asyncio.ensure_future(shim.run(bench.spec(shim, "sleep", "1000"), StdioSettings()))
                await asyncio.sleep(0.004 * number)
                await shim.discard()
                await asyncio.gather(running, return_exceptions=True)
                assert await everything(stream) == ("", "")

    asyncio.run(scenario())
