"""Containers on shims, by crun, with real namespaces."""

import asyncio
import json
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from tests.engine.runtime.bench import Bench, everything, raw, soon, until

from riverport.engine.errors import Conflict
from riverport.engine.runtime.failures import CommandFailure
from riverport.engine.runtime.link import connect
from riverport.engine.runtime.model import LogSettings, StdioSettings

pytestmark = pytest.mark.usefixtures("machine")


def test_output_log_and_exit_code_of_a_run_are_complete() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.prepare("a")
            stream = await shim.attach(stdin=False, stdout=True, stderr=True)
            io = StdioSettings(log=LogSettings("json-file", bench.log("a")))
            pid = await shim.run(bench.spec(shim, "sh", "-c", "seq 1 20000; echo bad >&2; exit 7"), io)
            assert pid > 0
            out, err = await everything(stream)
            status = await soon(shim.exited)
            assert out == "".join(f"{number}\n" for number in range(1, 20001))
            assert err == "bad\n"
            assert (status.code, status.oom_killed) == (7, False)
            logged = [json.loads(line) for line in bench.log("a").read_text().splitlines()]
            assert "".join(entry["log"] for entry in logged if entry["stream"] == "stdout") == out
            assert "".join(entry["log"] for entry in logged if entry["stream"] == "stderr") == err

    asyncio.run(scenario())


@pytest.mark.skipif(shutil.which("runc") is None, reason="needs runc")
def test_runc_runs_the_same_spec() -> None:
    async def scenario() -> None:
        async with Bench("runc") as bench:
            command = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; id -u; exit 3"
            code, out, err = await bench.output("a", "sh", "-c", command)
            assert (code, out, err) == (3, "box\n0\n0\n", "")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("arguments", "text", "code"),
    [
        (["nosuch"], 'exec: "nosuch": executable file not found in $PATH', 127),
        (["/no/such"], 'exec: "/no/such": stat /no/such: no such file or directory', 127),
        (["/etc"], 'exec: "/etc": is a directory', 126),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied', 126),
    ],
)
@pytest.mark.parametrize("driver", ["crun", "runc"])
def test_commands_that_cannot_run_are_told_in_runcs_words(
    driver: str, arguments: list[str], text: str, code: int
) -> None:
    if shutil.which(driver) is None:
        pytest.skip(f"needs {driver}")

    async def scenario() -> None:
        async with Bench(driver) as bench:
            shim = await bench.prepare("a")
            stream = await shim.attach(stdin=False, stdout=True, stderr=True)
            with pytest.raises(CommandFailure) as failure:
                await shim.run(bench.spec(shim, *arguments), StdioSettings())
            assert failure.value.exit_code == code
            if driver == "crun":
                assert text in str(failure.value)
            await shim.discard()
            assert await raw(stream) == b""  # the runtime's own words are not the container's output

    asyncio.run(scenario())


def test_stdin_reaches_the_container_and_ends_with_its_one_client() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.prepare("a")
            stream = await shim.attach(stdin=True, stdout=True, stderr=True)
            await stream.write(b"before the start\n")
            io = StdioSettings(open_stdin=True, stdin_once=True)
            await shim.run(bench.spec(shim, "sh", "-c", "cat; echo over"), io)
            await stream.write(b"x" * 300_000)
            stream.write_eof()
            out, _ = await everything(stream)
            assert out == "before the start\n" + "x" * 300_000 + "over\n"

    asyncio.run(scenario())


def test_stdin_stays_open_for_the_next_client_unless_it_is_for_one_only() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sh", "-c", "read a; read b; echo $a $b", io=StdioSettings(open_stdin=True))
            first = await shim.attach(stdin=True, stdout=False, stderr=False)
            await first.write(b"one\n")
            first.write_eof()
            first.close()
            second = await shim.attach(stdin=True, stdout=True, stderr=False)
            await second.write(b"two\n")
            assert await everything(second) == ("one two\n", "")

    asyncio.run(scenario())


def test_a_terminal_is_raw_has_a_size_and_is_resized() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.prepare("a")
            stream = await shim.attach(stdin=True, stdout=True, stderr=True)
            command = "tty; stty size; read x; stty size; exit 4"
            spec = bench.spec(shim, "sh", "-c", command, config={"Tty": True}, host_config={"ConsoleSize": [33, 77]})
            await shim.run(spec, StdioSettings(tty=True, open_stdin=True))
            seen = b""
            while b"33 77" not in seen:
                seen += await soon(stream.read())
            await shim.resize(44, 88)
            await stream.write(b"go\n")
            seen += await raw(stream)
            assert b"44 88\r\n" in seen
            assert (await soon(shim.exited)).code == 4

    asyncio.run(scenario())


