"""A partition's directory with something in every kind of file, written as a broker writes it."""

from pathlib import Path

from tests.kafka.log.kit import append, end_transaction, open_at

from riverport.base.files import OsFiles
from riverport.kafka.records.codecs import Codec

PRODUCER = 7


def write_partition(directory: Path) -> Path:
    """Three segments and more: every codec, null keys, an idempotent producer, a commit and an abort."""
    log = open_at(OsFiles(), str(directory))
    for n, codec in enumerate(Codec):
        append(log, b"one", b"two " * 20, codec=codec, epoch=n // 2, timestamp=1_700_000_000_000 + n * 1000)
    append(log, b"keyless", key=None, epoch=2)
    for n in range(3):
        append(log, b"%d" % n * 30, b"again", producer=(5, 0, 2 * n), epoch=2)
    for n, commit in enumerate((True, False)):
        append(log, b"in doubt" * 20, producer=(PRODUCER, 0, n), transactional=True, epoch=2)
        end_transaction(log, PRODUCER, commit=commit, leader_epoch=2)
    append(log, b"x" * 900, epoch=3)
    append(log, b"open", producer=(PRODUCER, 0, 2), transactional=True, epoch=3)
    log.close()
    return directory
