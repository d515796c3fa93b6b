"""The nodes of the cluster: under `riverport up` on this machine, or each on a host of its own that is a namespace."""

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tests.system.network import CLIENTS, CLONE_NEWNET, Network

from riverport.cli.control import ask_supervisor
from riverport.kafka.client.admin import Admin
from riverport.kafka.client.client import Client
from riverport.kafka.client.errors import ClientError

WAIT_S = 90.0
POLL_S = 0.02
ASK_AGAIN_S = 0.1
"""The cluster itself is asked less often: who waits for it must not keep it busy."""

Result = TypeVar("Result")


class Stuck(Exception):
    """The cluster did not do in time what it must do."""


class Fleet(Protocol):
    """Nodes 1 to n, each a voter as well. What is killed is started again by `revive`."""

    ids: Sequence[int]
    bootstrap: str
    directories: dict[int, Path]

    def kill(self, *ids: int) -> None: ...
    def stop(self, id: int) -> None: ...
    def revive(self, *ids: int) -> None: ...
    def pause(self, id: int) -> None: ...
    def resume(self, id: int) -> None: ...
    def cut(self, id: int) -> None: ...
    def mend(self, id: int) -> None: ...
    def close(self) -> None:
        """A clean stop. Raises Stuck."""
        ...

    def abandon(self) -> None:
        """Whatever became of the nodes, none is left, and nothing of what was made for them."""
        ...


