"""Seccomp profiles: resolved for a container, compiled, and run by a small interpreter of BPF."""

import json
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.errors import InvalidParameter
from riverport.engine.linux import libseccomp
from riverport.engine.runtime.capabilities import DEFAULT
from riverport.engine.runtime.seccomp import Filters, parse_profile, resolve
from riverport.engine.runtime.seccomp_profile import NEW_NAMESPACES, default_profile

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
KERNEL = (6, 1)

needs_library = pytest.mark.skipif(libseccomp._library() is None, reason="needs libseccomp.so.2")


def resolved(capabilities: frozenset[str] = DEFAULT, machine: str = "x86_64") -> dict[str, Any]:
    return resolve(default_profile(), capabilities, machine, KERNEL)


def allowed(oci: dict[str, Any]) -> set[str]:
    return {name for rule in oci["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


def verdict(program: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    """What the filter answers; classic BPF as seccomp has it (Documentation/userspace-api/seccomp_filter.rst)."""
    values = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<iIQ6Q", number, architecture, 0, *values)
    instructions = list(struct.iter_unpack("<HBBI", program))
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, constant = instructions[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, constant)
        elif code == 0x06:
            return int(constant)
        elif code == 0x05:
            at += constant
        elif code == 0x54:
            accumulator &= constant
        else:
            holds = {
                0x15: accumulator == constant,
                0x25: accumulator > constant,
                0x35: accumulator >= constant,
                0x45: bool(accumulator & constant),
            }[code]
            at += if_true if holds else if_false


@cache
def default_filter() -> bytes:
    made = libseccomp.compile_filter(resolved())
    assert made is not None
    return made


def test_capabilities_open_calls() -> None:
    plain = allowed(resolved())
    assert {"read", "execve", "chroot", "clone"} <= plain
    assert not {"mount", "unshare", "bpf", "reboot", "ptrace_foo", "keyctl", "io_uring_setup"} & plain
    admin = allowed(resolved(DEFAULT | {"SYS_ADMIN"}))
    assert {"mount", "unshare", "clone3", "setns"} <= admin
    assert "chroot" not in allowed(resolved(DEFAULT - {"SYS_CHROOT"}))


def test_architectures_have_their_own_calls() -> None:
    assert "arch_prctl" in allowed(resolved())
    assert "arch_prctl" not in allowed(resolved(machine="aarch64"))
    assert resolved()["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert resolved(machine="riscv64")["architectures"] == ["SCMP_ARCH_RISCV64"]


def test_clone_with_new_namespaces_is_the_admins() -> None:
    rules = [rule for rule in resolved()["syscalls"] if rule["names"] == ["clone"]]
    assert [rule["args"][0]["value"] for rule in rules] == [NEW_NAMESPACES]
    assert [rule["args"][0]["index"] for rule in rules] == [0]


@needs_library
def test_the_default_filter_decides() -> None:
    assert verdict(default_filter(), 0) == ALLOW  # read
    assert verdict(default_filter(), 165) == EPERM  # mount
    assert verdict(default_filter(), 272) == EPERM  # unshare
    assert verdict(default_filter(), 435) == ENOSYS  # clone3
    assert verdict(default_filter(), 425) == EPERM  # io_uring_setup
    assert verdict(default_filter(), 56, 17) == ALLOW  # clone with SIGCHLD
    assert verdict(default_filter(), 56, 0x10000000 | 17) == EPERM  # a new user namespace
    assert verdict(default_filter(), 135, 0) == ALLOW  # personality(PER_LINUX)
    assert verdict(default_filter(), 135, 1) == EPERM
    assert verdict(default_filter(), 41, 2) == ALLOW  # socket(AF_INET)
    assert verdict(default_filter(), 41, 40) == EPERM  # socket(AF_VSOCK)
    assert verdict(default_filter(), 3, architecture=I386) == ALLOW  # read
    assert verdict(default_filter(), 21, architecture=I386) == EPERM  # mount


@needs_library
def test_calls_newer_than_the_library_are_decided_too() -> None:
    assert verdict(default_filter(), 452) == ALLOW  # fchmodat2
    assert verdict(default_filter(), 449, architecture=I386) == ALLOW  # futex_waitv
    assert verdict(default_filter(), 457) == EPERM  # statmount: known, and not for everybody
    assert verdict(default_filter(), 1000) == ENOSYS  # nobody knows it: the C library is to try the older call


@needs_library
@given(st.integers(0, (1 << 31) - 1), st.integers(0, (1 << 64) - 1), st.sampled_from([X86_64, I386]))
def test_any_call_gets_a_verdict(number: int, argument: int, architecture: int) -> None:
    assert verdict(default_filter(), number, argument, architecture=architecture) in (ALLOW, EPERM, ENOSYS, 0)


@needs_library
@pytest.mark.parametrize(
    ("args", "arguments", "expected"),
    [
        ([{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}], (5,), EPERM),
        ([{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}], (6,), ALLOW),
        # Two conditions on one argument are alternatives, as in runc and crun.
        (
            [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 6, "op": "SCMP_CMP_EQ"}],
            (6,),
            EPERM,
        ),
        (
            [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 6, "op": "SCMP_CMP_EQ"}],
            (5, 7),
            ALLOW,
        ),
        # `value` is the mask, `valueTwo` what must be left of the argument.
        ([{"index": 1, "value": 7, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}], (0, 9), EPERM),
        ([{"index": 1, "value": 7, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}], (0, 10), ALLOW),
    ],
)
def test_conditions_on_arguments(args: list[dict[str, Any]], arguments: tuple[int, ...], expected: int) -> None:
    rule = {"names": ["getpid", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "args": args}
    program = libseccomp.compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    assert program is not None
    assert verdict(program, 39, *arguments) == expected


@needs_library
@pytest.mark.parametrize(
    "broken",
    [
        {"defaultAction": "SCMP_ACT_FOO", "syscalls": []},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"], "syscalls": []},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "X"}]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "LIKE"}]}
            ],
        },
    ],
)
def test_what_is_no_profile_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        libseccomp.compile_filter(broken)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["A"],"archMap":[{"architecture":"A"}]}',
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"X"}]}',
    ],
)
def test_a_clients_file_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_profile(text)


