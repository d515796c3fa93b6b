"""Namespaces: making them for a container, joining them for a moment, identity maps of user namespaces.

The shim imports this module: no imports beyond `os`, `socket` and `linux.syscalls`.
"""

import fcntl
import os
import socket
import struct

from riverport.engine.linux import syscalls

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def bring_loopback_up() -> None:
    """In the caller's network namespace: a new one has `lo`, but down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", request, 16)
        struct.pack_into("h", request, 16, flags | _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def holder_of_user_namespace(uid_map: str, gid_map: str, kinds: int) -> int:
    """A process in a new user namespace that owns new namespaces of `kinds`; end it once they are open elsewhere.

    A network namespace must belong to the container's user namespace, or its /sys could not be mounted in there.
    """
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    hold_read, hold_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
            os.close(hold_write)
            syscalls.unshare(syscalls.CLONE_NEWUSER | kinds)
            os.write(ready_write, b"1")
            os.read(hold_read, 1)
        finally:
            os._exit(0)
    os.close(ready_write)
    os.close(hold_read)
    try:
        if os.read(ready_read, 1) != b"1":
            raise OSError(1, "a user namespace cannot be made here")
        for name, text in (("uid_map", uid_map), ("gid_map", gid_map)):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(text)
    except BaseException:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(hold_write)
        raise
    finally:
        os.close(ready_read)
    # `hold_write` stays open on purpose: the holder lives as long as its maker, or until it is killed.
    return pid


def map_line(first_host_id: int, size: int) -> str:
    """Ids 0… inside are `first_host_id`… outside (user_namespaces(7))."""
    return f"0 {first_host_id} {size}\n"
