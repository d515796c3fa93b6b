"""Clients at work while the daemon is killed: threads that do one thing after another, and know what to expect."""

import io
import json
import random
import tarfile
import threading
import time
from abc import ABC, abstractmethod
from urllib.parse import quote

from tests.engine.harness import Engine

from engine_kill.clients import PATIENCE_S, Interrupted, Stuck, call, output, persist, wait_up
from engine_kill.ledger import Ledger, Promise

REMOVED_SHARE = 0.7
PRINT = "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; usleep {pause_us}; done; exit {code}"


class Worker(ABC):
    def __init__(self, name: str, engine: Engine, ledger: Ledger, seed: int) -> None:
        self.name, self._engine, self._ledger = name, engine, ledger
        self._chance = random.Random(f"{seed} {name}")
        self._number = 0
        self._going = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._going = False

    def join(self) -> None:
        self._thread.join(2 * PATIENCE_S)
        if self._thread.is_alive():
            self._ledger.problem(f"{self.name} does not come to an end")

    def _run(self) -> None:
        try:
            while self._going:
                self._number += 1
                self._turn(f"{self.name}-{self._number}")
                self._ledger.count(type(self).__name__.lower())
        except Stuck as stuck:
            self._ledger.problem(f"{self.name}: {stuck}")
        except Exception as error:
            self._ledger.problem(f"{self.name}: {type(error).__name__}: {error}")

    @abstractmethod
    def _turn(self, name: str) -> None: ...

    def _expect(self, method: str, path: str, *statuses: int, body: object = None) -> tuple[int, object, bool]:
        status, answer, again = persist(self._engine, method, path, body)
        if status not in statuses:
            self._ledger.problem(f"{method} {path}: {status} {answer}")
        return status, answer, again


