"""The table of settings against Apache Kafka's own definitions: recorded ones here, those of the jars where Java is."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.jars import jars

from riverport.base.settings import READ_ONLY, REQUIRED, Setting, Table
from riverport.kafka.admin import broker_keys
from riverport.kafka.server import settings

FACTS = Path(__file__).parent / "facts" / "configs-4.3.1.json"
DUMP = Path(__file__).parents[2] / "java" / "DumpConfigs.java"

# Where our table says more than Kafka's words do.
ALLOWED = {
    "controller.quorum.voters": "id@host:port, ...",
    "controller.quorum.bootstrap.servers": "host:port, ...",
}


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return dict(json.loads(FACTS.read_text()))


def fact_of(row: Setting) -> list[object]:
    default = False if row.default is REQUIRED else row.default_text()
    return [row.key, row.kind.name, default, row.allowed, row.importance.name, row.internal]


def assert_same(table: Table, theirs: list[list[object]]) -> None:
    ours = {key: fact_of(row) for key, row in table.items()}
    expected = {str(fact[0]): [*fact[:3], ALLOWED.get(str(fact[0]), str(fact[3]).strip()), *fact[4:]]
                for fact in theirs}  # fmt: skip
    assert sorted(ours) == sorted(expected)
    assert [ours[key] for key in sorted(ours)] == [expected[key] for key in sorted(ours)]


def test_every_broker_key_is_as_in_kafka(facts: dict[str, Any]) -> None:
    assert_same(settings.TABLE, facts["broker"])


def test_the_dynamic_keys_are_those_of_kafka(facts: dict[str, Any]) -> None:
    dynamic = [row for row in settings.TABLE.values() if row.update is not READ_ONLY]
    assert {row.key: row.update.value for row in (*dynamic, *settings.DYNAMIC_ONLY)} == facts["update"]
    only = {row.key for row in settings.DYNAMIC_ONLY}
    assert_same(Table(settings.DYNAMIC_ONLY), [fact for fact in facts["dynamic"] if fact[0] in only])


def test_synonyms_are_those_of_kafka(facts: dict[str, Any]) -> None:
    several = {key: " ".join(broker_keys.synonyms(key)) for key in settings.TABLE}
    assert {key: names for key, names in several.items() if names != key} == facts["broker_synonyms"]


def test_defaults_obey_their_own_checks() -> None:
    for row in settings.TABLE.values():
        if row.default is not REQUIRED and row.check is not None:
            assert row.check.problem(row.default) is None, row


def test_every_row_says_what_it_means() -> None:
    for row in settings.TABLE.values():
        assert row.doc.endswith("."), row
        assert row.doc[0].isupper() or row.doc.startswith("kafka-"), row


@pytest.mark.java
def test_the_recorded_facts_are_those_of_the_jars(facts: dict[str, Any]) -> None:
    command = ["java", "-cp", jars("broker"), str(DUMP)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert json.loads(run.stdout) == facts
