"""The shim: one process per started container, the parent of the container's first process and of its execs.

    forked ─ prepare ─▶ ready ─ run ─▶ running ─ first process ends ─▶ draining ─▶ ended ─ discard | no daemon ─▶ gone
                          └────────────── discard, or no daemon ──────────────────────────────────────────────────┘

It listens on `shim.sock` in its directory. The first line of a connection says what the connection is:

    {"attach": "<exec id or empty>", "stdin": …, "stdout": …, "stderr": …}    stdio from here on (stdio.Client)
    anything else                                                             control: a JSON object a line

Requests carry `id` and `do` (hello, run, exec, resize, discard); answers carry the `id`; events carry `event`: ready,
failed, exit, exec_exit, oom. Whoever is connected for control counts as the daemon. Without one, an ended container's
shim writes the exit file and goes.

The exit file is written (fsynced) before anybody is told of the exit, so that a daemon that dies in between finds it.
Everything here is single-threaded and waits in one place, `Loop.turn`.
"""

import json
import os
import select
import signal
import socket
import time
from contextlib import suppress

from riverport.engine.linux import cgroups, mounts, namespaces, syscalls
from riverport.engine.runtime.control import Control
from riverport.engine.runtime.launch import Launch
from riverport.engine.runtime.logs import LogWriter, open_log
from riverport.engine.runtime.loop import Loop
from riverport.engine.runtime.programs import Programs
from riverport.engine.runtime.stdio import Stdio

TYPE_CHECKING = False  # `typing` would cost the shim memory
if TYPE_CHECKING:
    from typing import Any

SOCKET = "shim.sock"
EXIT_FILE = "exit.json"
PID_FILE = "init.pid"
MAIN = ""  # the key of the container's own process among the execs

_ERROR_BYTES = 16384
_FLUSH_SECONDS = 5.0


