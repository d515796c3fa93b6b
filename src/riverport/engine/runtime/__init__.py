"""Running containers: a shim per container holds everything that the kernel holds for it.

    runtime.py     Runtime: the zygote, prepare, recover                                  daemon's side
    handle.py      Shim: one container's shim as the daemon sees it                       daemon's side
    attach.py      AttachStream: a client's stdin, stdout and stderr                      daemon's side
    spec.py        Docker's Config and HostConfig → an OCI runtime spec (pure)
    seccomp.py     the default profile, compiled once per profile, architecture and capabilities
    capabilities.py devices.py users.py resources.py    parts of the spec (pure)
    stats.py  top.py                                    what runs, measured
    zygote.py      forks the shims; small and single-threaded, unlike the daemon
    programs.py    crun, held in memory by the zygote for all shims                       shim's side
    shim.py        the shim's main loop: processes, exits                                 shim's side
    control.py     its connections                                                        shim's side
    launch.py      a run of crun or runc                                                  shim's side
    stdio.py       what processes read and write, for the log and for clients             shim's side
    client.py      one who is attached, and how far behind                                shim's side
    loop.py        its event loop                                                         shim's side
    logs.py        json-file and local log files, and their rotation                      shim's side

    daemon ──socketpair──▶ zygote ──fork──▶ shim ──posix_spawn──▶ crun run ──▶ the container's first process
       └────────── <exec-root>/<id>/shim.sock ─────┘ (child subreaper: it becomes the parent)

A shim has its own mount namespace, where the container's overlay is mounted, and its own network namespace where the
container has one. When the shim ends, the kernel takes both back: no orphan is possible. A shim outlives the daemon;
it goes away when the daemon says so (`discard`), or, without a daemon, after it has written the exit file.
"""
