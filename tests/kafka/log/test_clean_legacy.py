"""Message sets from before batches (magic 0 and 1), as they lie in logs of long ago."""

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from tests.kafka.log.clean_kit import HOUR_MS, batches, clean, compacted, put, roll, rows
from tests.kafka.log.kit import DIR, NOW_MS, disk_with, log_path, manager_of, replace, write_metadata

from riverport.kafka.log import Log
from riverport.kafka.log.manager import LogManager
from riverport.kafka.records.codecs import Codec

Messages = list[tuple[bytes, bytes | None]]
LONG_AGO_MS = NOW_MS - 48 * HOUR_MS


def message_set(magic: int, messages: Messages, codec: Codec = Codec.NONE) -> bytes:
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=int(codec), batch_size=1 << 20)
    for offset, (key, value) in enumerate(messages):
        assert builder.append(offset, LONG_AGO_MS + offset, key, value) is not None
    raw = bytearray(builder.build())
    if codec is not Codec.NONE:
        # The offset of a wrapper is that of its last message.
        raw[:8] = (len(messages) - 1).to_bytes(8, "big")
    return bytes(raw)


def log_of(raw: bytes) -> tuple[LogManager, Log]:
    disk = disk_with()
    config = compacted(disk_with())[1].config
    disk.mkdir(DIR)
    write_metadata(disk, DIR)
    disk.write(log_path(0), raw)
    manager = manager_of(disk, config=config)
    log = manager.get("t", 0)
    assert log is not None
    log.update_high_watermark(log.log_end_offset)
    roll(log)
    return manager, log


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP])
def test_the_last_message_of_each_key_stays(magic: int, codec: Codec) -> None:
    manager, log = log_of(message_set(magic, [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", b"2")], codec))
    clean(manager)
    assert rows(log) == [(2, "a", "2"), (3, "b", "2")]
    if codec is Codec.GZIP:
        # A wrapper of which a part stays is written anew, and always as a batch of today.
        assert [header.magic for header, _ in batches(log)] == [2]


def test_a_message_set_of_which_everything_stays_is_not_rewritten() -> None:
    raw = message_set(1, [(b"a", b"1"), (b"b", b"1")], Codec.GZIP)
    manager, log = log_of(raw)
    clean(manager)
    assert log.segments[0].file.pread(1000, 0) == raw


def test_a_tombstone_goes_once_a_later_segment_has_been_clean_for_long_enough() -> None:
    manager, log = log_of(message_set(1, [(b"a", b"1"), (b"a", None)]))
    log.update_config(replace(log.config, segment_bytes=100))  # segments stay apart
    clean(manager)
    assert rows(log) == [(1, "a", None)]
    put(log, "b", "x" * 90)
    roll(log)
    clean(manager)
    assert [offset for offset, _, _ in rows(log)] == [1, 2]
    put(log, "c", "x" * 90)
    roll(log)
    clean(manager)
    assert [offset for offset, _, _ in rows(log)] == [2, 3]
