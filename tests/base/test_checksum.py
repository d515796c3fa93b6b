"""CRC-32C, and what it costs to have it."""

import subprocess
import sys

import crc32c as package
import pytest

from riverport.base.checksum import crc32c


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_the_vectors_of_rfc_3720(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected
    assert crc32c(memoryview(bytearray(data))) == expected


def test_pieces_go_on_where_the_last_one_ended() -> None:
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283 == package.crc32c(b"123456789")


def test_a_broker_starts_without_the_packages_that_nothing_of_it_needs() -> None:
    heavy = ("importlib.metadata", "email", "pathlib", "tempfile", "argparse", "cramjam", "zipfile")
    code = f"import sys, riverport.kafka.server.broker; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
