"""Our table against Apache Kafka's message definitions, our bytes against its serializers: all messages, all versions.

Kafka's jars come from `scripts/fetch-kafka protocol`; without them or Java the tests are skipped.
"""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from tests.kafka.wire.official import WireOracle, definitions, json_fields, snake
from tests.kafka.wire.values import Chances, every_message, random_value, versions_of

from riverport.kafka.wire import messages, schema
from riverport.kafka.wire.codec import decode, encode
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.schema import NO_DEFAULT, NONE, Field, Versions, parse_versions

pytestmark = pytest.mark.java
VALUES_EACH = 4
TYPES = {
    "int8": "i8",
    "int16": "i16",
    "uint16": "u16",
    "int32": "i32",
    "uint32": "u32",
    "int64": "i64",
    "float64": "f64",
}


@pytest.fixture(scope="module")
def official() -> dict[str, dict[str, Any]]:
    return definitions()


@pytest.fixture(scope="module")
def oracle() -> Iterator[WireOracle]:
    oracle = WireOracle()
    yield oracle
    oracle.close()


def test_the_table_has_every_official_message_and_no_other(official: dict[str, Any]) -> None:
    assert sorted(schema.blocks()) == sorted(official)


def clipped(versions: Versions, valid: Versions) -> tuple[int, int]:
    low, high = max(versions.low, valid.low), min(versions.high, valid.high)
    return (low, high) if low <= high else (0, -1)


def official_versions(text: str | None, valid: Versions) -> tuple[int, int]:
    return clipped(parse_versions(text), valid) if text is not None else (0, -1)


def test_every_message_is_as_defined(official: dict[str, Any]) -> None:
    for name, definition in official.items():
        ours = schema.parse_message(name)
        valid = parse_versions(definition["validVersions"])
        assert ours.versions == valid, name
        assert ours.kind == definition["type"], name
        assert ours.key == definition.get("apiKey", -1), name
        assert ours.unstable == bool(definition.get("latestVersionUnstable")), name
        assert list(ours.listeners) == definition.get("listeners", []), name
        assert clipped(ours.flexible, valid) == official_versions(definition.get("flexibleVersions"), valid), name
        if valid != NONE:
            structs = {struct["name"]: struct["fields"] for struct in definition.get("commonStructs", [])}
            compare_fields(name, ours.root.fields, definition["fields"], structs, valid)


def compare_fields(path: str, ours: list[Field], theirs: list[Any], structs: dict[str, Any], valid: Versions) -> None:
    assert [field.name for field in ours] == [snake(field["name"]) for field in theirs], path
    for mine, field in zip(ours, theirs, strict=True):
        compare_field(f"{path}.{mine.name}", mine, field, structs, valid)


def compare_field(path: str, ours: Field, theirs: dict[str, Any], structs: dict[str, Any], valid: Versions) -> None:
    array = theirs["type"].startswith("[]")
    official_type = theirs["type"].removeprefix("[]")
    assert (ours.array, ours.type) == (array, TYPES.get(official_type, official_type)), path
    tagged = theirs.get("taggedVersions")
    assert clipped(ours.versions, valid) == official_versions(theirs.get("versions", tagged), valid), path
    assert ours.tag == theirs.get("tag"), path
    assert clipped(ours.tagged, valid) == official_versions(tagged, valid), path
    carried = Versions(*clipped(ours.versions, valid))  # null means nothing where the field is not
    assert clipped(ours.nullable, carried) == official_versions(theirs.get("nullableVersions"), carried), path
    assert ours.ignorable == (str(theirs.get("ignorable", False)).lower() == "true"), path
    assert ours.rigid == (theirs.get("flexibleVersions") == "none"), path
    assert ours.default is NO_DEFAULT or ours.default == default_of(theirs), path
    if ours.default is NO_DEFAULT:
        assert default_of(theirs) in (NO_DEFAULT, "", 0, False), path
    if ours.struct is not None:
        fields = theirs.get("fields") or structs[official_type]
        compare_fields(path, ours.struct.fields, fields, structs, valid)