class Shim:
    def __init__(self, listener: socket.socket, merged: str, programs: Programs) -> None:
        self.loop = Loop()
        self.controls: list[Control] = []
        self._listener = listener
        self._merged = merged
        self._programs = programs
        self._launches: dict[int, Launch] = {}  # by pid of the runtime
        self._statuses: dict[int, int] = {}  # exit codes of children whose role is not known yet
        self._pids: dict[str, int] = {}  # by exec id; MAIN is the container
        self._stdio: dict[str, Stdio] = {}
        self._codes: dict[str, tuple[int, float]] = {}  # of processes that have ended but still drain
        self._groups: list[str] = []
        self._memory: str | None = None  # the group that counts oom kills
        self._oom_fds: list[int] = []
        self._oom_kills = 0
        self._leave_at = 0.0  # monotonic; 0 while the shim is to stay
        self.end: dict[str, Any] | None = None
        self.started = False
        self._listen_for_children()
        self.loop.watch_always(listener.fileno(), self._accept)

    def serve(self) -> None:
        while not self._leave_at:
            self.loop.turn()
        # What attached clients have not taken yet: the daemon takes all at once when it discards.
        while any(self._stdio_busy()) and (left := self._leave_at - time.monotonic()) > 0:
            self.loop.turn(left)
        for control in self.controls:
            control.hang_up()

    def adopt(self, connection: socket.socket) -> Control:
        control = Control(self, connection)
        self.controls.append(control)
        return control

    def stdio_of(self, key: str) -> Stdio:
        if key not in self._stdio:
            self._stdio[key] = Stdio(self.loop, lambda: self._drained(key))
        return self._stdio[key]

    def control_gone(self, control: Control) -> None:
        self.controls.remove(control)
        if not self.controls and not self._launches and (not self.started or self.end is not None):
            self._leave_at = self._leave_at or time.monotonic() + _FLUSH_SECONDS

    def request(self, control: Control, request: "dict[str, Any]") -> None:
        try:
            match request["do"]:
                case "hello":
                    control.send({"id": request["id"], "pid": self._pids.get(MAIN), "end": self.end})
                case "run":
                    self._groups = request["cgroups"]
                    self._memory = request["memory"]
                    self._launch(MAIN, request, control)
                case "exec":
                    self._launch(request["exec"], request, control)
                case "resize":
                    self.stdio_of(request["exec"]).resize(request["height"], request["width"])
                    control.send({"id": request["id"]})
                case "discard":
                    self._discard()
        except (OSError, ValueError) as error:
            control.send({"id": request["id"], "error": _reason(error)})

    # ---- processes

    def _listen_for_children(self) -> None:
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)

        def woken(events: int) -> None:
            os.read(read, 4096)
            self._reap()

        self.loop.watch_always(read, woken)

    def _launch(self, key: str, request: "dict[str, Any]", control: Control) -> None:
        if key == MAIN:
            _set_sysctls(request["sysctls"])
            self._open_log(request["io"]["log"])
        launch = Launch(key, request, control, self.stdio_of(key))
        self._launches[launch.spawn(self._programs)] = launch

    def _open_log(self, log: "dict[str, Any] | None") -> None:
        self._log: LogWriter | None = None
        if log is not None:
            self._log = open_log(log["driver"], log["path"], log["options"], log["attributes"])

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            code = os.waitstatus_to_exitcode(status)
            self._statuses[pid] = 128 - code if code < 0 else code
        for pid in [pid for pid in self._statuses if pid in self._launches]:
            self._launched(self._launches.pop(pid), self._statuses.pop(pid))
        for key, pid in list(self._pids.items()):
            if pid in self._statuses:
                self._ended(key, self._statuses.pop(pid))
        if not self._launches:
            self._statuses.clear()  # orphans that came to us as to a subreaper

    def _launched(self, launch: Launch, code: int) -> None:
        """The runtime has done its work: the process runs, or it does not and the runtime's log says why."""
        request = launch.request
        try:
            if code != 0:
                raise ChildProcessError(_tail(request["log"]))
            with open(request["pid_file"]) as file:
                pid = int(file.read())
            launch.take_terminal()
        except (OSError, ValueError) as error:
            launch.close()
            launch.control.send({"id": request["id"], "error": _reason(error) or f"the runtime ended with {code}"})
            if launch.key != MAIN:
                self._forget_exec(launch.key)
            return
        self._pids[launch.key] = pid
        io = request["io"]
        log = None
        if launch.key == MAIN:
            self.started = True
            log = self._log
            self._watch_oom()
        launch.stdio.start(launch.stdin, launch.outputs, io["tty"], io["stdin_once"], log)
        launch.control.send({"id": request["id"], "pid": pid})

    def _ended(self, key: str, code: int) -> None:
        self._codes[key] = (code, time.time())
        if key == MAIN:
            self._note_oom()
            # Without a PID namespace of its own the container's other processes outlive the first one. They are in
            # every hierarchy; looking into one is enough.
            cgroups.kill(self._groups[:1])
        self._stdio[key].process_ended()

    def _drained(self, key: str) -> None:
        """The last byte is in the log and on its way to the attached: now the end may be told."""
        if key not in self._codes:
            return
        code, at = self._codes.pop(key)
        del self._pids[key]
        if key != MAIN:
            self._tell({"event": "exec_exit", "exec": key, "code": code})
            self._forget_exec(key)
            return
        self.end = {"code": code, "oom": self._oom_kills > 0, "finished_at": at}
        with suppress(OSError):  # a full disk: then only a daemon that is there learns of the end
            write_durably(EXIT_FILE, json.dumps(self.end))
        self._tell({"event": "exit", **self.end})
        cgroups.remove(self._groups)
        if not self.controls:
            self._leave_at = time.monotonic() + _FLUSH_SECONDS

    def _forget_exec(self, key: str) -> None:
        stdio = self._stdio.pop(key, None)
        if stdio is not None and not stdio.ended:
            stdio.close()

    def _tell(self, event: "dict[str, Any]") -> None:
        for control in list(self.controls):
            if control.is_daemon:
                control.send(event)

    def _discard(self) -> None:
        # Whatever descends from us is ours, as we are a subreaper: also a runtime that is just making a container.
        if self.end is None:
            for group in self._groups:
                cgroups.thaw(group)
            cgroups.kill(self._groups[:1])
        while children := _children():
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)
        if self.end is None:
            cgroups.remove(self._groups)
        self._listener.close()
        with suppress(OSError):  # so that the next shim of this container finds upper and work directory free
            syscalls.umount(self._merged, syscalls.MNT_DETACH)
        self._leave_at = time.monotonic() + _FLUSH_SECONDS

    def _stdio_busy(self) -> "list[bool]":
        return [stdio.busy for stdio in self._stdio.values()]

    # ---- connections

    def _accept(self, events: int) -> None:
        connection, _ = self._listener.accept()
        self.adopt(connection)

    # ---- out of memory

    def _watch_oom(self) -> None:
        """Be woken when the kernel kills for want of memory: cgroups-v1/memory.rst §10, cgroup-v2.rst memory.events."""
        if self._memory is None:
            return
        try:
            if os.path.exists(f"{self._memory}/memory.events"):
                fd = os.open(f"{self._memory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
                self._oom_fds = [fd]
                self.loop.watch(fd, select.EPOLLPRI, lambda events: self._oom_woken(fd))
                return
            counter = syscalls.eventfd()
            file = os.open(f"{self._memory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            self._oom_fds = [counter, file]
            with open(f"{self._memory}/cgroup.event_control", "w") as control:
                control.write(f"{counter} {file}")
            self.loop.watch(counter, select.EPOLLIN, lambda events: self._oom_woken(counter))
        except OSError:
            return  # the exit still finds the count

    def _oom_woken(self, fd: int) -> None:
        os.read(fd, 4096)
        os.lseek(fd, 0, os.SEEK_SET) if len(self._oom_fds) == 1 else None
        self._note_oom()
        if self._memory is not None and not os.path.exists(self._memory):
            self.loop.forget(fd)

    def _note_oom(self) -> None:
        if self._memory is None:
            return
        kills = cgroups.oom_kills(self._memory)
        if kills > self._oom_kills:
            self._oom_kills = kills
            self._tell({"event": "oom"})


def _set_sysctls(values: "dict[str, str]") -> None:
    """Those of the network namespace, which is the shim's own."""
    for key, value in values.items():
        path = "/proc/sys/" + key.replace(".", "/")
        try:
            with open(path, "w") as file:
                file.write(value)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"open {path}") from error


def _reason(error: Exception) -> str:
    """As Go words it: the place, then what is wrong."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    reason = error.strerror.lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def _children() -> list[int]:
    with open("/proc/thread-self/children") as file:
        return [int(word) for word in file.read().split()]


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_ERROR_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""


def write_durably(path: str, text: str) -> None:
    fd = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(f"{path}.tmp", path)


def prepare(job: "dict[str, Any]") -> socket.socket:
    """Namespaces, the root file system, the socket: everything that hangs on this process from now on."""
    os.setsid()
    syscalls.set_process_name("riverport-shim")
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    os.umask(0o022)
    os.chdir(job["directory"])
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounts.make_slave()
    if job["private_network"]:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        namespaces.bring_loopback_up()
    rootfs = job["rootfs"]
    mounts.mount_overlay(rootfs["lowers"], rootfs["upper"], rootfs["work"], rootfs["merged"], rootfs["options"])
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    listener.bind(SOCKET)  # relative: a unix socket's path has 107 bytes at the most
    listener.listen(64)
    return listener


def main(job: "dict[str, Any]", connection: socket.socket, programs: Programs) -> None:
    """In the child of the zygote. `connection` is the daemon's first control connection."""
    try:
        shim = Shim(prepare(job), job["rootfs"]["merged"], programs)
    except OSError as error:
        with suppress(OSError):  # a daemon that was killed meanwhile; the next one has taken the directory away
            connection.send(json.dumps({"event": "failed", "error": _reason(error)}).encode() + b"\n")
        return
    control = shim.adopt(connection)
    control.is_daemon = True
    control.send({"event": "ready", "pid": os.getpid()})
    shim.serve()
