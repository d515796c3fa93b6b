"""Control groups: version 1 (one hierarchy per controller), hybrid (version 1 beside an empty version 2) and version 2.

A container has one path, `/docker/<id>`, in every hierarchy. `Layout` says which directories that is; everything else
works on directories, so that tests use trees of plain files. The shim imports this module: no imports beyond `os`.
"""

import os
import signal
import time

TOP = "/sys/fs/cgroup"
_REMOVAL_TRIES = 400  # 2 s in all; a process that has been killed leaves its groups a moment later
_REMOVAL_PAUSE = 0.005


class Layout:
    """Where hierarchies are mounted.

    `version` is 1 where controllers are in version 1 hierarchies (also hybrid), else 2. `mounts` maps a controller, or
    `name=systemd`, to its mount point; in version 2 the key is "" and `controllers` says what it has.
    """

    def __init__(self, version: int, mounts: dict[str, str], controllers: "frozenset[str]", hybrid: bool) -> None:
        self.version = version
        self.mounts = mounts
        self.controllers = controllers
        self.hybrid = hybrid

    def directories(self, path: str) -> list[str]:
        """The group `path` in every hierarchy, each once."""
        tops = dict.fromkeys(self.mounts.values())
        return [top + path for top in tops]

    def directory(self, controller: str, path: str) -> str | None:
        top = self.mounts.get("" if self.version == 2 else controller)
        return None if top is None else top + path


def parse_layout(mountinfo: str, unified_controllers: str = "") -> Layout:
    """From the text of /proc/self/mountinfo; of several mounts of one hierarchy the one below /sys/fs/cgroup counts."""
    mounts: dict[str, str] = {}
    unified = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (fstype, _, options) = left.split(), right.split(" ", 2)
        place = fields[4].replace("\\040", " ")
        if fstype == "cgroup2" and (unified is None or place.startswith(TOP)):
            unified = place
        elif fstype == "cgroup":
            for option in options.split(","):
                if option not in ("rw", "ro", "xattr", "clone_children", "release_agent", "none") and (
                    option not in mounts or place.startswith(TOP)
                ):
                    mounts[option] = place
    if mounts:
        return Layout(1, mounts, frozenset(mounts), unified is not None)
    if unified is None:
        return Layout(1, {}, frozenset(), False)
    return Layout(2, {"": unified}, frozenset(unified_controllers.split()), False)


def detect() -> Layout:
    with open("/proc/self/mountinfo") as file:
        mountinfo = file.read()
    try:
        with open(f"{TOP}/cgroup.controllers") as file:
            controllers = file.read()
    except OSError:
        controllers = ""
    return parse_layout(mountinfo, controllers)


def has_realtime(layout: Layout) -> bool:
    """Whether groups have shares of real-time scheduling (RT_GROUP_SCHED); version 2 knows none."""
    return layout.version == 1 and os.path.exists(f"{layout.mounts.get('cpu')}/cpu.rt_period_us")


def has_block_weight(layout: Layout) -> bool:
    """Whether block I/O is shared out by weights.

    In version 1 they are the scheduler BFQ's, in files that the hierarchy's top lacks; others of its files are there.
    """
    if layout.version == 2:
        return "io" in layout.controllers
    return os.path.exists(f"{layout.mounts.get('blkio')}/blkio.bfq.io_serviced")


def own_group(layout: Layout, table: str = "/proc/self/cgroup") -> str | None:
    """A group that this process is in; None if it is out of its sight, as from a namespace."""
    for line in (read(table) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        directory = layout.directory(controllers.split(",")[0], path)
        if (layout.version == 2) == bool(controllers):
            continue
        if directory is not None and os.path.exists(f"{directory}/cgroup.procs"):
            return directory
    return None


def await_quiet(layout: Layout, table: str = "/proc/self/cgroup") -> None:
    """Put this process into the group where it is: what that waits for, the next to come does not wait for.

    The first process in a while that changes its group waits until every processor has seen that forks are now watched:
    an RCU grace period, 8 to 14 ms (cgroup_threadgroup_rwsem in kernel/cgroup/cgroup.c, kernel/rcu/sync.c). Those after
    it do not, until a grace period has gone by without any.
    """
    group = own_group(layout, table)  # asked each time: somebody may have moved this process
    if group is not None:
        _write(f"{group}/cgroup.procs", "0")


def processes(directory: str) -> list[int]:
    """All processes of the group and of the groups inside it; none if it does not exist."""
    found: list[int] = []
    for place, _, _ in os.walk(directory):
        try:
            with open(f"{place}/cgroup.procs") as file:
                found += map(int, file.read().split())
        except OSError:  # gone meanwhile
            continue
    return found


def kill(directories: "list[str]") -> None:
    """SIGKILL to everything in these groups, frozen or not."""
    for directory in directories:
        thaw(directory)
        if _write(f"{directory}/cgroup.kill", "1"):
            continue
        for pid in processes(directory):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def remove(directories: "list[str]") -> "list[str]":
    """Kill what is inside, remove the groups and those inside them. Gives back those that would not go."""
    left = [directory for directory in directories if not _try_remove(directory)]
    for _ in range(_REMOVAL_TRIES):
        if not left:
            break
        kill(left)
        time.sleep(_REMOVAL_PAUSE)
        left = [directory for directory in left if not _try_remove(directory)]
    return left


def freeze(directories: "list[str]") -> bool:
    """False if no hierarchy can freeze. What is asked for may take a moment: see `is_frozen`."""
    done = [_freeze(directory, True) for directory in directories]
    return any(done)


def thaw(directory: str) -> bool:
    return _freeze(directory, False)


def is_frozen(directory: str) -> bool | None:
    """None if this hierarchy cannot freeze."""
    if (state := read(f"{directory}/freezer.state")) is not None:
        return state.strip() == "FROZEN"
    if (events := read(f"{directory}/cgroup.events")) is not None and "frozen" in events:
        return "frozen 1" in events
    return None


def oom_kills(directory: str) -> int:
    """How many processes the kernel has killed here for want of memory."""
    for name in ("memory.oom_control", "memory.events"):
        text = read(f"{directory}/{name}")
        if text is not None:
            for line in text.splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill":
                    return int(count)
    return 0


def read(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None


def _freeze(directory: str, frozen: bool) -> bool:
    # Only files that are there: a fake or foreign tree must not get new ones.
    if os.path.exists(f"{directory}/freezer.state"):
        return _write(f"{directory}/freezer.state", "FROZEN" if frozen else "THAWED")
    if os.path.exists(f"{directory}/cgroup.freeze"):
        return _write(f"{directory}/cgroup.freeze", "1" if frozen else "0")
    return False


def _try_remove(directory: str) -> bool:
    try:
        os.rmdir(directory)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass
    for place, names, _ in os.walk(directory, topdown=False):
        for name in names:
            try:
                os.rmdir(f"{place}/{name}")
            except OSError:
                return False
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(path: str, text: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
