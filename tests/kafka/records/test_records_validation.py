"""Payloads that are accepted: what is changed in them, and what is not."""

import pytest
from tests.kafka.records.hostile import i64, sound, stamped
from tests.kafka.records.samples import NOW_MS, edited, plain, with_section

from riverport.kafka.records import batch
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec, compress
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import encode_record, iter_records
from riverport.kafka.records.validation import Validated, ValidationPolicy, check_zstd_allowed, validate
from riverport.kafka.wire.errors import ErrorCode

POLICY = ValidationPolicy()


def accepted(payload: bytearray | bytes, policy: ValidationPolicy = POLICY) -> Validated:
    result = validate(payload, policy, NOW_MS)
    assert batch.check_crc(result.records, result.header)
    assert result.header.position == 0
    assert not memoryview(result.records).readonly
    return result


@pytest.mark.parametrize("codec", list(Codec))
def test_a_sound_batch_is_the_very_bytes_that_came(codec: Codec) -> None:
    payload = sound(codec, producer_id=5, producer_epoch=1, base_sequence=0)
    before = bytes(payload)
    result = accepted(payload)
    assert bytes(result.records) == before
    batch.patch(result.records, 0, 1_000, 3)
    assert batch.read_header(payload).base_offset == 1_000
    assert result.log_append_time_ms == -1


def test_bytes_that_cannot_be_changed_are_copied() -> None:
    payload = bytes(sound())
    assert bytes(accepted(payload).records) == payload
    stamped_copy = accepted(payload, ValidationPolicy(log_append_time=True))
    assert stamped_copy.header.max_timestamp == NOW_MS


@pytest.mark.parametrize("codec", list(Codec))
def test_log_append_time_is_stamped(codec: Codec) -> None:
    payload = sound(codec)
    result = accepted(payload, ValidationPolicy(log_append_time=True))
    assert result.header.is_log_append_time
    assert result.header.max_timestamp == result.log_append_time_ms == NOW_MS
    assert {record.timestamp for record in iter_records(result.records, result.header)} == {NOW_MS}
    assert result.header.base_timestamp == NOW_MS
    assert result.header.size == len(payload)


@pytest.mark.parametrize("source", list(Codec))
@pytest.mark.parametrize("target", list(Codec))
@pytest.mark.parametrize("append_time", [False, True])
def test_the_topics_codec_replaces_the_producers(source: Codec, target: Codec, append_time: bool) -> None:
    payload = sound(source, count=500, producer_id=5, producer_epoch=1, base_sequence=70, transactional=True)
    original = plain(list(iter_records(payload, batch.read_header(payload))))
    before = bytes(payload)
    result = accepted(payload, ValidationPolicy(codec=target, log_append_time=append_time))
    header = result.header
    assert header.codec == target
    assert (header.count, header.last_offset, header.last_sequence) == (500, 499, 569)
    assert (header.producer_id, header.producer_epoch, header.is_transactional) == (5, 1, True)
    found = plain(list(iter_records(result.records, header)))
    if append_time:
        assert [row[1:] for row in found] == [row[1:] for row in original]
        assert {row[0] for row in found} == {NOW_MS}
    else:
        assert found == original
        assert source != target or bytes(result.records) == before


def test_a_batch_that_recompression_makes_too_large_is_refused() -> None:
    payload = sound(Codec.ZSTD, count=500)
    policy = ValidationPolicy(codec=Codec.NONE, max_message_bytes=len(payload) + 10)
    with pytest.raises(RecordError) as raised:
        validate(payload, policy, NOW_MS)
    assert raised.value.code is ErrorCode.MESSAGE_TOO_LARGE


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("lie", [-1, 0, NOW_MS + 1, NOW_MS + 10**10, 2**63 - 1, -(2**63)])
def test_the_greatest_timestamp_is_corrected(codec: Codec, lie: int) -> None:
    result = accepted(edited(sound(codec), batch.MAX_TIMESTAMP_AT, i64(lie)))
    assert result.header.max_timestamp == NOW_MS + 2


def test_log_append_time_set_by_a_producer_is_cleared_under_create_time() -> None:
    result = accepted(stamped(NOW_MS + 50))
    assert not result.header.is_log_append_time
    assert result.header.max_timestamp == NOW_MS + 2


@pytest.mark.parametrize("codec", list(Codec))
def test_offset_deltas_that_do_not_count_up_are_rewritten(codec: Codec) -> None:
    records = [encode_record(delta, 0, b"k", b"%d" % delta, [("h", None)]) for delta in (0, 0, 7, -2)]
    four = sound(codec, count=4)
    result = accepted(with_section(four, compress(codec, b"".join(records))))
    found = list(iter_records(result.records, result.header))
    assert [record.offset for record in found] == [0, 1, 2, 3]
    assert [record.value for record in found] == [b"0", b"0", b"7", b"-2"]
    assert result.header.codec == codec


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("delta", [0, 7])
def test_the_greatest_timestamp_of_times_before_1970_is_none(codec: Codec, delta: int) -> None:
    """Kafka begins to compare with -1, in batches that it keeps as in those that it builds anew."""
    early = build_batch([NewRecord(b"k", b"v", (), -10_000)], codec=codec)
    section = compress(codec, encode_record(delta, 5, b"k", b"v", []))
    result = accepted(with_section(early, section))
    assert [record.timestamp for record in iter_records(result.records, result.header)] == [-9_995]
    assert result.header.max_timestamp == -1


def test_records_without_a_time_are_always_in_range() -> None:
    payload = build_batch([NewRecord(b"k", b"v")] * 3)
    result = accepted(payload, ValidationPolicy(before_max_ms=10, after_max_ms=10))
    assert result.header.max_timestamp == -1


def test_what_kafka_ignores_is_ignored() -> None:
    whole = sound()
    accepted(edited(whole, 12, b"\x7f\x00\x00\x01"))  # leader epoch
    accepted(edited(whole, 21, b"\x7f\x80"))  # unused attribute bits
    accepted(edited(whole, 21, b"\x00\x40"))  # delete horizon
    accepted(edited(whole, 62, b"\x55"))  # a record's attributes
    accepted(whole + whole[:30])  # part of a batch behind the first
    accepted(sound(producer_id=3, producer_epoch=0, base_sequence=99))
    accepted(sound(transactional=True))


def test_timestamps_of_more_than_64_bits_are_refused() -> None:
    payload = edited(sound(), batch.BASE_TIMESTAMP_AT, i64(2**63 - 1))
    for policy in (POLICY, ValidationPolicy(after_max_ms=2**63 - 1)):
        with pytest.raises(RecordError):
            validate(payload, policy, NOW_MS)


def test_zstd_needs_a_producer_that_knows_it() -> None:
    check_zstd_allowed(sound(Codec.ZSTD), 7)
    check_zstd_allowed(sound(Codec.LZ4), 3)
    with pytest.raises(RecordError) as raised:
        check_zstd_allowed(sound(Codec.ZSTD), 6)
    assert raised.value.code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
