"""Programs held in memory. Linux lets a memfd be executed, so nothing here needs privileges."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from riverport.engine.runtime.programs import Programs

_ALL_SEALS = 0xF  # what crun and runc ask for: seal, shrink, grow, write


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    shutil.copy("/bin/true", path)
    return path


def test_a_held_program_runs_from_memory_with_every_seal_on(program: Path) -> None:
    programs = Programs()
    programs.hold(str(program))
    held = programs.executable(str(program))
    descriptor = int(held.rpartition("/")[2])
    assert held == f"/proc/self/fd/{descriptor}"
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == _ALL_SEALS
    assert os.pread(descriptor, 1 << 20, 0) == program.read_bytes()
    assert os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(held, [str(program)], {}), 0)[1]) == 0
    os.close(descriptor)


def test_an_upgraded_program_is_never_run_from_the_old_copy(program: Path) -> None:
    programs = Programs()
    programs.hold(str(program))
    shutil.copy("/bin/false", program.with_name("new"))
    program.with_name("new").rename(program)
    assert programs.executable(str(program)) == str(program), "nobody has held the new one yet"
    programs.hold(str(program))
    after = programs.executable(str(program))
    assert after.startswith("/proc/self/fd/")
    assert subprocess.run([after], close_fds=False).returncode == 1
    os.close(int(after.rpartition("/")[2]))


def test_what_cannot_be_held_is_run_by_its_path(program: Path) -> None:
    programs = Programs()
    program.unlink()
    programs.hold(str(program))
    assert programs.executable(str(program)) == str(program)