def test_exec_has_its_own_stdio_and_exit_code() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sleep", "1000")
            stream = await shim.attach_exec("e1", stdin=True, stdout=True, stderr=True)
            given = {"Cmd": ["sh", "-c", "cat; echo $FOO $PWD >&2; exit 9"], "Env": ["FOO=bar"], "WorkingDir": "/tmp"}
            process = bench.runtime.exec_process(shim, {}, given, None)
            handle = await shim.exec("e1", process, StdioSettings(open_stdin=True, stdin_once=True))
            await stream.write(b"in")
            stream.write_eof()
            assert await everything(stream) == ("in", "bar /tmp\n")
            assert await soon(handle.exited) == 9
            assert handle.pid > 0
            with pytest.raises(CommandFailure) as failure:
                await shim.exec("e2", bench.runtime.exec_process(shim, {}, {"Cmd": ["nosuch"]}, None), StdioSettings())
            assert failure.value.exit_code == 127

    asyncio.run(scenario())


def test_exec_with_a_terminal_beside_a_container_without_one() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sleep", "1000")
            streams = []
            for number in range(3):
                streams.append(await shim.attach_exec(f"e{number}", stdin=True, stdout=True, stderr=True))
            given = {"Cmd": ["sh", "-c", "tty; echo $TERM; exit 2"], "Tty": True}
            process = bench.runtime.exec_process(shim, {}, given, None)
            io = StdioSettings(tty=True, open_stdin=True)
            handles = await asyncio.gather(*(shim.exec(f"e{number}", process, io) for number in range(3)))
            for stream, handle in zip(streams, handles, strict=True):
                seen = await raw(stream)
                assert seen.startswith(b"/dev/pts/")
                assert b"xterm\r\n" in seen
                assert await soon(handle.exited) == 2

    asyncio.run(scenario())


def test_an_exec_ends_with_its_container() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sleep", "1000")
            process = bench.runtime.exec_process(shim, {}, {"Cmd": ["sleep", "1000"]}, None)
            handle = await shim.exec("e", process, StdioSettings())
            shim.signal(signal.SIGKILL)
            assert (await soon(shim.exited)).code == 137
            assert await soon(handle.exited) == 137
            with pytest.raises(Conflict):
                shim.signal(signal.SIGTERM)
            with pytest.raises(Conflict):
                await shim.exec("e2", process, StdioSettings())

    asyncio.run(scenario())


def test_what_an_exec_leaves_in_the_background_goes_on() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sleep", "1000")
            stream = await shim.attach_exec("e", stdin=False, stdout=True, stderr=True)
            command = "(sleep 0.2; echo late; echo done > /tmp/done) & echo soon"
            process = bench.runtime.exec_process(shim, {}, {"Cmd": ["sh", "-c", command]}, None)
            handle = await shim.exec("e", process, StdioSettings())
            assert await soon(handle.exited) == 0
            assert await everything(stream) == ("soon\n", "")
            await until((shim.root / "tmp/done").exists)

    asyncio.run(scenario())


def test_a_paused_container_stands_still_and_dies_of_a_kill() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sh", "-c", "i=0; while true; do i=$((i+1)); echo $i > /tmp/i; done")
            counter = shim.root / "tmp/i"
            await until(counter.exists)
            await shim.pause()
            first = counter.read_text()
            await asyncio.sleep(0.05)
            assert counter.read_text() == first
            await shim.unpause()
            await until(lambda: counter.read_text() not in ("", first))
            await shim.pause()
            shim.signal(signal.SIGKILL)
            assert (await soon(shim.exited)).code == 137

    asyncio.run(scenario())


def test_out_of_memory_is_told_live_and_with_the_exit() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            told: list[bool] = []
            limit = {"Memory": 16 << 20}
            shim = await bench.prepare("a")
            shim.on_oom = lambda: told.append(True)
            await shim.run(
                bench.spec(shim, "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", host_config=limit), StdioSettings()
            )
            status = await soon(shim.exited)
            assert status.oom_killed
            assert status.code == 137
            assert told

    asyncio.run(scenario())


def test_limits_are_updated_while_it_runs() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sleep", "1000", host_config={"Memory": 64 << 20, "PidsLimit": 50})
            assert (await shim.stats())["memory_stats"]["limit"] == 64 << 20
            assert (await shim.stats())["pids_stats"]["limit"] == 50
            for size in (256 << 20, 32 << 20):  # up, where the sum's limit goes first, and down, where it goes last
                await shim.update({"Memory": size, "PidsLimit": 60, "CpuShares": 512, "NanoCpus": 500_000_000})
                stats = await shim.stats()
                assert stats["memory_stats"]["limit"] == size
                assert stats["pids_stats"]["limit"] == 60

    asyncio.run(scenario())


def test_statistics_and_processes_of_a_running_container() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sh", "-c", "sleep 1000 & sleep 1001; true")
            await until(lambda: len(shim.processes()) == 3)
            stats = await shim.stats()
            assert stats["pids_stats"]["current"] == 3
            assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
            assert stats["memory_stats"]["usage"] > 0
            titles, rows = await shim.top("")
            assert titles[:3] == ["UID", "PID", "PPID"]
            assert sorted(row[-1] for row in rows)[1:] == ["sleep 1000", "sleep 1001"], rows
            titles, rows = await shim.top("-o pid,comm")
            assert titles == ["PID", "COMMAND"]
            assert len(rows) == 3

    asyncio.run(scenario())


