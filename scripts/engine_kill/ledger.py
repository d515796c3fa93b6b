"""What the daemon has promised by its answers. A request without an answer promises nothing either way."""

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(slots=True)
class Promise:
    """A container: what it prints and how it ends, and what has been answered about it."""

    name: str
    lines: int
    code: int
    created: bool = False
    started: bool = False
    removed: bool = False


class Ledger:
    """Written by all workers. A problem is a sentence; the run has failed if there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.containers: dict[str, Promise] = {}
        self.volumes: set[str] = set()  # made and not removed
        self.done: Counter[str] = Counter()
        self.problems: list[str] = []

    def container(self, promise: Promise) -> None:
        with self._lock:
            self.containers[promise.name] = promise

    def count(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1

    def problem(self, sentence: str) -> None:
        with self._lock:
            self.problems.append(sentence)
