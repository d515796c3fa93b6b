"""The supervisor of `riverport up --brokers N`: starts every node, starts again what dies, stops all of them.

    starting ──answers──▶ running ──ends──▶ waiting ──back-off──▶ starting
       │                     │                 └──too often──▶ failed
       └────────ends─────────┴──asked to──▶ stopped, until it is asked to start

One thread that waits for signals, for its nodes' words and for what `riverport chaos` asks; no event loop, so that it
can fork at any time. What it decides about a node's end is in `restarts`.
"""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from riverport.cli import control
from riverport.cli.cluster_plan import ClusterPlan
from riverport.cli.node_process import NodeProcess, fork_node, preload
from riverport.cli.restarts import GiveUp, Restarts

KILL_AFTER_S = 60.0
"""A node that has not stopped so long after it was told to is killed: closing its logs hangs."""


class Supervised:
    """One node, and the process that it is at present."""

    def __init__(self, id: int, properties: dict[str, str], port: int) -> None:
        self.id = id
        self.properties = properties
        self.port = port
        self.restarts = Restarts()
        self.state = "stopped"
        self.faults: list[str] = []
        self.cut_ports: list[int] = []  # while it is cut off
        self.process: NodeProcess | None = None
        self.wanted = True
        self.due = 0.0  # when it is started again, while it waits
        self.killed = False  # by our own hand: its end says nothing about it

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "pid": self.process.pid if self.process is not None else None,
            "port": self.port,
            "state": self.state,
            "faults": self.faults,
            "restarts": self.restarts.count,
        }


