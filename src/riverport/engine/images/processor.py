"""What this machine's processor can do beyond what its architecture promises: images may be built for just that.

Source: x86-64 psABI, "Micro-Architecture Levels"; the names of flags are Linux's, which leaves out what it does not let
programs use.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from riverport.engine.images.platform import Platform

_LEVELS: Final = {
    2: frozenset({"pni", "ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm"}),
    3: frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    4: frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
}
"""What each level needs beside all that those before it need."""


@cache
def newest_here() -> Platform:
    """The most that runs here: with the level of an amd64, whose first is left out as everywhere."""
    here = Platform.here()
    if here.architecture != "amd64":
        return here
    level = amd64_level(_flags(Path("/proc/cpuinfo")))
    newest = Platform.of(here.os, here.architecture, f"v{level}")
    return replace(newest, written=f"{here.os}/{here.architecture}/v{level}")


def runs_here(image: Platform) -> bool:
    """Of an image's config. Most say no level, and the processor need not be looked at."""
    return Platform.here().runs_image(image) or newest_here().runs_image(image)


def amd64_level(flags: Iterable[str]) -> int:
    present = set(flags)
    level = 1
    while _LEVELS.get(level + 1, {""}) <= present:
        level += 1
    return level


def _flags(cpuinfo: Path) -> list[str]:
    """Of the first processor; there are as many paragraphs as processors."""
    try:
        with cpuinfo.open() as lines:
            return next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    except OSError:
        return []
