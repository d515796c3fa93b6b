"""Seccomp: a Docker profile and a container's capabilities become a filter, compiled once.

    profile (ours, or a client's JSON) ─ resolve ─▶ OCI `linux.seccomp` ─ compile ─▶ BPF, cached by the OCI form's hash

`resolve` is pure. Compiling takes libseccomp 5 to 25 ms; the result goes to crun as an annotation, which it loads as it
is. runc, and a machine without libseccomp, get the OCI form.
"""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from riverport.engine.errors import InvalidParameter
from riverport.engine.linux.libseccomp import compile_filter
from riverport.engine.runtime.seccomp_profile import default_profile

ANNOTATION = "run.oci.seccomp_bpf_data"
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "amd64"),
    "i686": ("SCMP_ARCH_X86", "x86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "arm64"),
    "armv7l": ("SCMP_ARCH_ARM", "arm"),
    "ppc64le": ("SCMP_ARCH_PPC64LE", "ppc64le"),
    "riscv64": ("SCMP_ARCH_RISCV64", "riscv64"),
    "s390x": ("SCMP_ARCH_S390X", "s390x"),
}
"""By uname's machine: libseccomp's name and the one that profiles use in `includes`."""

_DEFAULT = "default"
_KEPT = 64

Profile = dict[str, Any]


def parse_profile(text: str) -> Profile:
    """A client's profile: the CLI sends the content of the file. Raises InvalidParameter."""
    try:
        profile = json.loads(text)
    except ValueError as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from error
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise InvalidParameter("Decoding seccomp profile failed: no defaultAction")
    if profile.get("architectures") and profile.get("archMap"):
        raise InvalidParameter("use either 'architectures' or 'archMap'")
    for rule in profile.get("syscalls") or []:
        if rule.get("name") and rule.get("names"):
            raise InvalidParameter("use either 'name' or 'names'")
    return profile


def resolve(profile: Profile, capabilities: frozenset[str], machine: str, kernel: tuple[int, int]) -> dict[str, Any]:
    """OCI `linux.seccomp` for a container with these capabilities on this machine (uname's name, major and minor)."""
    native, architecture = _ARCHITECTURES.get(machine, ("", machine))
    made: dict[str, Any] = {"defaultAction": profile["defaultAction"]}
    if profile.get("defaultErrnoRet") is not None:
        made["defaultErrnoRet"] = profile["defaultErrnoRet"]
    architectures = list(profile.get("architectures") or [])
    for entry in profile.get("archMap") or []:
        if entry["architecture"] == native:
            architectures = [native, *(entry.get("subArchitectures") or [])]
    if architectures:
        made["architectures"] = architectures
    for key in ("flags", "listenerPath", "listenerMetadata"):
        if profile.get(key):
            made[key] = profile[key]
    made["syscalls"] = [
        _rule(rule) for rule in profile.get("syscalls") or [] if _applies(rule, capabilities, architecture, kernel)
    ]
    return made


class Filters:
    """Compiled filters, in memory and in a directory; safe to use from threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._resolved: dict[tuple[str, frozenset[str]], dict[str, Any]] = {}
        self._compiled: dict[str, str] = {}

    def resolved(self, profile: str, capabilities: frozenset[str]) -> dict[str, Any]:
        """The OCI form; `profile` is a JSON text, or empty for the default."""
        key = profile or _DEFAULT, capabilities
        if key not in self._resolved:
            if len(self._resolved) >= _KEPT:
                self._resolved.clear()
            uname = os.uname()
            major, minor = uname.release.split(".")[:2]
            parsed = parse_profile(profile) if profile else default_profile()
            numbers = int(major), int("".join(filter(str.isdecimal, minor)) or 0)
            self._resolved[key] = resolve(parsed, capabilities, uname.machine, numbers)
        return self._resolved[key]

    def compiled(self, oci: dict[str, Any]) -> str | None:
        """The filter in base64; None where it takes more than a filter (a listener) or libseccomp is not there."""
        if "listenerPath" in oci:
            return None
        key = hashlib.sha256(json.dumps(oci, sort_keys=True).encode()).hexdigest()
        if key in self._compiled:
            return self._compiled[key]
        path = self._directory / f"{key}.bpf"
        try:
            program = path.read_bytes()
        except OSError:
            made = compile_filter(oci)
            if made is None:
                return None
            program = made
            self._keep(path, program)
        if len(self._compiled) >= _KEPT:
            self._compiled.clear()
        self._compiled[key] = base64.b64encode(program).decode()
        return self._compiled[key]

    def _keep(self, path: Path, program: bytes) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(program)
        partial.replace(path)


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"names": rule.get("names") or [rule["name"]], "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        made["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        made["args"] = rule["args"]
    return made


def _applies(rule: dict[str, Any], capabilities: frozenset[str], architecture: str, kernel: tuple[int, int]) -> bool:
    """`includes` must all hold; of `excludes` none may (Docker's profile format)."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    held = {f"CAP_{name}" for name in capabilities}
    if includes.get("arches") and architecture not in includes["arches"]:
        return False
    if any(name not in held for name in includes.get("caps") or []):
        return False
    if includes.get("minKernel") and kernel < _kernel(includes["minKernel"]):
        return False
    if architecture in (excludes.get("arches") or []):
        return False
    if any(name in held for name in excludes.get("caps") or []):
        return False
    return not (excludes.get("minKernel") and kernel >= _kernel(excludes["minKernel"]))


def _kernel(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor.partition(".")[0] or 0)
