"""The zygote: a small, single-threaded process that forks the shims, since the daemon has threads and must not fork.

It gets one datagram per shim: the job in JSON, and the control connection as a file descriptor. When the daemon goes,
so does the zygote; shims stay. It lives in a mount namespace of its own: where version 2 control groups are mounted
beside version 1 ("hybrid"), they are unmounted there, because crun before 1.9 refuses hybrid mode.

Run as `python -I -S -c <code that calls main> <name>`: no site-packages, 3 ms to fork, about 1 MB private per shim.
"""

import gc
import json
import os
import signal
import socket
import sys

from riverport.engine.linux import cgroups, mounts, syscalls
from riverport.engine.runtime import shim
from riverport.engine.runtime.launch import IGNORED
from riverport.engine.runtime.programs import Programs

_JOB_BYTES = 1 << 18
_NAMES_OF_COPIES = ("riverport-zygote", "riverport-shim")


def main(descriptor: int) -> None:
    jobs = socket.socket(fileno=descriptor)
    _prepare()
    jobs.send(b"ready")
    # What is allocated so far is never collected, so that a shim's collections do not touch (and copy) its pages.
    gc.collect()
    gc.freeze()
    programs = Programs()
    while True:
        data, descriptors, _, _ = socket.recv_fds(jobs, _JOB_BYTES, 1)
        if not data:
            return
        connection = socket.socket(fileno=descriptors[0])
        os.set_inheritable(descriptors[0], False)
        job = json.loads(data)
        if job["sealed"] is not None:
            programs.hold(job["sealed"])
        try:
            pid = os.fork()
        except OSError as error:
            failure = {"event": "failed", "error": f"cannot fork a shim: {error.strerror}"}
            connection.send(json.dumps(failure).encode() + b"\n")
        else:
            if pid == 0:
                _become_shim(jobs, job, connection, programs)
        connection.close()


def _prepare() -> None:
    os.setsid()  # a terminal's Ctrl-C is for the daemon
    syscalls.set_process_name(_NAMES_OF_COPIES[0])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps shims
    for number in IGNORED:  # for the shims, which inherit it and need not touch (and copy) what it takes
        signal.signal(number, signal.SIG_IGN)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounts.make_slave()
    if cgroups.detect().hybrid:
        for point in mounts.mount_points():
            if point.fstype == "cgroup2":
                syscalls.umount(point.place, syscalls.MNT_DETACH)


def _become_shim(jobs: socket.socket, job: "dict[str, object]", connection: socket.socket, programs: Programs) -> None:
    try:
        jobs.close()
        shim.main(job, connection, programs)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)
