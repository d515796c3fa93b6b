"""Our verdicts and bytes against those of Apache Kafka's own classes."""

import random
from collections.abc import Iterator

import pytest
from tests.kafka.records.hostile import all_hostile, sound, stamped
from tests.kafka.records.official import RecordsOracle, Refused
from tests.kafka.records.samples import NOW_MS, edited, with_section

from riverport.kafka.records import batch
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec, compress
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import iter_records
from riverport.kafka.records.retain import retain
from riverport.kafka.records.validation import ValidationPolicy, validate
from riverport.kafka.wire.errors import ErrorCode

pytestmark = pytest.mark.java

POLICIES = [
    ValidationPolicy(),
    ValidationPolicy(log_append_time=True),
    ValidationPolicy(compacted=True),
    ValidationPolicy(before_max_ms=5, after_max_ms=5),
]


@pytest.fixture(scope="module")
def oracle() -> Iterator[RecordsOracle]:
    oracle = RecordsOracle()
    yield oracle
    oracle.close()


def test_kafka_refuses_every_hostile_payload_with_the_same_code(oracle: RecordsOracle) -> None:
    different = []
    for hostile in all_hostile():
        expected = hostile.code if hostile.kafka is None else hostile.kafka
        try:
            oracle.judge(hostile.payload, hostile.policy, NOW_MS)
            answer: tuple[int, list[int]] = (0, [])
        except Refused as refused:
            answer = (refused.code, refused.indexes)
        if answer != (expected, hostile.indexes):
            different.append((hostile.name, answer))
    assert different == []


@pytest.mark.parametrize("policy", POLICIES, ids=["plain", "append time", "compacted", "range"])
def test_accepted_batches_are_stored_as_the_same_bytes(oracle: RecordsOracle, policy: ValidationPolicy) -> None:
    for payload in [*(sound(codec) for codec in Codec), stamped(NOW_MS + 3), edited(sound(), 35, bytes(8))]:
        came_stamped = batch.read_header(payload).is_log_append_time
        if came_stamped and policy.log_append_time:
            continue  # refused: among the hostile ones
        timestamp, theirs = oracle.judge(bytes(payload), policy, NOW_MS)
        ours = validate(payload, policy, NOW_MS)
        if came_stamped:
            # Kafka clears the bit too, but leaves the stamp as maxTimestamp, though no record has that time any more.
            assert ours.header.attributes == batch.read_header(theirs).attributes
        else:
            assert bytes(ours.records) == theirs
            assert ours.header.max_timestamp == timestamp


def test_java_reads_what_we_write(oracle: RecordsOracle) -> None:
    for source in Codec:
        for target in Codec:
            payload = sound(source, count=3_000)
            result = validate(payload, ValidationPolicy(codec=target), NOW_MS)
            ours = [
                (record.offset, record.timestamp, record.key, record.value, record.headers)
                for record in iter_records(result.records, result.header)
            ]
            assert oracle.read(bytes(result.records)) == ours
            timestamp, theirs = oracle.judge(bytes(sound(source, count=3_000)), ValidationPolicy(codec=target), NOW_MS)
            assert oracle.read(theirs) == ours
            assert timestamp == result.header.max_timestamp


@pytest.mark.parametrize("magic", [0, 1, 2])
def test_we_read_what_java_writes(oracle: RecordsOracle, magic: int) -> None:
    records = [NewRecord(b"key %d" % n if n % 3 else None, b"value" * (n % 7), (), NOW_MS + n) for n in range(500)]
    for codec in Codec:
        if codec is Codec.ZSTD and magic < 2:
            continue
        theirs = oracle.rewrite(magic, codec.name.lower(), bytes(build_batch(records)))
        found = []
        for header in batch.iter_headers(theirs):
            assert header.magic == magic
            assert batch.check_crc(theirs, header)
            found += list(iter_records(theirs, header))
        assert header.end == len(theirs)
        assert header.last_offset == len(records) - 1
        assert [(r.offset, r.key, r.value) for r in found] == [(n, r.key, r.value) for n, r in enumerate(records)]
        assert [r.timestamp for r in found] == [r.timestamp if magic else -1 for r in records]


