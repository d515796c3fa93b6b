"""What a container is, and what it goes through.

    containers.py     the daemon's containers: look-up, creation, removal, pruning, recovery
    lifecycle.py      start, exit, stop, kill, restart, pause, update: the deeds on one container
    container.py      one container: its document, its state, who waits for it

    fields.py         JSON objects of the API as tables: types, defaults, order
    config.py         Config and HostConfig: merging with the image, defaults, checks       (pure)
    names.py          names and the index by id, name and prefix                            (pure)
    restart.py        shall it be restarted, and when                                       (pure)
    health.py         what a probe's result means                                           (pure)
    listing.py        `ps`: filters and rows; inspect.py: the whole truth                   (pure)
    attach.py         a client's streams and a container's; frames.py: how they are framed
    execs.py          processes started later in a container
    logs_reader.py    what the shim has written, read back
    archive.py        `cp`, `export` and `diff`
    commit.py         a container becomes an image

      create            start               exit
    ────────► created ────────► running ───────────► exited ──► removed
                                 │  ▲  ▲ │ policy says so          ▲
                           pause ▼  │  │ ▼                         │
                               paused  restarting ─── stop ──► exited, AutoRemove

A container's lock (`Container.lock`) is held while its state changes (start, exit, removal, rename), never while
somebody waits for a process to end. Lists and look-ups take no lock at all: a container that hangs in a start stops
nobody else, nor `ps`.
"""
