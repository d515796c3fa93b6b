"""What this machine can grant, and the daemon's defaults, read once."""

import os
import socket
from pathlib import Path

from riverport.engine.containers.checks import Machine, parse_set
from riverport.engine.linux import cgroups
from riverport.engine.settings import Settings
from riverport.engine.settings_table import parse_ulimit

RUNTIMES = ("crun", "runc")


def read_machine(settings: Settings) -> Machine:
    layout = cgroups.detect()
    return Machine(
        socket.gethostname(),
        os.cpu_count() or 1,
        frozenset(_numbers("/sys/devices/system/cpu/online")),
        frozenset(_numbers("/sys/devices/system/node/online")),
        layout.version == 2,
        tuple(dict.fromkeys((settings.runtime, *RUNTIMES))),
        settings.runtime,
        settings.log_driver,
        settings.log_options,
        settings.default_shm_bytes,
        settings.default_cgroupns_mode,
        tuple(
            {"Name": name, "Hard": hard, "Soft": soft}
            for name, soft, hard in map(parse_ulimit, settings.default_ulimits)
        ),
        realtime=cgroups.has_realtime(layout),
        block_weight=cgroups.has_block_weight(layout),
    )


def _numbers(path: str) -> set[int]:
    """A kernel without that file has one of them."""
    try:
        return parse_set(Path(path).read_text().strip())
    except (OSError, ValueError):
        return {0}
