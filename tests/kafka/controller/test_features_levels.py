"""What a metadata.version means for records: versions, and fields that a level has no room for yet."""

import pytest

from riverport.kafka.controller import features
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.metadata_records import decode_record, encode_record

DIRECTORY = bytes(range(16))

RECORDS = {
    "a broker with directories": lambda: m.RegisterBrokerRecord(1, log_dirs=[DIRECTORY], cordoned_log_dirs=[DIRECTORY]),
    "a broker's change": lambda: m.BrokerRegistrationChangeRecord(1, 5, -1, log_dirs=[DIRECTORY]),
    "a partition": lambda: m.PartitionRecord(
        0, DIRECTORY, [1], [1], directories=[DIRECTORY], eligible_leader_replicas=[1], last_known_elr=[1]
    ),
    "a partition's change": lambda: m.PartitionChangeRecord(
        0, DIRECTORY, isr=[1], directories=[DIRECTORY], eligible_leader_replicas=[2], last_known_elr=[2]
    ),
}


@pytest.mark.parametrize("level", sorted(features.RELEASES))
@pytest.mark.parametrize("kind", RECORDS)
def test_every_record_can_be_written_at_every_level(kind: str, level: int) -> None:
    record = features.fit_to_level(RECORDS[kind](), level)
    version = features.record_version(type(record).__name__, level)
    assert decode_record(encode_record(record, version)) == (record, version)


def test_the_newest_level_keeps_everything() -> None:
    for make in RECORDS.values():
        assert features.fit_to_level(make(), features.DEFAULT_RELEASE) == make()


def test_a_level_before_directories_drops_them_and_keeps_the_rest() -> None:
    fitted = features.fit_to_level(RECORDS["a partition"](), 16)
    assert (fitted.directories, fitted.eligible_leader_replicas) == ([], None)
    assert fitted.isr == [1]


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ({}, None),
        ({name: high for name, (_, high) in features.SUPPORTED.items()}, None),
        ({features.METADATA_VERSION: 6}, "metadata.version is at level 6, this release has levels 7 to 33"),
        ({features.METADATA_VERSION: 99}, "metadata.version is at level 99, this release has levels 7 to 33"),
        ({"time.travel.version": 1}, "time.travel.version is at level 1, this release has no such feature"),
        ({"time.travel.version": 0}, None),
    ],
)
def test_levels_of_a_newer_release_are_not_understood(levels: dict[str, int], reason: str | None) -> None:
    assert features.not_understood(levels) == reason
