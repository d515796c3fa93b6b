"""One container: its document, its state, and who waits for what becomes of it."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from riverport.engine.containers.restart import Backoff
from riverport.engine.containers.times import human_duration
from riverport.engine.errors import Conflict
from riverport.engine.volumes.mount_point import MountPoint

if TYPE_CHECKING:
    from riverport.engine.runtime.attach import AttachStream
    from riverport.engine.runtime.handle import Shim

Json = dict[str, Any]


class Status(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class WaitCondition(StrEnum):
    NOT_RUNNING = "not-running"
    NEXT_EXIT = "next-exit"
    REMOVED = "removed"


@dataclass(slots=True)
class ContainerState:
    """What `inspect` calls State. A container that waits for its restart counts as running (Docker's reading)."""

    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = False
    removing: bool = False
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at_ns: int = 0
    finished_at_ns: int = 0
    health: Json | None = None  # Status, FailingStreak, Log
    ending: Json | None = None  # an ExitStatus, from when it is known until all that the container had is given back

    @property
    def status(self) -> Status:
        if self.running:
            if self.paused:
                return Status.PAUSED
            return Status.RESTARTING if self.restarting else Status.RUNNING
        if self.removing:
            return Status.REMOVING
        if self.dead:
            return Status.DEAD
        return Status.EXITED if self.started_at_ns else Status.CREATED

    def text(self, now_ns: int) -> str:
        """The STATUS column of `ps`."""
        up = f"Up {human_duration(max(0, now_ns - self.started_at_ns))}"
        ended = f"({self.exit_code}) {human_duration(max(0, now_ns - self.finished_at_ns))} ago"
        match self.status:
            case Status.PAUSED:
                return f"{up} (Paused)"
            case Status.RESTARTING:
                return f"Restarting {ended}"
            case Status.RUNNING:
                return f"{up} ({health_text(self.health)})" if self.health else up
            case Status.REMOVING:
                return "Removal In Progress"
            case Status.DEAD:
                return "Dead"
            case Status.CREATED:
                return "Created"
            case Status.EXITED:
                return f"Exited {ended}"

    def set_running(self, pid: int, now_ns: int) -> None:
        self.running, self.paused, self.restarting = True, False, False
        self.pid, self.exit_code, self.error, self.oom_killed, self.ending = pid, 0, "", False, None
        self.started_at_ns, self.finished_at_ns = now_ns, 0 if not self.finished_at_ns else self.finished_at_ns

    def set_stopped(self, exit_code: int, finished_at_ns: int) -> None:
        self.running = self.paused = self.restarting = False
        self.pid, self.exit_code, self.finished_at_ns, self.ending = 0, exit_code, finished_at_ns, None

    def set_restarting(self, exit_code: int, finished_at_ns: int) -> None:
        self.set_stopped(exit_code, finished_at_ns)
        self.running = self.restarting = True


def health_text(health: Json) -> str:
    return "health: starting" if health["Status"] == "starting" else str(health["Status"])


@dataclass(slots=True, frozen=True)
class Outcome:
    """What `wait` answers."""

    exit_code: int
    error: str = ""


class Waiters:
    """Who waits for an exit or for the removal. A waiter that goes away cancels its future and is forgotten."""

    def __init__(self) -> None:
        self._exit: set[asyncio.Future[Outcome]] = set()
        self._removal: set[asyncio.Future[Outcome]] = set()

    def next_exit(self) -> "asyncio.Future[Outcome]":
        return self._enter(self._exit)

    def removal(self) -> "asyncio.Future[Outcome]":
        return self._enter(self._removal)

    def exited(self, outcome: Outcome) -> None:
        _resolve(self._exit, outcome)

    def removed(self, outcome: Outcome) -> None:
        """Ends both kinds: a container may go without ever having run."""
        _resolve(self._exit, outcome)
        _resolve(self._removal, outcome)

    @staticmethod
    def _enter(waiters: "set[asyncio.Future[Outcome]]") -> "asyncio.Future[Outcome]":
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        waiters.add(future)
        future.add_done_callback(waiters.discard)
        return future


def _resolve(waiters: "set[asyncio.Future[Outcome]]", outcome: Outcome) -> None:
    for future in list(waiters):
        if not future.done():
            future.set_result(outcome)


@dataclass(slots=True, frozen=True)
class AttachOrder:
    """A client that has attached before the start: `streams` is done when the shim is there to give them.

    None instead of streams: the container is not going to start.
    """

    stdin: bool
    stdout: bool
    stderr: bool
    streams: "asyncio.Future[AttachStream | None]"


@dataclass(slots=True, eq=False)
class Container:
    """The first group of fields is the document that `State` keeps; the second lives as long as the daemon."""

    id: str
    name: str  # without the slash
    created_at_ns: int
    path: str
    args: list[str]
    image_id: str  # "" where there is none
    config: Json
    host_config: Json
    endpoints: Json  # EndpointSettings by network, as they were asked for
    mounts: list[MountPoint]
    network: Json = field(default_factory=dict)  # NetworkSettings of the last run
    state: ContainerState = field(default_factory=ContainerState)
    restart_count: int = 0
    stopped_by_hand: bool = False

    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    waiters: Waiters = field(default_factory=Waiters, repr=False)
    backoff: Backoff = field(default_factory=Backoff, repr=False)
    shim: "Shim | None" = field(default=None, repr=False)
    orders: list[AttachOrder] = field(default_factory=list, repr=False)
    exec_ids: dict[str, None] = field(default_factory=dict, repr=False)  # those that run
    restart_task: "asyncio.Task[None] | None" = field(default=None, repr=False)
    health_task: "asyncio.Task[None] | None" = field(default=None, repr=False)
    restarting_by_hand: bool = field(default=False, repr=False)

    _DOCUMENT = ("id", "name", "created_at_ns", "path", "args", "image_id", "config", "host_config", "endpoints",
                 "network", "restart_count", "stopped_by_hand")  # fmt: skip

    def document(self) -> Json:
        return {name: getattr(self, name) for name in self._DOCUMENT} | {
            "mounts": [point.document() for point in self.mounts],
            "state": asdict(self.state),
        }

    @classmethod
    def of(cls, document: Json) -> "Container":
        return cls(
            **{name: document[name] for name in cls._DOCUMENT},
            mounts=[MountPoint.from_document(point) for point in document["mounts"]],
            state=ContainerState(**document["state"]),
        )

    @property
    def tty(self) -> bool:
        return bool(self.config["Tty"])

    @property
    def command(self) -> str:
        return " ".join([self.path, *self.args])

    def running_shim(self) -> "Shim":
        """The shim; raises Conflict where nothing runs on it."""
        if not self.state.running:
            raise Conflict(f"container {self.id} is not running")
        if self.state.restarting or self.shim is None:
            raise Conflict(f"Container {self.id} is restarting, wait until the container is running")
        return self.shim

    def wait(self, condition: WaitCondition) -> "asyncio.Future[Outcome]":
        match condition:
            case WaitCondition.REMOVED:
                return self.waiters.removal()
            case WaitCondition.NEXT_EXIT:
                return self.waiters.next_exit()
            case WaitCondition.NOT_RUNNING:
                future = self.waiters.next_exit()
                if not self.state.running:
                    future.set_result(self.outcome())
                return future

    def outcome(self) -> Outcome:
        return Outcome(self.state.exit_code, self.state.error)


Clock = Callable[[], int]