class Supervisor:
    """`run` returns the exit status once every node has ended."""

    def __init__(self, plan: ClusterPlan, answered: Callable[[list[dict[str, Any]]], None]) -> None:
        """`answered` is called once, when every node answers."""
        self._cluster_id = plan.cluster_id
        self._nodes = {id_: Supervised(id_, entries, plan.ports[id_]) for id_, entries in plan.nodes.items()}
        self._answered = answered
        self._announced = False
        self._told_to_stop = False
        self._stopping_since: float | None = None
        self._status = 0
        self._selector = selectors.DefaultSelector()
        self._own: list[socket.socket] = []

    def run(self) -> int:
        """Raises OSError where another supervisor has one of the ports."""
        self._open()
        try:
            preload()
            for node in self._nodes.values():
                self._start(node)
            while not self._is_over():
                self._turn()
            if self._stopping_since is None:
                _say("every node has been given up")
                self._status = 1
            return self._status
        finally:
            for node in self._nodes.values():
                if node.process is not None:
                    node.process.signal(signal.SIGKILL)
            self._selector.close()
            for held in self._own:
                held.close()

    # --- what happens

    def _is_over(self) -> bool:
        """Nodes that were stopped one by one may be started again; those that were given up were the last."""
        if self._stopping_since is None:
            return all(node.state == "failed" for node in self._nodes.values())
        return all(node.process is None for node in self._nodes.values())

    def _open(self) -> None:
        for node in self._nodes.values():
            listening = control.listen(node.port)
            self._own.append(listening)
            self._selector.register(listening, selectors.EVENT_READ, lambda held=listening: self._asked(held))
        woken, waker = socket.socketpair()
        for held in (woken, waker):
            held.setblocking(False)
            self._own.append(held)
        self._selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(4096))
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it only has to wake us
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: object) -> None:
        # It may come amid anything, a fork too: what there is to do is done in the next turn.
        self._told_to_stop = True

    def _turn(self) -> None:
        """Wait for something, and see to it."""
        for key, _ in self._selector.select(self._patience()):
            key.data()
        if self._told_to_stop:
            self._stop_all()
        self._reap()
        now = time.monotonic()
        for node in self._nodes.values():
            if node.state == "waiting" and now >= node.due:
                self._start(node)
        if self._stopping_since is not None and now >= self._stopping_since + KILL_AFTER_S:
            for node in self._nodes.values():
                self._signal(node, signal.SIGKILL)

    def _patience(self) -> float | None:
        """Seconds until something is due by itself."""
        due = [node.due for node in self._nodes.values() if node.state == "waiting"]
        if self._stopping_since is not None:
            due.append(self._stopping_since + KILL_AFTER_S)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start(self, node: Supervised) -> None:
        inherited = [*self._own, *(other.process.link for other in self._nodes.values() if other.process is not None)]
        node.restarts.started()
        node.state, node.faults, node.killed = "starting", [], False
        if node.cut_ports:
            # Others still are deaf to the process that is gone, and would never hear that it is.
            node.cut_ports = []
            self._tell_who_is_cut()
        node.process = process = fork_node(node.id, node.properties, self._cluster_id, inherited)
        self._selector.register(process.link, selectors.EVENT_READ, lambda: self._told(node, process))

    def _told(self, node: Supervised, process: NodeProcess) -> None:
        for said in process.told():
            if "ports" in said and node.state == "starting":
                node.state = "running"
                node.restarts.answered(time.monotonic())
            if "cut" in said:
                node.cut_ports = said["cut"]
                self._tell_who_is_cut()
        if not self._announced and all(node.state == "running" for node in self._nodes.values()):
            self._announced = True
            self._answered([node.shown() for node in self._nodes.values()])

    def _reap(self) -> None:
        for node in self._nodes.values():
            if node.process is None:
                continue
            pid, status = os.waitpid(node.process.pid, os.WNOHANG)
            if pid:
                self._ended(node, node.process, os.waitstatus_to_exitcode(status))

    def _ended(self, node: Supervised, process: NodeProcess, status: int) -> None:
        self._selector.unregister(process.link)
        process.link.close()
        node.process, node.faults = None, []
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
        if self._stopping_since is not None or not node.wanted:
            node.state = "stopped"
            return
        if node.killed:
            node.restarts.count += 1
            self._start(node)
            return
        decision = node.restarts.ended(time.monotonic(), status)
        if isinstance(decision, GiveUp):
            node.state = "failed"
            _say(f"node {node.id} {how}, it is given up: {decision.reason}")
            if not self._announced:
                self._status = 1
                self._stop_all()
            return
        node.state, node.due = "waiting", time.monotonic() + decision.after_s
        _say(f"node {node.id} {how}, it is started again" + (f" in {decision.after_s:g} s" if decision.after_s else ""))

    def _stop_all(self) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            for node in self._nodes.values():
                if node.process is not None:
                    node.process.ask({"do": "end"})
                self._stop(node)

    # --- what is asked for

    def _asked(self, listening: socket.socket) -> None:
        """Somebody asks on a control socket: one question, one answer."""
        peer = control.accept(listening)
        if peer is None:
            return
        with peer:
            try:
                answer = self._answer(control.read_line(peer))
            except control.Refusal as refusal:
                answer = {"refused": str(refusal)}
            except (OSError, ValueError, KeyError, TypeError):
                return
            try:
                control.write_line(peer, answer)
            except OSError:
                return

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        deeds: dict[str, Callable[[Supervised], None]] = {
            "stop": self._stop,
            "start": self._start_stopped,
            "kill": lambda node: self._kill(node, stay=bool(asked.get("stay"))),
            "pause": self._pause,
            "resume": self._resume,
            "cut": lambda node: self._fault(node, "cut off", {"do": "cut"}),
            "slow": lambda node: self._fault(node, f"slow by {asked['ms']:g} ms", {"do": "slow", "ms": asked["ms"]}),
            "heal": self._heal,
        }
        if asked["do"] != "status":
            if self._stopping_since is not None:
                raise control.Refusal("the cluster is being stopped")
            ids = asked["nodes"] or list(self._nodes)
            if unknown := [id_ for id_ in ids if id_ not in self._nodes]:
                raise control.Refusal(
                    f"there is no node {unknown[0]}: the nodes are {', '.join(map(str, self._nodes))}"
                )
            for id_ in ids:
                deeds[asked["do"]](self._nodes[id_])
        return {"pid": os.getpid(), "nodes": [node.shown() for node in self._nodes.values()]}

    def _stop(self, node: Supervised) -> None:
        node.wanted = False
        if node.process is None:
            node.state = "stopped"
            return
        node.state = "stopping"
        node.process.signal(signal.SIGTERM)
        node.process.signal(signal.SIGCONT)  # where it is paused

    def _start_stopped(self, node: Supervised) -> None:
        node.wanted = True
        if node.process is not None and node.state not in ("stopping", "killed"):
            raise control.Refusal(f"node {node.id} runs")
        node.restarts = Restarts()
        node.state, node.due = "waiting", time.monotonic()
        if node.process is not None:
            node.state, node.killed = "stopping", True  # it comes back once it has stopped

    def _kill(self, node: Supervised, *, stay: bool) -> None:
        """It comes back at once, or with `stay` when it is started."""
        self._running(node)
        node.killed, node.state, node.wanted = True, "killed", not stay
        self._signal(node, signal.SIGKILL)

    def _pause(self, node: Supervised) -> None:
        self._running(node)
        self._signal(node, signal.SIGSTOP)
        node.faults = [*(fault for fault in node.faults if fault != "paused"), "paused"]

    def _resume(self, node: Supervised) -> None:
        self._running(node)
        self._signal(node, signal.SIGCONT)
        node.faults = [fault for fault in node.faults if fault != "paused"]

    def _fault(self, node: Supervised, name: str, what: dict[str, Any]) -> None:
        if node.state != "running":
            raise control.Refusal(f"node {node.id} does not answer yet, it is {node.state}")
        self._running(node).ask(what)
        kind = name.split()[0]
        node.faults = [*(fault for fault in node.faults if not fault.startswith(kind)), name]

    def _heal(self, node: Supervised) -> None:
        """A node that does not run has nothing to be healed of."""
        if node.process is not None and node.faults:
            self._signal(node, signal.SIGCONT)
            node.process.ask({"do": "heal"})
            node.faults = []
            if node.cut_ports:
                node.cut_ports = []
                self._tell_who_is_cut()

    def _tell_who_is_cut(self) -> None:
        ports = [port for node in self._nodes.values() for port in node.cut_ports]
        for node in self._nodes.values():
            if node.process is not None:
                node.process.ask({"do": "ignore", "ports": ports})

    def _running(self, node: Supervised) -> NodeProcess:
        if node.process is None:
            raise control.Refusal(f"node {node.id} does not run, it is {node.state}")
        return node.process

    def _signal(self, node: Supervised, number: int) -> None:
        if node.process is not None:
            node.process.signal(number)


def _say(sentence: str) -> None:
    print(f"riverport: {sentence}", file=sys.stderr, flush=True)
