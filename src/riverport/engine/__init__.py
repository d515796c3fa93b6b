"""A container engine that speaks the Docker Engine API, and a registry that speaks OCI distribution.

    cli/engine.py → daemon.py ─ api/*.py          one module per group of endpoints; no decisions of its own
                        │
      containers/  build/                         what a container is and goes through; Dockerfiles
      images/  networks/  volumes/  runtime/      what they are made of
      storage/                                    layers, overlay mounts, root file systems
      linux/                                      the kernel: openat2, mounts, namespaces, cgroups, netlink, nftables
      events.py  state.py  errors.py              shared by all

    registry/                                     stands alone: shares base/http and images/reference.py

Whoever does something for a client of the API raises `errors.EngineError` with the status and the text that Docker
uses, because the CLI's exit code depends on the text. State lives in memory and, before an answer is given, in one
SQLite database (`state.py`). A container's processes hang on a shim (`runtime/shim.py`) that outlives the daemon, so
that killing the daemon ends no container and loses no output; what the kernel holds for a container (mounts, network
namespace) hangs on the shim too, and goes when it goes.
"""