def test_compaction_leaves_the_same_bytes(oracle: RecordsOracle) -> None:
    chance = random.Random(3)
    for number in range(300):
        records = [
            NewRecord(b"k%d" % n, None if chance.random() < 0.1 else b"v%d" % n, [("h", b"x")], NOW_MS + n * 7)
            for n in range(chance.choice([1, 3, 100]))
        ]
        payload = build_batch(
            records,
            base_offset=1_000,
            leader_epoch=3,
            producer_id=8,
            producer_epoch=1,
            base_sequence=2**31 - 3,
            transactional=number % 2 == 0,
            log_append_time_ms=NOW_MS + 5 if number % 5 == 0 else None,
        )
        ours: bytearray | memoryview = payload
        theirs = bytes(payload)
        for _ in range(2):  # a second time, over what the first one left
            kept = {1_000 + n for n in range(len(records)) if chance.random() < chance.choice([0, 0.3, 0.9, 1])}
            marks = chance.random() < 0.1
            result = retain(
                ours,
                batch.read_header(ours),
                lambda record, kept=kept: record.offset in kept,  # type: ignore[misc]
                keep_empty=True,
                delete_horizon_ms=NOW_MS + 99,
                marks_empty_transaction=marks,
            )
            theirs = oracle.retain(kept, marks, NOW_MS + 99, theirs)
            assert result.batch is not None
            ours = result.batch
            assert bytes(ours) == theirs


def mutated(chance: random.Random) -> bytes:
    """A batch with some bytes changed, in its header or in its records, and everything else put right."""
    codec = chance.choice([Codec.NONE, Codec.NONE, *Codec])
    payload = sound(codec, count=chance.choice([1, 2, 5, 100]))
    if chance.random() < 0.3:
        at = chance.choice([0, 7, 21, 22, 23, 26, 27, 34, 35, 42, 43, 50, 51, 53, 56, 57, 60])
        return bytes(edited(payload, at, bytes((chance.choice([0, 1, 2, 8, 16, 32, 64, 127, 128, 255]),))))
    section = bytearray(sound(count=batch.read_header(payload).count)[batch.BATCH_OVERHEAD :])
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at = chance.randrange(len(section))
        match chance.randrange(4):
            case 0:
                section[at] = chance.choice([0, 1, 2, 3, 127, 128, 255])
            case 1:
                section[at] = (section[at] + chance.choice([-2, -1, 1, 2])) % 256
            case 2:
                del section[at : at + chance.choice([1, 2, 9])]
            case 3:
                section[at:at] = chance.choice([b"\x00", b"\x01", b"\xff\xff", b"\x80\x01"])
        if not section:
            break
    return bytes(with_section(payload, compress(codec, section)))


def differs_for_a_reason(payload: bytes, ours: int, theirs: int) -> bool:
    """Where we are stricter or clearer than Kafka; docs/adr/0003-record-validation.md says why."""
    if theirs == -1:
        return True
    header = batch.read_header(payload)
    if ours == ErrorCode.INVALID_RECORD and header.codec:
        return True  # in compressed batches Kafka does not compare a record's length with its fields
    # Kafka's difference of times overflows for times before -292 million years.
    return ours == ErrorCode.INVALID_TIMESTAMP and header.base_timestamp < 0


def test_mutated_batches_are_judged_alike(oracle: RecordsOracle) -> None:
    chance = random.Random(20)
    different = []
    for number in range(6_000):
        payload = mutated(chance)
        policy = chance.choice(POLICIES)
        ours = theirs = 0
        try:
            oracle.judge(payload, policy, NOW_MS)
        except Refused as refused:
            theirs = refused.code
        try:
            result = validate(payload, policy, NOW_MS)
            assert oracle.read(bytes(result.records))  # whatever we store, Java can read
        except RecordError as error:
            ours = int(error.code)
        if ours != theirs and not differs_for_a_reason(payload, ours, theirs):
            different.append((number, ours, theirs, payload.hex()))
    assert different == []