def default_of(theirs: dict[str, Any]) -> Any:
    """The default as Apache Kafka's generator reads it: the text "null" is null, and a JSON null is none at all."""
    text = theirs.get("default")
    if text is None:
        return NO_DEFAULT
    if str(text) == "null":
        return None
    if theirs["type"].startswith("int") or theirs["type"].startswith("uint"):
        return int(str(text), 0)
    if theirs["type"] == "bool":
        return str(text).lower() == "true"
    return float(text) if theirs["type"] == "float64" else text


def test_bytes_are_those_of_the_official_serializers(official: dict[str, Any], oracle: WireOracle) -> None:
    rng = Random(44)
    chances = Chances(rng, unknown_tags=False)
    compared = 0
    for name in every_message():
        for version in versions_of(name):
            for _ in range(VALUES_EACH):
                value = random_value(name, version, chances)
                fields = json_fields(value, version, official[name])
                assert encode(value, version).hex() == oracle.write(name, version, fields).hex(), (name, version, value)
                compared += 1
    assert compared > 2500


def test_both_refuse_the_same_values_in_older_versions(official: dict[str, Any], oracle: WireOracle) -> None:
    """A field that the version lacks: dropped where it may be ignored, refused where that would change the meaning."""
    chances = Chances(Random(47), most_elements=1, unknown_tags=False)
    for name in every_message():
        for version in versions_of(name)[:-1]:
            for newest in {versions_of(name)[-1], rng_version(chances.rng, name)}:
                value = random_value(name, newest, chances)
                try:
                    theirs: bytes | None = oracle.write(name, version, json_fields(value, None, official[name]))
                except ValueError as error:
                    if "Can't read version" in str(error):  # their JSON form of a struct that is new, not their bytes
                        continue
                    theirs = None
                try:
                    ours: bytes | None = encode(value, version)
                except WireError:
                    ours = None
                assert ours == theirs, (name, version, value)


def rng_version(rng: Random, name: str) -> int:
    return rng.choice(versions_of(name))


def test_the_official_classes_read_what_we_write(official: dict[str, Any], oracle: WireOracle) -> None:
    chances = Chances(Random(45))
    for name in every_message():
        for version in versions_of(name):
            value = random_value(name, version, chances)
            data = encode(value, version)
            again, left, fields = oracle.read(name, version, data)
            assert (again, left) == (data, 0), (name, version, value)
            ours = json_fields(value, version, official[name])
            for key, theirs in fields.items():
                assert same(ours[key], theirs), (name, version, key)


def same(ours: Any, theirs: Any) -> bool:
    """Whether the converters' value means ours: they leave out records, and tagged fields that have their default."""
    if isinstance(theirs, dict):
        return all(
            same(ours[key], value) for key, value in theirs.items() if key not in ("records", "unalignedRecords")
        )
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


def test_both_refuse_a_message_cut_short(oracle: WireOracle) -> None:
    rng = Random(46)
    chances = Chances(rng, unknown_tags=False)
    for name in every_message():
        version = versions_of(name)[-1]
        data = encode(random_value(name, version, chances), version)
        if data:
            cut = data[: rng.randrange(len(data))]
            with pytest.raises(WireError):
                decode(getattr(messages, name), version, cut)
            with pytest.raises(ValueError):
                oracle.read(name, version, cut)


def test_defaults_are_the_official_ones(official: dict[str, Any], oracle: WireOracle) -> None:
    for name in every_message():
        for version in versions_of(name):
            cls = getattr(messages, name)
            _, left, fields = oracle.read(name, version, encode(cls(), version))
            assert left == 0
            ours = json_fields(cls(), version, official[name])
            for key, theirs in fields.items():
                assert same(ours[key], theirs), (name, version, key, json.dumps(fields))
