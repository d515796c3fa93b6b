"""The kernel, as the engine uses it: thin, typed, without policy.

    syscalls.py    what Python 3.11 has no name for: mount(2), unshare(2), setns(2), openat2(2), fsopen(2) …
    inroot.py      paths that are resolved inside a root, so that no link of an image leads out of it
    mounts.py      overlay, bind and propagation; /proc/self/mountinfo
    namespaces.py  what a new namespace needs
    netns.py       work inside another network namespace
    libseccomp.py  system call filters, compiled
    cgroups.py     hierarchies v1, hybrid and v2 behind one shape
    netlink.py     links, addresses, routes
    nft.py         the one nftables table

Every call raises `OSError` with the path it was about. The shim (`runtime/shim.py`) imports some of these modules and
must stay small: they import nothing heavier than `ctypes`.
"""
