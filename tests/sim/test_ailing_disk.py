"""When a simulated disk is still bound to fail."""

import pytest

from riverport.base.files import StorageError
from riverport.sim.disk import SimDisk


def test_a_fault_waits_for_its_operation() -> None:
    disk = SimDisk()
    assert not disk.is_ailing
    disk.fail("write", "/file", nth=2, times=1)

    disk.write("/file", b"one")
    assert disk.is_ailing
    with pytest.raises(StorageError):
        disk.write("/file", b"two")
    assert not disk.is_ailing


def test_a_fault_without_an_end_stays_until_it_is_repaired() -> None:
    disk = SimDisk()
    disk.fail("sync", "*")
    with pytest.raises(StorageError):
        disk.write("/file", b"one")
    assert disk.is_ailing

    disk.heal()
    assert not disk.is_ailing


def test_a_disk_that_is_kept_full_ails() -> None:
    assert SimDisk(capacity=100).is_ailing
