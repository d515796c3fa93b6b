"""Every hostile payload gets its error, and nothing is touched."""

import pytest
from tests.kafka.records.hostile import Hostile, all_hostile, sound
from tests.kafka.records.samples import NOW_MS, with_section
from tests.kafka.records.test_records_codecs import bomb

from riverport.kafka.records import validation
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.validation import ValidationPolicy, validate
from riverport.kafka.records.walk import walk_python
from riverport.kafka.wire.errors import ErrorCode

HOSTILE = all_hostile()


@pytest.fixture(params=["compiled", "python"])
def _walk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(validation, "walk", walk_python)


@pytest.mark.usefixtures("_walk")
@pytest.mark.parametrize("hostile", HOSTILE, ids=[hostile.name for hostile in HOSTILE])
def test_hostile_payloads_are_refused_and_left_alone(hostile: Hostile) -> None:
    payload = bytearray(hostile.payload)
    with pytest.raises(RecordError) as raised:
        validate(memoryview(payload), hostile.policy, NOW_MS)
    assert raised.value.code is hostile.code
    assert [index for index, _ in raised.value.record_errors] == hostile.indexes
    assert payload == hostile.payload


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec is not Codec.NONE])
def test_a_bomb_is_refused(codec: Codec) -> None:
    payload = with_section(sound(codec), bomb(codec, 64 * 1024 * 1024))
    policy = ValidationPolicy(max_message_bytes=2**30, max_decompressed_bytes=2**20)
    with pytest.raises(RecordError, match="limit") as raised:
        validate(payload, policy, NOW_MS)
    assert raised.value.code is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("codec", list(Codec))
def test_a_payload_cut_anywhere_is_refused(codec: Codec) -> None:
    whole = sound(codec)
    for cut in range(len(whole)):
        with pytest.raises(RecordError):
            validate(whole[:cut], ValidationPolicy(), NOW_MS)


@pytest.mark.parametrize("codec", list(Codec))
def test_any_flipped_byte_is_refused_unless_nothing_depends_on_it(codec: Codec) -> None:
    whole = sound(codec)
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 0x81
        if 12 <= at < 16:  # the leader epoch: any value is taken, the log writes its own
            validate(broken, ValidationPolicy(), NOW_MS)
        else:
            with pytest.raises(RecordError):
                validate(broken, ValidationPolicy(), NOW_MS)


def test_only_so_many_faulty_records_are_named() -> None:
    payload = sound(count=validation.MAX_RECORD_FAULTS + 5)
    with pytest.raises(RecordError) as raised:
        validate(payload, ValidationPolicy(after_max_ms=0), NOW_MS - 10)
    assert len(raised.value.record_errors) == validation.MAX_RECORD_FAULTS