def test_a_clients_profile_in_the_old_form() -> None:
    profile = parse_profile(
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"chmod","action":"SCMP_ACT_ERRNO"}]}'
    )
    made = resolve(profile, DEFAULT, "x86_64", KERNEL)
    assert made["syscalls"] == [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}]


@pytest.mark.parametrize(("kernel", "applies"), [((4, 7), False), ((4, 8), True), ((5, 0), True)])
def test_rules_for_a_kernel_version(kernel: tuple[int, int], applies: bool) -> None:
    rule = {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}}
    made = resolve({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}, DEFAULT, "x86_64", kernel)
    assert bool(made["syscalls"]) is applies


@needs_library
def test_a_filter_is_compiled_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def compiling(oci: dict[str, Any]) -> bytes | None:
        made.append(oci)
        return b"program"

    monkeypatch.setattr("riverport.engine.runtime.seccomp.compile_filter", compiling)

    def use() -> Iterator[str | None]:
        filters = Filters(tmp_path / "cache")
        for _ in range(2):
            yield filters.compiled(filters.resolved("", DEFAULT))

    assert set(use()) == set(use()) == {"cHJvZ3JhbQ=="}
    assert len(made) == 1
    filters = Filters(tmp_path / "cache")
    assert filters.compiled(filters.resolved("", DEFAULT - {"CHOWN", "SYS_CHROOT"})) is not None
    assert len(made) == 2


def test_a_listener_is_the_runtimes_business(tmp_path: Path) -> None:
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x", "syscalls": []})
    filters = Filters(tmp_path)
    assert filters.compiled(filters.resolved(profile, DEFAULT)) is None