def test_other_processes_end_with_the_first_one_also_in_the_hosts_pid_namespace() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            host = {"PidMode": "host"}
            shim = await bench.run("a", "sh", "-c", "setsid sleep 1000 & exit 5", host_config=host)
            assert (await soon(shim.exited)).code == 5

    asyncio.run(scenario())


def test_a_client_that_reads_nothing_holds_up_neither_the_end_nor_the_log() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.prepare("a")
            stuck = await shim.attach(stdin=False, stdout=True, stderr=True)
            io = StdioSettings(log=LogSettings("json-file", bench.log("a")))
            await shim.run(bench.spec(shim, "sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x; exit 6"), io)
            assert (await soon(shim.exited)).code == 6
            logged = "".join(json.loads(line)["log"] for line in bench.log("a").read_text().splitlines())
            assert len(logged) == 200_000
            await shim.discard()
            out, _ = await everything(stuck)  # what was attached for is still there after the shim has gone
            assert len(out) == 200_000

    asyncio.run(scenario())


def test_more_output_than_any_buffer_waits_for_its_reader() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.prepare("a")
            stream = await shim.attach(stdin=False, stdout=True, stderr=True)
            await shim.run(bench.spec(shim, "sh", "-c", "head -c 8000000 /dev/zero; exit 6"), StdioSettings())
            await asyncio.sleep(0.2)
            assert not shim.exited.done()
            out, _ = await everything(stream)
            assert len(out) == 8_000_000
            assert (await soon(shim.exited)).code == 6

    asyncio.run(scenario())


def test_a_full_disk_costs_log_lines_and_not_the_container() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            io = StdioSettings(log=LogSettings("json-file", bench.place / "no" / "such" / "directory" / "log"))
            shim = await bench.prepare("a")
            await shim.run(bench.spec(shim, "sh", "-c", "seq 1 10000; exit 8"), io)
            assert (await soon(shim.exited)).code == 8

    asyncio.run(scenario())


def test_an_exit_that_cannot_be_written_down_is_told_all_the_same() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.prepare("a")
            (shim.directory / "exit.json.tmp").mkdir()
            await shim.run(bench.spec(shim, "sh", "-c", "exit 8"), StdioSettings())
            assert (await soon(shim.exited)).code == 8

    asyncio.run(scenario())


def test_a_connection_that_talks_rubbish_is_closed_and_nothing_else() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sleep", "1000")
            for rubbish in (b"{\n", b"[]\n", b"7\n", b'{"attach":""}\n', b'{"do":"run","id":1}\n', b"x" * 2_000_000):
                reader, writer = await connect(shim.directory)
                writer.write(rubbish)
                with suppress(ConnectionResetError):  # it did not read all of it
                    assert await soon(reader.read()) == b""
                writer.close()
            assert (await shim.stats())["pids_stats"]["current"] == 1
            shim.signal(signal.SIGKILL)
            assert (await soon(shim.exited)).code == 137

    asyncio.run(scenario())


def private_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def test_a_shim_is_small() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sleep", "1000")
            private = private_kb(shim.pid)
            assert private < 2560, f"{private} kB, of which 1800 are usual"

    asyncio.run(scenario())


def test_execs_are_filtered_as_their_container_is() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            shim = await bench.run("a", "sleep", "1000")
            stream = await shim.attach_exec("e", stdin=False, stdout=True, stderr=True)
            command = ["sh", "-c", "grep Seccomp: /proc/self/status; unshare -m true || echo refused"]
            await shim.exec("e", bench.runtime.exec_process(shim, {}, {"Cmd": command}, None), StdioSettings())
            out, _ = await everything(stream)
            assert out.split() == ["Seccomp:", "2", "refused"]

    asyncio.run(scenario())


def test_a_root_that_cannot_be_mounted_is_an_error_and_leaves_nothing() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            overlay = bench.rootfs("a")
            overlay.lowers = [bench.place / "nosuch"]
            with pytest.raises(Exception, match="no such file or directory"):
                await bench.runtime.prepare("a", overlay, True)
            assert bench.runtime.known() == []

    asyncio.run(scenario())


def test_twenty_at_once() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            results = await asyncio.gather(
                *(bench.output(f"c{number}", "sh", "-c", f"echo {number}; exit {number}") for number in range(20))
            )
            assert results == [(number, f"{number}\n", "") for number in range(20)]

    asyncio.run(scenario())


def test_loopback_is_up_and_the_network_is_its_own() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            code, out, _ = await bench.output("a", "sh", "-c", "ping -c1 -W1 127.0.0.1 >/dev/null && ls /sys/class/net")
            assert (code, out.split()[0]) == (0, "lo")
            shim = bench.shims[0]
            assert shim.netns_path == f"/proc/{shim.pid}/ns/net"
            assert os.readlink(shim.netns_path) != os.readlink("/proc/self/ns/net")

    asyncio.run(scenario())