class Runner(Worker):
    """Containers that print numbered lines and end with a chosen code; most are removed afterwards."""

    def _turn(self, name: str) -> None:
        promise = Promise(name, self._chance.randrange(1, 120), self._chance.choice([0, 1, 3, 42]))
        self._ledger.container(promise)
        script = PRINT.format(lines=promise.lines, code=promise.code, pause_us=self._chance.choice([0, 5_000, 30_000]))
        body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "Volumes": {"/scratch": {}}}
        # 409: an interrupted try has made it.
        self._expect("POST", f"/containers/create?name={name}", 201, 409, body=body)
        promise.created = True
        self._start(promise)
        self._await_end(promise)
        if self._chance.random() < REMOVED_SHARE:
            _, _, again = self._expect("DELETE", f"/containers/{name}?v=1", 204, 404, 409)
            promise.removed = not again or self._is_gone(name)

    def _is_gone(self, name: str) -> bool:
        """After an interrupted removal: either it goes on, or it is asked for again."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self._expect("DELETE", f"/containers/{name}?v=1&force=1", 204, 404, 409)[0] in (204, 404):
                return True
            time.sleep(0.05)
        self._ledger.problem(f"{name} cannot be removed")
        return False

    def _start(self, promise: Promise) -> None:
        """Once: what an interrupted try has started may have ended by now, and would run again."""
        while True:
            try:
                status, answer = call(self._engine, "POST", f"/containers/{promise.name}/start")
            except Interrupted:
                wait_up(self._engine)
                _, found, _ = self._expect("GET", f"/containers/{promise.name}/json", 200)
                if isinstance(found, dict) and found["State"]["Status"] == "created":
                    continue
            else:
                if status not in (204, 304):
                    self._ledger.problem(f"start of {promise.name}: {status} {answer}")
            break
        promise.started = True

    def _await_end(self, promise: Promise) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status, found, _ = persist(self._engine, "GET", f"/containers/{promise.name}/json")
            if status != 200:
                self._ledger.problem(f"{promise.name} is lost: {found}")
                return
            state = found["State"]
            if state["Status"] == "exited":
                break
            if state["Status"] == "created":
                self._ledger.problem(f"{promise.name} was started, and is not")
                return
            if time.monotonic() > deadline:
                self._ledger.problem(f"{promise.name} does not end: {state}")
                return
            time.sleep(0.05)
        check_end(self._engine, self._ledger, promise)


def check_end(engine: Engine, ledger: Ledger, promise: Promise) -> None:
    """The exit code and every line of a container that has ended."""
    _, found, _ = persist(engine, "GET", f"/containers/{promise.name}/json")
    if found["State"]["ExitCode"] != promise.code:
        ledger.problem(f"{promise.name} ended with {promise.code}, and says {found['State']}")
    _, frames, _ = persist(engine, "GET", f"/containers/{promise.name}/logs?stdout=1&stderr=1")
    said = output(frames).splitlines()
    expected = [f"line {number}" for number in range(1, promise.lines + 1)]
    if said != expected:
        missing = [line for line in expected if line not in said]
        ledger.problem(
            f"{promise.name} printed {len(expected)} lines, the log has {len(said)}; missing {missing[:3]}, "
            f"first {said[:2]}, last {said[-2:]}"
        )


class Passer(Worker):
    """Containers that remove themselves when they end."""

    def _turn(self, name: str) -> None:
        body = {"Image": "busybox", "Cmd": ["sh", "-c", "usleep 100000"], "HostConfig": {"AutoRemove": True}}
        self._expect("POST", f"/containers/create?name={name}", 201, 409, body=body)
        _, _, again = self._expect("POST", f"/containers/{name}/start", 204, 304, 404, 409)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status, found, _ = persist(self._engine, "GET", f"/containers/{name}/json")
            if status == 404:
                return
            if found["State"]["Status"] == "created" and again:
                self._expect("POST", f"/containers/{name}/start", 204, 304, 404, 409)
            if time.monotonic() > deadline:
                self._ledger.problem(f"{name} does not remove itself: {found['State']}")
                return
            time.sleep(0.05)


class Builder(Worker):
    """Images of four lines, built without cache and removed."""

    def _turn(self, name: str) -> None:
        context = _context(f"FROM busybox\nRUN echo {name} > /name\nCOPY file /file\nRUN cat /name /file > /both\n")
        while True:
            status, said, again = persist(self._engine, "POST", f"/build?t={name}&nocache=1", context)
            text = said.decode(errors="replace") if isinstance(said, bytes) else json.dumps(said)
            if status == 200 and "Successfully tagged" in text:
                break
            if not again or not self._going:
                self._ledger.problem(f"build of {name}: {status} {text[-300:]}")
                return
        self._expect("GET", f"/images/{name}/json", 200)
        self._expect("DELETE", f"/images/{name}", 200, 404)


class Puller(Worker):
    """An image of a registry, pulled, run and removed."""

    image = ""

    def _turn(self, name: str) -> None:
        repository, _, tag = self.image.rpartition(":")
        query = f"/images/create?fromImage={quote(repository, safe='')}&tag={tag}"
        while True:
            status, said, again = persist(self._engine, "POST", query)
            text = said.decode(errors="replace") if isinstance(said, bytes) else json.dumps(said)
            if status == 200 and '"error"' not in text:
                break
            if not again:
                self._ledger.problem(f"pull: {status} {text[-300:]}")
                return
        self._expect("GET", f"/images/{self.image}/json", 200)
        self._expect("DELETE", f"/images/{self.image}?force=1", 200, 404)


class Keeper(Worker):
    """Volumes that are made; every other one is removed."""

    def _turn(self, name: str) -> None:
        self._expect("POST", "/volumes/create", 201, body={"Name": name})
        self._ledger.volumes.add(name)
        self._expect("GET", f"/volumes/{name}", 200)
        if self._number % 2:
            self._ledger.volumes.discard(name)
            self._expect("DELETE", f"/volumes/{name}", 204, 404)
        time.sleep(0.05)


def _context(dockerfile: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in (("Dockerfile", dockerfile), ("file", "text\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