class UpFleet:
    """Nodes of `riverport up --brokers N`. Cutting off is what `riverport chaos cut` does: no privilege is needed."""

    def __init__(self, root: Path, brokers: int, settings: dict[str, str]) -> None:
        self.ids = range(1, brokers + 1)
        self.directories = {id_: root / "data" / f"node-{id_}" for id_ in self.ids}
        words = ["up", "--brokers", str(brokers), "--port", "0", "--json", "--dir", str(root / "data")]
        for key, value in settings.items():
            words += ["--override", f"{key}={value}"]
        with (root / "nodes.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "riverport", *words],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for this script alone
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Stuck(f"the cluster did not start, see {root / 'nodes.log'}")
        self.bootstrap: str = json.loads(line)["bootstrap"]

    def kill(self, *ids: int) -> None:
        """The supervisor starts them again at once."""
        self._ask("kill", *ids)

    def stop(self, id: int) -> None:
        self._ask("stop", id)
        self._until(lambda: self._states()[id] == "stopped", f"node {id} to stop")

    def revive(self, *ids: int) -> None:
        for id_ in ids:
            if self._states()[id_] == "stopped":
                self._ask("start", id_)
        self._until(lambda: all(self._states()[id_] == "running" for id_ in ids), f"nodes {ids} to run")

    def pause(self, id: int) -> None:
        self._ask("pause", id)

    def resume(self, id: int) -> None:
        self._ask("resume", id)

    def cut(self, id: int) -> None:
        self.revive(id)  # who leads may have said so before it has told its supervisor
        self._ask("cut", id)

    def mend(self, id: int) -> None:
        self._ask("heal", id)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        if self._process.wait(90):
            raise Stuck(f"a clean stop ended with {self._process.returncode}")

    def abandon(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()  # the nodes stop when their supervisor does

    def _ask(self, deed: str, *ids: int) -> Any:
        return ask_supervisor(self.bootstrap, {"do": deed, "nodes": list(ids)})

    def _states(self) -> dict[int, str]:
        return {node["id"]: node["state"] for node in self._ask("status")["nodes"]}

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, POLL_S)


class NamespaceFleet:
    """Each node on a host of its own, and this process on another; hosts are cut off by unplugging their cable."""

    def __init__(self, root: Path, brokers: int, settings: dict[str, str]) -> None:
        self.ids = range(1, brokers + 1)
        self._root = root
        self._network = Network()
        hosts = {id_: self._network.add_host(f"node{id_}") for id_ in self.ids}
        self.directories = {id_: root / f"node-{id_}" for id_ in self.ids}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.bootstrap = ",".join(f"{host}:9092" for host in hosts.values())
        voters = ",".join(f"{id_}@{host}:9093" for id_, host in hosts.items())
        for id_, host in hosts.items():
            entries = {
                "process.roles": "broker,controller",
                "node.id": str(id_),
                "listeners": f"PLAINTEXT://{host}:9092,CONTROLLER://{host}:9093",
                "controller.listener.names": "CONTROLLER",
                "controller.quorum.voters": voters,
                "group.initial.rebalance.delay.ms": "0",
                "log.dirs": str(self.directories[id_]),
                **settings,
            }
            self._file(id_).write_text("".join(f"{key}={value}\n" for key, value in entries.items()))
            self._run("format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", str(self._file(id_)))
        _enter(f"/run/netns/rv{os.getpid()}-{CLIENTS}")
        for id_ in self.ids:
            self._start(id_)
        wait_until(lambda: len(brokers_of(self.bootstrap)) == brokers, "every broker to join")

    def kill(self, *ids: int) -> None:
        for id_ in ids:
            self._processes[id_].kill()
        for id_ in ids:
            self._processes.pop(id_).wait()

    def stop(self, id: int) -> None:
        process = self._processes.pop(id)
        process.send_signal(signal.SIGTERM)
        process.wait(90)

    def revive(self, *ids: int) -> None:
        for id_ in ids:
            if id_ not in self._processes:
                self._start(id_)
        wait_until(lambda: set(ids) <= set(brokers_of(self.bootstrap)), f"brokers {ids} to join")

    def pause(self, id: int) -> None:
        self._processes[id].send_signal(signal.SIGSTOP)

    def resume(self, id: int) -> None:
        self._processes[id].send_signal(signal.SIGCONT)

    def cut(self, id: int) -> None:
        self._network.cut(f"node{id}")

    def mend(self, id: int) -> None:
        self._network.mend(f"node{id}")

    def close(self) -> None:
        """Everybody at once: the last ones find no quorum to take leave of, and wait for it in vain."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(90)
        self._processes.clear()

    def abandon(self) -> None:
        self.kill(*self._processes)
        self._network.close()

    def _file(self, id_: int) -> Path:
        return self._root / f"node-{id_}.properties"

    def _start(self, id_: int) -> None:
        words = [*self._network.prefix(f"node{id_}"), sys.executable, "-m", "riverport", "kafka", "start"]
        with (self._root / "nodes.log").open("ab") as log:
            self._processes[id_] = subprocess.Popen(
                [*words, str(self._file(id_))], stdout=log, stderr=log, start_new_session=True
            )

    def _run(self, *words: str) -> None:
        subprocess.run([sys.executable, "-m", "riverport", "kafka", *words], check=True, capture_output=True)


def _enter(namespace: str) -> None:
    """This process's threads that begin from now on are on the clients' host."""
    with open(namespace) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


# --- what the cluster says of itself


def ask(bootstrap: str, question: Callable[[Client], Awaitable[Result]]) -> Result:
    async def asked() -> Result:
        async with Client(bootstrap, connect_timeout_ms=1_000, request_timeout_ms=2_000) as client:
            return await question(client)

    return asyncio.run(asked())


def brokers_of(bootstrap: str) -> list[int]:
    """Those that are not fenced; none where nobody answers."""

    async def question(client: Client) -> list[int]:
        answer = await Admin(client).describe_cluster()
        return [broker.broker_id for broker in answer.brokers if not broker.is_fenced]

    try:
        return ask(bootstrap, question)
    except ClientError:
        return []


def wait_until(condition: Callable[[], bool], what: str, every: float = ASK_AGAIN_S) -> None:
    """Raises Stuck."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise Stuck(f"waited {WAIT_S:.0f} s in vain for {what}")
        time.sleep(every)
