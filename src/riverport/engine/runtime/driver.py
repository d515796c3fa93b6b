"""crun and runc: their command lines. Both take the same ones; they differ in what they expect of the spec."""

import shutil
from dataclasses import dataclass

from riverport.engine.errors import InvalidParameter, SystemFailure

SHORT_NAMES = {"crun": "crun", "runc": "runc", "io.containerd.runc.v2": "runc"}
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_STATE = "oci"  # the runtime's own state, in the container's directory: gone with it
_CONSOLE = "console.sock"


@dataclass(frozen=True, slots=True)
class Driver:
    """Paths are relative to the container's directory, which is the shim's working directory."""

    name: str
    path: str

    @property
    def takes_compiled_seccomp(self) -> bool:
        """crun skips 10 to 15 ms of libseccomp if the filter comes with the spec."""
        return self.name == "crun"

    @property
    def copies_itself(self) -> bool:
        """Whether holding it in memory (`programs.py`) pays: crun has half a megabyte, runc ten."""
        return self.name == "crun"

    def run(self, container_id: str, *, tty: bool, log: str, pid_file: str) -> list[str]:
        console = ["--console-socket", _CONSOLE] if tty else []
        return [*self._global(log), "run", "--detach", "--bundle", ".", "--pid-file", pid_file, *console, container_id]

    def exec(self, container_id: str, *, tty: bool, log: str, pid_file: str, process: str) -> list[str]:
        console = ["--console-socket", _CONSOLE] if tty else []
        options = ["--detach", "--process", process, "--pid-file", pid_file, *console]
        return [*self._global(log), "exec", *options, container_id]

    @property
    def console(self) -> str:
        return _CONSOLE

    def _global(self, log: str) -> list[str]:
        # A control group manager would be systemd's by default for neither of them; crun is told all the same.
        manager = ["--cgroup-manager=cgroupfs"] if self.name == "crun" else []
        return [self.path, "--root", _STATE, "--log", log, "--log-format", "json", *manager]


def find_driver(name: str) -> Driver:
    """Raises InvalidParameter in Docker's words for an unknown name."""
    short = SHORT_NAMES.get(name)
    if short is None:
        raise InvalidParameter(f"unknown or invalid runtime name: {name}")
    path = shutil.which(short, path=ENVIRONMENT["PATH"])
    if path is None:
        raise SystemFailure(f"{short} is not installed")
    return Driver(short, path)
