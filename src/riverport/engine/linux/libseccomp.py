"""libseccomp by ctypes: an OCI `linux.seccomp` becomes a BPF program (seccomp_export_bpf(3)).

A few instructions stand before libseccomp's: calls newer than the library are let through by number where the profile
names them, and calls newer than this table fail with ENOSYS instead of EPERM, because a C library takes ENOSYS as "use
the older call" and EPERM as an error (runc does the same). Numbers from 424 on are the same on every architecture.
"""

import ctypes
import os
import struct
from functools import cache
from typing import Any

from riverport.engine.errors import InvalidParameter

_ERRNO, _ALLOW, _KILL_THREAD, _KILL_PROCESS = 0x00050000, 0x7FFF0000, 0x0, 0x80000000
_ACTIONS = {
    "SCMP_ACT_KILL": _KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": _KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": _ALLOW,
}
_ACTIONS_WITH_NUMBER = {"SCMP_ACT_ERRNO": _ERRNO, "SCMP_ACT_TRACE": 0x7FF00000}
_OPERATORS = {
    f"SCMP_CMP_{name}": number for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), start=1)
}
_EPERM = 1
_EXISTS, _IS_DEFAULT = -17, -13  # -EEXIST: said before; -EACCES: the action is the default one already
_UNKNOWN_CALL = -1
_ATTRIBUTE_OPTIMIZE, _BINARY_TREE = 8, 2
_ATTRIBUTES = {
    "SECCOMP_FILTER_FLAG_TSYNC": 4,
    "SECCOMP_FILTER_FLAG_LOG": 6,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 7,
}


_NEWER_CALLS = {
    name: number
    for number, name in enumerate(
        (
            "futex_waitv", "set_mempolicy_home_node", "cachestat", "fchmodat2", "map_shadow_stack", "futex_wake",
            "futex_wait", "futex_requeue", "statmount", "listmount", "lsm_get_self_attr", "lsm_set_self_attr",
            "lsm_list_modules", "mseal", "setxattrat", "getxattrat", "listxattrat", "removexattrat", "open_tree_attr",
            "file_getattr", "file_setattr",
        ),
        start=449,
    )
}  # fmt: skip
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_OFFSET = 0  # of `nr` in struct seccomp_data
_X32_BIT = 0x40000000
_ENOSYS = 38


class _Argument(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Argument)
    ]  # fmt: skip
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


def compile_filter(oci: dict[str, Any]) -> bytes | None:
    """The program; None without libseccomp. Calls it does not know are left out: no kernel it knows has them.

    Raises InvalidParameter for what is no profile.
    """
    library = _library()
    if library is None:
        return None
    context = library.seccomp_init(_action(oci["defaultAction"], oci.get("defaultErrnoRet")))
    if not context:
        raise InvalidParameter("the seccomp profile's default action is not possible")
    try:
        for name in oci.get("architectures") or []:
            token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            if token == 0:
                raise InvalidParameter(f"unknown architecture in seccomp profile: {name}")
            _check(library.seccomp_arch_add(context, token), name)
        # A tree of comparisons instead of a list: 9 steps to a verdict instead of up to 400.
        library.seccomp_attr_set(context, _ATTRIBUTE_OPTIMIZE, _BINARY_TREE)
        for flag in oci.get("flags") or []:
            if flag in _ATTRIBUTES:
                library.seccomp_attr_set(context, _ATTRIBUTES[flag], 1)
        newer: set[int] = set()
        for rule in oci["syscalls"]:
            newer |= _add(library, context, rule)
        return _prefix(newer, oci["defaultAction"]) + _export(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: int, rule: dict[str, Any]) -> set[int]:
    """The numbers of calls that the rule lets through and that are newer than the library."""
    newer: set[int] = set()
    action = _action(rule["action"], rule.get("errnoRet"))
    conditions = [_argument(given) for given in rule.get("args") or []]
    # Several conditions on one argument cannot be ANDed by libseccomp; runc and crun read them as alternatives.
    alternatives = [conditions]
    if len({condition.index for condition in conditions}) < len(conditions):
        alternatives = [[condition] for condition in conditions]
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_CALL:
            if name in _NEWER_CALLS and action == _ALLOW and not conditions:
                newer.add(_NEWER_CALLS[name])
            continue
        for chosen in alternatives:
            array = (_Argument * len(chosen))(*chosen)
            _check(library.seccomp_rule_add_array(context, action, number, len(chosen), array), name)
    return newer


def _prefix(allowed: set[int], default_action: str) -> bytes:
    """Jumps are relative, so this can stand before any program; it falls through with nothing changed."""
    if default_action != "SCMP_ACT_ERRNO":
        return b""
    program = [_INSTRUCTION.pack(_LOAD_WORD, 0, 0, _NUMBER_OFFSET)]
    for number in sorted(allowed):
        program += [_INSTRUCTION.pack(_JUMP_EQUAL, 0, 1, number), _INSTRUCTION.pack(_RETURN, 0, 0, _ALLOW)]
    program += [
        _INSTRUCTION.pack(_JUMP_AT_LEAST, 2, 0, _X32_BIT),
        _INSTRUCTION.pack(_JUMP_AT_LEAST, 0, 1, max(_NEWER_CALLS.values()) + 1),
        _INSTRUCTION.pack(_RETURN, 0, 0, _ERRNO | _ENOSYS),
    ]
    return b"".join(program)


def _argument(given: dict[str, Any]) -> _Argument:
    operator = _OPERATORS.get(given["op"])
    if operator is None:
        raise InvalidParameter(f"unknown operator in seccomp profile: {given['op']}")
    return _Argument(given["index"], operator, given["value"], given.get("valueTwo") or 0)


def _action(name: str, number: int | None) -> int:
    if name in _ACTIONS_WITH_NUMBER:
        return _ACTIONS_WITH_NUMBER[name] | (_EPERM if number is None else number)
    if name not in _ACTIONS:
        raise InvalidParameter(f"unknown action in seccomp profile: {name}")
    return _ACTIONS[name]


def _check(result: int, about: str) -> None:
    if result < 0 and result not in (_EXISTS, _IS_DEFAULT):
        raise InvalidParameter(f"seccomp profile: {about}: {os.strerror(-result)}")


def _export(library: ctypes.CDLL, context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with open(fd, "w+b") as file:
        _check(library.seccomp_export_bpf(context, fd), "the whole")
        file.seek(0)
        return file.read()
